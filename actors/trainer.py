"""The actor of one training job."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass

import ray
import structlog
from ray.actor import exit_actor

from actors.job_book import JobBook, JobCancelled, JobPaused
from actors.parts.jobs import JobParts, stored_rates
from actors.training import TrainAsk, Work, describe, job_folder, train_version
from actors.training_asks import TrainingAsks
from desk.engines.training_progress import TrainingProgress
from desk.errors import DeskError
from desk.market.interval import interval_ms
from desk.store.feature_sets import feature_set_of

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Carry out a job that is stored, from its beginning or its last checkpoint."""

    job_id: str
    ask: TrainAsk


class Trainer:
    """Shell only: reads candles, lets `train_version` work, keeps the job's row."""

    def __init__(self, build: Callable[[], JobParts]) -> None:
        self._parts = build()

    @ray.method(max_task_retries=0)
    def work(self, order: Train) -> None:
        """Train to the end, a failure or a cancellation; the row tells which."""
        parts = self._parts
        book = JobBook(parts.store, order.job_id, parts.clock)
        try:
            self._train(order, book)
        except JobPaused:
            log.info("training_paused", job_id=order.job_id)
            return  # its checkpoints and what was asked stay for the process that goes on
        except JobCancelled:
            log.info("training_cancelled", job_id=order.job_id)
        except DeskError as refused:
            log.warning("training_failed", job_id=order.job_id, error=str(refused))
            book.fail(str(refused))
        except Exception as broken:
            log.exception("training_broke", job_id=order.job_id)
            book.fail(f"training broke: {broken!r}; read the logs")
        # Only a job that has ended gets here: a killed one leaves its checkpoints to the next process.
        TrainingAsks(parts.store).forget(order.job_id)
        shutil.rmtree(job_folder(parts.home, order.job_id), ignore_errors=True)

    @ray.method(max_task_retries=0)
    def leave(self) -> None:
        """End this process; called after the work."""
        exit_actor()

    def _train(self, order: Train, book: JobBook) -> None:
        parts, ask, period = self._parts, order.ask, order.ask.period
        features = feature_set_of(parts.store, ask.feature_set_id)
        warm_up_ms = features.lookback * interval_ms(period.interval)
        # What was done before this process stays until a checkpoint says how much of it is kept.
        book.advance(book.job.done, ask.training.steps, "steps", "reading candles")
        candles = parts.candles.read(
            period.pair, period.interval, period.start_ms - warm_up_ms, period.end_ms
        )

        def note(progress: TrainingProgress) -> bool:
            book.advance(
                progress.steps,
                progress.total_steps,
                "steps",
                describe(progress),
                rate_per_s=progress.steps_per_s,
                figures=progress.as_metrics(),
            )
            return False

        version = train_version(
            parts.home,
            parts.store,
            candles,
            ask,
            clock=parts.clock,
            progress=note,
            rates=stored_rates(parts.store, period.pair, period.start_ms, period.end_ms),
            work=Work(work_id=order.job_id, began_ms=book.job.created_ms),
        )
        if version is not None:
            book.finish(
                {
                    "version_id": version.version_id,
                    "dataset_id": version.dataset_id,
                    "artifact_sha256": version.artifact_sha256,
                }
            )


TrainerActor = ray.remote(Trainer)
