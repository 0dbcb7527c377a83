"""The fill rules compiled: whole ticks and lots, float64 cash. `desk.trading.fills` is their oracle.

`step_lanes` moves many independent accounts by one candle (training), `run_table` walks one account
along a table of decisions (fast evaluation). A candle on which an account with exits trades or could
be taken out is settled in `desk.learning.kernel_exits`; everything else is done right here.
"""

# Compiled functions take their arrays one by one, and numba's decorator hides their types.
# The loops stay whole: a call per lane costs more than what it does.
# ruff: noqa: PLR0917, PLR0912, PLR0915
# pyright: reportUntypedFunctionDecorator=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportArgumentType=false, reportAssignmentType=false

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import typeof
from numpy.typing import NDArray

from desk.learning.arrays import (
    ASK,
    BID,
    CLOSE,
    DUE_END,
    DUE_FIRST,
    HIGH,
    LOW,
    OPEN,
    Columns,
    ExitRules,
    Rules,
)
from desk.learning.compiled import compiled
from desk.learning.kernel_exits import (
    BY_FEES,
    BY_FUNDING,
    BY_LIQUIDATION,
    BY_PRICE,
    BY_SLIPPAGE,
    CASH,
    CAUSE,
    HELD,
    STOP,
    TAKE,
    TRADED,
    Account,
    PlanColumns,
    average_of,
    decided_exits,
    may_exit,
    settle,
)
from desk.learning.prefetch import prefetch
from desk.market.candles import Floats, Ints
from desk.market.features import Features
from desk.trading.intents import aimed_lots, kept_or_aimed

# Whole arrays stay in the outer loops: handing them to inner functions counts references at every
# call, which costs more than a step. Inner functions take and return numbers.
_aimed_lots, _kept_or_aimed = compiled(aimed_lots), compiled(kept_or_aimed)

# What a step's change of equity is made of.
PRICE_TERM, FEE_TERM, SLIPPAGE_TERM, FUNDING_TERM = range(4)
TERM_NAMES = ("price", "fees", "slippage", "funding")

BLOCK = 8
"""Lanes that are worked on together: their candles stay in the processor's nearest cache."""
_FLOATS_PER_LINE = 16

STRETCH = 512
"""Candles that a sweep works on together."""

HOLD = -128
"""In a decision table: keep the position."""


class Lanes(NamedTuple):
    """State of N independent accounts, and what their last step gave."""

    row: Ints
    """The candle that closed last."""
    last_row: Ints
    """The episode's end."""
    held_lots: Ints
    cash: Floats
    """Start + sales - purchases - fees + funding; equity adds the position at its price."""
    close: Ints
    """Close of that candle, ticks."""
    is_done: NDArray[np.bool_]
    """Ended at the last step: the next one starts anew."""
    random: NDArray[np.uint64]
    observation: Features
    """float32[N, F + 1]"""
    growth: Floats
    """Equity after ÷ before the last step; 1 for a lane that started anew."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    terms: Floats
    """float64[N, 4] of the last step, in USDT: price, fees, slippage, funding; they add up to the
    change of equity."""
    traded: Floats
    """Notional of the last step's fills, USDT."""
    books: Ints
    """int64[N, 6], columns by the names in `kernel_exits`: written only where there are exits."""
    due_lanes: Ints
    """Lanes of a step that have to be settled, and what each wants."""
    due_lots: Ints
    liquidated: NDArray[np.bool_]
    """At the last step; False where there are no exits."""
    desk: Account
    """Where one lane at a time is settled; holds the fills of the last one."""


class Episodes(NamedTuple):
    """How episodes begin and end."""

    starts: Ints
    """Rows where one may start."""
    segment_end: Ints
    """int64[T]: last row of the run of ready rows that a row belongs to."""
    length: int
    """Steps at most."""
    cash: float
    size_quote: float
    """Notional of a full position, USDT."""
    ruin_equity: float
    """An account at or below this is terminated."""


@compiled
def _lots_to_hold(
    target: float,
    size_quote: float,
    price_ticks: int,
    held_lots: int,
    unit: float,
    least_lots: int,
    least_notional: float,
) -> int:
    """`desk.trading.intents.lots_to_hold`, of its compiled halves."""
    aim, band = _aimed_lots(target, size_quote, price_ticks, unit, least_lots, least_notional)
    return _kept_or_aimed(held_lots, aim, band)


@compiled
def _fees(lots: int, price: int, unit: float, rate: float) -> float:
    return abs(lots * price * unit) * rate


@compiled
def run_table(
    columns: Columns,
    rules: Rules,
    exits: ExitRules,
    levels: Floats,
    table: NDArray[np.int8],
    size_quote: float,
    account: Account,
    plan: PlanColumns,
    equity: Floats,
) -> float:
    """Walk a new account along int8[3, T] decisions: for each held sign (-1, 0, +1) an index of
    `levels`, or `HOLD`. The last candle but one goes flat.

    Writes the plan, given as zeros, and `equity` float64[T]; returns the cash.
    """
    close, bid, ask = columns.close, columns.bid, columns.ask
    low, high, book, money = columns.low, columns.high, account.book, account.money
    decided, plan_lots, due_ends = plan.decided, plan.target_lots, columns.due_end
    unit = rules.quote_per_tick_lot
    held, target, rows, cash = 0, 0, len(close), money[CASH]
    is_protected, stop, take, is_liquidation = exits.is_on, 0, 0, False
    side, due_end = 1, 0
    for row in range(rows):
        due, due_end = due_end, due_ends[row]
        if is_protected and (
            target != held
            or may_exit(
                held, book[STOP], book[TAKE], min(bid[row], low[row]), max(ask[row], high[row])
            )
        ):
            money[CASH], account.fill_count[0] = cash, 0
            settle(columns, rules, row, target != held, target, stop, take, is_liquidation, account)
            cash, held, target = money[CASH], book[HELD], book[HELD]
            side = (held > 0) - (held < 0) + 1
        elif due < due_end or target != held:
            cash = _enter(columns, rules, row, held, target, cash)
            held = target
            side = (held > 0) - (held < 0) + 1
        equity[row] = cash + held * close[row] * unit
        choice = table[side, row]
        if choice != HOLD and row < rows - 2:
            target = _lots_to_hold(
                levels[choice],
                size_quote,
                close[row],
                held,
                unit,
                rules.least_lots,
                rules.least_notional,
            )
            decided[row] = True
            plan_lots[row] = target
        elif row == rows - 2:
            target = 0
            decided[row] = True
        if is_protected and target != held:
            average = average_of(account)
            stop, take, is_liquidation = decided_exits(exits, held, average, target, close[row])
            plan.stop_ticks[row], plan.take_ticks[row] = stop, take
            plan.is_liquidation[row] = is_liquidation
    return cash


def step_for(*arguments: Any) -> Callable[..., bool]:
    """`step_lanes` compiled for arguments of just these types, and callable with no others.

    To look at the types of some sixty arrays anew takes longer than a step of hundreds of lanes.
    """
    types = tuple(typeof(argument) for argument in arguments)
    dispatcher: Any = step_lanes
    dispatcher.compile(types)
    return dispatcher.overloads[types].entry_point


@compiled
def sweep_tables(
    columns: Columns,
    rules: Rules,
    levels: Floats,
    tables: NDArray[np.int8],
    size_quote: float,
    start_cash: float,
    figures: Floats,
) -> None:
    """`run_table` for each of int8[C, 3, T] tables, without plan and equity.

    Writes float64[C, 4]: cash at the end, entries (from flat or the other side), deepest fall from
    the highest equity so far as a fraction of it, candles that closed with a position.
    """
    close, due_first, due_end = columns.close, columns.due_first, columns.due_end
    unit, rows, count = rules.quote_per_tick_lot, len(close), len(tables)
    # What a level means on a candle is the same for every table. So the tables walk by stretches,
    # whose aims are found once and stay in the processor's nearest cache.
    aims = np.empty((STRETCH, len(levels)), dtype=np.int64)
    bands = np.empty((STRETCH, len(levels)), dtype=np.int64)
    is_due = np.empty(STRETCH, dtype=np.bool_)
    money = np.empty((count, 3))
    lots = np.zeros((count, 4), dtype=np.int64)
    for column in range(count):
        money[column, 0], money[column, 1], money[column, 2] = start_cash, start_cash, 0.0
    for first in range(0, rows, STRETCH):
        stop = min(first + STRETCH, rows)
        for row in range(first, stop):
            here = row - first
            is_due[here] = due_first[row] < due_end[row]
            for level in range(len(levels)):
                aims[here, level], bands[here, level] = _aimed_lots(
                    levels[level],
                    size_quote,
                    close[row],
                    unit,
                    rules.least_lots,
                    rules.least_notional,
                )
        for column in range(count):
            cash, peak, deepest = money[column, 0], money[column, 1], money[column, 2]
            held, target, entries, busy = (
                lots[column, 0],
                lots[column, 1],
                lots[column, 2],
                lots[column, 3],
            )
            choices = tables[column, (held > 0) - (held < 0) + 1]
            row = first
            while row < stop:
                here = row - first
                if is_due[here] or target != held:
                    cash = _enter(columns, rules, row, held, target, cash)
                    side = (target > 0) - (target < 0)
                    entries += target != 0 and (held > 0) - (held < 0) != side
                    held, choices = target, tables[column, side + 1]
                equity = cash + held * close[row] * unit
                if equity > peak:
                    peak = equity
                elif peak - equity > deepest * peak:
                    deepest = (peak - equity) / peak
                if held == 0:
                    # Nothing moves until something is wanted.
                    while row < stop and target == 0:
                        choice = choices[row]
                        if choice != HOLD and row < rows - 2:
                            target = aims[row - first, choice]
                        row += 1
                    continue
                busy += 1
                choice = choices[row]
                if row >= rows - 2:
                    target = 0
                elif choice != HOLD:
                    target = _kept_or_aimed(held, aims[here, choice], bands[here, choice])
                row += 1
            money[column, 0], money[column, 1], money[column, 2] = cash, peak, deepest
            lots[column, 0], lots[column, 1], lots[column, 2], lots[column, 3] = (
                held,
                target,
                entries,
                busy,
            )
    figures[:, 0], figures[:, 1] = money[:, 0], lots[:, 2]
    figures[:, 2], figures[:, 3] = money[:, 2], lots[:, 3]


@compiled
def _enter(columns: Columns, rules: Rules, row: int, held: int, target: int, cash: float) -> float:
    """Cash after a candle's funding and its trade at the quote; for the few candles that have any."""
    unit = rules.quote_per_tick_lot
    due, due_end = columns.due_first[row], columns.due_end[row]
    while due < due_end and not columns.due_is_path[due]:
        cash -= held * columns.due_mark[due] * unit * columns.due_rate[due]
        due += 1
    lots = target - held
    if lots != 0:
        price = columns.ask[row] if lots > 0 else columns.bid[row]
        cash -= lots * price * unit + _fees(lots, price, unit, rules.taker_rate)
    while due < due_end:
        cash -= target * columns.due_mark[due] * unit * columns.due_rate[due]
        due += 1
    return cash


@compiled
def reset_lanes(rows: Ints, features: Features, episodes: Episodes, lanes: Lanes) -> None:
    """Start an episode in every lane."""
    for lane in range(len(lanes.row)):
        _reset(rows, features, episodes, lanes, lane)


@compiled
def step_lanes(
    rows: Ints,
    columns: Columns,
    rules: Rules,
    exits: ExitRules,
    features: Features,
    episodes: Episodes,
    levels: Floats,
    lanes: Lanes,
    actions: Ints,
) -> bool:
    """Move every lane by one candle; a lane that ended at the last step starts anew instead.

    False, and nothing is done, when an action is no index of `levels`.
    """
    due_mark, due_rate, due_is_path = columns.due_mark, columns.due_rate, columns.due_is_path
    lane_row, last_row, held_lots, lane_cash = (
        lanes.row,
        lanes.last_row,
        lanes.held_lots,
        lanes.cash,
    )
    is_done, growth, terms, traded = lanes.is_done, lanes.growth, lanes.terms, lanes.traded
    terminated, truncated, observation = lanes.terminated, lanes.truncated, lanes.observation
    lane_close, books, liquidated = lanes.close, lanes.books, lanes.liquidated
    due_lanes, due_lots, waiting = lanes.due_lanes, lanes.due_lots, 0
    unit, rate = rules.quote_per_tick_lot, rules.taker_rate
    size_quote, ruin_equity = episodes.size_quote, episodes.ruin_equity
    size, is_protected = features.shape[1], exits.is_on
    for lane in range(len(lane_row)):
        if actions[lane] < 0 or actions[lane] >= len(levels):
            return False
    # Lanes stand far apart on the tape, and what waits for memory is most of a step. So lanes go by
    # blocks: while one is worked on, the rows of the next are on their way.
    count, least_lots, least_notional = len(lane_row), rules.least_lots, rules.least_notional
    at, shown = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK, dtype=np.int64)
    kept, aimed = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK, dtype=np.int64)
    meant, paid = np.empty(BLOCK), np.empty(BLOCK)
    for lane in range(min(BLOCK, count)):
        _fetch(rows, features, lane_row[lane] + (0 if is_done[lane] else 1))
    for first in range(0, count, BLOCK):
        lanes_here = min(BLOCK, count - first)
        for lane in range(first + BLOCK, min(first + 2 * BLOCK, count)):
            _fetch(rows, features, lane_row[lane] + (0 if is_done[lane] else 1))
        for here in range(lanes_here):
            lane = first + here
            row = lane_row[lane] + (0 if is_done[lane] else 1)
            at[here] = row
            for column in range(size):
                observation[lane, column] = features[row, column]
        for here in range(lanes_here):
            lane = first + here
            meant[here], shown[here], kept[here] = (
                levels[actions[lane]],
                lane_close[lane],
                held_lots[lane],
            )
        # By itself, so that the divisions of all lanes of a block are one.
        for here in range(lanes_here):
            aim, band = _aimed_lots(
                meant[here], size_quote, shown[here], unit, least_lots, least_notional
            )
            aimed[here] = _kept_or_aimed(kept[here], aim, band)
        for here in range(lanes_here):
            due, due_end, funding = rows[at[here], DUE_FIRST], rows[at[here], DUE_END], 0.0
            while due < due_end:
                payer = aimed[here] if due_is_path[due] else held_lots[first + here]
                funding -= payer * due_mark[due] * unit * due_rate[due]
                due += 1
            paid[here] = funding
        for here in range(lanes_here):
            lane = first + here
            held, wanted, cash = held_lots[lane], aimed[here], lane_cash[lane]
            last_close, close, open_ = lane_close[lane], rows[at[here], CLOSE], rows[at[here], OPEN]
            growth[lane] = cash + held * last_close * unit  # what it grew from, until the end
            lane_row[lane] += 1
            lane_close[lane] = close
            if (
                is_protected
                and not is_done[lane]
                and (
                    wanted != held
                    or may_exit(
                        held,
                        books[lane, STOP],
                        books[lane, TAKE],
                        min(rows[at[here], BID], rows[at[here], LOW]),
                        max(rows[at[here], ASK], rows[at[here], HIGH]),
                    )
                )
            ):
                due_lanes[waiting], due_lots[waiting] = lane, wanted
                waiting += 1
                continue
            lots, funding = wanted - held, paid[here]
            price = rows[at[here], ASK] if lots > 0 else rows[at[here], BID]
            notional = lots * price * unit
            fees = abs(notional) * rate
            held_lots[lane], lane_cash[lane] = wanted, cash + funding - notional - fees
            traded[lane] = abs(notional)
            terms[lane, PRICE_TERM] = (
                held * (open_ - last_close) + wanted * (close - open_)
            ) * unit
            terms[lane, FEE_TERM] = -fees
            terms[lane, SLIPPAGE_TERM] = -lots * (price - open_) * unit
            terms[lane, FUNDING_TERM] = funding
    # Calls that take the tuples stay out of the loop over lanes: with them in it a step takes twice
    # as long, even if they are never made.
    if is_protected:
        liquidated[:] = False
        _settle_lanes(columns, rules, exits, lanes, waiting)
    ended = 0
    for lane in range(count):
        ended += is_done[lane]
        wanted = held_lots[lane]
        after = lane_cash[lane] + wanted * lane_close[lane] * unit
        growth[lane] = after / growth[lane]
        is_ruined = after <= ruin_equity or (is_protected and liquidated[lane])
        is_last = lane_row[lane] == last_row[lane]
        terminated[lane], truncated[lane] = is_ruined, is_last and not is_ruined
        # The layout of `desk.learning.observation`: features, then the sign of the position.
        observation[lane, size] = (wanted > 0) - (wanted < 0)
    if ended > 0:
        _reset_done(rows, features, episodes, lanes)
    for lane in range(count):
        is_done[lane] = terminated[lane] or truncated[lane]
    return True


@compiled
def _fetch(rows: Ints, features: Features, row: int) -> None:
    prefetch(rows, row, 0)
    for column in range(0, features.shape[1], _FLOATS_PER_LINE):
        prefetch(features, row, column)
    prefetch(features, row, features.shape[1] - 1)


@compiled
def _settle_lanes(
    columns: Columns, rules: Rules, exits: ExitRules, lanes: Lanes, waiting: int
) -> None:
    """Settle the first so many of `due_lanes`."""
    for number in range(waiting):
        lane = lanes.due_lanes[number]
        lanes.liquidated[lane] = _settle_lane(
            columns, rules, exits, lanes, lane, lanes.row[lane], lanes.due_lots[number]
        )


@compiled
def _settle_lane(
    columns: Columns,
    rules: Rules,
    exits: ExitRules,
    lanes: Lanes,
    lane: int,
    row: int,
    wanted: int,
) -> bool:
    """Settle a candle of one lane with its exits; whether it was liquidated."""
    account, held, book = lanes.desk, lanes.held_lots[lane], lanes.books[lane]
    account.book[:] = book
    account.book[HELD] = held
    account.money[:] = 0.0
    account.money[CASH] = lanes.cash[lane]
    account.fill_count[0] = 0
    last_close = columns.close[row - 1]
    stop, take, is_liquidation = decided_exits(exits, held, average_of(account), wanted, last_close)
    settle(columns, rules, row, wanted != held, wanted, stop, take, is_liquidation, account)
    book[:] = account.book
    money, terms = account.money, lanes.terms
    drift = held * (columns.close[row] - last_close) * rules.quote_per_tick_lot
    terms[lane, PRICE_TERM] = money[BY_PRICE] + drift
    terms[lane, FEE_TERM], terms[lane, SLIPPAGE_TERM] = money[BY_FEES], money[BY_SLIPPAGE]
    terms[lane, FUNDING_TERM] = money[BY_FUNDING]
    lanes.held_lots[lane], lanes.cash[lane] = account.book[HELD], money[CASH]
    lanes.traded[lane] = money[TRADED]
    for fill in range(account.fill_count[0]):
        if account.fills[fill, CAUSE] == BY_LIQUIDATION:
            return True
    return False


@compiled
def _reset_done(rows: Ints, features: Features, episodes: Episodes, lanes: Lanes) -> None:
    for lane in range(len(lanes.row)):
        if lanes.is_done[lane]:
            _reset(rows, features, episodes, lanes, lane)


@compiled
def _reset(rows: Ints, features: Features, episodes: Episodes, lanes: Lanes, lane: int) -> None:
    start = episodes.starts[_draw(lanes.random, lane) % np.uint64(len(episodes.starts))]
    lanes.row[lane], lanes.close[lane] = start, rows[start, CLOSE]
    lanes.last_row[lane] = min(start + episodes.length, episodes.segment_end[start])
    lanes.held_lots[lane], lanes.cash[lane] = 0, episodes.cash
    lanes.is_done[lane] = False
    lanes.growth[lane] = 1.0
    lanes.terminated[lane] = False
    lanes.truncated[lane] = False
    lanes.terms[lane] = 0.0
    lanes.traded[lane] = 0.0
    lanes.books[lane] = 0
    size = features.shape[1]
    for column in range(size):
        lanes.observation[lane, column] = features[start, column]
    lanes.observation[lane, size] = 0.0


@compiled
def _draw(random: NDArray[np.uint64], lane: int) -> np.uint64:
    """The lane's next number (splitmix64): its episodes do not depend on other lanes."""
    state = random[lane] + np.uint64(0x9E3779B97F4A7C15)
    random[lane] = state
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
