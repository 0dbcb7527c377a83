"""The gap monitor: a hole becomes a row, is fetched again, and ends resolved or absent."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from actors.candle_messages import Fetched
from actors.gap_monitor import GapMonitor, GapParts, Scan
from actors.names import ActorAway
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from tests.actors.fakes import PAIR
from tests.actors.stage import BEGIN_MS, MarketTime


def flat(opens: list[int]) -> Candles:
    times = np.array(opens, dtype=np.int64)
    price = np.full(len(opens), 100.0)
    return Candles(
        open_ms=times, open=price, high=price, low=price, close=price, volume=price.copy()
    )


@dataclass
class Refetch:
    """A poller that has these candles, or none, or is away."""

    store: MemoryStore
    has: set[int] = field(default_factory=set)
    is_away: bool = False
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def fetch(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Fetched:
        self.asked.append((start_ms, end_ms))
        if self.is_away:
            raise ActorAway("candle_poller", "killed")
        found = sorted(open_ms for open_ms in self.has if start_ms <= open_ms <= end_ms)
        if found:
            self.store.write_candles(pair, interval, flat(found))
        return Fetched(added=len(found), is_answered=True)


class Watched:
    """A series of 600 minutes with a hole of ten in its middle."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), MarketTime(BEGIN_MS)
        opens = [BEGIN_MS - minute * MINUTE_MS for minute in range(600, 0, -1)]
        self.hole = opens[300:310]
        self.store.write_candles(PAIR, "1m", flat([o for o in opens if o not in self.hole]))
        self.fetcher = Refetch(self.store)
        parts = GapParts(
            store=self.store,
            clock=self.clock,
            fetcher=self.fetcher,
            pairs=(PAIR,),
            intervals=("1m",),
            max_attempts=2,
        )
        self.monitor = GapMonitor(lambda: parts)

    def scan(self) -> GapEvent:
        asyncio.run(self.monitor.scan(Scan()))
        [row] = self.store.list(kinds.GAPS)
        return row.value


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.catalogue("D01")
def test_a_hole_is_found_fetched_and_resolved(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)

    gap = watched.scan()

    assert (gap.start_ms, gap.end_ms) == (watched.hole[0], watched.hole[-1])
    assert (gap.status, gap.missing_points) == (GapStatus.RESOLVED, 0)
    assert watched.fetcher.asked == [(watched.hole[0], watched.hole[-1])]


def test_a_hole_that_the_venue_does_not_have_is_absent_after_its_attempts(
    watched: Watched,
) -> None:
    first = watched.scan()
    too_soon = watched.scan()
    watched.clock.advance(31 * MINUTE_MS)
    watched.store.write_candles(
        PAIR, "1m", flat([BEGIN_MS + minute * MINUTE_MS for minute in range(31)])
    )
    last = watched.scan()
    watched.clock.advance(31 * MINUTE_MS)

    assert (first.status, first.attempts, first.missing_points) == (GapStatus.OPEN, 1, 10)
    assert too_soon.attempts == 1
    assert last.status is GapStatus.ABSENT_AT_VENUE
    assert len(watched.fetcher.asked) == 2


def test_a_poller_that_is_away_proves_nothing(watched: Watched) -> None:
    watched.fetcher.is_away = True

    gap = watched.scan()

    assert (gap.status, gap.attempts) == (GapStatus.OPEN, 0)


def test_a_new_hole_is_an_alert(watched: Watched) -> None:
    watched.scan()

    assert [doc.value.code for doc in watched.store.list(kinds.ALERTS)] == ["candle_gap"]


def test_the_newest_candles_are_not_judged_yet(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)
    watched.clock.advance(3 * MINUTE_MS)

    watched.scan()

    assert len(watched.store.list(kinds.GAPS)) == 1


def test_scans_follow_the_markets_clock(watched: Watched) -> None:
    asyncio.run(watched.monitor.turn())
    scans = watched.monitor._pulse.counters["scans"]
    asyncio.run(watched.monitor.turn())
    watched.clock.advance(15 * MINUTE_MS)
    asyncio.run(watched.monitor.turn())

    assert (scans, watched.monitor._pulse.counters["scans"]) == (1, 2)
