"""What a replay was worth: equity candle by candle, the trades, and the figures of the report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from desk.clock import DAY_MS
from desk.evaluation.plan import Replay
from desk.market.candles import Floats, Ints
from desk.trading.fills import (
    ZERO,
    Book,
    FillCause,
    FundingPayment,
    LotFill,
    apply_fill,
    commission,
)
from desk.trading.instruments import Instrument
from desk.trading.orders import Side
from desk.trading.tape import Market

DAYS_PER_YEAR = 365
"""Crypto trades every day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedTrade:
    """From flat to flat, or to a position of the other sign."""

    side: Side
    quantity: Decimal
    """Largest held."""
    entry_price: Decimal
    exit_price: Decimal
    """Averages over all lots that came and went."""
    opened_ms: int
    closed_ms: int
    pnl: Decimal
    """After fees and funding."""
    fees: Decimal
    funding: Decimal
    """Signed: negative when paid."""
    cause: FillCause
    """What ended it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Metrics:
    """Figures of one replay; money in USDT."""

    equity: Floats
    """float64[T], marked at each candle's close."""
    position_lots: Ints
    """int64[T], signed, after each candle's path."""
    trades: tuple[ClosedTrade, ...]
    final_balance: Decimal
    net_pnl_after_fees: Decimal
    fees: Decimal
    funding: Decimal
    buy_and_hold_pnl: Decimal
    win_rate: float
    """Share of trades with a PnL above 0; 0 without trades."""
    max_drawdown: float
    """Largest fall from the highest equity so far, as a fraction of it."""
    sharpe: float
    """Of daily returns over 365 days; 0 with fewer than two days or without variation."""
    exposure: float
    """Share of candles that close with a position."""
    is_liquidated: bool

    @property
    def trade_count(self) -> int:
        return len(self.trades)


def measure(market: Market, done: Replay, cash: Decimal) -> Metrics:
    """Measure what an engine made of a plan that started flat with `cash`."""
    equity, position_lots = equity_curve(market, done, cash)
    trades = closed_trades(done.fills, done.funding, market.instrument)
    wins = sum(trade.pnl > 0 for trade in trades)
    return Metrics(
        equity=equity,
        position_lots=position_lots,
        trades=tuple(trades),
        final_balance=done.balance,
        net_pnl_after_fees=done.balance - cash,
        fees=sum((fill.fee for fill in done.fills), ZERO),
        funding=sum((payment.amount for payment in done.funding), ZERO),
        buy_and_hold_pnl=buy_and_hold(market, done.fills),
        win_rate=wins / len(trades) if trades else 0.0,
        max_drawdown=max_drawdown(equity, float(cash)),
        sharpe=sharpe(equity, market.tape.close_ms, float(cash)),
        exposure=float(np.count_nonzero(position_lots) / len(position_lots)),
        is_liquidated=any(fill.cause is FillCause.LIQUIDATION for fill in done.fills),
    )


def equity_curve(market: Market, done: Replay, cash: Decimal) -> tuple[Floats, Ints]:
    """Equity float64[T] and signed lots int64[T] at each candle's close.

    A settlement due exactly at a close comes after that mark.
    """
    tape, count = market.tape, len(market.tape)
    quote_per_lot_tick = float(market.instrument.tick * market.instrument.lot)
    fills, funding = done.fills, done.funding
    lots = np.array([fill.lots for fill in fills], dtype=np.int64)
    prices = np.array([fill.price_ticks for fill in fills], dtype=np.int64)
    fees = np.array([float(fill.fee) for fill in fills])
    amounts = np.array([float(payment.amount) for payment in funding])
    filled_ms = np.array([fill.filled_ms for fill in fills], dtype=np.int64)
    due_ms = np.array([payment.due_ms for payment in funding], dtype=np.int64)
    at_fill = np.searchsorted(tape.close_ms, filled_ms, side="left")
    at_due = np.searchsorted(tape.close_ms, due_ms, side="right")
    moved_lots, flows = np.zeros(count, dtype=np.int64), np.zeros(count)
    np.add.at(moved_lots, at_fill, lots)
    np.add.at(flows, at_fill, -(lots * prices) * quote_per_lot_tick - fees)
    np.add.at(flows, at_due, amounts)
    position = np.cumsum(moved_lots)
    equity = float(cash) + np.cumsum(flows) + position * tape.close * quote_per_lot_tick
    return equity, position


def max_drawdown(equity: Floats, cash: float) -> float:
    """Largest fall from the highest equity so far (the starting cash counts), as a fraction of it."""
    curve = np.concatenate([[cash], equity])
    peak = np.maximum.accumulate(curve)
    return float(((peak - curve) / peak).max())


def sharpe(equity: Floats, close_ms: Ints, cash: float) -> float:
    """Annualised ratio of mean to deviation of the returns from UTC day end to day end."""
    day = (close_ms - 1) // DAY_MS
    last_of_day = np.flatnonzero(np.append(np.diff(day) > 0, True))
    ends = np.concatenate([[cash], equity[last_of_day]])
    if len(ends) < 3 or (ends <= 0).any():
        return 0.0
    returns = np.diff(ends) / ends[:-1]
    deviation = float(returns.std(ddof=1))
    # Below this the deviation is rounding: a curve that grows evenly has no ratio.
    if deviation < 1e-12:
        return 0.0
    return float(returns.mean()) / deviation * math.sqrt(DAYS_PER_YEAR)


def closed_trades(
    fills: Sequence[LotFill], funding: Sequence[FundingPayment], instrument: Instrument
) -> list[ClosedTrade]:
    """The trades that fills and funding make, oldest first; a position still open makes none."""
    trades: list[ClosedTrade] = []
    open_trade: _OpenTrade | None = None
    dues = list(funding)
    for fill in fills:
        while dues and dues[0].due_ms < fill.filled_ms:
            payment = dues.pop(0)
            if open_trade is not None:
                open_trade.funding += payment.amount
        for part in _at_zero(fill, open_trade.book.lots if open_trade else 0):
            open_trade = open_trade or _OpenTrade(part, instrument)
            open_trade.take(part)
            if open_trade.book.lots == 0:
                trades.append(open_trade.closed(part))
                open_trade = None
    return trades


def buy_and_hold(market: Market, fills: Sequence[LotFill]) -> Decimal:
    """PnL of buying the first fill's size at its price and selling at the last close, after fees."""
    if not fills:
        return ZERO
    instrument, rate = market.instrument, market.spec.taker_rate
    quantity = instrument.quantity_of(abs(fills[0].lots))
    bought = instrument.price_of(fills[0].price_ticks)
    sold = instrument.price_of(int(market.tape.close[-1]))
    fees = commission(quantity, bought, rate) + commission(quantity, sold, rate)
    return quantity * (sold - bought) - fees


class _OpenTrade:
    """A trade while its fills come in."""

    def __init__(self, first: LotFill, instrument: Instrument) -> None:
        self._instrument, self._first = instrument, first
        self.book, self.funding = Book(), ZERO
        self._fees, self._largest = ZERO, 0
        self._entered, self._left = _Average(), _Average()

    def take(self, fill: LotFill) -> None:
        side = self._entered if fill.lots * self._first.lots > 0 else self._left
        side.add(abs(fill.lots), fill.price_ticks)
        self.book, _ = apply_fill(
            self.book, fill.lots, fill.price_ticks, fill.fee, self._instrument
        )
        self._fees += fill.fee
        self._largest = max(self._largest, abs(self.book.lots))

    def closed(self, last: LotFill) -> ClosedTrade:
        return ClosedTrade(
            side=Side.of(self._first.lots),
            quantity=self._instrument.quantity_of(self._largest),
            entry_price=self._entered.price(self._instrument),
            exit_price=self._left.price(self._instrument),
            opened_ms=self._first.filled_ms,
            closed_ms=last.filled_ms,
            pnl=self.book.cash + self.funding,
            fees=self._fees,
            funding=self.funding,
            cause=last.cause,
        )


class _Average:
    """Lots and the ticks paid for them."""

    def __init__(self) -> None:
        self._lots, self._tick_lots = 0, 0

    def add(self, lots: int, ticks: int) -> None:
        self._lots += lots
        self._tick_lots += lots * ticks

    def price(self, instrument: Instrument) -> Decimal:
        return instrument.tick * self._tick_lots / self._lots


def _at_zero(fill: LotFill, held: int) -> list[LotFill]:
    """A fill that crosses zero as two, its fee split by lots; any other as it is."""
    if held * fill.lots >= 0 or abs(fill.lots) <= abs(held):
        return [fill]
    closing_fee = fill.fee * abs(held) / abs(fill.lots)
    return [
        _part(fill, -held, closing_fee),
        _part(fill, fill.lots + held, fill.fee - closing_fee),
    ]


def _part(fill: LotFill, lots: int, fee: Decimal) -> LotFill:
    return LotFill(
        order_id=fill.order_id,
        cause=fill.cause,
        lots=lots,
        price_ticks=fill.price_ticks,
        fee=fee,
        realized_pnl=ZERO,
        is_maker=fill.is_maker,
        filled_ms=fill.filled_ms,
    )
