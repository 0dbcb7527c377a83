"""A whole plan with its exits, compiled: one account, whole ticks and lots, float64 cash.

`desk.trading.fills` is the oracle; every fill is written down so that the two can be compared.
"""

# Compiled functions take their arrays one by one, and numba's decorator hides their types.
# ruff: noqa: PLR0917
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportAssignmentType=false

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from desk.learning.arrays import Columns, Rules
from desk.market.candles import Floats, Ints

_jit = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")

# Columns of a recorded fill.
CANDLE, IS_PATH, LOTS, PRICE, CAUSE, IS_MAKER = range(6)
FILL_COLUMNS = 6
BY_ORDER, BY_STOP, BY_TAKE_PROFIT, BY_LIQUIDATION = range(4)

# A book: signed lots, exit levels (0: none), flags.
_HELD, _STOP, _TAKE, _IS_LIQUIDATION, _IS_TRIMMED = range(5)

# Where the market meets the exits.
_QUOTE, _ARRIVAL, _OPEN, _EXTREME = range(4)


class PlanColumns(NamedTuple):
    """`desk.evaluation.plan.Plan` as arrays."""

    decided: NDArray[np.bool_]
    target_lots: Ints
    stop_ticks: Ints
    take_ticks: Ints
    is_liquidation: NDArray[np.bool_]


class _Account(NamedTuple):
    book: Ints
    cash: Floats
    """One number: start + sales - purchases - fees + funding."""
    fills: Ints
    fees: Floats
    fill_count: Ints
    """One number: fills so far."""
    funding: Floats
    """What each settlement moved."""


@_jit
def run_plan(
    columns: Columns,
    rules: Rules,
    plan: PlanColumns,
    cash: float,
    equity: Floats,
    fills: Ints,
    fees: Floats,
    funding: Floats,
) -> tuple[float, int]:
    """Replay a plan. Writes equity float64[T], fills int64[K, 6] and their fees float64[K], and what
    each of D settlements moved, float64[D].

    Returns the cash at the end and the number of fills. K must hold four fills per decision.
    """
    book, money = np.zeros(5, dtype=np.int64), np.array([cash])
    fill_count = np.zeros(1, dtype=np.int64)
    account = _Account(book, money, fills, fees, fill_count, funding)
    # Arrays by their own names here, and calls only where something happens: handing the tuples to
    # inner functions costs more than a quiet candle.
    due_first, close, bid, ask = columns.due_first, columns.close, columns.bid, columns.ask
    high, low = columns.high, columns.low
    decided, unit, rows = plan.decided, rules.quote_per_tick_lot, len(columns.close)
    closing, opening = 0, 0
    for row in range(rows):
        due, due_end = due_first[row], due_first[row + 1]
        while due < due_end and not columns.due_is_path[due]:
            _fund(columns, rules, due, account)
            due += 1
        lowest, highest = min(bid[row], low[row]), max(ask[row], high[row])
        if _may_exit(book[_HELD], book[_STOP], book[_TAKE], lowest, highest):
            _meet(_QUOTE, row, bid[row], ask[row], rules, account)
        if closing != 0 or opening != 0:
            _trade(row, closing, opening, bid[row], ask[row], rules, account)
            _rest(plan, row - 1, book)
            _meet(_ARRIVAL, row, bid[row], ask[row], rules, account)
        while due < due_end:
            _fund(columns, rules, due, account)
            due += 1
        if _may_exit(book[_HELD], book[_STOP], book[_TAKE], lowest, highest):
            _walk(columns, row, rules, account)
        equity[row] = money[0] + book[_HELD] * close[row] * unit
        closing, opening = 0, 0
        if decided[row] and row < rows - 1:
            closing, opening = _legs(book[_HELD], plan.target_lots[row])
    return money[0], fill_count[0]


@_jit
def _may_exit(held: int, stop: int, take: int, lowest: int, highest: int) -> bool:
    """Whether prices in this range reach an exit."""
    if stop == 0:
        return False
    if held > 0:
        return lowest <= stop or (take != 0 and highest >= take)
    return highest >= stop or (take != 0 and lowest <= take)


@_jit
def _legs(held: int, target: int) -> tuple[int, int]:
    """Reduce-only lots and plain lots."""
    if held != 0 and (target == 0 or (target > 0) != (held > 0)):
        return -held, target
    if abs(target) < abs(held):
        return target - held, 0
    return 0, target - held


@_jit
def _fund(columns: Columns, rules: Rules, due: int, account: _Account) -> None:
    notional = account.book[_HELD] * columns.due_mark[due] * rules.quote_per_tick_lot
    amount = -notional * columns.due_rate[due]
    account.cash[0] += amount
    account.funding[due] = amount


@_jit
def _trade(
    row: int, closing: int, opening: int, bid: int, ask: int, rules: Rules, account: _Account
) -> None:
    held = account.book[_HELD]
    if closing * held < 0:
        lots = closing if abs(closing) <= abs(held) else -held
        price = ask if lots > 0 else bid
        _fill(row, _QUOTE, lots, price, BY_ORDER, 0, rules.taker_rate, rules, account)
    if opening != 0:
        price = ask if opening > 0 else bid
        _fill(row, _QUOTE, opening, price, BY_ORDER, 0, rules.taker_rate, rules, account)


@_jit
def _rest(plan: PlanColumns, decided_row: int, book: Ints) -> None:
    target = plan.target_lots[decided_row]
    book[_STOP] = 0
    if plan.stop_ticks[decided_row] == 0 or book[_HELD] * target <= 0:
        return
    book[_STOP] = plan.stop_ticks[decided_row]
    book[_TAKE] = plan.take_ticks[decided_row]
    book[_IS_LIQUIDATION] = plan.is_liquidation[decided_row]
    book[_IS_TRIMMED] = abs(book[_HELD]) < abs(target)


@_jit
def _walk(columns: Columns, row: int, rules: Rules, account: _Account) -> None:
    open_, high, low = columns.open[row], columns.high[row], columns.low[row]
    high_first = not rules.is_adaptive or high - open_ < open_ - low
    first, second = (high, low) if high_first else (low, high)
    _meet(_OPEN, row, open_, open_, rules, account)
    _meet(_EXTREME, row, first, first, rules, account)
    _meet(_EXTREME, row, second, second, rules, account)


@_jit
def _meet(moment: int, row: int, bid: int, ask: int, rules: Rules, account: _Account) -> None:
    book = account.book
    held, stop, take = book[_HELD], book[_STOP], book[_TAKE]
    if stop == 0:
        return
    side = 1 if held > 0 else -1
    market = bid if held > 0 else ask
    is_maker = 0
    if (market - stop) * side <= 0:
        price = stop if moment == _EXTREME else market
        is_liquidation = book[_IS_LIQUIDATION] != 0
        rate = rules.liquidation_rate if is_liquidation else rules.taker_rate
        cause = BY_LIQUIDATION if is_liquidation else BY_STOP
    elif take != 0 and (market - take) * side >= 0:
        price = market if moment == _ARRIVAL else take
        is_maker = 0 if moment == _ARRIVAL or book[_IS_TRIMMED] != 0 else 1
        rate = rules.maker_rate if is_maker == 1 else rules.taker_rate
        cause = BY_TAKE_PROFIT
    else:
        return
    _fill(row, moment, -held, price, cause, is_maker, rate, rules, account)
    book[_STOP] = 0


@_jit
def _fill(
    row: int,
    moment: int,
    lots: int,
    price: int,
    cause: int,
    is_maker: int,
    rate: float,
    rules: Rules,
    account: _Account,
) -> None:
    notional = lots * price * rules.quote_per_tick_lot
    fee = abs(notional) * rate
    account.cash[0] -= notional + fee
    account.book[_HELD] += lots
    at, fills = account.fill_count[0], account.fills
    fills[at, CANDLE], fills[at, LOTS], fills[at, PRICE] = row, lots, price
    fills[at, CAUSE], fills[at, IS_MAKER] = cause, is_maker
    fills[at, IS_PATH] = 1 if moment >= _OPEN else 0
    account.fees[at] = fee
    account.fill_count[0] = at + 1
