"""The gap monitor: a hole becomes a row, is fetched again, and ends resolved or absent."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from actors import heartbeat
from actors.candle_messages import Fetched
from actors.commands import BackfillAsk
from actors.gap_monitor import GapMonitor, GapParts, Scan
from actors.ingestion_config import document, replace_overrides
from actors.names import ActorAway
from actors.series_claim import claim_from, claimed_from
from actors.source_book import CANDLES, key_of, new_status
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.market.ingestion import has_read
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.wallclock import monotonic_s
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
    """A poller whose venue has these candles, or none, or is away.

    The answer reaches up to the last candle asked for, the witness, unless it is `frozen_ms` old.
    """

    store: MemoryStore
    has: set[int] = field(default_factory=set)
    is_away: bool = False
    frozen_ms: int | None = None
    forgets: int = 0
    """So many candles it has are left out of the first answer."""
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def fetch(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Fetched:
        self.asked.append((start_ms, end_ms))
        if self.is_away:
            raise ActorAway("candle_poller", "killed")
        found = sorted(open_ms for open_ms in self.has if start_ms <= open_ms <= end_ms)
        found, self.forgets = found[self.forgets :], 0
        added = self.store.write_candles(pair, interval, flat(found)) if found else 0
        latest_ms = min(end_ms, self.frozen_ms or end_ms)
        return Fetched(added=added, is_answered=True, latest_ms=latest_ms)

    async def start_backfill(self, job_id: str, ask: BackfillAsk) -> None:
        raise ActorAway("candle_poller", "killed")


class Watched:
    """A series of 600 minutes with a hole of ten in its middle."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), MarketTime(BEGIN_MS)
        opens = [BEGIN_MS - minute * MINUTE_MS for minute in range(600, 0, -1)]
        self.hole = opens[300:310]
        self.store.write_candles(PAIR, "1m", flat([o for o in opens if o not in self.hole]))
        self.fetcher = Refetch(self.store)
        self.parts = GapParts(
            store=self.store,
            clock=self.clock,
            fetcher=self.fetcher,
            pairs=(PAIR,),
            intervals=("1m",),
            max_attempts=2,
        )
        self.monitor = GapMonitor(lambda: self.parts)

    def scan(self) -> GapEvent:
        asyncio.run(self.monitor.scan(Scan()))
        [row] = self.store.list(kinds.GAPS)
        return row.value

    def let_pass(self, minutes: int, *, stored: bool = True) -> None:
        """The market goes on; its candles are stored, or not."""
        opens = [self.clock.now_ms() + minute * MINUTE_MS for minute in range(minutes)]
        if stored:
            self.store.write_candles(PAIR, "1m", flat(opens))
        self.clock.advance(minutes * MINUTE_MS)

    def gaps(self) -> list[GapEvent]:
        asyncio.run(self.monitor.scan(Scan()))
        return [row.value for row in self.store.list(kinds.GAPS)]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_series_that_an_operator_paused_is_neither_judged_nor_read(watched: Watched) -> None:
    row = new_status(CANDLES, PAIR, "1m")
    key = key_of(CANDLES, PAIR, "1m")
    watched.store.put(kinds.SOURCES, key, replace(row, enabled=False), at_ms=0)
    watched.let_pass(60, stored=False)

    paused = watched.gaps()
    watched.store.put(kinds.SOURCES, key, row, at_ms=0)
    resumed = watched.gaps()

    assert (paused, [gap.status for gap in resumed if gap.start_ms == watched.hole[0]]) == (
        [],
        [GapStatus.OPEN],
    )


@pytest.mark.catalogue("D01")
def test_a_hole_is_found_fetched_and_resolved(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)

    gap = watched.scan()

    assert (gap.start_ms, gap.end_ms) == (watched.hole[0], watched.hole[-1])
    assert (gap.status, gap.missing_points) == (GapStatus.RESOLVED, 0)
    assert watched.fetcher.asked == [(watched.hole[0] - MINUTE_MS, watched.hole[-1] + MINUTE_MS)]


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


def test_an_answer_without_a_later_candle_proves_nothing(watched: Watched) -> None:
    watched.fetcher.frozen_ms = watched.hole[-1]

    for _ in range(5):
        watched.scan()
        watched.let_pass(31)
    gap = watched.scan()

    assert (gap.status, gap.attempts) == (GapStatus.OPEN, 0)
    assert len(watched.fetcher.asked) == 6


def test_a_long_read_is_no_standstill_of_the_monitor(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SLICE_S", 0.001)
    ages: list[float] = []
    quick = watched.fetcher.fetch

    async def long(*asked: Any) -> Fetched:
        begun_s = monotonic_s()
        await asyncio.sleep(0.2)
        ages.append(watched.monitor._pulse.beat().loop_age_s / (monotonic_s() - begun_s))
        return await quick(*asked)

    monkeypatch.setattr(watched.fetcher, "fetch", long)
    watched.scan()

    assert len(ages) == 1
    assert ages[0] < 0.9


def test_a_venue_that_forgets_some_candles_is_asked_again_at_once(watched: Watched) -> None:
    watched.fetcher.has, watched.fetcher.forgets = set(watched.hole), 4

    [gap] = watched.gaps()

    assert (gap.status, len(watched.fetcher.asked)) == (GapStatus.RESOLVED, 2)


@pytest.mark.catalogue("D01")
def test_regression_12_a_lost_head_is_a_gap_and_so_is_an_empty_series(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)
    watched.gaps()
    gone = watched.store.read_candles(PAIR, "1m", 0, BEGIN_MS)
    watched.store.__init__()
    first_ms = int(gone.open_ms[0])
    asyncio.run(claim_from(watched.store, PAIR, "1m", first_ms, at_ms=0))
    watched.store.write_candles(PAIR, "1m", gone.take(slice(100, None)))
    head = watched.gaps()
    watched.store.__init__()
    watched.fetcher.has.clear()
    empty = watched.gaps()

    assert [(gap.start_ms, gap.missing_points) for gap in head] == [(first_ms, 100)]
    assert [gap.missing_points for gap in empty] == [1_440 - 4]


def test_a_claim_only_grows(watched: Watched) -> None:
    for from_ms in (500, 900, 300):
        asyncio.run(claim_from(watched.store, PAIR, "5m", from_ms, at_ms=0))

    assert claimed_from(watched.store, PAIR, "5m") == 300


def test_missing_newest_candles_are_a_gap_only_after_they_were_read_again(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)
    watched.gaps()
    watched.let_pass(20, stored=False)
    watched.fetcher.is_away = True
    unread = watched.gaps()
    watched.fetcher.is_away = False
    watched.fetcher.has |= {BEGIN_MS + minute * MINUTE_MS for minute in range(20)}
    healed = watched.gaps()
    watched.let_pass(20, stored=False)
    missing = [gap for gap in watched.gaps() if gap.status is not GapStatus.RESOLVED]

    assert len(unread) == len(healed) == 1
    assert [(gap.missing_points, gap.status) for gap in missing] == [(16, GapStatus.OPEN)]
    assert missing[0].start_ms == BEGIN_MS + 20 * MINUTE_MS


def test_gaps_of_one_page_share_a_read_and_reads_are_capped(watched: Watched) -> None:
    watched.store.__init__()
    opens = [BEGIN_MS - minute * MINUTE_MS for minute in range(9_000, 0, -1)]
    kept = [open_ms for index, open_ms in enumerate(opens) if index % 90 != 50]
    watched.store.write_candles(PAIR, "1m", flat(kept))

    found = watched.gaps()

    tried = {gap.gap_id for gap in found if gap.attempts}
    assert len(found) == 100
    assert len(watched.fetcher.asked) == 5
    assert len(tried) == 80
    assert min(gap.end_ms for gap in found if gap.attempts) > max(
        gap.end_ms for gap in found if not gap.attempts
    )


def test_a_scan_leaves_its_time_and_its_figures(watched: Watched) -> None:
    watched.scan()

    scan = watched.store.get(kinds.STATE, "gap_scan")
    [sample] = watched.store.samples("gap_missing_candles", start_ms=0, end_ms=BEGIN_MS + 1)
    assert scan is not None
    assert (scan.value["at_ms"], scan.value["open"]) == (BEGIN_MS, 1)
    assert (sample.value, sample.tags) == (10.0, {"pair": PAIR})


@pytest.mark.parametrize("is_away", [False, True])
def test_a_hole_that_stays_after_its_first_read_is_one_alert(
    watched: Watched, is_away: bool
) -> None:
    watched.fetcher.is_away = is_away

    watched.scan()
    watched.let_pass(31)
    watched.scan()

    [alert] = watched.store.list(kinds.ALERTS)
    assert (alert.value.code, alert.value.count) == ("candle_gap", 1)


def test_a_hole_that_the_first_read_fills_needs_nobody(watched: Watched) -> None:
    watched.fetcher.has = set(watched.hole)

    watched.scan()

    assert watched.store.list(kinds.ALERTS) == []


def test_without_healing_a_hole_is_an_alert_at_once(watched: Watched) -> None:
    parts = replace(watched.parts, heal_enabled=False)
    watched.monitor = GapMonitor(lambda: parts)

    watched.scan()

    assert [doc.value.code for doc in watched.store.list(kinds.ALERTS)] == ["candle_gap"]
    assert watched.fetcher.asked == []


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


def set_by_an_operator(watched: Watched, **values: bool | int) -> None:
    found = document(watched.store)
    replace_overrides(
        watched.store, values, now_ms=1, expected_version=found.version if found else 0
    )


def test_what_an_operator_sets_counts_from_the_next_turn_and_over_a_restart(
    watched: Watched,
) -> None:
    def turn() -> float:
        return asyncio.run(watched.monitor.turn())

    set_by_an_operator(watched, DATA_GAP_HEAL_ENABLED=False)
    turn()
    unhealed = list(watched.fetcher.asked)
    set_by_an_operator(watched, DATA_GAP_MONITOR_INTERVAL_MIN=2)
    watched.let_pass(3)
    turn()
    sooner = len(watched.fetcher.asked)
    watched.monitor = GapMonitor(lambda: watched.parts)
    set_by_an_operator(watched, DATA_GAP_HEAL_ENABLED=False)
    watched.let_pass(60)
    turn()

    assert unhealed == []
    assert sooner == 1, "two market minutes instead of fifteen, and healing is as it was started"
    assert len(watched.fetcher.asked) == sooner


def test_retries_are_looked_at_as_often_as_the_operator_said(watched: Watched) -> None:
    set_by_an_operator(watched, RETRY_QUEUE_INTERVAL_SEC=5)

    async def turn() -> float:
        await watched.monitor.turn()
        return await watched.monitor.turn_retries()

    assert asyncio.run(turn()) == 5.0


def test_attempts_and_cooldown_are_what_the_operator_said(watched: Watched) -> None:
    set_by_an_operator(watched, DATA_GAP_HEAL_MAX_ATTEMPTS=3, DATA_GAP_HEAL_COOLDOWN_MIN=0)

    ends: list[GapStatus] = []
    for _ in range(3):
        ends.append(watched.scan().status)
        watched.let_pass(1)

    assert ends == [GapStatus.OPEN, GapStatus.OPEN, GapStatus.ABSENT_AT_VENUE]


def test_fewer_attempts_than_a_gap_has_had_end_with_its_next_one(watched: Watched) -> None:
    set_by_an_operator(watched, DATA_GAP_HEAL_MAX_ATTEMPTS=9, DATA_GAP_HEAL_COOLDOWN_MIN=0)
    for _ in range(3):
        watched.scan()
        watched.let_pass(1)

    set_by_an_operator(watched, DATA_GAP_HEAL_MAX_ATTEMPTS=2, DATA_GAP_HEAL_COOLDOWN_MIN=0)

    assert watched.scan().status is GapStatus.ABSENT_AT_VENUE


def test_a_last_attempt_that_a_crash_cut_short_is_made_again(watched: Watched) -> None:
    gap = watched.scan()
    cut_short = replace(gap, status=GapStatus.HEALING, attempts=watched.parts.max_attempts)
    watched.store.put(kinds.GAPS, gap.gap_id, cut_short, at_ms=gap.end_ms)
    watched.let_pass(60)

    assert watched.scan().status is GapStatus.ABSENT_AT_VENUE


def test_a_heal_leaves_an_ingestion_run_and_so_does_one_without_an_answer(watched: Watched) -> None:
    watched.fetcher.is_away = True
    watched.gaps()
    watched.fetcher.is_away, watched.fetcher.has = False, set(watched.hole)
    watched.let_pass(31)
    watched.gaps()

    runs = [doc.value for doc in watched.store.list(kinds.INGESTION)]
    healed = next(run for run in runs if run.new)
    failed = next(run for run in runs if run.errors)
    assert (healed.kind, healed.status, healed.new) == ("heal", "done", len(watched.hole))
    assert has_read(healed, watched.hole[0], watched.hole[-1] + MINUTE_MS)
    assert (failed.status, failed.answers) == ("failed", 0)
