"""A sweep as a job: followed and cancelled through the store, and never left running by a lost process."""

from dataclasses import replace
from typing import Any

import pytest

from actors.job_book import JobBook
from actors.sweep_book import SweepView
from actors.sweep_job import MOST_ROWS, SWEEP, SweepJob
from desk.clock import ManualClock
from desk.evaluation.overfitting import Overfitting
from desk.learning.sweep_results import LeaderboardRow, SweepRecord, SweepStatus, TrialStatus
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore


def view(done: float, stage: str = "training") -> SweepView:
    return SweepView(
        sweep_id="small-1",
        stage=stage,
        rows=(),
        overfitting=None,
        done=done,
        total=100.0,
        unit="steps",
    )


def record(status: SweepStatus) -> SweepRecord:
    return SweepRecord(
        sweep_id="small-1", name="small", kind="training", spec={}, spec_sha256="", dataset_id="ds-1",
        data_sha256="", code_sha256="", feature_set_id="", metric="sharpe", mode="max",
        status=status, started_ms=1, updated_ms=1,
    )  # fmt: skip


def job_of(store: MemoryStore, heard: list[SweepView]) -> SweepJob:
    return SweepJob(store, ManualClock(), "my.yaml", heard.append, lambda: False)


def rows(store: MemoryStore) -> list[Job]:
    return [doc.value for doc in store.list(kinds.JOBS) if doc.value.kind == SWEEP]


def test_the_row_shows_where_the_sweep_stands_and_ends_with_its_result() -> None:
    store, heard = MemoryStore(), list[SweepView]()
    job = job_of(store, heard)

    job.tell(view(10.0))
    (row,) = rows(store)
    assert (row.status, row.done, row.total, row.unit) == (JobStatus.RUNNING, 10.0, 100.0, "steps")
    assert row.arguments == {"file": "my.yaml", "sweep_id": "small-1"}
    job.tell(view(100.0, "confirming 1 in Nautilus"))
    assert rows(store)[0].detail == "confirming 1 in Nautilus"
    luck = Overfitting(probability=0.25, candidates=4, periods=64)
    job.end(replace(record(SweepStatus.DONE), overfitting=luck))

    (row,) = rows(store)
    assert row.status is JobStatus.DONE
    assert row.result["overfitting_probability"] == 0.25
    assert row.result["sweep_id"] == "small-1"
    assert [one.done for one in heard] == [10.0, 100.0]


def test_a_row_that_somebody_cancels_stops_the_sweep() -> None:
    store = MemoryStore()
    job = job_of(store, [])
    job.tell(view(10.0))
    assert not job.cancelled()

    JobBook(store, rows(store)[0].job_id, ManualClock()).cancel()
    job.tell(view(20.0, "a new stage"))

    assert job.cancelled()
    job.end(record(SweepStatus.INTERRUPTED))
    assert rows(store)[0].status is JobStatus.CANCELLED


def test_a_row_whose_process_was_killed_is_failed_by_the_next_sweep() -> None:
    store = MemoryStore()
    job_of(store, []).tell(view(10.0))
    (lost,) = rows(store)

    job_of(store, []).tell(view(10.0))

    statuses = {row.job_id: row for row in rows(store)}
    assert statuses[lost.job_id].status is JobStatus.FAILED
    assert "--resume" in statuses[lost.job_id].error
    assert sum(row.status is JobStatus.RUNNING for row in statuses.values()) == 1


def test_a_sweep_that_broke_says_so_and_one_that_was_done_before_leaves_no_row() -> None:
    store = MemoryStore()
    job = job_of(store, [])
    job.tell(view(10.0))
    job.fail("Ray was lost")
    done_before = job_of(MemoryStore(), [])

    done_before.end(record(SweepStatus.DONE))

    assert (rows(store)[0].status, rows(store)[0].error) == (JobStatus.FAILED, "Ray was lost")


def row(rank: int, **changes: Any) -> LeaderboardRow:
    plain = LeaderboardRow(
        rank=rank,
        number=rank + 10,
        trial_key=f"trial-{rank}",
        status=TrialStatus.RUNNING,
        steps=1_000,
        score=1.5,
        fold_scores=((1.0, 2.0), (1.5, 1.5)),
        sharpe=(1.5, 1.5),
        point={"learning_rate": 0.001},
    )
    return replace(plain, **changes)


def test_the_row_carries_the_leaderboard_while_the_sweep_runs_and_when_it_ends() -> None:
    store = MemoryStore()
    job = job_of(store, [])
    unscored = row(2, score=float("nan"), fold_scores=())
    many = (row(1), unscored, *(row(rank) for rank in range(3, 31)))

    job.tell(replace(view(10.0), rows=many, metric="sharpe"))

    shown = rows(store)[0].result
    assert (shown["metric"], shown["trials"], len(shown["leaderboard"])) == (
        "sharpe",
        30,
        MOST_ROWS,
    )
    first, second = shown["leaderboard"][:2]
    assert (first["rank"], first["number"], first["point"]) == (1, 11, {"learning_rate": 0.001})
    assert first["standard_error"] == pytest.approx(0.2041, abs=1e-4)
    assert (second["score"], second["standard_error"]) == (None, None)
    job.end(record(SweepStatus.DONE))
    assert rows(store)[0].result["leaderboard"] == shown["leaderboard"]


def test_what_was_found_stays_when_the_sweep_is_cancelled() -> None:
    store = MemoryStore()
    job = job_of(store, [])
    job.tell(replace(view(10.0), rows=(row(1),), metric="sharpe"))

    JobBook(store, rows(store)[0].job_id, ManualClock()).cancel()

    assert len(rows(store)[0].result["leaderboard"]) == 1
