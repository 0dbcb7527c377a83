"""The poller against a scripted market: every candle once, in order, whatever the venue does."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial

import numpy as np
import pytest

from actors import heartbeat
from actors.backfill import Backfill
from actors.backfill_job import job_of
from actors.backfill_schedule import BackfillSchedule
from actors.candle_intake import CandleIntake
from actors.candle_messages import CandleClosed, FetchRange, PollNow, StartBackfill
from actors.candle_poller import CandlePoller, PollerParts
from actors.commands import BackfillAsk
from actors.source_book import CANDLES, SourceBook, new_status
from desk.clock import MINUTE_MS, ClockAnchor
from desk.errors import VenueUnavailable
from desk.market.candles import Candle, Candles
from desk.market.interval import interval_ms
from desk.market.quarantine import MAX_OF_BATCH, MAX_RAW, MAX_ROWS, RefusedRow
from desk.runs import JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Stream
from desk.trading.instruments import Instrument
from tests.actors.fakes import BTC, PAIR
from tests.actors.stage import BEGIN_MS, MarketTime


@dataclass
class ScriptedMarket:
    """A market whose candles are a function of their open time; the forming one is included."""

    clock: MarketTime
    began_ms: int = BEGIN_MS - 3_000 * MINUTE_MS
    ahead_ms: int = 0
    """How far our clock runs ahead of the venue's."""
    is_away: bool = False
    hangs_on: str = ""
    fails_on: str = ""
    clock_offset_ms: int = 0
    absent: set[int] = field(default_factory=set)
    lagging: int = 0
    """Answers that still lack the newest candles."""
    spoil: Callable[[Candles], Candles] = lambda batch: batch
    """What becomes of an answer on its way."""
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def server_clock(self) -> ClockAnchor:
        self._answer("server_clock")
        return replace(self.clock.anchor, offset_ms=self.clock_offset_ms)

    async def instruments(self) -> dict[str, Instrument]:
        return {PAIR: BTC}

    async def candles(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        self._answer("candles")
        self.asked.append((start_ms, end_ms))
        if interval == self.fails_on:
            raise VenueUnavailable("candles", f"no answer about {interval}")
        if interval == self.hangs_on:
            await asyncio.Event().wait()
        step = interval_ms(interval)
        now_ms = self.clock.now_ms() - self.ahead_ms
        last_ms = min(end_ms, now_ms // step * step + 1)
        if self.lagging:
            self.lagging -= 1
            last_ms = min(last_ms, now_ms // step * step - step)
        first_ms = -(-max(start_ms, self.began_ms) // step) * step
        opens = range(first_ms, last_ms, step)
        rows = [open_ms for open_ms in opens if open_ms not in self.absent]
        times = np.array(rows, dtype=np.int64)
        price = 40_000.0 + (times // step % 97).astype(np.float64)
        batch = Candles(
            open_ms=times,
            open=price,
            high=price + 2.0,
            low=price - 2.0,
            close=price + 1.0,
            volume=np.full(len(rows), 3.0),
        )
        return self.spoil(batch)

    async def close(self) -> None:
        """Nothing to release."""

    def _answer(self, call: str) -> None:
        if self.is_away:
            raise VenueUnavailable(call, "away")


@dataclass
class Audience:
    """Who hears of candles, in the order in which they heard."""

    heard: list[tuple[str, int]] = field(default_factory=list)
    is_settler_away: bool = False

    async def settle(self, pair: str, upto_open_ms: int) -> None:
        if self.is_settler_away:
            raise VenueUnavailable("settle", "away")
        self.heard.append(("settle", upto_open_ms))

    async def mark(self, prices: Mapping[str, Decimal], trace_id: str = "") -> None:
        self.heard.append(("mark", 0))

    async def tell(self, closed: CandleClosed) -> None:
        self.heard.append((f"tell {closed.interval}", closed.open_ms))

    @property
    def told(self) -> list[int]:
        """Open times of the 1m candles that loops were told of."""
        return [open_ms for what, open_ms in self.heard if what == "tell 1m"]


class Feed:
    """One poller on a store in memory."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), MarketTime(BEGIN_MS + 700)
        self.market, self.audience = ScriptedMarket(self.clock), Audience()
        self.poller = self.new_poller()

    def new_poller(self, *intervals: str) -> CandlePoller:
        parts = PollerParts(
            pair=PAIR,
            intervals=intervals or ("1m", "5m"),
            store=self.store,
            venue=self.market,
            clock=self.clock,
            listeners=self.audience,
        )
        return CandlePoller(lambda: parts)

    def turn(self, *, minutes: int = 0, poller: CandlePoller | None = None) -> float:
        self.clock.advance(minutes * MINUTE_MS)
        return asyncio.run((poller or self.poller).turn())

    def turn_longer(self) -> float:
        return asyncio.run(self.poller.turn_longer())

    def newest(self) -> int:
        return int(self.store.last_candles(PAIR, "1m", 1).open_ms[-1])

    def announced(self) -> list[int]:
        events = self.store.read_events({Stream.OPS: "0-0"}, limit=10_000)
        return [e.data["t"] for e in events if e.topic == "candle" and e.key == f"{PAIR}:1m"]

    def source(self, source_type: str, interval: str = "") -> str:
        row = self.store.get(kinds.SOURCES, f"{source_type}:{PAIR}:{interval}")
        assert row is not None
        return row.value.status


@pytest.fixture
def feed() -> Feed:
    return Feed()


def test_a_first_turn_brings_a_page_and_announces_the_newest(feed: Feed) -> None:
    feed.turn()

    assert len(feed.store.last_candles(PAIR, "1m", 2_000)) > 1_400
    assert feed.newest() == BEGIN_MS - MINUTE_MS
    assert feed.audience.told.count(BEGIN_MS - MINUTE_MS) == 1
    assert feed.source("bingx_candles", "1m") == "ok"
    assert feed.store.get(kinds.INSTRUMENTS, PAIR) is not None


def test_a_clock_that_is_off_is_an_alert_until_it_is_right(feed: Feed) -> None:
    def alert() -> tuple[str, str] | None:
        found = feed.store.get(kinds.ALERTS, "clock_skew:venue")
        return (found.value.status, found.value.value) if found else None

    seen = []
    for offset_ms, round_trip_ms in ((900, 0), (-30_000, 0), (40, 0), (2_500, 4_000)):
        feed.market.clock_offset_ms, feed.clock.round_trip_ms = offset_ms, round_trip_ms
        feed.store.delete(kinds.STATE, "clock")
        feed.turn(minutes=1)
        seen.append(alert())

    assert seen == [None, ("open", "-30000"), ("resolved", "-30000"), ("resolved", "-30000")]


def test_a_lag_is_that_of_a_poll_and_not_of_a_start(feed: Feed) -> None:
    """At a start the newest candle of a long interval is hours old: nobody was late for that."""
    feed.poller = feed.new_poller("1m", "4h", "1d")
    feed.turn()
    for _ in range(3):
        feed.turn_longer()
    at_start = feed.store.samples("ingestion_lag_seconds", start_ms=0, end_ms=1 << 52)

    feed.turn(minutes=1)
    later = feed.store.samples("ingestion_lag_seconds", start_ms=0, end_ms=1 << 52)

    assert at_start == []
    assert [(row.tags["interval"], row.value) for row in later] == [("1m", 0.7)]
    assert later[0].trace_id


def test_longer_intervals_are_read_when_their_own_candle_closed(feed: Feed) -> None:
    feed.turn()
    feed.turn_longer()
    first = feed.store.last_candles(PAIR, "5m", 1)

    asked = [feed.turn_longer() > 0 for _ in range(3)]
    feed.turn(minutes=5)
    before = len(feed.market.asked)
    feed.turn_longer()

    assert all(asked)
    assert len(feed.market.asked) == before + 1
    newest = feed.store.last_candles(PAIR, "5m", 1)
    assert int(newest.open_ms[0]) == int(first.open_ms[0]) + 5 * MINUTE_MS
    assert feed.source("bingx_candles", "5m") == "ok"


def test_a_longer_interval_that_is_not_answered_does_not_hold_up_the_smallest(feed: Feed) -> None:
    feed.turn()
    feed.market.hangs_on = "5m"

    async def both() -> None:
        longer = asyncio.create_task(feed.poller.turn_longer())
        await asyncio.sleep(0)
        feed.clock.advance(MINUTE_MS)
        await feed.poller.turn()
        assert not longer.done()
        longer.cancel()

    asyncio.run(both())

    assert feed.newest() == BEGIN_MS


def test_a_longer_interval_that_failed_is_asked_again_soon_and_alone(feed: Feed) -> None:
    feed.poller = feed.new_poller("1m", "5m", "4h", "1d")
    feed.turn()
    feed.market.fails_on = "4h"
    waits = [feed.turn_longer() for _ in range(2)]
    failed = {each: feed.source("bingx_candles", each) for each in ("5m", "4h", "1d")}

    feed.market.fails_on = ""
    feed.turn_longer()
    at_once = feed.source("bingx_candles", "4h")
    feed.clock.advance(15_000)
    feed.turn_longer()

    assert waits[0] < waits[1]
    assert failed == {"5m": "ok", "4h": "unavailable", "1d": "ok"}
    assert at_once == "unavailable"
    assert feed.source("bingx_candles", "4h") == "ok"
    assert len(feed.store.last_candles(PAIR, "4h", 1)) == 1


def test_a_poller_that_waits_for_its_turn_does_not_count_as_hung(
    feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "SLICE_S", 0.01)
    feed.turn()
    feed.market.hangs_on = "1m"
    feed.clock.advance(MINUTE_MS)

    async def wait_a_while() -> float:
        waiting = asyncio.create_task(feed.poller.turn())
        await asyncio.sleep(0.02)
        feed.poller._pulse._turned_s -= 50.0
        await asyncio.sleep(0.1)
        waiting.cancel()
        return feed.poller._pulse.beat().loop_age_s

    assert asyncio.run(wait_a_while()) < 20.0


def test_the_offset_of_the_venues_clock_is_recorded(feed: Feed) -> None:
    feed.market.clock_offset_ms = -1_234

    feed.turn()

    samples = feed.store.samples("venue_clock_offset_ms", start_ms=0, end_ms=BEGIN_MS * 2)
    stored = feed.store.get(kinds.STATE, "clock")
    assert [sample.value for sample in samples] == [-1_234.0]
    assert stored is not None
    assert stored.value["offset_ms"] == -1_234


def test_fills_are_settled_and_marked_before_anybody_decides(feed: Feed) -> None:
    feed.turn()
    feed.audience.heard.clear()

    feed.turn(minutes=1)

    assert [what for what, _ in feed.audience.heard][:3] == ["settle", "mark", "tell 1m"]


def test_every_candle_is_announced_once_however_often_it_is_polled(feed: Feed) -> None:
    feed.turn()
    first = feed.newest()

    for _ in range(5):
        feed.turn(minutes=1)
        feed.turn()

    told = [open_ms for open_ms in feed.announced() if open_ms > first]
    assert told == [first + MINUTE_MS * minute for minute in range(1, 6)]
    assert len(set(feed.audience.told)) == len(feed.audience.told)


def test_the_next_poll_waits_for_the_next_close_on_the_markets_clock(feed: Feed) -> None:
    feed.turn()
    feed.turn()
    feed.clock.speed = 30.0

    wait_s = feed.turn()

    assert 0 < wait_s <= 60 / 30


@pytest.mark.catalogue("D07")
def test_a_clock_that_was_read_slowly_is_trusted_less(feed: Feed) -> None:
    feed.turn()
    feed.clock.round_trip_ms, feed.market.ahead_ms = 10_000, 4_500
    before = feed.newest()

    feed.turn(minutes=1)
    feed.clock.advance(3_000)  # more than any error of a quick reading
    feed.turn()

    assert feed.newest() == before


def test_a_candle_of_which_only_our_clock_says_that_it_closed_is_not_taken(feed: Feed) -> None:
    feed.turn()
    feed.market.ahead_ms = 1_500  # the venue's minute is not over yet when we ask
    before = feed.newest()

    feed.turn(minutes=1)
    early = feed.newest()
    feed.market.ahead_ms = 0
    feed.clock.advance(300)
    feed.turn()

    assert early == before
    assert feed.newest() == before + MINUTE_MS
    assert feed.audience.told[-1] == before + MINUTE_MS


def test_a_lagging_replica_is_asked_again_soon(feed: Feed) -> None:
    feed.turn()
    feed.market.lagging = 1

    wait_s = feed.turn(minutes=1)
    feed.clock.advance(300)
    feed.turn()

    assert wait_s <= 0.3
    assert feed.newest() == BEGIN_MS


@pytest.mark.catalogue("D12")
def test_a_restarted_poller_fills_the_hole_it_left_and_passes_the_newest_on(feed: Feed) -> None:
    feed.turn()
    feed.clock.advance(30 * MINUTE_MS)
    restarted = feed.new_poller()

    feed.turn(poller=restarted)

    opens = feed.store.last_candles(PAIR, "1m", 60).open_ms
    assert set(np.diff(opens)) == {MINUTE_MS}
    assert feed.audience.told[-1] == feed.newest() == BEGIN_MS + 29 * MINUTE_MS


def test_a_restart_without_a_new_candle_passes_the_newest_on_again(feed: Feed) -> None:
    feed.turn()
    feed.audience.heard.clear()

    feed.turn(poller=feed.new_poller())

    assert BEGIN_MS - MINUTE_MS in feed.audience.told


def test_a_venue_that_is_away_is_said_so_and_comes_back(feed: Feed) -> None:
    feed.turn()
    feed.market.is_away = True
    waits = [feed.turn(minutes=1) for _ in range(3)]
    away = feed.source("bingx_candles", "1m")

    feed.market.is_away = False
    feed.turn()

    assert waits == sorted(waits)
    assert away == "unavailable"
    assert feed.source("bingx_candles", "1m") == "ok"
    assert feed.newest() == BEGIN_MS + 2 * MINUTE_MS


def test_a_settler_that_is_away_does_not_stop_the_candles(feed: Feed) -> None:
    feed.audience.is_settler_away = True

    feed.turn()

    assert feed.newest() == BEGIN_MS - MINUTE_MS
    assert feed.audience.told != []


def test_a_source_that_the_operator_switched_off_is_not_polled(feed: Feed) -> None:
    feed.turn()
    key = f"bingx_candles:{PAIR}:1m"
    row = feed.store.get(kinds.SOURCES, key)
    assert row is not None
    feed.store.put(kinds.SOURCES, key, replace(row.value, enabled=False), at_ms=0)

    feed.turn(minutes=2)

    assert feed.newest() == BEGIN_MS - MINUTE_MS


def test_a_poll_that_was_asked_for_does_not_wait_for_the_next_close(feed: Feed) -> None:
    feed.turn()
    asked = len(feed.market.asked)

    feed.turn()
    rested = len(feed.market.asked)
    asyncio.run(feed.poller.poll_now(PollNow(names=("1m",))))
    feed.turn()

    assert (rested - asked, len(feed.market.asked) - rested) == (0, 1)


def test_a_wait_ends_when_it_is_woken() -> None:
    pulse = heartbeat.Pulse("p")

    async def wait() -> None:
        waiting = asyncio.ensure_future(pulse.sleep(3_600))
        await asyncio.sleep(0)
        pulse.wake()
        await asyncio.wait_for(waiting, 30)
        pulse.wake()
        await asyncio.wait_for(pulse.sleep(3_600), 30)

    asyncio.run(wait())


def test_history_is_not_fetched_by_itself_while_its_candles_are_paused(feed: Feed) -> None:
    book = SourceBook(PAIR, feed.store, feed.clock)
    intake = CandleIntake(PAIR, feed.store, feed.clock, heartbeat.Pulse("p"))
    backfill = Backfill(PAIR, feed.store, feed.market, feed.clock, intake)
    schedule = BackfillSchedule(
        PAIR,
        ("1m",),
        feed.store,
        feed.clock,
        backfill,
        is_enabled=partial(book.is_enabled, CANDLES),
    )
    key = f"bingx_candles:{PAIR}:1m"
    off = replace(new_status(CANDLES, PAIR, "1m"), enabled=False)
    feed.store.put(kinds.SOURCES, key, off, at_ms=0)

    paused = asyncio.run(schedule.go_on("1m"))

    assert (paused, feed.store.list(kinds.JOBS), feed.market.asked) == (False, [], [])


@pytest.mark.catalogue("D06")
def test_a_repainted_candle_is_reported(feed: Feed) -> None:
    feed.turn()
    last = feed.store.last_candles(PAIR, "1m", 1)
    wrong = replace(last, close=last.close * 1.01, high=last.high * 1.02)
    feed.store.write_candles(PAIR, "1m", wrong)

    feed.turn(minutes=1)

    codes = [doc.value.code for doc in feed.store.list(kinds.ALERTS)]
    assert codes == ["candle_revised"]
    assert float(feed.store.read_candles(PAIR, "1m", BEGIN_MS - MINUTE_MS, BEGIN_MS).close[0]) == (
        float(last.close[0])
    )


def test_a_revision_keeps_both_versions_and_counts_its_repeats(feed: Feed) -> None:
    feed.turn()
    last = feed.store.last_candles(PAIR, "1m", 1)
    wrong = replace(last, close=last.close + 0.5)
    for _ in range(2):
        feed.store.write_candles(PAIR, "1m", wrong)
        feed.turn(minutes=1)

    [kept] = [doc.value for doc in feed.store.list(kinds.revisions(PAIR, "1m"))]
    assert (kept.before, kept.after) == (wrong.row(0)[1:], last.row(0)[1:])
    assert kept.count == 2
    assert not feed.store.list(kinds.ALERTS), "it moved by less than 0.1 %"


def nan_close(row: Candle) -> Candle:
    return row._replace(close=float("nan"))


SPOILS: dict[str, Callable[[Candle], Candle]] = {
    "not_finite": nan_close,
    "not_positive": lambda row: row._replace(low=-1.0),
    "negative_volume": lambda row: row._replace(volume=-1.0),
    "high_below_low": lambda row: row._replace(high=row.low - 1.0),
    "timestamp_misalignment": lambda row: row._replace(open_ms=row.open_ms + 1_000),
}


@pytest.mark.catalogue("D04")
@pytest.mark.catalogue("D15")
@pytest.mark.parametrize("reason", SPOILS)
def test_a_bad_row_is_kept_counted_and_never_a_candle(feed: Feed, reason: str) -> None:
    feed.turn()
    bad_ms = BEGIN_MS
    step = MINUTE_MS

    def spoil(batch: Candles) -> Candles:
        rows = [batch.row(i) for i in range(len(batch))]
        changed = [SPOILS[reason](row) if row.open_ms == bad_ms else row for row in rows]
        return Candles.of(changed)

    feed.market.spoil = spoil
    feed.turn(minutes=2)

    [kept] = [doc.value for doc in feed.store.list(kinds.quarantine(PAIR, "1m"))]
    tally = feed.store.get(kinds.INTAKE, f"{PAIR}:1m")
    assert kept.reason == reason
    assert str(kept.open_ms) in kept.raw
    assert not len(feed.store.read_candles(PAIR, "1m", bad_ms, bad_ms + step))
    assert feed.newest() == bad_ms + step, "its neighbours are stored"
    assert tally is not None
    assert tally.value.total_rejected == kept.count
    assert tally.value.is_misaligned == (reason == "timestamp_misalignment")
    ask = FetchRange(pair=PAIR, interval="1m", start_ms=bad_ms, end_ms=bad_ms)
    assert not asyncio.run(feed.poller.fetch(ask)).is_answered, "no proof of absence"


def test_the_quarantine_is_bounded_and_everything_is_counted(feed: Feed) -> None:
    feed.turn()

    def refuse(batch: Candles) -> Candles:
        rows = [
            RefusedRow(raw=f"{feed.clock.now_ms()}-{i}" + "\ud800x" * 999, reason="wrong_type")
            for i in range(MAX_OF_BATCH + 30)
        ]
        return replace(batch, refused=tuple(rows))

    feed.market.spoil = refuse
    for _ in range(MAX_ROWS // MAX_OF_BATCH + 2):
        feed.turn(minutes=1)

    kept = [doc.value for doc in feed.store.list(kinds.quarantine(PAIR, "1m"), limit=10_000)]
    tally = feed.store.get(kinds.INTAKE, f"{PAIR}:1m")
    assert len(kept) == MAX_ROWS
    assert max(len(row.raw) for row in kept) == MAX_RAW
    assert tally is not None
    assert tally.value.total_rejected == (MAX_OF_BATCH + 30) * (MAX_ROWS // MAX_OF_BATCH + 2)


def test_the_gap_monitors_range_is_fetched_and_counted(feed: Feed) -> None:
    feed.turn()
    start_ms = BEGIN_MS - 2_500 * MINUTE_MS

    fetched = asyncio.run(
        feed.poller.fetch(
            FetchRange(pair=PAIR, interval="1m", start_ms=start_ms, end_ms=start_ms + 9 * MINUTE_MS)
        )
    )
    feed.market.is_away = True
    unanswered = asyncio.run(
        feed.poller.fetch(FetchRange(pair=PAIR, interval="1m", start_ms=start_ms, end_ms=start_ms))
    )

    assert (fetched.added, fetched.is_answered) == (10, True)
    assert not unanswered.is_answered


def start_backfill(feed: Feed, **bounds: int) -> str:
    ask = BackfillAsk(pair=PAIR, interval="1m", **bounds)
    job = job_of("job1", ask, now_ms=feed.clock.now_ms())
    feed.store.put(kinds.JOBS, "job1", job, at_ms=job.created_ms)

    async def work() -> None:
        await feed.poller.backfill(StartBackfill(job_id="job1", ask=ask))
        await asyncio.gather(*feed.poller._work)

    asyncio.run(work())
    row = feed.store.get(kinds.JOBS, "job1")
    assert row is not None
    return f"{row.value.status}: {row.value.error}"


def test_a_backfill_reaches_the_venues_earliest_candle_and_reports_progress(feed: Feed) -> None:
    feed.turn()

    outcome = start_backfill(feed)

    bounds = feed.store.candle_bounds(PAIR, "1m")
    moves = [
        event.data["done"]
        for event in feed.store.read_events({Stream.OPS: "0-0"}, limit=10_000)
        if event.topic == "job"
    ]
    assert outcome == "done: "
    assert bounds is not None
    assert bounds[0] == feed.market.began_ms
    assert bounds[2] == 3_000
    assert moves == sorted(moves)
    assert len(moves) >= 3


def test_a_backfill_ends_after_its_batches(feed: Feed) -> None:
    feed.turn()

    start_backfill(feed, max_batches=1)

    bounds = feed.store.candle_bounds(PAIR, "1m")
    assert bounds is not None
    assert bounds[2] < 3_000


@pytest.mark.catalogue("D13")
def test_a_backfill_that_was_killed_goes_on_from_its_cursor(feed: Feed) -> None:
    feed.turn()
    cursor_ms = BEGIN_MS - 2_000 * MINUTE_MS
    ask = BackfillAsk(pair=PAIR, interval="1m")
    job = replace(job_of("job1", ask, now_ms=BEGIN_MS), status=JobStatus.RUNNING)
    feed.store.put(kinds.JOBS, "job1", job, at_ms=BEGIN_MS)
    reached = {
        "start_ms": feed.market.began_ms,
        "next_end_ms": cursor_ms,
        "total": 3_000,
        "is_beginning": True,
        "batches": 1,
        "added": 560,
    }
    feed.store.put(kinds.STATE, "backfill:job1", reached, at_ms=BEGIN_MS)
    restarted, first_new = feed.new_poller(), len(feed.market.asked)

    async def turn_and_work() -> None:
        await restarted.turn()
        await asyncio.gather(*restarted._work)

    asyncio.run(turn_and_work())

    row = feed.store.get(kinds.JOBS, "job1")
    pages = [end for start, end in feed.market.asked[first_new:] if end - start > 100 * MINUTE_MS]
    stored = feed.store.read_candles(PAIR, "1m", feed.market.began_ms, cursor_ms)
    assert row is not None
    assert row.value.status is JobStatus.DONE
    assert len(stored) == 1_000
    assert cursor_ms in pages


def test_a_backfill_that_the_operator_cancelled_stops(feed: Feed) -> None:
    feed.turn()
    ask = BackfillAsk(pair=PAIR, interval="1m")
    job = replace(job_of("job1", ask, now_ms=BEGIN_MS), status=JobStatus.CANCELLED)
    feed.store.put(kinds.JOBS, "job1", job, at_ms=BEGIN_MS)

    async def work() -> None:
        await feed.poller.backfill(StartBackfill(job_id="job1", ask=ask))
        await asyncio.gather(*feed.poller._work)

    asyncio.run(work())

    row = feed.store.get(kinds.JOBS, "job1")
    assert row is not None
    assert row.value.status is JobStatus.CANCELLED
