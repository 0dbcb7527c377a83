"""The row of a job: progress is told, a cancellation is heard, an end is final."""

from dataclasses import replace

import pytest

from actors.job_book import JobBook, JobCancelled, JobPaused, JobWatch
from desk.clock import ManualClock
from desk.errors import BadInput, IllegalTransition, NotFound
from desk.runs import Job, JobStatus
from desk.store.memory import MemoryStore
from desk.store.port import Stream

JOB = Job(
    job_id="job-1", kind="training", status=JobStatus.QUEUED, created_ms=1_000, updated_ms=1_000
)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def book(store: MemoryStore) -> JobBook:
    return JobBook.open(store, JOB, ManualClock(5_000))


def test_progress_is_stored_with_its_event(store: MemoryStore, book: JobBook) -> None:
    book.advance(3, 10, "steps", "reward 0.5")
    book.finish({"version_id": "v1"})

    job = book.job
    assert (job.status, job.done, job.total, job.unit) == (JobStatus.DONE, 10.0, 10.0, "steps")
    assert job.result == {"version_id": "v1"}
    assert job.updated_ms == 5_000
    events = store.read_events({Stream.OPS: "0-0"})
    assert [event.data["status"] for event in events] == ["queued", "running", "done"]
    assert {(event.topic, event.key) for event in events} == {("job", "job-1")}


def test_a_worker_that_starts_again_goes_on_with_its_row(store: MemoryStore, book: JobBook) -> None:
    book.advance(3, 10, "steps", "")

    again = JobBook.open(store, JOB, ManualClock(6_000))

    assert again.job.done == 3.0
    assert again.job.status is JobStatus.RUNNING


def test_a_cancelled_job_stops_its_worker_and_stays_cancelled(
    store: MemoryStore, book: JobBook
) -> None:
    JobBook(store, "job-1", ManualClock(6_000)).cancel()

    assert book.is_cancelled
    with pytest.raises(JobCancelled):
        book.advance(4, 10, "steps", "")
    with pytest.raises(JobCancelled):
        book.finish({})
    book.fail("too late")
    assert book.job.status is JobStatus.CANCELLED
    assert book.job.error == ""


def test_a_paused_job_stops_its_worker_and_goes_on_where_it_was_once_resumed(
    store: MemoryStore, book: JobBook
) -> None:
    operator = JobBook(store, "job-1", ManualClock(6_000))
    book.advance(3, 10, "steps", "")
    operator.pause()
    operator.pause()

    with pytest.raises(JobPaused):
        book.advance(4, 10, "steps", "")
    book.fail("the worker was ended while it stopped")
    assert book.job.status is JobStatus.PAUSED

    operator.resume()
    operator.resume()
    book.advance(4, 10, "steps", "")
    assert (book.job.status, book.job.done) == (JobStatus.RUNNING, 4.0)


def test_work_that_is_done_when_the_pause_comes_is_done(book: JobBook) -> None:
    book.pause()
    book.finish({"version_id": "v1"})

    assert book.job.status is JobStatus.DONE
    for turn in (book.pause, book.resume):
        with pytest.raises(IllegalTransition, match="done"):
            turn()


def test_a_paused_job_can_be_cancelled(book: JobBook) -> None:
    book.pause()
    book.cancel()

    assert book.job.status is JobStatus.CANCELLED


def test_what_cannot_go_on_where_it_was_is_not_paused(store: MemoryStore) -> None:
    book = JobBook.open(store, replace(JOB, kind="evaluation"), ManualClock(5_000))

    with pytest.raises(BadInput, match="cancel it"):
        book.pause()
    assert book.job.status is JobStatus.QUEUED


def test_nobody_looks_for_the_process_of_a_paused_job(store: MemoryStore, book: JobBook) -> None:
    taken: list[Job] = []

    def take_up(job: Job) -> bool:
        taken.append(job)
        return True

    watch = JobWatch(store, ManualClock(9_000), lambda _: False, take_up)
    book.pause()
    watch.look()
    watch.look()
    assert taken == []

    book.resume()
    watch.look()
    watch.look()
    assert [job.job_id for job in taken] == ["job-1"]


def test_a_failure_says_what_was_wrong_and_cannot_be_cancelled(book: JobBook) -> None:
    book.fail("there were no candles")
    book.cancel()

    assert book.job.status is JobStatus.FAILED
    assert book.job.error == "there were no candles"


def test_a_job_that_was_never_stored_is_not_found(store: MemoryStore) -> None:
    with pytest.raises(NotFound, match="job job-9"):
        JobBook(store, "job-9", ManualClock()).advance(0, 1, "", "")


@pytest.mark.catalogue("I07")
def test_a_job_whose_process_is_gone_fails_plainly_at_the_second_look(
    store: MemoryStore, book: JobBook
) -> None:
    living = {"training:job-1"}
    watch = JobWatch(store, ManualClock(9_000), lambda name: name in living)
    book.advance(3, 10, "steps", "")

    with_worker = [watch.look(), watch.look()]
    living.clear()
    first, at_first = watch.look(), book.job.status
    second = watch.look()

    assert with_worker == [[], []]
    assert (first, at_first) == ([], JobStatus.RUNNING)
    assert second == ["job-1"]
    assert book.job.status is JobStatus.FAILED
    assert "start it again" in book.job.error
    assert watch.look() == []


def test_a_job_that_is_stored_just_before_its_process_starts_is_left_alone(
    store: MemoryStore, book: JobBook
) -> None:
    living: set[str] = set()
    watch = JobWatch(store, ManualClock(9_000), lambda name: name in living)

    watch.look()
    living.add("training:job-1")
    watch.look()
    living.clear()

    assert watch.look() == []
    assert book.job.status is JobStatus.QUEUED
