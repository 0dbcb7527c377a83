"""Versions whose features look at signals: trained, registered, served and evaluated on the same columns."""

from pathlib import Path

import pytest

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.training import TrainAsk, train_version
from actors.version_registry import policy_of, version_of
from desk.clock import ManualClock
from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.learning.versions import AgentVersion
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1, Feature
from desk.market.signal_features import SignalColumns
from desk.store import kinds, signals
from desk.store.feature_sets import keep_feature_set
from desk.store.memory import MemoryStore
from tests.alerts import alert
from tests.learning.untrained import Cut, rule_version, train_no_steps

SAID = make_feature_set(
    "said",
    [Feature(name="volatility_60", rule="volatility", windows=(60,))],
    [SignalColumns(source_id="feed", half_life_min=30)],
)
FIRST, LAST = 400, 1_400
BUYS, SELLS = (500, 900), (700, 1_100)


@pytest.fixture
def home(memory: MemoryStore, market: Candles, tmp_path: Path) -> Path:
    keep_feature_set(memory, SAID, now_ms=1, created_by="test")
    for row in BUYS:
        signals.append(memory, alert("buy", int(market.open_ms[row])))
    for row in SELLS:
        signals.append(memory, alert("sell", int(market.open_ms[row])))
    return tmp_path


def follower(memory: MemoryStore, home: Path) -> AgentVersion:
    """A version that is on the side of the last word while it is fresh, and flat otherwise."""
    weights = {"signal_side:feed": [-20.0, 0.0, 20.0]}
    return rule_version(memory, home, SAID, "follower", weights, flat=5.0)


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
    ask = TrainAsk(
        period=period(FIRST, LAST), feature_set_id=SAID.feature_set_id, episode_candles=200
    )

    version, shown = train_no_steps(home, memory, market, ask, clock)

    assert shown.shape == (8, SAID.size + 1)
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
