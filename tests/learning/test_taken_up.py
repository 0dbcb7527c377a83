"""A training whose process was killed goes on in another one, and ends as if nothing had happened."""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportUnknownMemberType=false

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from actors.job_book import ENDED, JobBook, JobWatch
from actors.learning_jobs import fail_abandoned, start_training, take_up_training
from actors.study_period import Period
from actors.training import TrainAsk, Work, job_folder, train_version
from actors.training_asks import MOST_TIMES, TrainingAsks
from actors.version_registry import artifacts_of
from actors.wiring import Wiring
from desk.clock import ManualClock
from desk.learning.training_spec import training_spec
from desk.market.candles import Candles
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.valkey import ValkeyStore
from tests.processes import processes_named

Cut = Callable[[int, int], Period]
SPEC = training_spec(
    "ppo",
    {"lanes": 64, "steps_per_lane": 64, "minibatch": 512, "hidden": [16], "epochs": 8},
    steps=65_536,
)
EVERY = 2
"""Updates."""


def ask_for(period: Period) -> TrainAsk:
    return TrainAsk(
        period=period, training=SPEC, episode_candles=200, checkpoint_every_updates=EVERY
    )


def until(what: str, found: Callable[[], object], within_s: float = 200.0) -> None:
    end_s = time.monotonic() + within_s
    while not found():
        assert time.monotonic() < end_s, f"no {what} within {within_s} s"
        time.sleep(0.1)


@pytest.mark.catalogue("I07")
@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
@pytest.mark.timeout(400)  # two fresh processes import torch
def test_killed_in_the_middle_it_ends_with_the_artifact_of_a_whole_one(
    wiring: Wiring, store: ValkeyStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    clock, ask = ManualClock(5_000), ask_for(period(300, 2_000))
    whole = train_version(
        tmp_path / "whole", MemoryStore(), market, ask, clock=clock, progress=lambda _: False
    )
    assert whole is not None
    job = start_training(wiring, store, ask, clock=clock)
    book = JobBook(store, job.job_id, clock)

    until("update past a checkpoint", lambda: book.job.figures.get("updates", 0) > EVERY)
    (pid,) = processes_named("ray::Trainer")
    os.kill(pid, signal.SIGKILL)
    until("end of the process", lambda: not has_worker(wiring, job))
    killed_at = book.job.figures["steps"]
    assert book.job.status is JobStatus.RUNNING
    assert list((job_folder(tmp_path, job.job_id) / "checkpoints").iterdir())

    watch = JobWatch(
        store,
        clock,
        lambda _: has_worker(wiring, job),
        lambda lost: take_up_training(wiring, store, lost, clock=clock),
    )
    assert (watch.look(), watch.look()) == ([], [])
    until("end of the job", lambda: book.job.status in ENDED)

    ended = book.job
    assert (ended.status, ended.error) == (JobStatus.DONE, "")
    lost = killed_at - ended.figures["resumed_from_steps"]
    assert ended.figures["resumed_from_steps"] > 0
    assert 0 <= lost <= EVERY * (SPEC.batch + SPEC.lanes)
    assert ended.result["artifact_sha256"] == whole.artifact_sha256
    version = store.get(kinds.VERSIONS, ended.result["version_id"])
    assert version is not None
    assert version.value.artifact_sha256 == whole.artifact_sha256
    assert len(store.list(kinds.VERSIONS)) == 1
    until("end of what the job kept", lambda: not job_folder(tmp_path, job.job_id).exists())
    assert not TrainingAsks(store).has(job.job_id)


def has_worker(wiring: Wiring, job: Job) -> bool:
    try:
        ray.get_actor(f"training:{job.job_id}", namespace=wiring.namespace)
    except ValueError:
        return False
    return True


# --- what is asked, and how often it is taken up -------------------------------------------------


JOB = Job(
    job_id="job-1", kind="training", status=JobStatus.RUNNING, created_ms=1, updated_ms=1, done=10.0
)


def test_an_ask_is_read_as_it_was_kept(memory: MemoryStore, period: Cut) -> None:
    ask = replace(ask_for(period(300, 2_000)), levels=(-1.0, 0.5), leverage=5, dataset_id="ds-1")
    asks = TrainingAsks(memory)

    asks.keep("job-1", ask, at_ms=1)

    assert asks.take_up(JOB) == ask
    asks.forget("job-1")
    assert asks.take_up(JOB) is None


def test_a_training_that_gets_no_further_is_given_up(memory: MemoryStore, period: Cut) -> None:
    asks = TrainingAsks(memory)
    asks.keep("job-1", ask_for(period(300, 2_000)), at_ms=1)

    in_vain = [asks.take_up(JOB) is not None for _ in range(MOST_TIMES + 1)]

    assert in_vain == [True] * MOST_TIMES + [False]
    asks.keep("job-1", ask_for(period(300, 2_000)), at_ms=1)
    further = [asks.take_up(replace(JOB, done=float(n))) is not None for n in range(1, 9)]
    assert all(further)


def test_after_a_restart_trainings_are_left_to_be_taken_up(
    memory: MemoryStore, period: Cut
) -> None:
    clock = ManualClock()
    JobBook.open(memory, JOB, clock)
    TrainingAsks(memory).keep("job-1", ask_for(period(300, 2_000)), at_ms=1)

    assert fail_abandoned(memory, clock=clock) == []

    TrainingAsks(memory).forget("job-1")
    assert fail_abandoned(memory, clock=clock) == ["job-1"]


def test_an_interrupted_end_registers_one_version(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    """The clone takes no Ray: the same work twice, as after a kill between version and job's end."""
    ask = replace(
        ask_for(period(300, 2_000)),
        training=training_spec(
            "bc", {"lanes": 16, "minibatch": 64, "learning_rate": 5e-3}, steps=8_000
        ),
    )
    work = Work(work_id="job-1", began_ms=77)
    made = [
        train_version(
            tmp_path,
            memory,
            market,
            ask,
            clock=ManualClock(now_ms),
            progress=lambda _: False,
            work=work,
        )
        for now_ms in (100, 200)
    ]

    assert made[0] is not None
    assert made[0] == made[1]
    assert len(memory.list(kinds.VERSIONS)) == 1
    card = artifacts_of(tmp_path).read(made[0].version_id).card
    assert (card.dataset_id, card.dataset_sha256) == (made[0].dataset_id, made[0].dataset_sha256)
    assert (card.seed, card.algorithm) == (7, "bc")
    assert made[0].hyperparameters["clone_agreement"] > 0.9
