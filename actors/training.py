"""Training a version from candles: the whole way, with or without an actor around it.

RLlib, torch and the compiled rules are imported where they run, not with this module.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.study_period import Period, Rates, text_or_none
from actors.version_registry import artifacts_of, keep_dataset, register
from desk.clock import Clock, to_iso
from desk.engines.rllib import (
    TrainingProgress,
    TrainingSpec,
    software_versions,
    train,
)
from desk.learning.policy import LEVELS, policy_card
from desk.learning.study import Dataset
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1, FeatureSet
from desk.store.feature_sets import feature_set_of
from desk.store.port import DocStore
from desk.trading.intents import NO_PROTECTION, Protection

ALGORITHM = "ppo"


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
    episode_candles: int = 1_440
    start_stride: int = 1
    """Candles from where one episode may begin to the next such place."""
    reward_scale: float = 100.0
    """Reward is the log-growth of equity times this: 100 counts percents."""
    first_cost_fraction: float = 0.1
    """Part of the real commission at the first step."""
    ramp_fraction: float = 0.6
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

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Everything that shaped the training, as it goes on the card."""
        return {
            **self.training.as_hyperparameters(),
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


def train_version(
    home: Path,
    store: DocStore,
    candles: Candles,
    ask: TrainAsk,
    *,
    clock: Clock,
    progress: Callable[[TrainingProgress], bool],
    rates: Rates = (),
) -> AgentVersion | None:
    """Train PPO and register the result as a draft; None when `progress` returned True to cancel.

    Nothing from the period's end on is looked at. Ray must be running, or starts: see
    `desk.engines.private_ray`. Raises `BadInput` when the candles do not make an episode, `NotFound`
    for an unknown feature set.
    """
    from desk.learning.arrays import MarketArrays  # noqa: PLC0415 - numba takes seconds to import
    from desk.learning.cost_ramp import CostRampEnv  # noqa: PLC0415
    from desk.learning.episode import EpisodeSpec  # noqa: PLC0415

    ask.period.check_leverage(ask.leverage)
    features = feature_set_of(store, ask.feature_set_id)
    signals = ask.period.heard(store, features, now_ms=clock.now_ms())
    chosen = ask.period.window(candles, features, signals)
    arrays = MarketArrays.from_market(ask.period.market(chosen, rates), chosen.features)
    episode = EpisodeSpec(
        cash=ask.cash,
        size_quote=ask.size_quote,
        length=ask.episode_candles,
        start_stride=ask.start_stride,
        reward_scale=ask.reward_scale,
        levels=ask.levels,
        protection=ask.protection,
        leverage=ask.leverage,
        turnover_coefficient=ask.turnover_coefficient,
        drawdown_coefficient=ask.drawdown_coefficient,
    )

    def make_env(lanes: int) -> CostRampEnv:
        return CostRampEnv(
            arrays,
            lanes,
            episode,
            first_fraction=ask.first_cost_fraction,
            ramp_steps=int(ask.training.steps * ask.ramp_fraction / lanes),
        )

    trained = train(make_env, ask.training, progress)
    if trained is None:
        return None
    now_ms = clock.now_ms()
    dataset = keep_dataset(store, chosen.dataset, now_ms)
    version = _version(ask, dataset, now_ms)
    card = _card(version, features, ask.levels)
    return register(store, artifacts_of(home), version, card, trained.tensors)


def describe(progress: TrainingProgress) -> str:
    """One line for people: reward, entropy, KL, speed."""
    figures = {
        "reward": progress.reward_mean,
        "entropy": progress.entropy,
        "KL": progress.kl,
    }
    known = [f"{name} {value:.3f}" for name, value in figures.items() if value is not None]
    return " · ".join([*known, f"{progress.steps_per_s:,.0f} steps/s"])


def _version(ask: TrainAsk, dataset: Dataset, now_ms: int) -> AgentVersion:
    period, hyperparameters = ask.period, ask.hyperparameters
    identity = f"{dataset.dataset_id}|{sorted(hyperparameters.items())}|{now_ms}"
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    default_name = f"PPO, {period.pair} {period.interval}, to {to_iso(period.end_ms)[:10]}"
    return AgentVersion(
        version_id=f"{ALGORITHM}-{to_iso(now_ms)[:10]}-{digest}",
        agent_id=ask.agent_id,
        name=ask.name or default_name,
        algorithm=ALGORITHM,
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=dataset.feature_set_id,
        created_ms=now_ms,
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
    )
