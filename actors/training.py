"""Training a version from candles: the whole way, with or without an actor around it.

RLlib, torch and the compiled rules are imported where they run, not with this module.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version as release
from pathlib import Path
from types import MappingProxyType
from typing import Any

from actors.study_period import Period, Rates, text_or_none
from actors.version_registry import artifacts_of, keep_dataset, register
from desk.clock import Clock, to_iso
from desk.engines.rllib import Tensors, software_versions, train
from desk.engines.training_progress import Tell
from desk.engines.training_progress import described as describe
from desk.errors import BadInput, NotFound
from desk.learning.baseline import trend_rule
from desk.learning.episode import EpisodeSpec, split_at_holes
from desk.learning.policy import LEVELS, policy_card
from desk.learning.study import Dataset, Window
from desk.learning.training_spec import (
    BC,
    DQN,
    FIRST_COST_FRACTION,
    PPO,
    RAMP_FRACTION,
    RULE,
    TrainingSpec,
)
from desk.learning.training_window import (
    EPISODE_CANDLES,
    MOST_MISSING_FRACTION,
    check_length,
    check_unchanged,
)
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1, FeatureSet
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.checkpoints import FOLDER, CheckpointFolder
from desk.store.feature_sets import feature_set_of
from desk.store.places import Home
from desk.store.port import DocStore
from desk.trading.intents import NO_PROTECTION, Protection

__all__ = ["TrainAsk", "describe", "job_folder", "train_version"]

NAMES = {PPO: "PPO", DQN: "DQN", BC: "Clone of the trend rule"}
CHECKPOINT_UPDATES = {PPO: 10, DQN: 50, BC: 1}
"""Updates between two checkpoints. DQN's hold its memory, tens of megabytes, and its updates are short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAsk:
    """Train a new version on a period. Money in USDT."""

    period: Period
    agent_id: str = "desk"
    name: str = ""
    feature_set_id: str = FEATURES_V1.feature_set_id
    """What the policy is shown."""
    training: TrainingSpec = field(default_factory=TrainingSpec)
    cash: float = 10_000.0
    size_quote: float = 10_000.0
    """Notional of a full position."""
    episode_candles: int = EPISODE_CANDLES
    start_stride: int = 1
    """Candles from where one episode may begin to the next such place."""
    reward_scale: float = 100.0
    """Reward is the log-growth of equity times this: 100 counts percents."""
    first_cost_fraction: float = FIRST_COST_FRACTION
    """Part of the real commission at the first step."""
    ramp_fraction: float = RAMP_FRACTION
    """Part of the training after which costs are the real ones."""
    levels: tuple[float, ...] = LEVELS
    """Target of each action."""
    protection: Protection = NO_PROTECTION
    """Exits of every position, as a run has them."""
    leverage: int | None = None
    """Isolated margin, whose loss liquidates; None: nothing is liquidated."""
    turnover_coefficient: float = 0.0
    drawdown_coefficient: float = 0.0
    """Both: reward lost beside costs; see `desk.learning.episode.EpisodeSpec`."""
    dataset_id: str = ""
    """A stored dataset that the period's candles must still be, byte for byte; empty: none."""
    most_missing_fraction: float = MOST_MISSING_FRACTION
    """Of the period's candles; with more missing it is refused."""
    checkpoint_every_updates: int | None = None
    """What a kill loses at most; None: by algorithm, see `CHECKPOINT_UPDATES`."""

    @property
    def episode(self) -> EpisodeSpec:
        """How an account starts, is rewarded and ends."""
        return EpisodeSpec(
            cash=self.cash,
            size_quote=self.size_quote,
            length=self.episode_candles,
            start_stride=self.start_stride,
            reward_scale=self.reward_scale,
            levels=self.levels,
            protection=self.protection,
            leverage=self.leverage,
            turnover_coefficient=self.turnover_coefficient,
            drawdown_coefficient=self.drawdown_coefficient,
        )

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything that shaped the training, as it goes on the card."""
        return {
            **self.training.as_hyperparameters(),
            "engine": f"rllib {release('ray')}",
            "cash": self.cash,
            "size_quote": self.size_quote,
            "episode_candles": self.episode_candles,
            "reward_scale": self.reward_scale,
            "first_cost_fraction": self.first_cost_fraction,
            "ramp_fraction": self.ramp_fraction,
            "levels": list(self.levels),
            "stop_loss_fraction": text_or_none(self.protection.stop_loss_fraction),
            "take_profit_fraction": text_or_none(self.protection.take_profit_fraction),
            "leverage": self.leverage,
            "turnover_coefficient": self.turnover_coefficient,
            "drawdown_coefficient": self.drawdown_coefficient,
            "fill_spec_id": self.period.fill_spec.spec_id,
            **({"start_stride": self.start_stride} if self.start_stride != 1 else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The job that a training is, so that it can be taken up again: same id, same version."""

    work_id: str
    """Of the job; names its folder, and the version that comes of it."""
    began_ms: int
    """When it was first begun."""


def job_folder(home: Home, work_id: str) -> Path:
    """Where a job keeps what only it needs; removed when the job has ended."""
    return home / "jobs" / work_id


def train_version(
    home: Home,
    store: DocStore,
    candles: Candles,
    ask: TrainAsk,
    *,
    clock: Clock,
    progress: Tell,
    rates: Rates = (),
    work: Work | None = None,
) -> AgentVersion | None:
    """Train a policy and register it as a draft; None when `progress` returned True to cancel.

    Nothing from the period's end on is looked at, and nothing is registered before the training is
    over. With `work` it leaves checkpoints in the job's folder, goes on from the newest one that is
    there, and ends as the same version however often it was taken up. Ray must be running, or starts:
    see `desk.engines.private_ray`. Raises `BadInput` for candles that do not make an episode, have
    holes, or are not the dataset that was asked for; `NotFound` for an unknown feature set or dataset.
    """
    from desk.learning.arrays import MarketArrays  # noqa: PLC0415 - numba takes seconds to import
    from desk.learning.cost_ramp import CostRampEnv  # noqa: PLC0415

    ask.period.check_leverage(ask.leverage)
    features = feature_set_of(store, ask.feature_set_id)
    chosen = _window(store, candles, ask, features, now_ms=clock.now_ms())
    step_ms = interval_ms(ask.period.interval)
    shown = split_at_holes(chosen.features, chosen.candles.open_ms, step_ms)
    arrays = MarketArrays.from_market(ask.period.market(chosen, rates), shown)
    episode, spec = ask.episode, ask.training
    sampled_by = max(spec.runners, 1)
    if spec.runners:
        _ = arrays.rows  # made here, it goes through the object store once like the other arrays

    def make_env(lanes: int) -> CostRampEnv:
        return CostRampEnv(
            arrays,
            lanes,
            episode,
            first_fraction=ask.first_cost_fraction,
            ramp_steps=int(spec.steps * ask.ramp_fraction / lanes / sampled_by),
        )

    is_cloned = spec.algorithm == BC or spec.warm_start == RULE
    trained = train(
        make_env,
        spec,
        progress,
        checkpoints=None if work is None else _checkpoints(home, work, ask, chosen.dataset),
        rule=trend_rule(features, ask.levels) if is_cloned else None,
    )
    if trained is None:
        return None
    now_ms = clock.now_ms()
    return keep_trained(
        home,
        store,
        ask,
        chosen.dataset,
        features=features,
        tensors=trained.tensors,
        figures=trained.figures,
        made_ms=now_ms if work is None else work.began_ms,
        now_ms=now_ms,
        work_id="" if work is None else work.work_id,
    )


def keep_trained(
    home: Home,
    store: DocStore,
    ask: TrainAsk,
    trained_on: Dataset,
    *,
    features: FeatureSet,
    tensors: Tensors,
    figures: Mapping[str, Any] = MappingProxyType({}),
    made_ms: int,
    now_ms: int,
    work_id: str = "",
) -> AgentVersion:
    """Register what came out of a training as a draft. Idempotent for the same ask, work and times.

    `figures` go on the card: what else came out, and among how many it was chosen.
    """
    dataset = keep_dataset(store, trained_on, now_ms)
    version = _version(ask, dataset, figures, f"{work_id}|{made_ms}", made_ms)
    card = _card(version, features, ask.levels)
    return register(store, artifacts_of(home), version, card, tensors)


def _window(
    store: DocStore, candles: Candles, ask: TrainAsk, features: FeatureSet, *, now_ms: int
) -> Window:
    """The rows to learn from, found good. Raises `BadInput`, `NotFound`."""
    period = ask.period
    within = (period.end_ms - period.start_ms) // interval_ms(period.interval)
    check_length(within, features.lookback, ask.episode_candles)
    signals = period.heard(store, features, now_ms=now_ms)
    chosen = period.window(candles, features, signals)
    if ask.dataset_id:
        doc = store.get(kinds.DATASETS, ask.dataset_id)
        if doc is None:
            raise NotFound("dataset", ask.dataset_id)
        check_unchanged(chosen.dataset, doc.value)
    period.check_gaps(candles, ask.most_missing_fraction)
    return chosen


def _checkpoints(home: Home, work: Work, ask: TrainAsk, dataset: Dataset) -> CheckpointFolder:
    depends_on = {
        "hyperparameters": ask.hyperparameters,
        "dataset": [dataset.dataset_id, dataset.sha256],
        "software": software_versions(),
    }
    text = json.dumps(depends_on, sort_keys=True)
    every = ask.checkpoint_every_updates
    if every is not None and every < 1:
        raise BadInput("checkpoint_every_updates", f"was {every}, expected at least 1")
    return CheckpointFolder(
        folder=job_folder(home, work.work_id) / FOLDER,
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        every_updates=every or CHECKPOINT_UPDATES[ask.training.algorithm],
    )


def _version(
    ask: TrainAsk, dataset: Dataset, figures: Mapping[str, Any], identity: str, made_ms: int
) -> AgentVersion:
    """`identity` tells trainings apart that are alike in everything."""
    period, algorithm = ask.period, ask.training.algorithm
    hyperparameters: Mapping[str, Any] = {**ask.hyperparameters, **figures}
    text = f"{dataset.dataset_id}|{sorted(hyperparameters.items())}|{identity}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    default_name = (
        f"{NAMES[algorithm]}, {period.pair} {period.interval}, to {to_iso(period.end_ms)[:10]}"
    )
    return AgentVersion(
        version_id=f"{algorithm}-{to_iso(made_ms)[:10]}-{digest}",
        agent_id=ask.agent_id,
        name=ask.name or default_name,
        algorithm=algorithm,
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=dataset.feature_set_id,
        created_ms=made_ms,
        seed=ask.training.seed,
        hyperparameters=hyperparameters,
        dataset_id=dataset.dataset_id,
        dataset_sha256=dataset.sha256,
        training_start_ms=period.start_ms,
        training_end_ms=period.end_ms,
        software=software_versions(),
    )


def _card(version: AgentVersion, features: FeatureSet, levels: tuple[float, ...]) -> dict[str, Any]:
    return policy_card(
        version_id=version.version_id,
        algorithm=version.algorithm,
        is_baseline=False,
        hyperparameters=version.hyperparameters,
        software=version.software,
        features=features,
        levels=levels,
        dataset_id=version.dataset_id,
        dataset_sha256=version.dataset_sha256,
        seed=version.seed,
    )
