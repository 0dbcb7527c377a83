"""Trainings and evaluations as Ray jobs, started for the operator API."""

import asyncio
import shutil
from collections.abc import Callable

from actors.audit import Audit
from actors.job_book import ENDED, LEARNING, TRAINING
from actors.study_period import Period
from actors.version_registry import policy_of, version_of
from actors.wiring import Wiring
from desk.clock import Clock
from desk.learning.policy import LEVELS
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.interval import interval_ms
from desk.runs import Job
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.feature_sets import feature_set_of
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.port import Store
from serve_apps.desk_port import EvaluationAsk, TrainingAsk
from serve_apps.problems import GateRefused

MOST_UNFINISHED = 64
"""Trainings and evaluations that wait or work at the same time."""
KNOWN_JOBS = 1_000
"""Newest jobs among which they are counted."""


class RayLearning:
    """The real `serve_apps.desk_port.Learning`; Ray must be initialised in this process."""

    def __init__(self, wiring: Wiring, store: Store, clock: Clock) -> None:
        self._wiring, self._store, self._clock = wiring, store, clock
        self._audit = Audit(store, clock)

    async def start_training(self, ask: TrainingAsk, *, actor: str, trace_id: str) -> Job:
        """Queue a training; the job's row and events carry its progress."""
        return await self._start("learning.train", lambda: self._train(ask), actor, trace_id)

    async def start_evaluation(self, ask: EvaluationAsk, *, actor: str, trace_id: str) -> Job:
        """Queue an evaluation."""
        return await self._start("learning.evaluate", lambda: self._evaluate(ask), actor, trace_id)

    async def put_away(self, job: Job) -> None:
        """Remove what a paused training kept; nobody works on it who would."""
        if job.kind == TRAINING:
            await asyncio.to_thread(self._put_away, job)

    def _put_away(self, job: Job) -> None:
        from actors.training import job_folder  # noqa: PLC0415
        from actors.training_asks import TrainingAsks  # noqa: PLC0415

        TrainingAsks(self._store).forget(job.job_id)
        shutil.rmtree(job_folder(self._wiring.home, job.job_id), ignore_errors=True)

    async def _start(self, action: str, start: Callable[[], Job], actor: str, trace_id: str) -> Job:
        await asyncio.to_thread(self._expect_room)
        job = await asyncio.to_thread(start)
        await self._audit.note(
            action, f"job/{job.job_id}", actor=actor, trace_id=trace_id, after=job.arguments
        )
        return job

    def _expect_room(self) -> None:
        """Each unfinished job is a waiting process of the cluster: they are not let grow for ever."""
        docs = self._store.list(kinds.JOBS, limit=KNOWN_JOBS)
        waiting = sum(doc.value.kind in LEARNING and doc.value.status not in ENDED for doc in docs)
        if waiting >= MOST_UNFINISHED:
            raise GateRefused(
                f"{waiting} trainings and evaluations are unfinished: let some end, or cancel them"
            )

    # The engines' types cost 50 MB: a replica loads them with its first job.

    def _train(self, ask: TrainingAsk) -> Job:
        from actors import learning_jobs, training  # noqa: PLC0415
        from actors.study_checks import FIELDS_OF_REQUEST, check_training, named  # noqa: PLC0415

        period = learning_jobs.period_of(
            self._store, ask.pair, ask.interval, ask.start_ms, ask.end_ms
        )
        order = training.TrainAsk(
            period=period,
            agent_id=ask.agent_id,
            name=ask.name,
            training=ask.training,
            feature_set_id=ask.feature_set_id,
            levels=LEVELS if ask.levels is None else ask.levels,
            protection=ask.protection,
            leverage=ask.leverage,
            turnover_coefficient=ask.turnover_coefficient,
            drawdown_coefficient=ask.drawdown_coefficient,
            dataset_id=ask.dataset_id,
            most_missing_fraction=ask.most_missing_fraction,
        )
        features = feature_set_of(self._store, order.feature_set_id)
        with named(FIELDS_OF_REQUEST):
            check_training(
                self._store,
                self._candles(period, features),
                period,
                features,
                order.episode,
                most_missing_fraction=ask.most_missing_fraction,
                now_ms=self._clock.now_ms(),
            )
        return learning_jobs.start_training(self._wiring, self._store, order, clock=self._clock)

    def _evaluate(self, ask: EvaluationAsk) -> Job:
        from actors import evaluation, evidence, learning_jobs  # noqa: PLC0415
        from actors.study_checks import FIELDS_OF_EVALUATION, check_evaluation, named  # noqa: PLC0415
        from desk.evaluation.overfitting import Trials  # noqa: PLC0415

        period = learning_jobs.period_of(
            self._store, ask.pair, ask.interval, ask.start_ms, ask.end_ms
        )
        version = version_of(self._store, ask.version_id)
        policy = policy_of(self._wiring.place, version, self._store)
        features = feature_set_of(self._store, policy.feature_set_id)
        with named(FIELDS_OF_EVALUATION):
            check_evaluation(
                self._store,
                self._candles(period, features),
                period,
                features,
                protection=ask.protection,
                leverage=ask.leverage,
                most_missing_fraction=ask.most_missing_fraction,
                now_ms=self._clock.now_ms(),
            )
        order = evaluation.EvaluateAsk(
            period=period,
            version_id=ask.version_id,
            decision_threshold=ask.decision_threshold,
            protection=ask.protection,
            leverage=ask.leverage,
            weighing=evidence.WeighAsk(
                folds=ask.folds,
                trials=None if ask.trials is None else Trials(count=ask.trials),
            ),
            most_missing_fraction=ask.most_missing_fraction,
        )
        return learning_jobs.start_evaluation(self._wiring, self._store, order, clock=self._clock)

    def _candles(self, period: Period, features: FeatureSet) -> Candles:
        """What is stored of a period, with the lookback of its first row."""
        place, reach_ms = self._wiring.place, features.lookback * interval_ms(period.interval)
        history = History(shared_folder(place, "history", self._store))
        archive = CandleArchive(self._store, history, CandleCache(place / "cache", history))
        return archive.read(period.pair, period.interval, period.start_ms - reach_ms, period.end_ms)
