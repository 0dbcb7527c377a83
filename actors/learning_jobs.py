"""Starting a training or an evaluation as a job: a row that everybody can follow, an actor that works."""

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from actors.evaluation import STAGES, EvaluateAsk
from actors.evaluator import Evaluate, EvaluatorActor
from actors.job_book import (
    ENDED,
    EVALUATION,
    LEARNING,
    TRAINING,
    JobBook,
    JobCancelled,
    worker_name,
)
from actors.parts.jobs import JobParts, job_parts
from actors.study_period import Period
from actors.trainer import Train, TrainerActor
from actors.training import TrainAsk
from actors.training_asks import TrainingAsks
from actors.wiring import Wiring
from desk.clock import Clock
from desk.engines.learning_process import NICENESS, as_learner
from desk.engines.rllib import check_processors
from desk.errors import NotFound
from desk.ids import Pair
from desk.logs import in_own_process
from desk.market.interval import Interval
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import DocStore, Store
from desk.trading.fills import FillSpec

ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
}
LEARNING_ENVIRONMENT = {"env_vars": {"RAY_worker_niceness": str(NICENESS), **ONE_THREAD}}
"""Trading comes first on a shared machine; a second numeric thread on busy cores only costs."""


def period_of(
    store: DocStore, pair: Pair, interval: Interval, start_ms: int, end_ms: int
) -> Period:
    """A period on a pair whose instrument is known, at its own taker and maker rates."""
    doc = store.get(kinds.INSTRUMENTS, pair)
    if doc is None:
        raise NotFound("instrument", pair)
    instrument = doc.value
    return Period(
        pair=pair,
        interval=interval,
        start_ms=start_ms,
        end_ms=end_ms,
        instrument=instrument,
        fills=FillSpec(
            interval=interval, taker_rate=instrument.taker_rate, maker_rate=instrument.maker_rate
        ),
    )


def start_training(
    wiring: Wiring, store: Store, ask: TrainAsk, *, clock: Clock, job_id: str = ""
) -> Job:
    """Queue a training and return its job; Ray must be initialised. Follow the row, or cancel it.

    What was asked is stored with it, so that it can be taken up again. `job_id` is the caller's own,
    or minted. Raises `BadInput` for more runners and learners than there are processors.
    """
    if ask.training.runners or ask.training.learners:
        check_processors(ask.training)
    spec = ask.training
    arguments = {**_arguments(ask.period), "algorithm": spec.algorithm, "seed": spec.seed}
    job = _queued(TRAINING, float(spec.steps), "steps", arguments, clock.now_ms(), job_id=job_id)
    TrainingAsks(store).keep(job.job_id, ask, at_ms=job.created_ms)
    JobBook.open(store, job, clock)
    _train(wiring, job, ask)
    return job


def take_up_training(wiring: Wiring, store: Store, job: Job, *, clock: Clock) -> bool:
    """Start an unfinished training's actor again: it goes on from its last checkpoint.

    False for a job that is no training, whose ask is not stored, or that was taken up too often
    without getting any further. Ray must be initialised.
    """
    ask = TrainingAsks(store).take_up(job) if job.kind == TRAINING else None
    if ask is None:
        return False
    book = JobBook(store, job.job_id, clock)
    try:
        book.advance(job.done, job.total, job.unit, "its process ended: taken up again")
    except JobCancelled:
        return True
    _train(wiring, job, ask)
    return True


def _train(wiring: Wiring, job: Job, ask: TrainAsk) -> None:
    actor = TrainerActor.options(**_options(wiring, job)).remote(_parts(wiring))
    actor.work.remote(Train(job_id=job.job_id, ask=ask))
    actor.leave.remote()


def start_evaluation(
    wiring: Wiring, store: Store, ask: EvaluateAsk, *, clock: Clock, job_id: str = ""
) -> Job:
    """Queue an evaluation and return its job; Ray must be initialised. `job_id` is the caller's own,
    or minted."""
    arguments = {**_arguments(ask.period), "version_id": ask.version_id}
    job = _queued(EVALUATION, float(STAGES), "stages", arguments, clock.now_ms(), job_id=job_id)
    JobBook.open(store, job, clock)
    actor = EvaluatorActor.options(**_options(wiring, job)).remote(_parts(wiring))
    actor.work.remote(Evaluate(job_id=job.job_id, ask=ask))
    actor.leave.remote()
    return job


def cancel_job(store: Store, job_id: str, *, clock: Clock) -> Job:
    """End a job; its worker stops at its next step. A job that has ended stays as it is."""
    book = JobBook(store, job_id, clock)
    book.cancel()
    return book.job


def fail_abandoned(store: Store, *, clock: Clock) -> list[str]:
    """Mark unfinished learning jobs as failed; call it when no worker can be alive any more.

    That is so right after Ray was started: its workers end with it. Trainings whose ask is stored are
    left to the supervisor, which takes them up again. Returns the ids of the failed ones.
    """
    found: list[str] = []
    asks = TrainingAsks(store)
    for doc in store.list(kinds.JOBS, limit=1_000):
        is_unfinished = doc.value.kind in LEARNING and doc.value.status not in ENDED
        if is_unfinished and not asks.has(doc.key):
            JobBook(store, doc.key, clock).fail(
                "the desk ended while this was running: start it again"
            )
            found.append(doc.key)
    return found


def _queued(
    kind: str,
    total: float,
    unit: str,
    arguments: Mapping[str, Any],
    now_ms: int,
    *,
    job_id: str,
) -> Job:
    return Job(
        job_id=job_id or f"job-{secrets.token_hex(10)}",
        kind=kind,
        status=JobStatus.QUEUED,
        created_ms=now_ms,
        updated_ms=now_ms,
        total=total,
        unit=unit,
        arguments=arguments,
    )


def _parts(wiring: Wiring) -> Callable[[], JobParts]:
    return partial(in_own_process, partial(as_learner, partial(job_parts, wiring)))


def _arguments(period: Period) -> dict[str, Any]:
    return {
        "pair": period.pair,
        "interval": period.interval,
        "start_ms": period.start_ms,
        "end_ms": period.end_ms,
    }


def _options(wiring: Wiring, job: Job) -> dict[str, Any]:
    """One actor a job. It waits for a CPU. Ray does not restart it: the supervisor knows whether it may."""
    return {
        "name": worker_name(job),
        "namespace": wiring.namespace,
        "lifetime": "detached",
        "num_cpus": 1,
        "max_restarts": 0,
        "max_task_retries": 0,
        "runtime_env": LEARNING_ENVIRONMENT,
    }
