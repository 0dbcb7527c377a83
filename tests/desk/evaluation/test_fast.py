"""The fast evaluator decides as serving does, and never from the future."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from numpy.typing import NDArray

from desk.errors import EvaluationFailed
from desk.evaluation.fast import decision_table, run_plan, run_policy, sweep, walk_table
from desk.evaluation.metrics import max_drawdown, measure
from desk.evaluation.plan import Plan, replay
from desk.learning import kernel
from desk.learning.arrays import MarketArrays
from desk.learning.observation import Observation, observation
from desk.learning.policy import LEVELS, decide
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.intents import target_lots
from desk.trading.tape import Market

BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)
ROWS = 900
SIZE = 5_000.0
THRESHOLD = 0.5


def linear(seed: int = 0) -> Callable[[Observation], NDArray[np.float32]]:
    """A policy of one dense layer, row by row."""
    weight = np.random.default_rng(seed).normal(0, 0.6, (FEATURES_V1.size + 1, 3))
    return lambda observed: (observed[:, None, :] @ weight.astype(np.float32))[:, 0]


def world(candles: Candles) -> tuple[Market, MarketArrays]:
    market = Market.of(candles, BTC, FillSpec())
    return market, MarketArrays.from_market(market, FEATURES_V1.compute(candles))


def test_every_row_is_decided_as_serving_would_step_by_step(walk: Callable[..., Candles]) -> None:
    market, arrays = world(walk(ROWS))
    forward = linear()
    held = 0
    targets: list[int | None] = []
    for row in range(ROWS):
        answer = None
        if np.isfinite(arrays.features[row]).all():
            seen = observation(arrays.features[row], held)
            answer = decide(forward(seen[None])[0], LEVELS, THRESHOLD)
        wanted = None
        if answer is not None and not answer.held:
            close = int(market.tape.close[row])
            wanted = target_lots(
                answer.target, size_quote=SIZE, price_ticks=close, held_lots=held, instrument=BTC
            )
        if row >= ROWS - 2:
            wanted = 0 if row == ROWS - 2 else None
        targets.append(wanted)
        held = held if wanted is None else wanted

    run = run_policy(
        arrays, forward, levels=LEVELS, threshold=THRESHOLD, size_quote=SIZE, cash=10_000.0
    )

    expected = Plan.of_targets(targets)
    np.testing.assert_array_equal(run.plan.decided, expected.decided)
    np.testing.assert_array_equal(run.plan.target_lots, expected.target_lots)
    assert len(set(run.plan.target_lots.tolist())) > 3


def test_its_balance_is_the_twins_for_the_plan_it_records(walk: Callable[..., Candles]) -> None:
    market, arrays = world(walk(ROWS))

    run = run_policy(arrays, linear(), levels=LEVELS, threshold=0.4, size_quote=SIZE, cash=10_000.0)
    twin = replay(market, run.plan, Decimal(10_000))
    again = run_plan(arrays, run.plan, 10_000.0)

    assert len(twin.fills) > 50
    assert abs(run.balance - float(twin.balance)) <= 0.005
    assert len(again.fills) == len(twin.fills)
    np.testing.assert_allclose(run.equity, again.equity, atol=1e-6)


def test_regression_9_what_comes_later_changes_nothing_decided_before(
    walk: Callable[..., Candles],
) -> None:
    candles = walk(ROWS)
    cut = 700
    later = candles.close.copy()
    later[cut:] *= 1.5
    high, low = candles.high.copy(), candles.low.copy()
    high[cut:] *= 1.6
    low[cut:] *= 0.9
    later, high, low = (np.round(column, 1) for column in (later, high, low))
    changed = replace(candles, close=later, high=high, low=low)

    (_, before), (_, after) = world(candles), world(changed)
    runs = [
        run_policy(arrays, linear(), levels=LEVELS, threshold=0.4, size_quote=SIZE, cash=10_000.0)
        for arrays in (before, after)
    ]

    assert before.features[:cut].tobytes() == after.features[:cut].tobytes()
    assert runs[0].plan.target_lots[:cut].tobytes() == runs[1].plan.target_lots[:cut].tobytes()
    assert runs[0].plan.decided[:cut].tobytes() == runs[1].plan.decided[:cut].tobytes()
    assert runs[0].equity[:cut].tobytes() == runs[1].equity[:cut].tobytes()
    assert not np.array_equal(runs[0].plan.target_lots[cut:], runs[1].plan.target_lots[cut:])


def test_what_is_not_finite_or_out_of_distribution_is_held() -> None:
    features = np.array([[0.5], [np.nan], [7.0], [0.5], [0.5]], dtype=np.float32)

    def forward(observed: Observation) -> NDArray[np.float32]:
        logits = np.tile(np.array([0.0, 0.0, 9.0], dtype=np.float32), (len(observed), 1))
        logits[-1] = np.nan
        logits[-2] = [0.1, 0.1, 0.2]
        return logits

    table = decision_table(forward, features, LEVELS, 0.5, feature_limit=6.0)

    hold = kernel.HOLD
    np.testing.assert_array_equal(table, np.tile(np.array([2, hold, hold, hold, hold]), (3, 1)))


def test_a_small_batch_changes_no_decision(
    walk: Callable[..., Candles], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, arrays = world(walk(ROWS))
    whole = decision_table(linear(), arrays.features, LEVELS, THRESHOLD)
    monkeypatch.setattr("desk.evaluation.fast._BATCH", 7)

    np.testing.assert_array_equal(
        decision_table(linear(), arrays.features, LEVELS, THRESHOLD), whole
    )


def test_logits_that_do_not_fit_the_levels_are_no_result(walk: Callable[..., Candles]) -> None:
    _, arrays = world(walk(ROWS))

    with pytest.raises(EvaluationFailed, match="expected 2 columns"):
        decision_table(linear(), arrays.features, (-1.0, 1.0), THRESHOLD)


def test_a_plan_of_another_length_is_no_result(walk: Callable[..., Candles]) -> None:
    _, arrays = world(walk(ROWS))

    with pytest.raises(EvaluationFailed, match="3 rows for 900 candles"):
        run_plan(arrays, Plan.of_targets([1, 0, None]), 1.0)


def test_a_sweep_says_what_each_walk_says(walk: Callable[..., Candles]) -> None:
    candles = walk(ROWS)
    rates = [(int(stamp), Decimal("0.0004")) for stamp in candles.open_ms[5::97]]
    market = Market.of(candles, BTC, FillSpec(), rates)
    arrays = MarketArrays.from_market(market, FEATURES_V1.compute(candles))
    rng = np.random.default_rng(4)
    choices = np.array([kernel.HOLD, kernel.HOLD, 0, 1, 2], dtype=np.int8)
    tables = rng.choice(choices, (6, 3, ROWS))
    asked = {"levels": LEVELS, "size_quote": SIZE, "cash": 10_000.0}

    swept = sweep(arrays, tables, **asked)

    for column, table in enumerate(tables):
        run = walk_table(arrays, table, **asked)
        twin = replay(market, run.plan, Decimal(10_000))
        figures = measure(market, twin, Decimal(10_000))
        assert swept.balance[column] == run.balance == pytest.approx(float(twin.balance), abs=5e-3)
        assert swept.trade_count[column] == figures.trade_count > 20
        assert swept.max_drawdown[column] == pytest.approx(max_drawdown(run.equity, 10_000.0))
        assert swept.exposure[column] == figures.exposure
        assert figures.funding != 0


def test_a_walk_into_the_arrays_of_another_leaves_nothing_of_it(
    walk: Callable[..., Candles],
) -> None:
    _, arrays = world(walk(ROWS))
    asked = {"levels": LEVELS, "size_quote": SIZE, "cash": 10_000.0}
    rng = np.random.default_rng(4)
    busy = rng.integers(0, 3, (3, ROWS), dtype=np.int8)
    calm = np.full((3, ROWS), kernel.HOLD, dtype=np.int8)

    room = walk_table(arrays, busy, **asked)
    again = walk_table(arrays, calm, **asked, into=room)
    fresh = walk_table(arrays, calm, **asked)

    assert again.plan.decided.tobytes() == fresh.plan.decided.tobytes()
    assert again.plan.target_lots.tobytes() == fresh.plan.target_lots.tobytes()
    assert again.equity.tobytes() == fresh.equity.tobytes()
    assert again.balance == fresh.balance


def test_tables_of_another_length_are_no_result(walk: Callable[..., Candles]) -> None:
    _, arrays = world(walk(ROWS))

    with pytest.raises(EvaluationFailed, match="for 900 candles"):
        sweep(arrays, np.zeros((1, 3, 5), np.int8), levels=LEVELS, size_quote=SIZE, cash=1.0)
