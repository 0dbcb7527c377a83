"""Versions whose features look at signals: trained, registered, served and evaluated on the same columns."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors import training
from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_period import Period
from actors.training import TrainAsk, train_version
from actors.version_registry import artifacts_of, policy_of, register, version_of
from desk.clock import ManualClock
from desk.engines.rllib import TrainedPolicy, TrainingProgress
from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.learning.policy import policy_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1, Feature
from desk.market.signal_features import SignalColumns
from desk.store import kinds, signals
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from tests.alerts import alert

Cut = Callable[[int, int], Period]
SAID = make_feature_set(
    "said",
    [Feature(name="volatility_60", rule="volatility", windows=(60,))],
    [SignalColumns(source_id="feed", half_life_min=30)],
)
FIRST, LAST = 400, 1_400
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
BUYS, SELLS = (500, 900), (700, 1_100)


@pytest.fixture
def home(memory: MemoryStore, market: Candles, tmp_path: Path) -> Path:
    keep_feature_set(memory, SAID, now_ms=1, created_by="test")
    for row in BUYS:
        signals.append(memory, alert("buy", int(market.open_ms[row])))
    for row in SELLS:
        signals.append(memory, alert("sell", int(market.open_ms[row])))
    return tmp_path


@pytest.fixture
def clock(market: Candles) -> ManualClock:
    return ManualClock(int(market.open_ms[-1]))


def follower(memory: MemoryStore, home: Path) -> AgentVersion:
    """A version that is on the side of the last word while it is fresh, and flat otherwise."""
    weight = np.zeros((3, SAID.size + 1), dtype=np.float32)
    weight[:, SAID.index("signal_side:feed")] = [-20.0, 0.0, 20.0]
    bias = np.array([0.0, 5.0, 0.0], dtype=np.float32)
    version = AgentVersion(
        version_id="follower",
        agent_id="desk",
        name="follower",
        algorithm="rule",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=SAID.feature_set_id,
        created_ms=1,
        hyperparameters={},
    )
    card = policy_card(
        version_id="follower",
        algorithm="rule",
        is_baseline=False,
        hyperparameters={},
        software={},
        features=SAID,
    )
    tensors = {"layers.0.weight": weight, "layers.0.bias": bias}
    return register(memory, artifacts_of(home), version, card, tensors)


def test_an_evaluation_trades_on_what_was_heard_and_names_it(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    follower(memory, home)
    ask = EvaluateAsk(period=period(FIRST, LAST), version_id="follower", decision_threshold=0.0)

    told = evaluate_version(home, memory, market, ask, clock=clock)
    again = evaluate_version(home, memory, market, ask, clock=clock)
    for doc in memory.list(kinds.signals_of("feed")):
        memory.delete(kinds.signals_of("feed"), doc.key)
    silent = evaluate_version(home, memory, market, ask, clock=clock)

    assert told == again
    assert (told.trade_count, silent.trade_count) == (len(BUYS) + len(SELLS), 0)
    assert told.feature_set_id == silent.feature_set_id == SAID.feature_set_id
    assert told.dataset_sha256 != silent.dataset_sha256
    dataset = memory.get(kinds.DATASETS, told.dataset_id)
    assert dataset is not None
    assert list(dataset.value.signals_sha256) == ["feed"]


def test_an_evaluation_over_messages_that_may_be_gone_is_refused(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    follower(memory, home)
    clock.advance(signals.KEPT_MS)
    ask = EvaluateAsk(period=period(FIRST, LAST), version_id="follower")

    with pytest.raises(BadInput):
        evaluate_version(home, memory, market, ask, clock=clock)

    assert memory.list(kinds.EVALUATIONS) == []


def test_a_training_sees_the_columns_and_its_version_names_them(
    memory: MemoryStore,
    market: Candles,
    period: Cut,
    home: Path,
    clock: ManualClock,
) -> None:
    """What RLlib does between environment and weights is tested with RLlib."""
    shown: list[Any] = []

    def no_steps(make_env: Callable[[int], Any], *_: object, **__: object) -> TrainedPolicy:
        env = make_env(8)
        observations, _ = env.reset(seed=3)
        shown.append(observations)
        weight = np.zeros((3, SAID.size + 1), dtype=np.float32)
        return TrainedPolicy(
            tensors={"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)},
            progress=NO_PROGRESS,
        )

    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=SAID.feature_set_id, episode_candles=200
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", no_steps)
        version = train_version(home, memory, market, ask, clock=clock, progress=lambda _: False)

    assert version is not None
    assert shown[0].shape == (8, SAID.size + 1)
    assert version.feature_set_id == SAID.feature_set_id
    assert policy_of(home, version, memory).feature_set_id == SAID.feature_set_id
    dataset = memory.get(kinds.DATASETS, version.dataset_id)
    assert dataset is not None
    assert dataset.value.feature_set_id == SAID.feature_set_id
    assert version.dataset_sha256 == dataset.value.sha256


def test_a_training_on_a_set_that_nobody_made_is_refused(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    ask = TrainAsk(period=period(FIRST, LAST), feature_set_id="said-000000000000")

    with pytest.raises(NotFound):
        train_version(home, memory, market, ask, clock=clock, progress=lambda _: False)


def test_a_policy_is_not_loaded_where_its_feature_set_is_not_known(
    memory: MemoryStore, home: Path
) -> None:
    follower(memory, home)
    version = version_of(memory, "follower")
    assert policy_of(home, version, memory).observation_size == SAID.size + 1

    memory.delete(kinds.FEATURE_SETS, SAID.feature_set_id)

    with pytest.raises(ArtifactRefused, match=FEATURES_V1.feature_set_id):
        policy_of(home, version, memory)
