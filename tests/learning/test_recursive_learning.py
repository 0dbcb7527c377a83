"""Versions on indicators: trained and evaluated on the bytes that a run would be shown."""

from pathlib import Path

import numpy as np
import pytest

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.training import TrainAsk
from actors.version_registry import policy_of
from desk.clock import ManualClock
from desk.errors import BadInput
from desk.learning.versions import AgentVersion
from desk.market.anchors import Anchor
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from tests.learning.conftest import MINUTE_MS
from tests.learning.untrained import Cut, rule_version, train_no_steps

MOVING = make_feature_set(
    "moving",
    [
        Feature(name="ema_distance", rule="ema_distance", windows=(40, 14)),
        Feature(name="rsi_of_5", rule="rsi", windows=(14,), bars=5),
    ],
    anchor=Anchor(every=360, warm_up=120, most_filled=2),
)
FIRST, LAST = 700, 1_700


@pytest.fixture
def home(memory: MemoryStore, tmp_path: Path) -> Path:
    keep_feature_set(memory, MOVING, now_ms=1, created_by="test")
    return tmp_path


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
    weights = {"ema_distance": [-20.0, 0.0, 20.0]}
    return rule_version(memory, home, MOVING, "trend", weights)


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
    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=MOVING.feature_set_id, episode_candles=200
    )

    version, shown = train_no_steps(home, memory, market, ask, clock)

    rows = period(FIRST, LAST).window(market, MOVING).features
    assert shown.shape == (8, MOVING.size + 1)
    assert {one.tobytes() for one in shown[:, :-1]} <= {one.tobytes() for one in rows}
    assert policy_of(home, version, memory).feature_set_id == MOVING.feature_set_id
    dataset = memory.get(kinds.DATASETS, version.dataset_id)
    assert dataset is not None
    assert dataset.value.feature_set_id == MOVING.feature_set_id
