"""One account with exits on its way through candles, compiled: whole ticks and lots, float64 cash.

`desk.trading.fills` is the oracle: `settle` is its `advance`, and every fill is written down so that
the two can be compared. Lanes, the fast evaluator and the replay of a plan all settle here.
"""

# Compiled functions take their arrays one by one, and numba's decorator hides their types.
# ruff: noqa: PLR0917
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportAssignmentType=false

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from desk.learning.arrays import Columns, ExitRules, Rules
from desk.learning.compiled import compiled
from desk.market.candles import Floats, Ints
from desk.trading import exit_levels

_exit_ticks = compiled(exit_levels.exit_ticks)
_liquidation_level = compiled(exit_levels.liquidation_level)
_nearer_stop = compiled(exit_levels.nearer_stop)
_average_after = compiled(exit_levels.average_after)

# Columns of a recorded fill.
CANDLE, IS_PATH, LOTS, PRICE, CAUSE, IS_MAKER = range(6)
FILL_COLUMNS = 6
BY_ORDER, BY_STOP, BY_TAKE_PROFIT, BY_LIQUIDATION = range(4)
FILLS_PER_CANDLE = 4
"""At most: an exit on the quote, two legs, and an exit of what they opened."""

# A book: signed lots, exit levels (0: none), flags, average entry price.
HELD, STOP, TAKE, _IS_LIQUIDATION, _IS_TRIMMED, AVERAGE = range(6)
BOOK_COLUMNS = 6

# Money: the cash, and what it and the position's value changed by, in USDT.
CASH, BY_PRICE, BY_FEES, BY_SLIPPAGE, BY_FUNDING, TRADED = range(6)
MONEY_COLUMNS = 6

# Where the market meets the exits.
_QUOTE, _ARRIVAL, _OPEN, _EXTREME = range(4)


class PlanColumns(NamedTuple):
    """`desk.evaluation.plan.Plan` as arrays."""

    decided: NDArray[np.bool_]
    target_lots: Ints
    stop_ticks: Ints
    take_ticks: Ints
    is_liquidation: NDArray[np.bool_]


class Account(NamedTuple):
    """One account, written in place."""

    book: Ints
    """int64[6]: lots, exits, average."""
    money: Floats
    """float64[6]. The cash is start + sales - purchases - fees + funding."""
    fills: Ints
    """int64[K, 6]"""
    fees: Floats
    """float64[K]"""
    fill_count: Ints
    """One number: fills so far."""
    funding: Floats
    """float64[D]: what each settlement moved."""


def new_account(cash: float, due_count: int, most_fills: int = FILLS_PER_CANDLE) -> Account:
    """A flat account that has room for so many settlements and fills."""
    money = np.zeros(MONEY_COLUMNS)
    money[CASH] = cash
    return Account(
        book=np.zeros(BOOK_COLUMNS, dtype=np.int64),
        money=money,
        fills=np.zeros((most_fills, FILL_COLUMNS), dtype=np.int64),
        fees=np.zeros(most_fills),
        fill_count=np.zeros(1, dtype=np.int64),
        funding=np.zeros(due_count),
    )


@compiled
def run_plan(
    columns: Columns, rules: Rules, plan: PlanColumns, account: Account, equity: Floats
) -> None:
    """Replay a plan on a new account with room for four fills per decision.

    Writes the account and `equity` float64[T].
    """
    # Arrays by their own names here, and calls only where something happens: handing the tuples to
    # inner functions costs more than a quiet candle.
    due_first, close, bid, ask = columns.due_first, columns.close, columns.bid, columns.ask
    high, low = columns.high, columns.low
    decided, unit, rows = plan.decided, rules.quote_per_tick_lot, len(columns.close)
    book, money = account.book, account.money
    is_trading, wanted = False, 0
    for row in range(rows):
        is_eventful = is_trading or due_first[row] != columns.due_end[row]
        if not is_eventful and book[HELD] != 0:
            lowest, highest = min(bid[row], low[row]), max(ask[row], high[row])
            is_eventful = may_exit(book[HELD], book[STOP], book[TAKE], lowest, highest)
        if is_eventful:
            at = row - 1 if is_trading else row
            stop, take, level = plan.stop_ticks[at], plan.take_ticks[at], plan.is_liquidation[at]
            settle(columns, rules, row, is_trading, wanted, stop, take, level, account)
        equity[row] = money[CASH] + book[HELD] * close[row] * unit
        is_trading = decided[row] and row < rows - 1 and plan.target_lots[row] != book[HELD]
        if is_trading:
            wanted = plan.target_lots[row]


@compiled
def settle(
    columns: Columns,
    rules: Rules,
    row: int,
    is_trading: bool,  # noqa: FBT001
    wanted: int,
    stop: int,
    take: int,
    is_liquidation: bool,  # noqa: FBT001
    account: Account,
) -> None:
    """One candle in the order of events: funding, quote, arrival of orders and exits, path.

    `is_trading`: what is held was decided to become `wanted`, with these exits.
    """
    due, due_end = columns.due_first[row], columns.due_end[row]
    while due < due_end and not columns.due_is_path[due]:
        _fund(columns, rules, due, account)
        due += 1
    closing, opening = 0, 0
    if is_trading:
        closing, opening = _legs(account.book[HELD], wanted)
    _meet(_QUOTE, columns, row, columns.bid[row], columns.ask[row], rules, account)
    if is_trading:
        _trade(columns, row, closing, opening, rules, account)
        _rest(wanted, stop, take, is_liquidation, account.book)
        _meet(_ARRIVAL, columns, row, columns.bid[row], columns.ask[row], rules, account)
    while due < due_end:
        _fund(columns, rules, due, account)
        due += 1
    _walk(columns, row, rules, account)


@compiled
def decided_exits(
    exits: ExitRules, held: int, average: int, wanted: int, close: int
) -> tuple[int, int, bool]:
    """Stop, take-profit and whether the stop is the liquidation, of a target decided at a close."""
    if wanted in (0, held):
        return 0, 0, False
    side = 1 if wanted > 0 else -1
    stop, take, is_liquidation = 0, 0, False
    whole = exits.whole_distance
    if exits.stop_distance != 0:
        stop = _exit_ticks(close, 1, exits.stop_distance, whole, side, -side)
    if exits.take_distance != 0:
        take = _exit_ticks(close, 1, exits.take_distance, whole, side, side)
    if exits.leverage != 0:
        projected = _average_after(average, held, wanted - held, close)
        level = _liquidation_level(
            projected,
            exits.average_steps,
            side,
            exits.leverage,
            exits.liquidation_rate,
            exits.whole_rate,
        )
        stop, is_liquidation = _nearer_stop(stop, level, side)
    return stop, take, is_liquidation


@compiled
def average_of(account: Account) -> int:
    """Average entry price in thousandths of a tick."""
    return account.book[AVERAGE]


@compiled
def may_exit(held: int, stop: int, take: int, lowest: int, highest: int) -> bool:
    """Whether prices in this range reach an exit."""
    if held > 0:
        return lowest <= stop or (take != 0 and highest >= take)
    return (stop != 0 and highest >= stop) or lowest <= take


@compiled
def _legs(held: int, target: int) -> tuple[int, int]:
    """Reduce-only lots and plain lots."""
    if held != 0 and (target == 0 or (target > 0) != (held > 0)):
        return -held, target
    if abs(target) < abs(held):
        return target - held, 0
    return 0, target - held


@compiled
def _fund(columns: Columns, rules: Rules, due: int, account: Account) -> None:
    notional = account.book[HELD] * columns.due_mark[due] * rules.quote_per_tick_lot
    amount = -notional * columns.due_rate[due]
    account.money[CASH] += amount
    account.money[BY_FUNDING] += amount
    account.funding[due] = amount


@compiled
def _trade(
    columns: Columns, row: int, closing: int, opening: int, rules: Rules, account: Account
) -> None:
    held = account.book[HELD]
    if closing * held < 0:
        lots = closing if abs(closing) <= abs(held) else -held
        price = columns.ask[row] if lots > 0 else columns.bid[row]
        _fill(_QUOTE, columns, row, lots, price, BY_ORDER, 0, rules.taker_rate, rules, account)
    if opening != 0:
        price = columns.ask[row] if opening > 0 else columns.bid[row]
        _fill(_QUOTE, columns, row, opening, price, BY_ORDER, 0, rules.taker_rate, rules, account)


@compiled
def _rest(target: int, stop: int, take: int, is_liquidation: bool, book: Ints) -> None:  # noqa: FBT001
    book[STOP], book[TAKE] = 0, 0
    if book[HELD] * target <= 0:
        return
    book[STOP], book[TAKE] = stop, take
    book[_IS_LIQUIDATION] = is_liquidation
    book[_IS_TRIMMED] = abs(book[HELD]) < abs(target)


@compiled
def _walk(columns: Columns, row: int, rules: Rules, account: Account) -> None:
    book = account.book
    low, high = columns.low[row], columns.high[row]
    if book[HELD] == 0 or not may_exit(book[HELD], book[STOP], book[TAKE], low, high):
        return
    open_ = columns.open[row]
    high_first = not rules.is_adaptive or high - open_ < open_ - low
    first, second = (high, low) if high_first else (low, high)
    _meet(_OPEN, columns, row, open_, open_, rules, account)
    _meet(_EXTREME, columns, row, first, first, rules, account)
    _meet(_EXTREME, columns, row, second, second, rules, account)


@compiled
def _meet(
    moment: int, columns: Columns, row: int, bid: int, ask: int, rules: Rules, account: Account
) -> None:
    book = account.book
    held, stop, take = book[HELD], book[STOP], book[TAKE]
    if held == 0:
        return
    side = 1 if held > 0 else -1
    market = bid if held > 0 else ask
    is_maker = 0
    if stop != 0 and (market - stop) * side <= 0:
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
    _fill(moment, columns, row, -held, price, cause, is_maker, rate, rules, account)
    book[STOP], book[TAKE] = 0, 0


@compiled
def _fill(
    moment: int,
    columns: Columns,
    row: int,
    lots: int,
    price: int,
    cause: int,
    is_maker: int,
    rate: float,
    rules: Rules,
    account: Account,
) -> None:
    unit, book, money = rules.quote_per_tick_lot, account.book, account.money
    notional = lots * price * unit
    fee = abs(notional) * rate
    # What a fill on the quote misses of the open is slippage; the path's fills have their own price.
    fair = price if moment >= _OPEN else columns.open[row]
    money[CASH] -= notional + fee
    money[BY_PRICE] += lots * (columns.close[row] - fair) * unit
    money[BY_SLIPPAGE] -= lots * (price - fair) * unit
    money[BY_FEES] -= fee
    money[TRADED] += abs(notional)
    book[AVERAGE] = _average_after(book[AVERAGE], book[HELD], lots, price)
    book[HELD] += lots
    at, fills = account.fill_count[0], account.fills
    fills[at, CANDLE], fills[at, LOTS], fills[at, PRICE] = row, lots, price
    fills[at, CAUSE], fills[at, IS_MAKER] = cause, is_maker
    fills[at, IS_PATH] = 1 if moment >= _OPEN else 0
    account.fees[at] = fee
    account.fill_count[0] = at + 1
