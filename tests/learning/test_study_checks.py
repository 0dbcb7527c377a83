"""What a request is refused for is what its job would fail for, and nothing else is refused."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actors import learning_jobs
from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_checks import check_evaluation, check_training, rows_with_features
from actors.study_period import Period
from actors.training import TrainAsk
from actors.version_registry import ensure_baseline
from actors.wiring import Wiring
from desk.clock import MINUTE_MS, ManualClock
from desk.errors import ArtifactRefused, BadInput
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.learning.episode import EpisodeSpec, split_at_holes
from desk.market.anchors import Anchor
from desk.market.candles import Candles
from desk.market.feature_sets import make_feature_set
from desk.market.features import FEATURES_V1, Feature, FeatureSet
from desk.market.funding_features import FundingColumn, FundingColumns
from desk.market.signal_features import NO_SIGNALS, SignalColumns
from desk.store import kinds
from desk.store.artifacts import Artifacts
from desk.store.feature_sets import feature_set_of, keep_feature_set
from desk.store.memory import MemoryStore
from desk.trading.intents import Protection
from serve_apps.desk_port import EvaluationAsk, TrainingAsk
from serve_apps.learning import RayLearning
from tests.learning.conftest import INSTRUMENT
from tests.learning.untrained import Cut, train_no_steps

MOVING = make_feature_set(
    "moving",
    [Feature(name="rsi", rule="rsi", windows=(14,))],
    anchor=Anchor(every=200, warm_up=60, most_filled=3),
)
PAID = make_feature_set(
    "paid",
    FEATURES_V1.features,
    funding=FundingColumns(columns=(FundingColumn(rule="funding_rate"),)),
)
SAID = make_feature_set(
    "said", FEATURES_V1.features, [SignalColumns(source_id="feed", half_life_min=30)]
)


@pytest.fixture
def memory() -> MemoryStore:
    store = MemoryStore()
    for features in (MOVING, PAID, SAID):
        keep_feature_set(store, features, now_ms=1, created_by="test")
    return store


def without(market: Candles, first: int, count: int) -> Candles:
    keep = np.ones(len(market), dtype=np.bool_)
    keep[first : first + count] = False
    return market.take(keep)


def off_tick(market: Candles) -> Candles:
    high = market.high.copy()
    high[900] += 0.04
    return replace(market, high=high)


type Case = tuple[str, dict[str, object], Callable[[Candles], Candles], int]
"""Field, what is asked otherwise, what became of the candles, how many days later it is."""


def as_they_are(market: Candles) -> Candles:
    return market


WRONG: dict[str, Case] = {
    "levels": ("levels", {"levels": (1.0, 0.0)}, as_they_are, 0),
    "nan": ("cash", {"cash": float("nan")}, as_they_are, 0),
    "scale": ("reward_scale", {"reward_scale": 0.0}, as_they_are, 0),
    "turnover": ("turnover_coefficient", {"turnover_coefficient": -1.0}, as_they_are, 0),
    "small": ("size_quote", {"levels": (-1.0, 0.0, 1e-4)}, as_they_are, 0),
    "stop": (
        "stop_loss_fraction",
        {"protection": Protection(stop_loss_fraction=Decimal("1.5"))},
        as_they_are,
        0,
    ),
    "take": (
        "take_profit_fraction",
        {"protection": Protection(take_profit_fraction=Decimal("0.0000000001"))},
        as_they_are,
        0,
    ),
    "leverage": ("leverage", {"leverage": 101}, as_they_are, 0),
    "tick": ("candles", {}, off_tick, 0),
    "holes": ("period", {}, lambda market: without(market, 1_000, 126), 0),
    "share": ("most_missing_fraction", {"most_missing_fraction": 1.5}, as_they_are, 0),
    "none": ("period", {}, lambda market: market.take(slice(0, 300)), 0),
    "short": ("period", {}, lambda market: market.take(slice(0, 590)), 0),
    "torn": ("period", {}, lambda market: without(market.take(slice(0, 900)), 600, 1), 0),
    "filled": (
        "period",
        {"feature_set_id": MOVING.feature_set_id},
        lambda market: without(market.take(slice(0, 780)), 590, 2),
        0,
    ),
    "unpaid": ("start", {"feature_set_id": PAID.feature_set_id}, as_they_are, 0),
    "gone": ("start", {"feature_set_id": SAID.feature_set_id}, as_they_are, 40),
}


def asked(period: Period, **changes: object) -> TrainAsk:
    made = TrainAsk(period=period, episode_candles=800, most_missing_fraction=0.05)
    return replace(made, **changes)  # pyright: ignore[reportArgumentType]


def refused(store: MemoryStore, candles: Candles, ask: TrainAsk, now_ms: int) -> BadInput | None:
    features = feature_set_of(store, ask.feature_set_id)
    try:
        check_training(
            store,
            candles,
            ask.period,
            features,
            ask.episode,
            most_missing_fraction=ask.most_missing_fraction,
            now_ms=now_ms,
        )
    except BadInput as wrong:
        return wrong
    return None


def failed(
    home: Path, store: MemoryStore, candles: Candles, ask: TrainAsk, now_ms: int
) -> BadInput | None:
    """What the job says, up to the first step."""
    try:
        train_no_steps(home, store, candles, ask, ManualClock(now_ms))
    except BadInput as wrong:
        return wrong
    return None


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_what_is_refused_fails_in_the_job_too(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path, case: Case
) -> None:
    field, changes, change, days = case
    ask, candles = asked(period(400, 2_900), **changes), change(market)
    now_ms = int(market.open_ms[-1]) + days * 1_440 * MINUTE_MS

    early = refused(memory, candles, ask, now_ms)

    assert early is not None
    assert early.field == field
    late = failed(tmp_path, memory, candles, ask, now_ms)
    assert late is not None
    if case in (WRONG["holes"], WRONG["share"]):
        assert str(late) == str(early)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"feature_set_id": MOVING.feature_set_id},
        {"feature_set_id": SAID.feature_set_id},
        {"leverage": 100, "protection": Protection(stop_loss_fraction=Decimal("0.01"))},
    ],
)
def test_what_is_not_refused_begins(
    memory: MemoryStore, market: Candles, period: Cut, tmp_path: Path, changes: dict[str, object]
) -> None:
    ask, now_ms = asked(period(400, 2_900), **changes), int(market.open_ms[-1])
    gapped = without(without(market, 1_000, 40), 700, 2)

    assert refused(memory, gapped, ask, now_ms) is None
    assert failed(tmp_path, memory, gapped, ask, now_ms) is None


def test_no_episode_steps_over_a_hole_that_the_features_fill_in(
    market: Candles, period: Cut
) -> None:
    candles = without(market, 1_000, 2)
    chosen = period(400, 2_900).window(candles, MOVING)
    behind = int(np.searchsorted(chosen.candles.open_ms, market.open_ms[1_002]))

    split = split_at_holes(chosen.features, chosen.candles.open_ms, MINUTE_MS)

    assert np.isfinite(chosen.features[behind - 1 : behind + 1]).all()
    assert np.flatnonzero(np.isnan(split).all(axis=1)).tolist() == [behind]
    kept = np.arange(len(split)) != behind
    assert split[kept].tobytes() == chosen.features[kept].tobytes()
    assert split_at_holes(split, chosen.candles.open_ms, MINUTE_MS) is split


@pytest.mark.parametrize("features", [FEATURES_V1, MOVING], ids=["windows", "anchor"])
def test_rows_that_have_features_are_known_without_them(
    market: Candles, features: FeatureSet
) -> None:
    candles = without(without(market, 1_000, 40), 700, 2)

    found = rows_with_features(candles, features, NO_SIGNALS, MINUTE_MS)

    matrix = features.compute(candles, step_ms=MINUTE_MS)
    assert found.tolist() == np.isfinite(matrix).all(axis=1).tolist()


def test_an_episode_of_a_request_is_that_of_its_training(period: Cut) -> None:
    """`desk train` checks before it imports what knows `TrainAsk`: the scale alone is another."""
    asked_for = TrainAsk(period=period(0, 10)).episode

    assert replace(asked_for, reward_scale=EpisodeSpec().reward_scale) == EpisodeSpec()


def test_an_evaluation_is_refused_for_its_exits_candles_and_signals(
    memory: MemoryStore, market: Candles, period: Cut
) -> None:
    now_ms = int(market.open_ms[-1])

    def field(candles: Candles, features: FeatureSet, **exits: Any) -> str:
        with pytest.raises(BadInput) as wrong:
            check_evaluation(
                memory,
                candles,
                period(400, 900),
                features,
                most_missing_fraction=0.01,
                now_ms=now_ms,
                **exits,
            )
        return wrong.value.field

    assert field(market.take(slice(0, 400)), FEATURES_V1) == "period"
    assert field(market.take(slice(390, 500)), FEATURES_V1) == "period"
    assert field(market, FEATURES_V1, leverage=101) == "leverage"
    wild = Protection(take_profit_fraction=Decimal(2))
    assert field(market, FEATURES_V1, protection=wild) == "take_profit_fraction"
    assert field(market, PAID) == "start"
    check_evaluation(
        memory, market, period(400, 900), FEATURES_V1, most_missing_fraction=0.0, now_ms=now_ms
    )


# --- the request --------------------------------------------------------------------------------


@pytest.fixture
def learning(memory: MemoryStore, market: Candles, tmp_path: Path) -> RayLearning:
    """The real one, which needs no Ray to refuse."""
    return learning_on(memory, market, tmp_path)


def learning_on(memory: MemoryStore, market: Candles, tmp_path: Path) -> RayLearning:
    memory.write_candles("BTC-USDT", "1m", market)
    memory.put(kinds.INSTRUMENTS, "BTC-USDT", INSTRUMENT, at_ms=1)
    ensure_baseline(tmp_path, memory, "desk", 1_000)
    wiring = Wiring(
        store_url="", home=tmp_path, venue_url="", pairs=("BTC-USDT",), intervals=("1m",)
    )
    return RayLearning(wiring, memory, ManualClock(int(market.open_ms[-1])))


def bounds(market: Candles, first: int, last: int) -> dict[str, Any]:
    times = {"start_ms": int(market.open_ms[first]), "end_ms": int(market.open_ms[last])}
    return {"agent_id": "desk", "pair": "BTC-USDT", "interval": "1m", **times}


@pytest.mark.parametrize(
    ("field", "first", "last", "changes"),
    [
        ("start_ms", 0, 200, {}),
        ("start_ms", 400, 500, {}),
        ("start_ms", 400, 2_900, {"feature_set_id": PAID.feature_set_id}),
        ("levels", 400, 2_900, {"levels": (-1.0, 0.0, 1e-4)}),
        ("leverage", 400, 2_900, {"leverage": 999}),
    ],
)
def test_a_training_is_refused_by_the_field_of_its_request_and_starts_no_job(  # noqa: PLR0917
    learning: RayLearning,
    memory: MemoryStore,
    market: Candles,
    field: str,
    first: int,
    last: int,
    changes: dict[str, Any],
) -> None:
    ask = TrainingAsk(**bounds(market, first, last), timesteps=None, seed=1, name="", **changes)

    with pytest.raises(BadInput) as wrong:
        asyncio.run(learning.start_training(ask, actor="me", trace_id="t"))

    assert wrong.value.field == field
    assert memory.list(kinds.JOBS) == []
    assert memory.list(kinds.AUDIT) == []


def test_a_period_with_too_many_holes_is_refused_at_the_request_in_the_words_of_its_job(
    memory: MemoryStore,
    market: Candles,
    period: Cut,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*_: object, **__: object) -> Any:
        raise BadInput("started", "far enough")

    monkeypatch.setattr(learning_jobs, "start_training", start)
    monkeypatch.setattr(learning_jobs, "start_evaluation", start)
    gapped = without(market, 1_000, 26)
    learning = learning_on(memory, gapped, tmp_path)
    held_out = bounds(market, 400, 2_900)

    def training(**changes: Any) -> BadInput:
        ask = TrainingAsk(**held_out, timesteps=None, seed=1, name="", **changes)
        with pytest.raises(BadInput) as wrong:
            asyncio.run(learning.start_training(ask, actor="me", trace_id="t"))
        return wrong.value

    def evaluation(**changes: Any) -> BadInput:
        version = {"version_id": BASELINE_VERSION_ID, "decision_threshold": None}
        ask = EvaluationAsk(**held_out, **version, **changes)
        with pytest.raises(BadInput) as wrong:
            asyncio.run(learning.start_evaluation(ask, actor="me", trace_id="t"))
        return wrong.value

    asked_for = EvaluateAsk(period=period(400, 2_900), version_id=BASELINE_VERSION_ID)
    with pytest.raises(BadInput) as job:
        evaluate_version(tmp_path, memory, gapped, asked_for, clock=ManualClock(5_000))
    refused_for = [training(), evaluation()]

    assert job.value.problem.startswith("had 26 of 2500 candles missing, the first at ")
    assert {one.problem for one in refused_for} == {job.value.problem}
    assert [one.field for one in refused_for] == ["start_ms", "period_start_ms"]
    assert memory.list(kinds.EVALUATIONS) == []
    assert training(most_missing_fraction=0.0104).field == "started"
    assert evaluation(most_missing_fraction=0.0104).field == "started"


def test_an_evaluation_is_refused_by_the_field_of_its_request_and_for_a_damaged_policy(
    learning: RayLearning,
    memory: MemoryStore,
    market: Candles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[object] = []

    def start(wiring: Wiring, store: MemoryStore, order: object, *, clock: object) -> Any:
        started.append(order)
        raise BadInput("started", "far enough")

    monkeypatch.setattr(learning_jobs, "start_evaluation", start)

    def ask(first: int, last: int, **changes: Any) -> str:
        wanted = EvaluationAsk(
            **bounds(market, first, last),
            version_id=BASELINE_VERSION_ID,
            decision_threshold=None,
            **changes,
        )
        with pytest.raises(BadInput) as wrong:
            asyncio.run(learning.start_evaluation(wanted, actor="me", trace_id="t"))
        return wrong.value.field

    wild = Protection(stop_loss_fraction=Decimal("0.0000000001"))
    assert ask(0, 100) == "period_start_ms"
    assert ask(400, 900, protection=wild) == "stop_loss_fraction"
    assert started == []
    assert ask(400, 900) == "started"
    assert len(started) == 1
    path = Artifacts(tmp_path / "artifacts").path(BASELINE_VERSION_ID)
    for file in path.glob("*.safetensors"):
        file.write_bytes(b"damaged")
    with pytest.raises(ArtifactRefused):
        ask(400, 900)
    assert len(started) == 1
