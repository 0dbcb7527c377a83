"""Backfills: to the beginning or so many pages, over kills, cancels, absences and a beginning that moves."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from actors.backfill import AT_ONCE, RETRY_WAITS_S, Backfill
from actors.backfill_job import cursor_key, is_scheduled, job_of
from actors.backfill_schedule import BackfillSchedule
from actors.candle_intake import CandleIntake
from actors.commands import BackfillAsk
from actors.heartbeat import Pulse
from actors.job_book import JobBook
from actors.series_claim import claimed_from
from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import VenueUnavailable
from desk.market.candles import Candles
from desk.market.ingestion import IngestionRun
from desk.market.interval import interval_ms
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.venues import turns
from desk.venues.bingx import CANDLES_PER_CALL
from desk.venues.turns import Urgency
from tests.actors.fakes import PAIR
from tests.actors.stage import BEGIN_MS, MarketTime

LISTED_MS = BEGIN_MS - 5_000 * MINUTE_MS
PAGES = -(-5_000 // CANDLES_PER_CALL)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Market:
    """Whole series from `listed_ms` on; `retention_step_ms` of the oldest vanish with every answer."""

    listed_ms: int = LISTED_MS
    retention_step_ms: int = 0
    away: int = 0
    """So many of the next answers do not come."""
    away_when_wide: bool = False
    kill_after: int = 1_000_000
    asked: list[tuple[str, int, int]] = field(default_factory=list)
    urgencies: set[int] = field(default_factory=set)
    at_once: int = 0
    most_at_once: int = 0

    async def candles(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        if len(self.asked) >= self.kill_after:
            raise Killed
        self.asked.append((interval, start_ms, end_ms))
        self.urgencies.add(turns._urgency.get())
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.away:
            self.away -= 1
            raise VenueUnavailable("candles", "away")
        self.listed_ms += self.retention_step_ms
        step = interval_ms(interval)
        first_ms = -(-max(start_ms, self.listed_ms) // step) * step
        times = np.arange(first_ms, min(end_ms, BEGIN_MS), step, dtype=np.int64)
        price = 100.0 + (times // step % 89).astype(np.float64)
        return Candles(
            open_ms=times,
            open=price,
            high=price + 1,
            low=price - 1,
            close=price,
            volume=np.full(len(times), 2.0),
        )


class Stage:
    """One pair's backfills on a store in memory."""

    def __init__(self, market: Market | None = None) -> None:
        self.store, self.clock = MemoryStore(), MarketTime(BEGIN_MS)
        self.market = market or Market()
        self.waits: list[float] = []
        self._acts: dict[int, Callable[[], None]] = {}
        self.restart()

    def restart(self) -> None:
        intake = CandleIntake(PAIR, self.store, self.clock, Pulse("test"))
        self.backfill = Backfill(
            PAIR,
            self.store,
            self.market,
            self.clock,
            intake,
            pause=self._pause,
        )

    def after_page(self, count: int, act: Callable[[], None]) -> None:
        """Have something done once so many pages are stored."""
        self._acts[count] = act

    async def _pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._acts.pop(len(self.waits), lambda: None)()
        await asyncio.sleep(0)

    def ask(self, job_id: str = "job1", interval: str = "1m", **bounds: int) -> str:
        ask = BackfillAsk(pair=PAIR, interval=interval, **bounds)
        job = job_of(job_id, ask, now_ms=BEGIN_MS)
        self.store.put(kinds.JOBS, job_id, job, at_ms=BEGIN_MS)
        return job_id

    def work(self, *job_ids: str) -> None:
        async def run() -> None:
            await asyncio.gather(*(self.backfill.work_on(job_id) for job_id in job_ids))

        asyncio.run(run())

    def job(self, job_id: str = "job1") -> Job:
        doc = self.store.get(kinds.JOBS, job_id)
        assert doc is not None
        return doc.value

    def stored(self, interval: str = "1m") -> tuple[int, int, int]:
        bounds = self.store.candle_bounds(PAIR, interval)
        assert bounds is not None
        return bounds

    def schedule(self, *intervals: str, **options: Any) -> BackfillSchedule:
        return BackfillSchedule(
            PAIR, intervals, self.store, self.clock, self.backfill, sleep=self._pause, **options
        )


def test_without_a_number_of_batches_it_goes_back_to_the_earliest_candle() -> None:
    stage = Stage()

    stage.work(stage.ask())

    assert stage.stored() == (LISTED_MS, BEGIN_MS - 2 * MINUTE_MS, 4_999)
    assert stage.job().status is JobStatus.DONE
    assert stage.job().result["earliest_ms"] == LISTED_MS
    assert stage.job().result["is_earliest"]
    assert stage.market.urgencies == {Urgency.BACKFILL}


@pytest.mark.parametrize("batches", [1, 2])
def test_with_a_number_of_batches_it_stops_after_them(batches: int) -> None:
    stage = Stage()

    stage.work(stage.ask(max_batches=batches))

    assert stage.stored()[2] == batches * CANDLES_PER_CALL
    assert stage.job().result["batches"] == batches
    assert not stage.job().result["is_earliest"]


def test_what_was_fetched_is_claimed_and_so_is_what_a_dead_backfill_did_not_bring() -> None:
    cut, dead, cancelled = Stage(), Stage(), Stage()

    async def venue_goes(seconds: float) -> None:
        dead.market.away = 1_000

    async def operator_cancels(seconds: float) -> None:
        JobBook(cancelled.store, "job1", cancelled.clock).cancel()

    dead._pause, cancelled._pause = venue_goes, operator_cancels
    for stage in (dead, cancelled):
        stage.restart()
    cut.work(cut.ask(max_batches=1))
    for stage in (dead, cancelled):
        stage.work(stage.ask())

    assert claimed_from(cut.store, PAIR, "1m") == cut.stored()[0]
    assert dead.job().status is JobStatus.FAILED
    assert dead.stored()[0] > LISTED_MS
    assert claimed_from(dead.store, PAIR, "1m") == LISTED_MS
    assert cancelled.job().status is JobStatus.CANCELLED
    assert claimed_from(cancelled.store, PAIR, "1m") is None


def test_progress_carries_a_rate_and_never_falls() -> None:
    stage = Stage()

    stage.work(stage.ask())

    events = stage.store.read_events({stream: "0-0" for stream in stage.store.last_event_ids()})
    done = [event.data["done"] for event in events if event.topic == "job"]
    assert done == sorted(done)
    assert len(done) >= PAGES
    assert stage.job().rate_per_s > 0
    assert stage.job().done == stage.job().total


@pytest.mark.catalogue("D13")
@pytest.mark.parametrize("answers", range(2, 2 + 5 * PAGES, 2))
def test_killed_at_any_answer_it_goes_on_without_a_hole_and_counts_on(answers: int) -> None:
    stage = Stage(Market(kill_after=answers))
    try:
        stage.work(stage.ask())
    except Killed:
        stage.market.kill_after = 1_000_000
        stage.restart()
        stage.work("job1")

    opens = stage.store.read_candles(PAIR, "1m", 0, 2**53).open_ms
    assert set(np.diff(opens)) == {MINUTE_MS}
    assert stage.stored() == (LISTED_MS, BEGIN_MS - 2 * MINUTE_MS, 4_999)
    assert stage.job().result["batches"] == PAGES
    assert stage.job().status is JobStatus.DONE


@pytest.mark.catalogue("D13")
def test_a_restarted_backfill_does_not_read_again_what_it_has() -> None:
    stage = Stage(Market(kill_after=1_000_000))
    stage.work(stage.ask())
    whole = len(stage.market.asked)
    again = Stage(Market(kill_after=whole - 2))
    with pytest.raises(Killed):
        again.work(again.ask())
    reached = again.store.get(kinds.STATE, cursor_key("job1"))
    assert reached is not None

    again.market.kill_after = 1_000_000
    again.market.asked.clear()
    again.restart()
    again.work("job1")

    assert max(end for _, _, end in again.market.asked) <= reached.value["next_end_ms"]


def test_batches_are_counted_over_a_restart() -> None:
    stage = Stage(Market(kill_after=4))
    with pytest.raises(Killed):
        stage.work(stage.ask(max_batches=3))
    stage.market.kill_after = 1_000_000
    stage.restart()

    stage.work("job1")

    assert stage.job().result["batches"] == 3
    assert stage.stored()[2] == 3 * CANDLES_PER_CALL


def test_a_cancelled_backfill_stops_at_its_next_page() -> None:
    stage = Stage()
    stage.ask()

    async def run() -> None:
        working = asyncio.create_task(stage.backfill.work_on("job1"))
        while stage.store.candle_bounds(PAIR, "1m") is None:
            await asyncio.sleep(0.001)
        JobBook(stage.store, "job1", stage.clock).cancel()
        await working

    asyncio.run(run())

    assert stage.job().status is JobStatus.CANCELLED
    assert stage.stored()[2] < 4_999


def test_an_absence_of_the_venue_is_waited_out_as_often_as_there_is_progress_between() -> None:
    stage = Stage(Market(away=len(RETRY_WAITS_S)))

    stage.work(stage.ask())

    assert stage.job().status is JobStatus.DONE
    assert [wait for wait in stage.waits if wait >= 1.0] == list(RETRY_WAITS_S)


def test_a_venue_that_stays_away_ends_the_backfill_with_a_reason_and_keeps_its_place() -> None:
    stage = Stage(Market(away=1_000))

    stage.work(stage.ask())

    assert stage.job().status is JobStatus.FAILED
    assert "away" in stage.job().error


@pytest.mark.catalogue("D16")
def test_a_beginning_that_moves_on_meanwhile_is_neither_an_error_nor_endless() -> None:
    stage = Stage(Market(retention_step_ms=30 * MINUTE_MS))

    stage.work(stage.ask())

    assert stage.job().status is JobStatus.DONE
    assert stage.job().result["is_earliest"]
    opens = stage.store.read_candles(PAIR, "1m", 0, 2**53).open_ms
    assert set(np.diff(opens)) == {MINUTE_MS}
    assert len(stage.market.asked) < 60


def test_a_range_that_the_venue_does_not_have_ends_at_once() -> None:
    stage = Stage()

    stage.work(stage.ask(end_ms=LISTED_MS - DAY_MS))

    assert stage.job().status is JobStatus.DONE
    assert stage.job().result["candles"] == 0


def test_several_intervals_are_fetched_at_once_but_not_too_many() -> None:
    stage = Stage()
    jobs = [stage.ask(f"job{name}", interval=name) for name in ("1m", "3m", "5m", "15m", "1h")]

    stage.work(*jobs)

    assert {stage.job(job_id).status for job_id in jobs} == {JobStatus.DONE}
    assert 1 < stage.market.most_at_once <= AT_ONCE


# --- by schedule --------------------------------------------------------------------------------


def test_scheduled_backfills_go_on_until_the_earliest_candle_of_every_interval() -> None:
    stage = Stage()

    asyncio.run(stage.schedule("1m", "1h").run())

    assert stage.stored("1m")[:1] == (LISTED_MS,)
    assert stage.stored("1h")[0] - LISTED_MS < interval_ms("1h")
    jobs = [doc.value for doc in stage.store.list(kinds.JOBS)]
    assert len(jobs) == 2
    assert all(is_scheduled(job) and job.status is JobStatus.DONE for job in jobs)


def test_a_limited_number_of_pages_at_a_time_reaches_the_beginning_too() -> None:
    stage = Stage()

    asyncio.run(stage.schedule("1m", max_batches=1).run())

    opens = stage.store.read_candles(PAIR, "1m", 0, 2**53).open_ms
    assert set(np.diff(opens)) == {MINUTE_MS}
    assert int(opens[0]) == LISTED_MS
    jobs = [doc.value for doc in stage.store.list(kinds.JOBS)]
    assert PAGES <= len(jobs) <= PAGES + 1
    assert all(job.result["batches"] <= 1 for job in jobs if "batches" in job.result)


def test_what_has_reached_the_beginning_is_not_fetched_again() -> None:
    stage = Stage()
    asyncio.run(stage.schedule("1m").run())
    stage.market.asked.clear()

    asyncio.run(stage.schedule("1m").run())

    assert stage.market.asked == []


@pytest.mark.catalogue("D13")
def test_a_scheduled_backfill_that_was_killed_goes_on_as_the_same_job() -> None:
    stage = Stage(Market(kill_after=12))
    with pytest.raises(Killed):
        asyncio.run(stage.schedule("1m").run())
    stage.market.kill_after = 1_000_000
    stage.restart()

    asyncio.run(stage.schedule("1m").run())

    (job,) = [doc.value for doc in stage.store.list(kinds.JOBS)]
    assert job.status is JobStatus.DONE
    assert stage.stored()[0] == LISTED_MS


def test_one_that_the_operator_cancelled_stays_away_for_a_day() -> None:
    stage = Stage()
    schedule = stage.schedule("1m")

    async def run() -> bool:
        going = asyncio.create_task(schedule.go_on("1m"))
        while stage.store.candle_bounds(PAIR, "1m") is None:
            await asyncio.sleep(0.001)
        (doc,) = stage.store.list(kinds.JOBS)
        JobBook(stage.store, doc.key, stage.clock).cancel()
        return await going

    assert not asyncio.run(run())
    assert not asyncio.run(schedule.go_on("1m"))
    assert len(stage.store.list(kinds.JOBS)) == 1

    stage.clock.advance(DAY_MS + 1)
    assert asyncio.run(schedule.go_on("1m"))


def test_without_intervals_nothing_is_scheduled() -> None:
    stage = Stage()

    asyncio.run(stage.schedule().run())

    assert stage.store.list(kinds.JOBS) == []
    assert stage.waits == []


def ingestion_run(stage: Stage) -> IngestionRun:
    [doc] = stage.store.list(kinds.INGESTION)
    return doc.value


def test_a_backfill_is_one_ingestion_run_over_kills_with_everything_it_brought() -> None:
    stage = Stage(Market(kill_after=18))
    job_id = stage.ask()
    with pytest.raises(Killed):
        stage.work(job_id)
    stage.market.kill_after = 1_000_000
    stage.restart()

    stage.work(job_id)

    run = ingestion_run(stage)
    assert (run.kind, run.status, run.job_id) == ("backfill", "done", job_id)
    assert (run.from_ms, run.to_ms) == (LISTED_MS, BEGIN_MS - MINUTE_MS)
    assert 0 < run.new <= 4_999


@pytest.mark.parametrize(("away", "status", "is_read"), [(0, "done", True), (100, "failed", False)])
def test_an_ingestion_run_ends_as_its_backfill_did(
    *, away: int, status: str, is_read: bool
) -> None:
    stage = Stage(Market(away=away))

    stage.work(stage.ask())

    run = ingestion_run(stage)
    assert (run.status, run.new > 0, run.error != "") == (status, is_read, not is_read)
    assert run.finished_ms is not None


def test_an_ingestion_run_of_a_cancelled_backfill_says_so() -> None:
    stage = Stage()
    job_id = stage.ask()
    JobBook(stage.store, job_id, stage.clock).cancel()

    stage.work(job_id)

    assert ingestion_run(stage).status == "cancelled"


def test_a_paused_backfill_goes_on_at_its_cursor_over_a_restart() -> None:
    stage = Stage()
    job_id = stage.ask()
    operator = JobBook(stage.store, job_id, stage.clock)
    stage.after_page(1, operator.pause)
    stage.work(job_id)
    asked = len(stage.market.asked)
    assert stage.job().status is JobStatus.PAUSED

    stage.restart()
    assert asyncio.run(stage.backfill.unfinished()) == []
    stage.work(job_id)
    assert len(stage.market.asked) == asked

    operator.resume()
    stage.work(job_id)
    assert stage.job().status is JobStatus.DONE
    assert stage.job().result["batches"] == PAGES
    bounds = stage.store.candle_bounds(PAIR, "1m")
    assert bounds is not None
    assert bounds[2] == 4_999  # all but the newest, which is the poller's


def test_a_backfill_resumed_while_it_still_stops_goes_on() -> None:
    stage = Stage()
    job_id = stage.ask()
    operator = JobBook(stage.store, job_id, stage.clock)
    stage.after_page(1, operator.pause)

    async def story() -> None:
        first = asyncio.create_task(stage.backfill.work_on(job_id))
        while operator.job.status is not JobStatus.PAUSED:
            await asyncio.sleep(0)
        operator.resume()
        await stage.backfill.work_on(job_id)
        await first

    asyncio.run(story())

    assert stage.job().status is JobStatus.DONE
