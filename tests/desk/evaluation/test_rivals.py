"""Baselines trade on the same candles by the same rules; thresholds and dearer costs only differ there."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import EvaluationFailed
from desk.evaluation.confidence import likeliest, table_at
from desk.evaluation.fast import decision_table
from desk.evaluation.metrics import measure
from desk.evaluation.plan import replay
from desk.evaluation.rivals import (
    Terms,
    Walked,
    flat_table,
    hold_table,
    levels_held,
    random_shift,
    shifted_table,
    walk,
    walked,
    with_costs,
)
from desk.learning import kernel
from desk.learning.arrays import MarketArrays
from desk.learning.policy import LEVELS
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.intents import Protection
from desk.trading.tape import Market
from tests.desk.evaluation.test_fast import BTC, linear

ROWS, CASH = 1_500, Decimal(10_000)
TERMS = Terms(size_quote=1_000.0, cash=float(CASH))


@pytest.fixture(scope="module")
def market(walk: Callable[..., Candles]) -> Market:
    candles = walk(ROWS)
    rates = [(int(stamp), Decimal("0.0002")) for stamp in candles.open_ms[5::211]]
    return Market.of(candles, BTC, FillSpec(), rates)


@pytest.fixture(scope="module")
def arrays(walk: Callable[..., Candles], market: Market) -> MarketArrays:
    return MarketArrays.from_market(market, FEATURES_V1.compute(walk(ROWS)))


def own(arrays: MarketArrays, threshold: float = 0.6, terms: Terms = TERMS) -> Walked:
    table = decision_table(linear(3), arrays.features, LEVELS, threshold)
    return walk(arrays, table, LEVELS, terms)


@pytest.mark.parametrize("threshold", [0.0, 0.34, 0.5, 0.7, 0.9, 1.0])
def test_one_pass_of_the_network_tells_the_decisions_at_every_threshold(
    arrays: MarketArrays, threshold: float
) -> None:
    features = arrays.features.copy()
    features[700] = 7.0
    forward = linear(2)

    best, sureness = likeliest(forward, features, LEVELS, feature_limit=6.0)

    expected = decision_table(forward, features, LEVELS, threshold, feature_limit=6.0)
    np.testing.assert_array_equal(table_at(best, sureness, threshold), expected)


def test_logits_that_do_not_fit_the_levels_are_no_confidence(arrays: MarketArrays) -> None:
    with pytest.raises(EvaluationFailed, match="expected 2 columns"):
        likeliest(linear(2), arrays.features, (-1.0, 1.0))


@pytest.mark.parametrize(
    "terms",
    [
        TERMS,
        Terms(
            size_quote=1_000.0,
            cash=float(CASH),
            protection=Protection(stop_loss_fraction=Decimal("0.002")),
            leverage=20,
        ),
    ],
)
def test_what_is_walked_is_what_the_decimal_ledger_and_its_measure_say(
    market: Market, arrays: MarketArrays, terms: Terms
) -> None:
    found = own(arrays, terms=terms)

    twin = replay(market, found.plan, CASH)
    figures = measure(market, twin, CASH)
    assert figures.trade_count > 20
    assert found.trade_count == figures.trade_count
    assert found.net_pnl == pytest.approx(float(figures.net_pnl_after_fees), abs=0.005)
    assert found.exposure == figures.exposure
    assert found.max_drawdown == pytest.approx(figures.max_drawdown, abs=1e-6)
    assert found.sharpe == pytest.approx(figures.sharpe, abs=1e-4) != 0.0
    assert found.hourly_sharpe != found.sharpe
    assert found.changes.sum() == pytest.approx(found.net_pnl, abs=1e-6)
    np.testing.assert_array_equal(found.lots, figures.position_lots)


def test_the_flat_baseline_earns_nothing_and_the_held_one_buys_once(
    market: Market, arrays: MarketArrays
) -> None:
    flat = walk(arrays, flat_table(ROWS), (0.0,), TERMS)
    held = walk(arrays, hold_table(ROWS), (0.0, 1.0), TERMS)

    assert (flat.net_pnl, flat.trade_count, flat.exposure, flat.sharpe) == (0.0, 0, 0.0, 0.0)
    assert held.trade_count == 1
    assert held.exposure > 0.99
    moved = float(market.tape.bid[-1] / market.tape.ask[1]) - 1.0
    assert held.net_pnl == pytest.approx(1_000.0 * (moved - 0.001), abs=3.0)  # funding besides


@settings(max_examples=40)
@given(seed=st.integers(0, 2**31), threshold=st.sampled_from([0.5, 0.7, 0.85]))
def test_a_random_baseline_trades_as_often_and_as_long_at_another_time(
    arrays: MarketArrays, seed: int, threshold: float
) -> None:
    found = own(arrays, threshold)
    held = levels_held(found, arrays, LEVELS, TERMS.size_quote)
    shift = random_shift(ROWS, seed)

    other = walk(arrays, shifted_table(held, LEVELS.index(0.0), shift), LEVELS, TERMS)

    assert ROWS // 20 <= shift <= ROWS - ROWS // 20
    assert abs(other.trade_count - found.trade_count) <= 1  # one may be cut in two by the ends
    assert other.exposure == pytest.approx(found.exposure, abs=3 / ROWS)
    sides = np.sign(np.roll(found.lots, shift))
    assert (np.sign(other.lots[1:-1]) == sides[1:-1]).mean() > 0.99


def test_levels_that_were_held_are_read_back_whatever_the_price_did(arrays: MarketArrays) -> None:
    levels = (-1.0, -0.5, 0.0, 0.5, 1.0)
    rng = np.random.default_rng(8)
    table = np.full((3, ROWS), kernel.HOLD, dtype=np.int8)
    at = np.sort(rng.choice(ROWS - 2, 60, replace=False))
    table[:, at] = rng.integers(0, 5, 60)

    found = walk(arrays, table, levels, TERMS)

    held = levels_held(found, arrays, levels, TERMS.size_quote)
    decided = np.full(ROWS, 2)
    for row in at:
        decided[row + 1 :] = table[0, row]
    decided[-1] = 2
    assert (held == decided).mean() > 0.97  # a small change of price may keep what is held
    assert (np.sign(np.array(levels)[held]) == np.sign(found.lots)).all()


@pytest.mark.parametrize("multiple", [1, 2, 3])
def test_costs_so_many_times_as_large_are_paid_for_the_same_decisions(
    market: Market, arrays: MarketArrays, multiple: int
) -> None:
    plan = own(arrays).plan
    dearer = with_costs(market, multiple)

    once, often = replay(market, plan, CASH), replay(dearer, plan, CASH)

    fees = [sum(fill.fee for fill in done.fills) for done in (once, often)]
    assert float(fees[1] / fees[0]) == pytest.approx(multiple, rel=1e-3)
    assert [fill.lots for fill in once.fills] == [fill.lots for fill in often.fills]
    assert dearer.spec.slippage_bps == multiple * market.spec.slippage_bps
    found = walked(MarketArrays.from_market(dearer, arrays.features), plan, float(CASH))
    assert found.net_pnl == pytest.approx(float(often.balance - CASH), abs=0.005)
