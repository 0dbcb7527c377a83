"""The actor of one evaluation job."""

from collections.abc import Callable
from dataclasses import dataclass

import ray
import structlog
from ray.actor import exit_actor

from actors.evaluation import STAGES, EvaluateAsk, evaluate_version
from actors.job_book import JobBook, JobCancelled
from actors.parts.jobs import JobParts, stored_rates
from actors.version_registry import version_of
from desk.errors import DeskError
from desk.market.features import FEATURES_V1
from desk.market.interval import interval_ms
from desk.store.feature_sets import feature_set_of

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Carry out a job that is stored."""

    job_id: str
    ask: EvaluateAsk


class Evaluator:
    """Shell only: reads candles, lets `evaluate_version` work, keeps the job's row."""

    def __init__(self, build: Callable[[], JobParts]) -> None:
        self._parts = build()

    @ray.method(max_task_retries=0)
    def work(self, order: Evaluate) -> None:
        """Evaluate to the end or a failure; the row tells which. A failure leaves no figures."""
        parts = self._parts
        book = JobBook(parts.store, order.job_id, parts.clock)
        try:
            self._evaluate(order.ask, book)
        except JobCancelled:
            log.info("evaluation_cancelled", job_id=order.job_id)
        except DeskError as refused:
            log.warning("evaluation_failed", job_id=order.job_id, error=str(refused))
            book.fail(str(refused))
        except Exception as broken:
            log.exception("evaluation_broke", job_id=order.job_id)
            book.fail(f"evaluation broke: {broken!r}; read the logs")

    @ray.method(max_task_retries=0)
    def leave(self) -> None:
        """End this process; called after the work."""
        exit_actor()

    def _evaluate(self, ask: EvaluateAsk, book: JobBook) -> None:
        parts, period = self._parts, ask.period
        features = feature_set_of(
            parts.store, version_of(parts.store, ask.version_id).feature_set_id
        )
        # The trend rule, which every version is compared with, may look back further.
        lookback = max(features.lookback, FEATURES_V1.lookback)
        warm_up_ms = lookback * interval_ms(period.interval)
        candles = parts.candles.read(
            period.pair, period.interval, period.start_ms - warm_up_ms, period.end_ms
        )
        report = evaluate_version(
            parts.home,
            parts.store,
            candles,
            ask,
            clock=parts.clock,
            progress=lambda stage, detail: book.advance(stage, STAGES, "stages", detail),
            rates=stored_rates(parts.store, period.pair, period.start_ms, period.end_ms),
        )
        book.finish(
            {
                "evaluation_id": report.evaluation_id,
                "verdict": report.verdict,
                "reasons": list(report.reasons),
            }
        )


EvaluatorActor = ray.remote(Evaluator)
