"""Versions whose features look at funding: evaluated and trained on what was known, and refused without."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.training import TrainAsk
from actors.version_registry import policy_of
from desk.clock import HOUR_MS, ManualClock
from desk.errors import BadInput
from desk.learning.versions import AgentVersion
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import Feature
from desk.market.funding_features import FUNDING_SOURCE, FundingColumn, FundingColumns
from desk.store import kinds
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from desk.venues.port import FundingRate
from tests.learning.untrained import Cut, rule_version, train_no_steps

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


def collector(memory: MemoryStore, home: Path) -> AgentVersion:
    """A version that is on the side that is paid: short while longs pay."""
    weights = {"funding_rate": [20.0, 0.0, -20.0]}
    return rule_version(memory, home, PAID, "collector", weights, flat=1.0)


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
    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=PAID.feature_set_id, episode_candles=200
    )

    version, shown = train_no_steps(home, memory, market, ask, clock)

    assert shown.shape == (8, PAID.size + 1)
    assert set(np.abs(shown[:, PAID.index("funding_rate")]).tolist()) == {np.float32(0.8)}
    assert policy_of(home, version, memory).feature_set_id == PAID.feature_set_id
