"""The retry queue: a failed job comes back ever later, a few times, once at a time, then waits for an operator."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import retry_queue
from actors.job_book import JobBook
from actors.retry_attempts import BackfillAttempt, HealAttempt
from actors.retry_queue import RetryQueue
from desk.clock import ManualClock
from desk.errors import IllegalTransition, NotFound, VenueUnavailable
from desk.market import retries
from desk.market.retries import RetryItem, RetryStatus
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from tests.actors.test_backfill import Market, Stage
from tests.actors.test_gap_monitor import Watched

PAYLOAD = {"pair": "BTC-USDT", "interval": "1m", "start_ms": 0, "end_ms": 60_000}


@dataclass
class Work:
    """A job whose attempts end as `ends` says, then well. None: still at it."""

    ends: list[str | None] = field(default_factory=list)
    begun: list[int] = field(default_factory=list)
    away: bool = False

    def progress_of(self, item: RetryItem) -> Mapping[str, Any]:
        return {"number": item.attempts + 1}

    async def begin(self, item: RetryItem) -> None:
        self.begun.append(item.attempts)
        if self.away:
            raise VenueUnavailable("work", "away")

    async def outcome(self, item: RetryItem) -> str | None:
        return self.ends.pop(0) if self.ends else ""


class Queue:
    """One queue in a store in memory, with a wall to move."""

    def __init__(self, work: Work | None = None) -> None:
        self.store, self.wall = MemoryStore(), ManualClock()
        self.work = work or Work()
        self.queue = self.worker()

    def worker(self) -> RetryQueue:
        return RetryQueue(self.store, {"job": self.work}, self.wall.now_ms, lambda: 0.5)

    def fail(self, name: str = "a", error: str = "away") -> None:
        asyncio.run(
            retry_queue.enter(
                self.store,
                "job",
                {"name": name},
                dedupe=(name,),
                error=error,
                now_ms=self.wall.now_ms(),
                jitter=0.5,
            )
        )

    def turn(self) -> int:
        return asyncio.run(self.queue.turn())

    def items(self) -> list[RetryItem]:
        return [doc.value for doc in self.store.list(kinds.RETRIES)]

    def item(self) -> RetryItem:
        [item] = self.items()
        return item

    def pass_until_due(self) -> None:
        self.wall.set(self.item().next_attempt_at_ms)

    def alerts(self) -> list[tuple[str, str]]:
        docs = self.store.list(kinds.ALERTS)
        rows = [(doc.value.code, doc.value.status) for doc in docs]
        return [row for row in rows if row[0] != retry_queue.FAILED]

    def told(self) -> str:
        """How the alert about the one failed job stands."""
        docs = self.store.list(kinds.ALERTS)
        [status] = [doc.value.status for doc in docs if doc.value.code == retry_queue.FAILED]
        return status

    def kill(self) -> None:
        """Five attempts fail."""
        self.fail()
        self.work.away = True
        for _ in range(retries.MAX_ATTEMPTS):
            self.pass_until_due()
            assert self.turn() == 1
        self.work.away = False


def test_waits_double_and_the_fifth_failure_is_the_end_with_an_alert() -> None:
    desk = Queue(Work(away=True))
    desk.fail()
    waits = []

    for _ in range(retries.MAX_ATTEMPTS):
        waits.append(desk.item().next_attempt_at_ms - desk.wall.now_ms())
        desk.pass_until_due()
        assert desk.turn() == 1
    desk.wall.advance(10**9)

    assert waits == [30_000, 60_000, 120_000, 240_000, 480_000]
    assert (desk.item().status, desk.item().attempts) == (RetryStatus.DEAD, 5)
    assert desk.turn() == 0
    assert desk.alerts() == [("retries_exhausted", "open")]
    assert desk.told() == "resolved"
    assert "away" in desk.item().last_error


def test_a_failed_job_is_one_alert_until_it_is_done_discarded_or_given_up() -> None:
    done, discarded = Queue(), Queue()
    for desk in (done, discarded):
        desk.fail()
        desk.fail()
    before = (done.told(), discarded.told())

    done.pass_until_due()
    done.turn()
    retry_queue.discard(discarded.store, discarded.item().item_id, now_ms=1)

    assert before == ("open", "open")
    assert (done.told(), discarded.told()) == ("resolved", "resolved")


@given(st.integers(0, 50), st.floats(0, 1, exclude_max=True))
def test_a_wait_is_jittered_bounded_and_never_none(attempts: int, jitter: float) -> None:
    wait_ms = retries.wait_ms(attempts, jitter)

    assert 0.75 * retries.FIRST_WAIT_MS <= wait_ms <= 1.25 * retries.LONGEST_WAIT_MS


def test_nothing_is_tried_before_its_time_and_success_takes_it_out() -> None:
    desk = Queue()
    desk.fail()
    desk.wall.advance(29_000)
    assert desk.turn() == 0
    desk.pass_until_due()

    assert desk.turn() == 1

    assert (desk.items(), desk.work.begun, desk.alerts()) == ([], [1], [])


def test_one_job_is_one_item_however_often_it_fails_and_a_dead_one_stays_dead() -> None:
    desk = Queue()
    desk.kill()

    desk.fail(error="again")
    desk.fail("b")

    first = next(item for item in desk.items() if item.payload["name"] == "a")
    assert (first.status, first.last_error, first.attempts) == (RetryStatus.DEAD, "again", 5)
    assert len(desk.items()) == 2


def test_an_attempt_in_flight_is_not_begun_again_by_anybody_until_its_claim_runs_out() -> None:
    desk = Queue(Work(ends=[None] * 6))
    desk.fail()
    desk.pass_until_due()
    desk.turn()

    other = desk.worker()
    asyncio.run(other.turn())
    desk.turn()
    assert desk.work.begun == [1]
    desk.wall.advance(retries.CLAIM_MS)
    asyncio.run(other.turn())

    # Taken over after a crash: the same attempt, begun again.
    assert desk.work.begun == [1, 1]
    assert desk.item().attempts == 1


def test_two_workers_at_once_begin_one_attempt() -> None:
    desk = Queue(Work(ends=[None] * 4))
    desk.fail()
    desk.pass_until_due()

    async def both() -> None:
        await asyncio.gather(desk.queue.turn(), desk.worker().turn())

    asyncio.run(both())

    assert desk.work.begun == [1]


def test_a_turn_begins_only_a_few() -> None:
    desk = Queue()
    for number in range(10):
        desk.fail(str(number))
    desk.wall.advance(30_000)

    assert [desk.turn(), desk.turn()] == [retry_queue.AT_ONCE] * 2
    assert len(desk.items()) == 4


def test_a_full_queue_refuses_with_an_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_ITEMS", 2)
    desk = Queue()
    for name in ("a", "b", "c", "a"):
        desk.fail(name)

    assert sorted(item.payload["name"] for item in desk.items()) == ["a", "b"]
    assert desk.alerts() == [("retry_queue_full", "open")]


def test_an_operator_revives_a_dead_one_with_all_its_attempts_and_its_alert_is_over() -> None:
    desk = Queue()
    desk.kill()

    retry_queue.retry_now(desk.store, desk.item().item_id, now_ms=desk.wall.now_ms())

    assert (desk.item().attempts, desk.alerts()) == (0, [("retries_exhausted", "resolved")])
    assert (desk.turn(), desk.items()) == (1, [])


def test_an_operator_discards_what_is_not_in_flight() -> None:
    desk = Queue(Work(ends=[None] * 4))
    desk.fail()
    item_id = desk.item().item_id
    desk.pass_until_due()
    desk.turn()
    for decide in (retry_queue.retry_now, retry_queue.discard):
        with pytest.raises(IllegalTransition):
            decide(desk.store, item_id, now_ms=0)
    desk.fail("b")
    waiting = next(item for item in desk.items() if item.status is RetryStatus.WAITING)

    retry_queue.discard(desk.store, waiting.item_id, now_ms=0)

    assert [item.item_id for item in desk.items()] == [item_id]
    with pytest.raises(NotFound):
        retry_queue.discard(desk.store, waiting.item_id, now_ms=0)


# --- the jobs themselves --------------------------------------------------------------------------


class Backfills(Stage):
    """A pair's backfills, with a queue that hands jobs to them."""

    def __init__(self, market: Market) -> None:
        super().__init__(market)
        self.wall = ManualClock()
        attempt = BackfillAttempt(self.store, self.clock, self._start)
        self.queue = RetryQueue(self.store, {"backfill": attempt}, self._far, lambda: 0.5)

    def _far(self) -> int:
        """The items were entered by the real wall: all of them are due."""
        return self.wall.now_ms() + 10**15

    async def _start(self, job_id: str, ask: object) -> None:
        await self.backfill.work_on(job_id)

    def items(self) -> list[RetryItem]:
        return [doc.value for doc in self.store.list(kinds.RETRIES)]

    def jobs(self) -> list[Job]:
        return [doc.value for doc in self.store.list(kinds.JOBS)]


def test_a_backfill_that_the_venue_failed_is_finished_by_the_queue_from_its_cursor() -> None:
    """The drill of `Failed ingestion jobs: check /ops/retry-queue`."""
    stage, is_back = Backfills(Market()), False
    original = stage.market.candles

    async def breaks(*asked: Any) -> Any:
        """Away from the first stored page on, until it is back."""
        if not is_back and stage.store.candle_bounds("BTC-USDT", "1m"):
            raise VenueUnavailable("candles", "away")
        return await original(*asked)

    stage.market.candles = breaks  # type: ignore[method-assign]
    stage.restart()
    stage.work(stage.ask())
    [item] = stage.items()
    before = len(stage.market.asked)
    reached = stage.stored()[0]
    is_back = True

    asyncio.run(stage.queue.turn())

    assert item.payload["job_id"] == "job1"
    assert stage.items() == []
    assert stage.stored()[2] == 4_999
    retried = next(job for job in stage.jobs() if job.job_id != "job1")
    assert retried.status is JobStatus.DONE
    # It went on where the first one stopped.
    assert max(end for _, _, end in stage.market.asked[before:]) <= reached + 60_000


def test_a_cancelled_job_and_a_scheduled_one_never_enter_the_queue() -> None:
    stage = Backfills(Market(away=10**6))
    schedule = stage.schedule("1m")
    asyncio.run(schedule.go_on("1m"))
    job_id = stage.ask("cancelled")
    doc = stage.store.get(kinds.JOBS, job_id)
    assert doc is not None
    JobBook(stage.store, job_id, stage.clock).cancel()

    stage.work(job_id)

    assert {job.status for job in stage.jobs()} == {JobStatus.FAILED, JobStatus.CANCELLED}
    assert stage.items() == []


def test_a_retried_job_that_the_operator_cancels_leaves_the_queue() -> None:
    stage = Backfills(Market(away=10**6))
    stage.work(stage.ask())
    [item] = stage.items()

    async def cancel(job_id: str, ask: object) -> None:
        JobBook(stage.store, job_id, stage.clock).cancel()

    stage._start = cancel  # type: ignore[method-assign]
    attempt = BackfillAttempt(stage.store, stage.clock, cancel)
    queue = RetryQueue(stage.store, {"backfill": attempt}, stage._far, lambda: 0.5)
    asyncio.run(queue.turn())

    assert item.attempts == 0
    assert stage.items() == []


def test_a_heal_without_an_answer_is_tried_again_by_the_monitor() -> None:
    watched = Watched()
    watched.fetcher.is_away = True
    watched.scan()
    [doc] = watched.store.list(kinds.RETRIES)
    watched.fetcher.is_away, watched.fetcher.has = False, set(watched.hole)
    asked = len(watched.fetcher.asked)

    attempt = HealAttempt(watched.fetcher.fetch, lambda: None)
    queue = RetryQueue(watched.store, {"gap_heal": attempt}, lambda: 10**15, lambda: 0.5)
    assert asyncio.run(queue.turn()) == 1

    assert doc.value.payload["start_ms"] == watched.hole[0] - 60_000
    assert len(watched.fetcher.asked) == asked + 1
    assert watched.store.list(kinds.RETRIES) == []
    assert watched.scan().status == "resolved"
