"""Versions whose features look at funding: evaluated and trained on what was known, and refused without."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors import training
from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_period import Period
from actors.training import TrainAsk, train_version
from actors.version_registry import artifacts_of, policy_of, register
from desk.clock import HOUR_MS, ManualClock
from desk.engines.rllib import TrainedPolicy, TrainingProgress
from desk.errors import BadInput
from desk.learning.policy import policy_card
from desk.learning.versions import AgentVersion, VersionStatus
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import Feature
from desk.market.funding_features import FUNDING_SOURCE, FundingColumn, FundingColumns
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from desk.venues.port import FundingRate

Cut = Callable[[int, int], Period]
PAID = make_feature_set(
    "paid",
    [Feature(name="volatility_60", rule="volatility", windows=(60,))],
    funding=FundingColumns(columns=(FundingColumn(rule="funding_rate"),), max_age_min=540),
)
FIRST, LAST = 400, 2_900
RATES = ("0.0004", "-0.0004", "0.0004", "-0.0004", "0.0004", "-0.0004", "0.0004", "-0.0004")


@pytest.fixture
def home(memory: MemoryStore, market: Candles, tmp_path: Path) -> Path:
    keep_feature_set(memory, PAID, now_ms=1, created_by="test")
    step_ms = 8 * HOUR_MS
    first_ms = int(market.open_ms[0]) // step_ms * step_ms
    for number, rate in enumerate(RATES):
        due_ms = first_ms + number * step_ms
        row = FundingRate(pair="BTC-USDT", due_ms=due_ms, rate=Decimal(rate))
        memory.put(kinds.funding_rates("BTC-USDT"), str(due_ms), row, at_ms=due_ms)
    return tmp_path


@pytest.fixture
def clock(market: Candles) -> ManualClock:
    return ManualClock(int(market.open_ms[-1]))


def collector(memory: MemoryStore, home: Path) -> AgentVersion:
    """A version that is on the side that is paid: short while longs pay."""
    weight = np.zeros((3, PAID.size + 1), dtype=np.float32)
    weight[:, PAID.index("funding_rate")] = [20.0, 0.0, -20.0]
    bias = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    version = AgentVersion(
        version_id="collector",
        agent_id="desk",
        name="collector",
        algorithm="rule",
        is_baseline=False,
        status=VersionStatus.DRAFT,
        artifact_uri="",
        artifact_sha256="",
        artifact_bytes=0,
        feature_set_id=PAID.feature_set_id,
        created_ms=1,
        hyperparameters={},
    )
    card = policy_card(
        version_id="collector",
        algorithm="rule",
        is_baseline=False,
        hyperparameters={},
        software={},
        features=PAID,
    )
    tensors = {"layers.0.weight": weight, "layers.0.bias": bias}
    return register(memory, artifacts_of(home), version, card, tensors)


def test_an_evaluation_turns_with_each_settlement_and_names_what_it_looked_at(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    collector(memory, home)
    chosen = period(FIRST, LAST)
    ask = EvaluateAsk(period=chosen, version_id="collector", decision_threshold=0.0)

    report = evaluate_version(home, memory, market, ask, clock=clock)

    due = [doc.value.due_ms for doc in memory.list(kinds.funding_rates("BTC-USDT"))]
    turns = [at for at in due if chosen.start_ms < at < chosen.end_ms - HOUR_MS]
    assert len(turns) >= 4
    assert report.trade_count == len(turns) + 1
    dataset = memory.get(kinds.DATASETS, report.dataset_id)
    assert dataset is not None
    assert list(dataset.value.signals_sha256) == [FUNDING_SOURCE]
    for doc in memory.list(kinds.funding_rates("BTC-USDT")):
        memory.delete(kinds.funding_rates("BTC-USDT"), doc.key)
    with pytest.raises(BadInput, match="no settlement of the pair was known"):
        evaluate_version(home, memory, market, ask, clock=clock)


def test_a_training_sees_the_column_and_its_version_names_the_set(
    memory: MemoryStore, market: Candles, period: Cut, home: Path, clock: ManualClock
) -> None:
    """What RLlib does between environment and weights is tested with RLlib."""
    shown: list[Any] = []

    def no_steps(make_env: Callable[[int], Any], *_: object, **__: object) -> TrainedPolicy:
        shown.append(make_env(8).reset(seed=3)[0])
        weight = np.zeros((3, PAID.size + 1), dtype=np.float32)
        return TrainedPolicy(
            tensors={"layers.0.weight": weight, "layers.0.bias": np.zeros(3, dtype=np.float32)},
            progress=TrainingProgress(
                steps=0,
                total_steps=1,
                episodes=0,
                reward_mean=None,
                entropy=None,
                kl=None,
                steps_per_s=1.0,
                eta_s=0.0,
            ),
        )

    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=PAID.feature_set_id, episode_candles=200
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", no_steps)
        version = train_version(home, memory, market, ask, clock=clock, progress=lambda _: False)

    assert version is not None
    assert shown[0].shape == (8, PAID.size + 1)
    assert set(np.abs(shown[0][:, PAID.index("funding_rate")]).tolist()) == {np.float32(0.8)}
    assert policy_of(home, version, memory).feature_set_id == PAID.feature_set_id
