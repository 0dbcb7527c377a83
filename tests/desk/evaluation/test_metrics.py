"""Figures of a replay, each against a plain reference or a case small enough to check by hand."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.evaluation.metrics import (
    buy_and_hold,
    closed_trades,
    equity_curve,
    max_drawdown,
    measure,
    sharpe,
)
from desk.evaluation.plan import Plan, flat_at_the_end, replay
from desk.market.candles import Candles
from desk.trading.fills import FillCause, FillSpec, LotFill
from desk.trading.instruments import Instrument
from desk.trading.orders import Side
from desk.trading.tape import Market

CASH = Decimal(10_000)
HOUR_MS = 3_600_000
BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.001"),
    min_quantity=Decimal("0.001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)
FREE = FillSpec(slippage_bps=Decimal(0), taker_rate=Decimal(0), maker_rate=Decimal(0))


def market_of(closes: Sequence[float], spec: FillSpec = FREE) -> Market:
    """Candles whose open is the close before them."""
    close = np.array(closes, dtype=np.float64)
    open_ = np.concatenate([close[:1], close[:-1]])
    candles = Candles(
        open_ms=np.arange(len(close), dtype=np.int64) * 60_000,
        open=open_,
        high=np.maximum(open_, close),
        low=np.minimum(open_, close),
        close=close,
        volume=np.ones(len(close)),
    )
    return Market.of(candles, BTC, spec)


def fill(lots: int, ticks: int, at_ms: int, fee: str = "0") -> LotFill:
    return LotFill(
        order_id="o",
        cause=FillCause.ORDER,
        lots=lots,
        price_ticks=ticks,
        fee=Decimal(fee),
        realized_pnl=Decimal(0),
        is_maker=False,
        filled_ms=at_ms,
    )


def test_regression_1_drawdown_is_measured_from_the_peak_of_equity() -> None:
    market = market_of([1_000, 1_000, 900, 800, 700, 700])
    plan = Plan.of_targets([1_000, None, None, None, 0, None])

    found = measure(market, replay(market, plan, CASH), CASH)

    assert found.net_pnl_after_fees == Decimal(-300)
    assert math.isclose(found.max_drawdown, 0.03)


@given(st.lists(st.floats(1.0, 1e6), min_size=1, max_size=50), st.floats(1.0, 1e6))
def test_drawdown_is_the_worst_of_every_peak_and_later_point(
    equity: list[float], cash: float
) -> None:
    curve = [cash, *equity]
    worst = max((peak - later) / peak for n, peak in enumerate(curve) for later in curve[n:])

    assert math.isclose(max_drawdown(np.array(equity), cash), worst, abs_tol=1e-12)


def test_equity_is_marked_at_every_close_and_ends_at_the_balance(
    walk: Callable[..., Candles],
) -> None:
    candles = walk(2_000)
    first_ms = int(candles.open_ms[0]) // HOUR_MS * HOUR_MS
    rates = [(first_ms + n * HOUR_MS, Decimal("0.0004")) for n in range(1, 30)]
    market = Market.of(candles, BTC, FillSpec(), rates)
    rng = np.random.default_rng(4)
    choices = [int(lots) if rng.random() < 0.1 else None for lots in rng.integers(-9, 10, 2_000)]
    plan = flat_at_the_end(Plan.of_targets(choices))

    done = replay(market, plan, CASH)
    equity, lots = equity_curve(market, done, CASH)

    assert len(done.fills) > 100
    assert done.funding
    assert math.isclose(equity[-1], float(done.balance), abs_tol=1e-6)
    for row in rng.integers(0, 2_000, 25).tolist():
        until = replay(_cut(market, row), _cut_plan(plan, row), CASH)
        held = sum(f.lots for f in until.fills)
        cost = sum(f.lots * f.price_ticks for f in until.fills)
        realized = CASH - Decimal(cost) * BTC.tick * BTC.lot - sum(f.fee for f in until.fills)
        value = held * int(market.tape.close[row]) * BTC.tick * BTC.lot
        funding = sum((payment.amount for payment in until.funding), Decimal(0))
        assert lots[row] == held
        assert math.isclose(equity[row], float(realized + value + funding), abs_tol=1e-6)


def test_equity_of_the_kernel_is_the_same_curve(walk: Callable[..., Candles]) -> None:
    from desk.evaluation.fast import run_plan
    from desk.learning.arrays import MarketArrays

    market = Market.of(walk(500), BTC, FillSpec())
    plan = flat_at_the_end(Plan.of_targets([n % 7 - 3 if n % 5 == 0 else None for n in range(500)]))

    equity, _ = equity_curve(market, replay(market, plan, CASH), CASH)

    arrays = MarketArrays.from_market(market, np.zeros((500, 1), dtype=np.float32))
    np.testing.assert_allclose(equity, run_plan(arrays, plan, float(CASH)).equity, atol=1e-5)


def test_a_trade_runs_from_flat_to_flat_with_its_fees_and_funding() -> None:
    market = market_of(
        [1_000, 1_000, 1_010, 1_020, 1_030, 1_030], FillSpec(slippage_bps=Decimal(0))
    )
    plan = Plan.of_targets([10, 20, None, 0, None, None])
    done = replay(market, plan, CASH)

    (trade,) = closed_trades(done.fills, done.funding, BTC)

    assert (trade.side, trade.quantity) == (Side.BUY, Decimal("0.020"))
    assert (trade.entry_price, trade.exit_price) == (Decimal(1_000), Decimal(1_020))
    assert trade.fees == Decimal("0.0202")
    assert trade.pnl == Decimal("0.4") - trade.fees == done.balance - CASH
    assert (trade.opened_ms, trade.closed_ms) == (61_000, 241_000)


def test_a_flip_ends_one_trade_and_opens_the_next() -> None:
    fills = [fill(2, 1_000, 1, "0.2"), fill(-5, 1_010, 2, "0.5"), fill(3, 1_000, 3, "0.3")]

    first, second = closed_trades(fills, [], BTC)

    assert (first.side, second.side) == (Side.BUY, Side.SELL)
    assert first.fees == Decimal("0.4")
    assert second.fees == Decimal("0.6")
    assert first.pnl == Decimal("0.002") - first.fees
    assert second.pnl == Decimal("0.003") - second.fees


@given(st.lists(st.tuples(st.integers(-6, 6).filter(bool), st.integers(900, 1_100)), max_size=30))
def test_trades_of_a_book_that_ends_flat_add_up_to_its_pnl(steps: list[tuple[int, int]]) -> None:
    fills = [fill(lots, ticks, n, "0.00000003") for n, (lots, ticks) in enumerate(steps)]
    held = sum(lots for lots, _ in steps)
    if held:
        fills.append(fill(-held, 1_000, len(steps)))

    trades = closed_trades(fills, [], BTC)

    cash = sum(-(f.lots * f.price_ticks) * BTC.tick * BTC.lot - f.fee for f in fills)
    assert abs(sum(trade.pnl for trade in trades) - cash) < Decimal("1e-12")


def test_an_open_position_is_no_trade_yet() -> None:
    assert closed_trades([fill(2, 1_000, 1)], [], BTC) == []


def test_wins_are_counted_after_costs() -> None:
    market = market_of([1_000.0] * 6, FillSpec(slippage_bps=Decimal(0)))
    plan = Plan.of_targets([10, 0, -10, 0, None, None])

    found = measure(market, replay(market, plan, CASH), CASH)

    assert (found.trade_count, found.win_rate) == (2, 0.0)
    assert found.net_pnl_after_fees == -found.fees


def test_exposure_is_the_share_of_candles_that_close_with_a_position() -> None:
    market = market_of([1_000.0] * 8)
    plan = Plan.of_targets([10, None, 0, None, None, None, None, None])

    assert measure(market, replay(market, plan, CASH), CASH).exposure == 2 / 8


def test_without_a_trade_every_figure_is_defined() -> None:
    market = market_of([1_000.0] * 5)

    found = measure(market, replay(market, Plan.of_targets([None] * 5), CASH), CASH)

    assert (found.win_rate, found.max_drawdown, found.sharpe, found.exposure) == (0, 0, 0, 0)
    assert found.buy_and_hold_pnl == 0
    assert found.final_balance == CASH


def test_sharpe_is_that_of_daily_returns_over_365_days() -> None:
    rng = np.random.default_rng(1)
    days = 30
    close_ms = np.arange(1, days * 24 + 1) * HOUR_MS
    equity = 10_000 * np.cumprod(1 + rng.normal(0.0002, 0.002, days * 24))

    ends = [10_000.0, *equity[23::24]]
    returns = [after / before - 1 for before, after in itertools.pairwise(ends)]
    mean = sum(returns) / days
    deviation = math.sqrt(sum((value - mean) ** 2 for value in returns) / (days - 1))
    assert math.isclose(
        sharpe(equity, close_ms, 10_000.0), mean / deviation * math.sqrt(365), rel_tol=1e-9
    )


@pytest.mark.parametrize("hours", [1, 24])
def test_sharpe_of_a_single_day_is_0(hours: int) -> None:
    close_ms = np.arange(1, hours + 1) * HOUR_MS

    assert sharpe(np.linspace(10_000, 10_100, hours), close_ms, 10_000.0) == 0.0


def test_buy_and_hold_pays_fees_on_both_ends() -> None:
    market = market_of([1_000, 1_000, 1_100], FillSpec(slippage_bps=Decimal(0)))

    pnl = buy_and_hold(market, [fill(-10, 10_000, 1)])

    assert pnl == Decimal("0.010") * 100 - Decimal("0.005") - Decimal("0.0055")


def test_a_liquidation_is_told() -> None:
    market = market_of([1_000.0] * 4)
    done = replay(market, Plan.of_targets([1, 0, None, None]), CASH)
    liquidated = replace(done.fills[-1], cause=FillCause.LIQUIDATION)

    assert not measure(market, done, CASH).is_liquidated
    assert measure(market, replace(done, fills=(done.fills[0], liquidated)), CASH).is_liquidated


def _cut(market: Market, row: int) -> Market:
    """The market up to the close of a row, dues at that close not yet settled."""
    tape = market.tape
    columns = {
        name: getattr(tape, name)[: row + 1]
        for name in ("open_ms", "open", "high", "low", "close", "bid", "ask")
    }
    return replace(market, tape=replace(tape, **columns))


def _cut_plan(plan: Plan, row: int) -> Plan:
    columns = {
        name: getattr(plan, name)[: row + 1]
        for name in ("decided", "target_lots", "stop_ticks", "take_ticks", "is_liquidation")
    }
    return replace(plan, **columns)
