"""What a sweep stands on: its dataset as a market, the folds in it, and the keys of its trials."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from actors.evaluation import FEATURE_LIMIT
from actors.parts.jobs import CandleSource, stored_rates
from actors.study_period import Period, Rates
from desk.engines.sources import code_sha256
from desk.engines.trials import TrialTask, check_configuration, episode_spec
from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.evaluation.forward_folds import Account, Stretch, part_of, plan_stretches
from desk.learning.arrays import MarketArrays
from desk.learning.episode import check_episode, stretches
from desk.learning.study import Dataset, Window
from desk.learning.sweep_results import sweep_id_of, trial_key_of
from desk.learning.sweep_space import SLOT, Point, random_points
from desk.learning.sweeps import (
    LATEST,
    DatasetChoice,
    EvaluationSweep,
    OptunaSearch,
    Pbt,
    TrainingSweep,
    sweep_sha256,
)
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.interval import interval_ms
from desk.market.signal_features import NO_SIGNALS, Signals
from desk.store import kinds
from desk.store.datasets import Datasets
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home, shared_folder
from desk.store.port import DocStore
from desk.trading.fills import FillSpec

CHECKED_POINTS = 50
DRAWN_POINTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlace:
    """Where a sweep works: `home` holds its journal, datasets and artifacts."""

    home: Home
    store: DocStore
    candles: CandleSource
    store_url: str = field(repr=False)
    """For tasks in other processes."""

    @property
    def datasets(self) -> Datasets:
        return Datasets(shared_folder(self.home, "datasets"), self.store, self.candles)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepData:
    """The dataset of a sweep, and how orders fill on it."""

    dataset: Dataset
    candles: Candles
    """With the lookback of the first row."""
    features: FeatureSet
    period: Period
    rates: Rates
    signals: Signals

    @property
    def sha256(self) -> str:
        """Of all that a result depends on beside the code: candles, signals, funding, rules, features."""
        parts = [
            self.dataset.sha256,
            self.dataset.dataset_id,
            self.features.feature_set_id,
            self.period.fill_spec.spec_id,
            repr(self.period.instrument),
            *(f"{due_ms}={rate:f}" for due_ms, rate in self.rates),
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepIds:
    """What names a sweep: the same for the same question about the same data by the same code."""

    sweep_id: str
    spec_sha256: str
    data_sha256: str
    code_sha256: str

    @classmethod
    def of(cls, sweep: TrainingSweep | EvaluationSweep, data: SweepData) -> "SweepIds":
        parts = (sweep_sha256(sweep), data.sha256, code_sha256())
        return cls(
            sweep_id=sweep_id_of(sweep.name, *parts),
            spec_sha256=parts[0],
            data_sha256=parts[1],
            code_sha256=parts[2],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialNames:
    """From a point to its trial's key and configuration; see `desk.engines.tuning.TrialKeys`."""

    sweep: TrainingSweep
    ids: SweepIds

    def __call__(self, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        varied = {name: value for name, value in point.items() if name != SLOT}
        configuration: dict[str, Any] = self.sweep.configuration(varied)
        if isinstance(self.sweep.scheduler, Pbt):  # what a member becomes, the others decide too
            return trial_key_of({SLOT: point[SLOT]}, self.ids.sweep_id), configuration
        sweep = self.sweep
        asked = (
            self.ids.data_sha256,
            self.ids.code_sha256,
            sweep.budget.steps_per_trial,
            sweep.budget.checkpoint_every_steps,
            sweep.seeds,
            sweep.metric,
            sweep.decision_threshold,
            sweep.validation.model_dump(mode="json"),
            sweep.money.model_dump(mode="json"),
        )
        return trial_key_of(configuration, *asked), configuration


def load_data(
    place: SweepPlace, choice: DatasetChoice, features_id: str | None, file: str
) -> SweepData:
    """Read and prove the dataset. Raises `BadInput` naming file, field and remedy."""
    try:
        dataset = _dataset(place, choice, file)
        candles = place.datasets.candles(dataset.dataset_id)
    except (NotFound, ArtifactRefused) as refused:
        raise BadInput(
            file, f"dataset.id: {refused}: `desk dataset list` shows those there are"
        ) from refused
    try:
        features = feature_set_of(place.store, features_id or dataset.feature_set_id)
    except NotFound as refused:
        raise BadInput(
            file, f"features: {refused}: `desk features list` shows those there are"
        ) from refused
    stored = place.store.get(kinds.INSTRUMENTS, dataset.pair)
    if stored is None:
        raise BadInput(
            file,
            f"dataset.id: the price step of {dataset.pair} is not known here: run `desk up` once",
        )
    instrument = stored.value
    period = Period(
        pair=dataset.pair,
        interval=dataset.interval,
        start_ms=dataset.start_ms,
        end_ms=dataset.end_ms,
        instrument=instrument,
        fills=FillSpec(
            interval=dataset.interval,
            taker_rate=instrument.taker_rate,
            maker_rate=instrument.maker_rate,
        ),
    )
    return SweepData(
        dataset=dataset,
        candles=candles,
        features=features,
        period=period,
        rates=stored_rates(place.store, dataset.pair, dataset.start_ms, dataset.end_ms),
        signals=_signals(place, dataset, features, file),
    )


def rows_of(data: SweepData) -> Window:
    """The dataset's rows with their features. Raises `BadInput` where none has a whole lookback."""
    return data.period.window(data.candles, data.features, data.signals)


def task_of(
    home: Home, sweep: TrainingSweep, data: SweepData, ids: SweepIds, file: str
) -> tuple[TrialTask, Window]:
    """What the trials share, and the rows it is made of. Raises `BadInput` for folds that do not fit."""
    chosen = rows_of(data)
    validation = sweep.validation
    try:
        data.period.check_gaps(chosen.candles, sweep.dataset.most_missing_fraction)
        stretched = plan_stretches(
            len(chosen),
            is_walk_forward=validation.scheme == "walk_forward",
            folds=validation.folds,
            train_fraction=validation.train_fraction,
            purge=max(validation.purge_candles, data.features.lookback - 1),
            embargo=validation.embargo_candles,
        )
        if sweep.finalists:
            confirmed = period_of_folds(data, chosen, stretched[-1])
            confirmed.check_gaps(chosen.candles, sweep.dataset.most_missing_fraction)
    except BadInput as wrong:
        raise BadInput(file, str(wrong)) from wrong
    task = TrialTask(
        home=home,
        sweep_id=ids.sweep_id,
        arrays=MarketArrays.from_market(data.period.market(chosen, data.rates), chosen.features),
        features=data.features,
        stretches=stretched,
        seeds=sweep.seeds,
        total_steps=sweep.budget.steps_per_trial,
        checkpoint_every_steps=sweep.budget.checkpoint_every_steps,
        metric=sweep.metric,
        account=Account(
            cash=sweep.money.cash,
            size_quote=sweep.money.size_quote,
            decision_threshold=sweep.decision_threshold,
            feature_limit=FEATURE_LIMIT,
        ),
    )
    return task, chosen


def check_points(sweep: TrainingSweep, task: TrialTask, file: str) -> None:
    """Raise `BadInput` for the first known point, or a drawn one, that no trial could train."""
    train = part_of(task.arrays, task.stretches[0].train)
    for point in _some_points(sweep):
        configuration: dict[str, Any] = sweep.configuration(point)
        try:
            check_configuration(
                configuration,
                steps=task.total_steps,
                checkpoint_every_steps=task.checkpoint_every_steps,
            )
            episode = episode_spec(configuration, task.account)
            check_episode(train, episode)
            stretches(train, episode)
        except BadInput as wrong:
            where = f" where {point}" if point else ""
            raise BadInput(file, f"{wrong}{where}") from wrong


def period_of_rows(data: SweepData, chosen: Window, first: int, end: int) -> Period:
    """Rows of a sweep's dataset as a period of their own."""
    step = interval_ms(data.dataset.interval)
    open_ms = chosen.candles.open_ms
    return replace(data.period, start_ms=int(open_ms[first]), end_ms=int(open_ms[end - 1]) + step)


def period_of_folds(data: SweepData, chosen: Window, stretch: Stretch) -> Period:
    """The candles that a policy's folds lie on, as a period: what Nautilus replays of a finalist."""
    return period_of_rows(data, chosen, stretch.folds[0][0], stretch.folds[-1][1])


def _signals(place: SweepPlace, dataset: Dataset, features: FeatureSet, file: str) -> Signals:
    if not features.sources:
        return NO_SIGNALS
    if features.feature_set_id != dataset.feature_set_id:
        raise BadInput(
            file,
            f"features: {features.feature_set_id} looks at signals, which {dataset.dataset_id} was "
            "not built with: build a dataset with these features",
        )
    return place.datasets.signals(dataset.dataset_id)


def _some_points(sweep: TrainingSweep) -> list[Point]:
    if isinstance(sweep.search, OptunaSearch):
        return random_points(sweep.space, DRAWN_POINTS, np.random.default_rng(0))
    return sweep.points()[:CHECKED_POINTS]


def _dataset(place: SweepPlace, choice: DatasetChoice, file: str) -> Dataset:
    if choice.id != LATEST:
        return place.datasets.record(choice.id)
    for dataset in place.datasets.newest(limit=1_000):
        is_asked = (dataset.pair, dataset.interval) == (choice.pair, choice.interval)
        # Trainings and evaluations keep records too; only a built one is a file of its own.
        if is_asked and "file_sha256" in dataset.detail:
            return dataset
    raise BadInput(
        file,
        f"dataset: none of {choice.pair} {choice.interval} was built: run `desk dataset build "
        f"{choice.pair} --interval {choice.interval} --start DATE`",
    )
