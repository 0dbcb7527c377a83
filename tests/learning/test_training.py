"""Training a version the whole way, and the actors that do it as jobs."""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

from actors.evaluation import IN_SAMPLE, EvaluateAsk, evaluate_version
from actors.job_book import ENDED, JobBook
from actors.learning_jobs import (
    cancel_job,
    fail_abandoned,
    period_of,
    start_evaluation,
    start_training,
)
from actors.parts.jobs import JobParts
from actors.study_period import Period
from actors.trainer import Train, Trainer
from actors.training import TrainAsk, train_version
from actors.version_registry import ensure_baseline, policy_of
from actors.wiring import Wiring
from desk.clock import ManualClock
from desk.engines.rllib import TrainingSpec
from desk.errors import BadInput, NotFound
from desk.learning.versions import VersionStatus
from desk.market.candles import Candles
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.valkey import ValkeyStore
from tests.learning.conftest import INSTRUMENT

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]

Cut = Callable[[int, int], Period]
SMALL = TrainingSpec(steps=8_192, lanes=64, steps_per_lane=64, minibatch=1024, hidden=(16,))


def ask(period: Period, **changes: object) -> TrainAsk:
    made = TrainAsk(period=period, training=SMALL, episode_candles=200)
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


def test_a_trained_version_is_a_draft_with_all_it_came_from(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    trained_on = period(300, 2_000)
    heard: list[int] = []

    version = train_version(
        tmp_path,
        memory,
        market,
        ask(trained_on),
        clock=ManualClock(9_000),
        progress=lambda progress: bool(heard.append(progress.steps)),
    )

    assert version is not None
    assert len(heard) == 2
    assert 4_096 <= heard[0] < heard[1] < 8_192 + 2 * SMALL.lanes
    assert version.status is VersionStatus.DRAFT
    assert (version.algorithm, version.is_baseline, version.seed) == ("ppo", False, 7)
    assert (version.training_start_ms, version.training_end_ms) == (
        trained_on.start_ms,
        trained_on.end_ms,
    )
    assert version.hyperparameters["learning_rate"] == SMALL.learning_rate
    assert set(version.software) >= {"ray", "torch"}
    dataset = memory.get(kinds.DATASETS, version.dataset_id)
    assert dataset is not None
    assert (dataset.value.sha256, dataset.value.rows) == (version.dataset_sha256, 1_700)
    policy = policy_of(tmp_path, version, memory)
    assert [len(bias) for _, bias in policy.layers] == [16, 3]
    assert not policy.is_baseline

    held_out = EvaluateAsk(period=period(2_000, 2_900), version_id=version.version_id)
    seen = replace(held_out, period=period(1_000, 2_900))
    report = evaluate_version(tmp_path, memory, market, held_out, clock=ManualClock(9_500))
    again = evaluate_version(tmp_path, memory, market, seen, clock=ManualClock(9_600))
    assert not report.is_baseline
    assert report.seed == 7
    assert IN_SAMPLE not in report.reasons
    assert IN_SAMPLE in again.reasons


def test_the_same_seed_and_candles_train_the_same_policy(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    later = np.arange(len(market)) >= 2_000
    cut_off = market.take(~later)
    versions = [
        train_version(
            tmp_path,
            memory,
            candles,
            ask(period(300, 2_000)),
            clock=ManualClock(now_ms),
            progress=lambda _: False,
        )
        for now_ms, candles in ((1_000, market), (2_000, cut_off))
    ]

    first, second = versions
    assert first is not None
    assert second is not None
    assert first.version_id != second.version_id
    assert first.artifact_sha256 == second.artifact_sha256
    assert first.dataset_id == second.dataset_id


def test_a_cancelled_training_registers_nothing(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    version = train_version(
        tmp_path,
        memory,
        market,
        ask(period(300, 2_000)),
        clock=ManualClock(),
        progress=lambda _: True,
    )

    assert version is None
    assert memory.list(kinds.VERSIONS) == []
    assert memory.list(kinds.DATASETS) == []


class _Stored:
    """Candles at hand, as an archive gives them."""

    def __init__(self, candles: Candles) -> None:
        self._candles = candles

    def read(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self._candles.between(start_ms, end_ms)


def queued(store: MemoryStore) -> JobBook:
    job = Job(job_id="job-1", kind="training", status=JobStatus.QUEUED, created_ms=1, updated_ms=1)
    return JobBook.open(store, job, ManualClock())


def trainer(store: MemoryStore, candles: Candles, home: Path) -> Trainer:
    parts = JobParts(home=home, store=store, clock=ManualClock(), candles=_Stored(candles))
    return Trainer(lambda: parts)


def test_the_trainer_keeps_the_row_of_its_job(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    book = queued(memory)

    trainer(memory, market, tmp_path).work(Train(job_id="job-1", ask=ask(period(300, 2_000))))

    job = book.job
    assert (job.status, job.total, job.unit) == (JobStatus.DONE, SMALL.steps, "steps")
    assert job.done >= SMALL.steps
    assert "steps/s" in job.detail
    assert memory.get(kinds.VERSIONS, job.result["version_id"]) is not None


def test_a_training_without_candles_fails_with_a_sentence(
    memory: MemoryStore, period: Cut, tmp_path: Path
) -> None:
    book = queued(memory)

    trainer(memory, Candles.empty(), tmp_path).work(
        Train(job_id="job-1", ask=ask(period(300, 2_000)))
    )

    assert book.job.status is JobStatus.FAILED
    assert "backfill" in book.job.error


def test_a_job_cancelled_before_it_began_does_not_train(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path
) -> None:
    book = queued(memory)
    cancel_job(memory, "job-1", clock=ManualClock())

    trainer(memory, market, tmp_path).work(Train(job_id="job-1", ask=ask(period(300, 2_000))))

    assert book.job.status is JobStatus.CANCELLED
    assert memory.list(kinds.VERSIONS) == []


def test_jobs_of_an_earlier_session_are_marked_failed(memory: MemoryStore) -> None:
    book = queued(memory)

    assert fail_abandoned(memory, clock=ManualClock()) == ["job-1"]

    assert book.job.status is JobStatus.FAILED
    assert "start it again" in book.job.error
    assert fail_abandoned(memory, clock=ManualClock()) == []


def test_a_period_needs_a_known_instrument(memory: MemoryStore) -> None:
    with pytest.raises(NotFound, match="instrument BTC-USDT"):
        period_of(memory, "BTC-USDT", "1m", 0, 1)

    memory.put(kinds.INSTRUMENTS, "BTC-USDT", INSTRUMENT, at_ms=0)
    assert period_of(memory, "BTC-USDT", "5m", 0, 1).fill_spec.interval == "5m"


def test_a_minibatch_larger_than_the_batch_is_refused() -> None:
    with pytest.raises(BadInput, match="minibatch"):
        replace(SMALL, minibatch=50_000)


def follow(store: ValkeyStore, job_id: str) -> Job:
    book, until_s = JobBook(store, job_id, ManualClock()), time.monotonic() + 200
    while book.job.status not in ENDED and time.monotonic() < until_s:
        time.sleep(0.2)
    return book.job


def has_left(name: str, namespace: str) -> bool:
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        try:
            ray.get_actor(name, namespace=namespace)
        except ValueError:
            return True
        time.sleep(0.2)
    return False


@pytest.mark.timeout(300)  # two fresh processes import torch and Nautilus
def test_training_and_evaluation_run_as_jobs_on_ray(
    wiring: Wiring, store: ValkeyStore, period: Cut
) -> None:
    clock = ManualClock(5_000)
    ensure_baseline(wiring.home, store, "desk", 1_000)

    trained = start_training(wiring, store, ask(period(300, 2_000)), clock=clock)
    training = follow(store, trained.job_id)

    assert (training.status, training.error) == (JobStatus.DONE, "")
    version_id = training.result["version_id"]
    evaluated = start_evaluation(
        wiring,
        store,
        EvaluateAsk(period=period(2_000, 2_900), version_id=version_id),
        clock=clock,
    )
    evaluation = follow(store, evaluated.job_id)
    assert (evaluation.status, evaluation.error) == (JobStatus.DONE, "")
    report = store.get(kinds.EVALUATIONS, evaluation.result["evaluation_id"])
    assert report is not None
    assert report.value.version_id == version_id
    assert has_left(f"training:{trained.job_id}", wiring.namespace)
    assert has_left(f"evaluation:{evaluated.job_id}", wiring.namespace)
