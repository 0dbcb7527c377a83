"""A sweep as its author writes it: one YAML file, checked whole before anything starts."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field, TypeAdapter, model_validator

from desk.learning.sweep_space import (
    PARAMETERS,
    Choice,
    Domain,
    Grid,
    Point,
    Strict,
    Value,
    grid_points,
    random_points,
)
from desk.learning.training_window import MOST_MISSING_FRACTION

SCHEMA_TITLE = "A sweep of Raydesk"
LATEST = "latest"
METRICS = ("sharpe", "net_return", "max_drawdown")
MOST_TRIALS, MOST_TASKS = 10_000, 10_000

type Metric = Literal["sharpe", "net_return", "max_drawdown"]
type Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]


class DatasetChoice(Strict):
    """Which dataset is looked at: one by its id, or the newest of a pair and interval."""

    id: str = LATEST
    pair: str | None = None
    interval: str | None = None
    most_missing_fraction: Annotated[float, Field(ge=0, le=1)] = MOST_MISSING_FRACTION
    """Of its candles, and of each period that is evaluated; with more missing it is refused."""

    @model_validator(mode="after")
    def _is_enough(self) -> "DatasetChoice":
        if self.id == LATEST and (self.pair is None or self.interval is None):
            raise ValueError("id was latest: name a pair and an interval beside it, or a dataset")
        if self.id != LATEST and not (self.pair is None and self.interval is None):
            raise ValueError(f"was {self.id} beside a pair or an interval: a dataset has its own")
        return self


class GridSearch(Strict):
    """Every point of the space, in order."""

    kind: Literal["grid"]


class RandomSearch(Strict):
    """Points drawn one by one; the same seed draws the same ones."""

    kind: Literal["random"]
    seed: int = Field(default=7, ge=0)


class OptunaSearch(Strict):
    """Optuna's tree-structured Parzen estimator: draws where earlier trials were good."""

    kind: Literal["optuna"]
    seed: int = Field(default=7, ge=0)


class NoScheduler(Strict):
    """Every trial is trained to its end."""

    kind: Literal["none"] = "none"


class Asha(Strict):
    """Asynchronous successive halving: what lags behind its peers at a rung is stopped there."""

    kind: Literal["asha"]
    grace_fraction: float = Field(default=0.25, gt=0, le=1)
    """Part of the steps that every trial gets."""
    reduction_factor: float = Field(default=2, gt=1)


class Pbt(Strict):
    """Population based training: laggards go on from a leader's weights with changed numbers."""

    kind: Literal["pbt"]
    perturb_every_checkpoints: int = Field(default=1, ge=1)
    quantile_fraction: float = Field(default=0.25, gt=0, le=0.5)
    resample_probability: float = Field(default=0.25, ge=0, le=1)
    seed: int = Field(default=7, ge=0)


class Budget(Strict):
    """What a sweep may spend."""

    trials: int = Field(ge=1, le=MOST_TRIALS)
    steps_per_trial: int = Field(ge=1_000)
    """Environment steps of each of a trial's policies."""
    checkpoint_every_steps: int = Field(ge=1_000)
    """Steps between two scores and checkpoints: the most that a lost cluster costs a policy."""
    wall_minutes: float = Field(gt=0)
    concurrent_trials: int = Field(default=1, ge=1, le=256)

    @model_validator(mode="after")
    def _fits(self) -> "Budget":
        if self.checkpoint_every_steps > self.steps_per_trial:
            raise ValueError(
                f"checkpoint_every_steps was {self.checkpoint_every_steps}: "
                f"give at most steps_per_trial, {self.steps_per_trial}"
            )
        return self


class Validation(Strict):
    """On which candles a policy is scored; none of them, nor their lookback, were trained on."""

    scheme: Literal["walk_forward", "holdout"] = "holdout"
    """`walk_forward`: a policy for every fold, trained on all before it. `holdout`: one for all folds."""
    folds: int = Field(default=4, ge=1, le=100)
    train_fraction: float = Field(default=0.7, gt=0, lt=1)
    """Part of the rows before the first fold."""
    purge_candles: int = Field(default=0, ge=0)
    """Left out before each fold, at least the lookback of the features."""
    embargo_candles: int = Field(default=0, ge=0)
    """Left out between two folds of one policy."""


class Money(Strict):
    """The account of training and scoring, USDT."""

    cash: float = Field(default=10_000.0, gt=0)
    size_quote: float = Field(default=10_000.0, gt=0)
    """Notional of a full position."""


class TrainingSweep(Strict):
    """Trials that train: the best of them become draft versions."""

    kind: Literal["training"]
    name: Name
    about: str = ""
    dataset: DatasetChoice
    features: str | None = None
    """Feature set id; default: the dataset's."""
    algorithm: str = "ppo"
    fixed: Mapping[str, Any] = Field(default_factory=dict[str, Any])
    """Parameters that differ from their defaults in every trial."""
    space: Mapping[str, Domain] = Field(default_factory=dict[str, Domain])
    search: Annotated[GridSearch | RandomSearch | OptunaSearch, Field(discriminator="kind")]
    scheduler: Annotated[NoScheduler | Asha | Pbt, Field(discriminator="kind")] = NoScheduler()
    budget: Budget
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(7,), min_length=1)
    """A trial trains a policy with each and is scored by their mean."""
    metric: Metric = "sharpe"
    decision_threshold: float = Field(default=0.35, ge=0, le=1)
    """Least confidence to act on while scoring."""
    validation: Validation = Validation()
    money: Money = Money()
    finalists: int = Field(default=1, ge=0, le=100)
    """So many of the best are registered as drafts and confirmed in Nautilus."""

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether more of the metric is better, or less."""
        return "min" if self.metric == "max_drawdown" else "max"

    @property
    def policies(self) -> int:
        """Trained in each trial."""
        of_folds = self.validation.folds if self.validation.scheme == "walk_forward" else 1
        return len(self.seeds) * of_folds

    def points(self) -> list[Point]:
        """The trials that are known before any ran; none for a search that learns."""
        match self.search:
            case GridSearch():
                return grid_points(cast("Mapping[str, Grid | Choice]", self.space))
            case RandomSearch():
                rng = np.random.default_rng(self.search.seed)
                return random_points(self.space, self.budget.trials, rng)
            case OptunaSearch():
                return []

    def configuration(self, point: Mapping[str, Value]) -> dict[str, Value]:
        """Every parameter that is set, fixed or drawn; the rest have their defaults."""
        fixed = {name: PARAMETERS[name].read(value) for name, value in self.fixed.items()}
        return {"algorithm": self.algorithm, **fixed, **point}


class EvaluationSweep(Strict):
    """Stored versions replayed in Nautilus, once for each threshold and period, many at a time."""

    kind: Literal["evaluation"]
    name: Name
    about: str = ""
    dataset: DatasetChoice
    versions: tuple[str, ...] = Field(min_length=1)
    decision_thresholds: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    periods: int = Field(default=1, ge=1, le=1_000)
    """Equal contiguous parts of the dataset's rows, each evaluated by itself."""
    concurrent_tasks: int = Field(default=2, ge=1, le=256)
    wall_minutes: float = Field(gt=0)
    money: Money = Money(size_quote=1_000.0)

    @model_validator(mode="after")
    def _is_bounded(self) -> "EvaluationSweep":
        count = len(self.versions) * len(self.decision_thresholds) * self.periods
        if count > MOST_TASKS:
            raise ValueError(f"versions x thresholds x periods were {count}: at most {MOST_TASKS}")
        return self


type SweepSpec = Annotated[TrainingSweep | EvaluationSweep, Field(discriminator="kind")]
ADAPTER: TypeAdapter[TrainingSweep | EvaluationSweep] = TypeAdapter(SweepSpec)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a sweep's file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA_TITLE,
        **ADAPTER.json_schema(),
    }


def sweep_sha256(sweep: TrainingSweep | EvaluationSweep) -> str:
    """Hash of what a sweep asks for. How long, how many at once and the words about it do not count."""
    asked = sweep.model_dump(mode="json", exclude={"about", "wall_minutes", "concurrent_tasks"})
    if "budget" in asked:
        for name in ("wall_minutes", "concurrent_trials"):
            del asked["budget"][name]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
