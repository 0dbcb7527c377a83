"""The observer's parts, and the work that it has done in a process of its own."""

import importlib
from typing import Any

import ray

from actors.alert_delivery import ChatReceiver, Receiver
from actors.drift_watch import WatchParts
from actors.learning_cycles import CycleParts
from actors.observer import ObserverParts
from actors.parts.decisions import LocalPolicy
from actors.parts.foundation import market_clock, open_store
from actors.slo_watch import Thresholds
from actors.trace_export import Collector
from actors.wiring import Wiring
from desk.evaluation.drift import DriftLimits
from desk.ids import Pair
from desk.learning.cycles import LearningCycle
from desk.logs import configure_logs
from desk.sources.alert_webhook import AlertWebhook
from desk.store import kinds
from desk.store.port import Store
from desk.trading.intents import NO_PROTECTION, Protection


def observer_parts(wiring: Wiring) -> ObserverParts:
    """Build in the observer's process."""
    store = open_store(wiring)

    def make_profile(version_id: str, pair: Pair) -> None:
        profile_version.remote(wiring, version_id, pair)

    return ObserverParts(
        watch=WatchParts(
            store=store,
            clock=market_clock(store),
            limits=DriftLimits(
                confidence_baseline=wiring.drift_confidence_baseline,
                confidence_delta=wiring.drift_confidence_delta,
                confidence_rows=wiring.drift_confidence_decisions,
            ),
            make_profile=make_profile,
        ),
        cycles=CycleParts(
            store=store,
            clock=market_clock(store),
            window=wiring.learning,
            work=RayWork(wiring, store),
            # In this process, by the same artifact and arithmetic: replicas are for decisions that count.
            decide=LocalPolicy(wiring.place, store).decide,
        ),
        clock=market_clock(store),
        thresholds=Thresholds(
            decision_latency_ms=wiring.decision_latency_slo_ms,
            ingestion_lag_s=wiring.ingestion_lag_slo_s,
            slippage_bps=wiring.slippage_slo_bps,
        ),
        receivers=alert_receivers(wiring),
        collector=span_collector(wiring),
    )


def span_collector(wiring: Wiring) -> Collector | None:
    """The one that is configured; its library costs memory, so only then is it loaded."""
    if wiring.otlp_endpoint is None:
        return None
    collectors: Any = importlib.import_module("desk.sources.span_collector")
    collector: Collector = collectors.SpanCollector(wiring.otlp_endpoint)
    return collector


def alert_receivers(wiring: Wiring) -> dict[str, Receiver]:
    """Those that are configured; with none, alerts are on the pages alone."""
    receivers: dict[str, Receiver] = {}
    if wiring.alert_webhook_url is not None and wiring.alert_webhook_secret is not None:
        receivers["webhook"] = AlertWebhook(wiring.alert_webhook_url, wiring.alert_webhook_secret)
    if wiring.alert_telegram_chat_id is not None and wiring.telegram_session is not None:
        # Telethon costs 30 MB: only where a chat is told.
        telegram: Any = importlib.import_module("desk.sources.telegram")
        access = telegram.TelegramAccess(
            api_id=wiring.telegram_api_id,
            api_hash=wiring.telegram_api_hash,
            session=wiring.telegram_session,
        )
        client = telegram.TelegramChannels(access)
        receivers["telegram"] = ChatReceiver(client, wiring.alert_telegram_chat_id)
    return receivers


class RayWork:
    """Trainings and evaluations as jobs on Ray, by the same door as an operator's."""

    def __init__(self, wiring: Wiring, store: Store) -> None:
        self._wiring, self._store = wiring, store

    # The engines' types cost 50 MB: the first cycle loads them.

    def train(self, cycle: LearningCycle, job_id: str) -> None:
        from actors import learning_jobs, training  # noqa: PLC0415
        from desk.engines.rllib import TrainingSpec  # noqa: PLC0415

        window, plan = cycle.window, cycle.plan
        period = learning_jobs.period_of(
            self._store, cycle.pair, cycle.interval, plan.train_start_ms, plan.train_end_ms
        )
        ask = training.TrainAsk(
            period=period,
            agent_id=cycle.agent_id,
            name=f"learnt by {cycle.cycle_id}",
            training=TrainingSpec(steps=window.timesteps),
            feature_set_id=cycle.feature_set_id,
            episode_candles=window.window_size,
            start_stride=window.stride,
            protection=self._protection(cycle),
        )
        learning_jobs.start_training(
            self._wiring, self._store, ask, clock=market_clock(self._store), job_id=job_id
        )

    def evaluate(
        self,
        cycle: LearningCycle,
        job_id: str,
        version_id: str,
        *,
        start_ms: int,
        end_ms: int,
        is_comparison: bool,
    ) -> None:
        from actors import evaluation, learning_jobs  # noqa: PLC0415

        period = learning_jobs.period_of(self._store, cycle.pair, cycle.interval, start_ms, end_ms)
        ask = evaluation.EvaluateAsk(
            period=period,
            version_id=version_id,
            decision_threshold=cycle.window.decision_threshold,
            protection=self._protection(cycle),
            is_comparison=is_comparison,
        )
        learning_jobs.start_evaluation(
            self._wiring, self._store, ask, clock=market_clock(self._store), job_id=job_id
        )

    def _protection(self, cycle: LearningCycle) -> Protection:
        """The exits of the run that learns."""
        run = self._store.get(kinds.RUNS, cycle.run_id) if cycle.run_id else None
        if run is None:
            return NO_PROTECTION
        return Protection(
            stop_loss_fraction=run.value.stop_loss_fraction,
            take_profit_fraction=run.value.take_profit_fraction,
        )


@ray.remote(
    num_cpus=0,
    max_retries=0,
    max_calls=1,
    runtime_env={"env_vars": {"RAY_worker_niceness": "10", "OMP_NUM_THREADS": "1"}},
)
def profile_version(wiring: Wiring, version_id: str, pair: Pair) -> bool:
    """Store the profile of a version on a pair; false where there are too few candles.

    Its process ends with the call: what it loaded would else stay resident.
    """
    configure_logs()
    jobs: Any = importlib.import_module("actors.parts.jobs")
    profiles: Any = importlib.import_module("actors.drift_profiles")
    parts = jobs.job_parts(wiring)
    made = profiles.keep_profile(parts.home, parts.store, parts.candles, version_id, pair)
    return made is not None
