"""Versions without a training: rules written as a network, and trainings in which no step is taken."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from actors import training
from actors.study_period import Period
from actors.training import TrainAsk, train_version
from actors.version_registry import artifacts_of, register
from desk.clock import Clock
from desk.engines.rllib import TrainedPolicy, TrainingProgress
from desk.learning.policy import policy_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.store.memory import MemoryStore

type Cut = Callable[[int, int], Period]
NO_PROGRESS = TrainingProgress(
    steps=0,
    total_steps=1,
    episodes=0,
    reward_mean=None,
    entropy=None,
    kl=None,
    steps_per_s=1.0,
    eta_s=0.0,
)


def rule_version(
    memory: MemoryStore,
    home: Path,
    features: FeatureSet,
    version_id: str,
    weights: Mapping[str, list[float]],
    *,
    flat: float = 0.0,
) -> AgentVersion:
    """Register a draft that weighs columns by name towards short, flat and long; `flat` is its bias."""
    weight = np.zeros((3, features.size + 1), dtype=np.float32)
    for name, of_actions in weights.items():
        weight[:, features.index(name)] = of_actions
    version = AgentVersion(
        version_id=version_id,
        agent_id="desk",
        name=version_id,
        algorithm="rule",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=features.feature_set_id,
        created_ms=1,
        hyperparameters={},
    )
    card = policy_card(
        version_id=version_id,
        algorithm="rule",
        is_baseline=False,
        hyperparameters={},
        software={},
        features=features,
    )
    bias = np.array([0.0, flat, 0.0], dtype=np.float32)
    tensors = {"layers.0.weight": weight, "layers.0.bias": bias}
    return register(memory, artifacts_of(home), version, card, tensors)


def train_no_steps(
    home: Path, memory: MemoryStore, candles: Candles, ask: TrainAsk, clock: Clock
) -> tuple[AgentVersion, NDArray[np.float32]]:
    """Everything of a training but RLlib, which has tests of its own; the version and what eight
    lanes were shown first. Raises as `train_version`."""
    shown: list[Any] = []

    def no_steps(make_env: Callable[[int], Any], *_: object, **__: object) -> TrainedPolicy:
        shown.append(make_env(8).reset(seed=3)[0])
        actions = len(ask.levels)
        return TrainedPolicy(
            tensors={
                "layers.0.weight": np.zeros((actions, shown[0].shape[1]), dtype=np.float32),
                "layers.0.bias": np.zeros(actions, dtype=np.float32),
            },
            progress=NO_PROGRESS,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", no_steps)
        version = train_version(home, memory, candles, ask, clock=clock, progress=lambda _: False)
    assert version is not None
    return version, shown[0]
