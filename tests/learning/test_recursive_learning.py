"""Versions on indicators: trained and evaluated on the bytes that a run would be shown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors import training
from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_period import Period
from actors.training import TrainAsk, train_version
from actors.version_registry import artifacts_of, policy_of, register
from desk.clock import ManualClock
from desk.engines.rllib import TrainedPolicy, TrainingProgress
from desk.errors import BadInput
from desk.learning.policy import policy_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.anchors import Anchor
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from tests.learning.conftest import MINUTE_MS

Cut = Callable[[int, int], Period]
MOVING = make_feature_set(
    "moving",
    [
        Feature(name="ema_distance", rule="ema_distance", windows=(40, 14)),
        Feature(name="rsi_of_5", rule="rsi", windows=(14,), bars=5),
    ],
    anchor=Anchor(every=360, warm_up=120, most_filled=2),
)
FIRST, LAST = 700, 1_700
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


@pytest.fixture
def home(memory: MemoryStore, tmp_path: Path) -> Path:
    keep_feature_set(memory, MOVING, now_ms=1, created_by="test")
    return tmp_path


@pytest.fixture
def clock(market: Candles) -> ManualClock:
    return ManualClock(int(market.open_ms[-1]))


def with_holes(market: Candles) -> Candles:
    """A short hole that is filled and a long one behind which the series begins anew."""
    keep = np.ones(len(market), dtype=np.bool_)
    keep[900:902] = keep[1_200:1_210] = False
    return market.take(keep)


def test_a_study_has_the_bytes_that_a_run_would_be_shown(market: Candles, period: Cut) -> None:
    candles = with_holes(market)

    chosen = period(FIRST, LAST).window(candles, MOVING)

    stream = FeatureStream(MOVING, MINUTE_MS)
    first = candles.open_ms.tolist().index(int(chosen.candles.open_ms[0]))
    for row in range(len(chosen)):
        seen = candles.take(slice(first + row + 1 - MOVING.lookback, first + row + 1))
        assert stream.observe(seen).tobytes() == chosen.features[row].tobytes()
    known = np.isfinite(chosen.features).all(axis=1)
    assert len(chosen) == LAST - FIRST - 12
    assert 0 < int((~known).sum()) <= 120
    assert chosen.dataset.feature_set_id == MOVING.feature_set_id
    assert chosen.dataset.lookback == 600


def test_a_study_before_the_first_anchor_is_refused(market: Candles, period: Cut) -> None:
    with pytest.raises(BadInput) as refused:
        period(0, 60).window(market.take(slice(0, 60)), MOVING)

    assert refused.value.field == "period"


def trend(memory: MemoryStore, home: Path) -> AgentVersion:
    """A version that is long above the average and short below it."""
    weight = np.zeros((3, MOVING.size + 1), dtype=np.float32)
    weight[:, 0] = [-20.0, 0.0, 20.0]
    version = AgentVersion(
        version_id="trend",
        agent_id="desk",
        name="trend",
        algorithm="rule",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=MOVING.feature_set_id,
        created_ms=1,
        hyperparameters={},
    )
    card = policy_card(
        version_id="trend",
        algorithm="rule",
        is_baseline=False,
        hyperparameters={},
        software={},
        features=MOVING,
    )
    tensors = {"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)}
    return register(memory, artifacts_of(home), version, card, tensors)


def test_an_evaluation_over_holes_repeats_itself(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    trend(memory, home)
    ask = EvaluateAsk(
        period=period(FIRST, LAST),
        version_id="trend",
        decision_threshold=0.0,
        most_missing_fraction=0.02,
    )

    report = evaluate_version(home, memory, with_holes(market), ask, clock=clock)
    again = evaluate_version(home, memory, with_holes(market), ask, clock=clock)

    assert report == again
    assert report.trade_count > 10
    assert report.feature_set_id == MOVING.feature_set_id


def test_a_training_sees_the_columns_and_its_version_names_them(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    """What RLlib does between environment and weights is tested with RLlib."""
    shown: list[Any] = []

    def no_steps(make_env: Callable[[int], Any], *_: object, **__: object) -> TrainedPolicy:
        observations, _ = make_env(8).reset(seed=3)
        shown.append(observations)
        weight = np.zeros((3, MOVING.size + 1), dtype=np.float32)
        return TrainedPolicy(
            tensors={"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)},
            progress=NO_PROGRESS,
        )

    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=MOVING.feature_set_id, episode_candles=200
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", no_steps)
        version = train_version(home, memory, market, ask, clock=clock, progress=lambda _: False)

    assert version is not None
    rows = period(FIRST, LAST).window(market, MOVING).features
    assert shown[0].shape == (8, MOVING.size + 1)
    assert {one.tobytes() for one in shown[0][:, :-1]} <= {one.tobytes() for one in rows}
    assert policy_of(home, version, memory).feature_set_id == MOVING.feature_set_id
    dataset = memory.get(kinds.DATASETS, version.dataset_id)
    assert dataset is not None
    assert dataset.value.feature_set_id == MOVING.feature_set_id
