"""The fill rules compiled: whole ticks and lots, float64 cash. `desk.trading.fills` is their oracle.

Market orders only: `step_lanes` moves many independent accounts by one candle (training),
`run_table` walks one account along a table of decisions (fast evaluation).
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
from desk.market.features import Features
from desk.trading.intents import lots_to_hold

# Whole arrays stay in the outer loops: handing them to inner functions counts references at every
# call, which costs more than a step. Inner functions take and return numbers.
_jit = njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
_lots_to_hold = _jit(lots_to_hold)

# What a step's change of equity is made of.
PRICE_TERM, FEE_TERM, SLIPPAGE_TERM, FUNDING_TERM = range(4)
TERM_NAMES = ("price", "fees", "slippage", "funding")

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


@_jit
def _fees(lots: int, price: int, unit: float, rate: float) -> float:
    return abs(lots * price * unit) * rate


@_jit
def run_table(
    columns: Columns,
    rules: Rules,
    levels: Floats,
    table: NDArray[np.int8],
    size_quote: float,
    cash: float,
    decided: NDArray[np.bool_],
    wanted: Ints,
    equity: Floats,
) -> float:
    """Walk one account along int8[3, T] decisions: for each held sign (-1, 0, +1) an index of
    `levels`, or `HOLD`. The last candle but one goes flat.

    Writes the plan `decided` bool[T], `wanted` int64[T] (both given as zeros) and `equity`
    float64[T]; returns the cash.
    """
    close, due_first = columns.close, columns.due_first
    unit = rules.quote_per_tick_lot
    held, target, rows = 0, 0, len(close)
    side, due_end = 1, due_first[0]
    for row in range(rows):
        due, due_end = due_end, due_first[row + 1]
        if due < due_end or target != held:
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
            wanted[row] = target
        elif row == rows - 2:
            target = 0
            decided[row] = True
    return cash


@_jit
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
    close, due_first = columns.close, columns.due_first
    unit, rows = rules.quote_per_tick_lot, len(close)
    for column in range(len(tables)):
        cash, peak, deepest = start_cash, start_cash, 0.0
        held, target, entries, busy = 0, 0, 0, 0
        side, due_end = 1, due_first[0]
        for row in range(rows):
            due, due_end = due_end, due_first[row + 1]
            if due < due_end or target != held:
                cash = _enter(columns, rules, row, held, target, cash)
                entries += target != 0 and (held > 0) - (held < 0) != (target > 0) - (target < 0)
                held = target
                side = (held > 0) - (held < 0) + 1
            equity = cash + held * close[row] * unit
            busy += held != 0
            if equity > peak:
                peak = equity
            elif peak - equity > deepest * peak:
                deepest = (peak - equity) / peak
            choice = tables[column, side, row]
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
            elif row == rows - 2:
                target = 0
        figures[column, 0], figures[column, 1] = cash, entries
        figures[column, 2], figures[column, 3] = deepest, busy


@_jit
def _enter(columns: Columns, rules: Rules, row: int, held: int, target: int, cash: float) -> float:
    """Cash after a candle's funding and its trade at the quote; for the few candles that have any."""
    unit = rules.quote_per_tick_lot
    due, due_end = columns.due_first[row], columns.due_first[row + 1]
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


@_jit
def reset_lanes(features: Features, episodes: Episodes, lanes: Lanes) -> None:
    """Start an episode in every lane."""
    for lane in range(len(lanes.row)):
        _reset(features, episodes, lanes, lane)


@_jit
def step_lanes(
    columns: Columns,
    rules: Rules,
    features: Features,
    episodes: Episodes,
    levels: Floats,
    lanes: Lanes,
    actions: Ints,
) -> None:
    """Move every lane by one candle; a lane that ended at the last step starts anew instead."""
    open_, close, bid, ask = columns.open, columns.close, columns.bid, columns.ask
    due_first, due_mark, due_rate = columns.due_first, columns.due_mark, columns.due_rate
    due_is_path = columns.due_is_path
    lane_row, last_row, held_lots, lane_cash = (
        lanes.row,
        lanes.last_row,
        lanes.held_lots,
        lanes.cash,
    )
    is_done, growth, terms = lanes.is_done, lanes.growth, lanes.terms
    terminated, truncated, observation = lanes.terminated, lanes.truncated, lanes.observation
    unit, rate = rules.quote_per_tick_lot, rules.taker_rate
    size_quote, ruin_equity = episodes.size_quote, episodes.ruin_equity
    size = features.shape[1]
    for lane in range(len(lane_row)):
        if is_done[lane]:
            _reset(features, episodes, lanes, lane)
            continue
        row, held, cash = lane_row[lane], held_lots[lane], lane_cash[lane]
        last_close = close[row]
        wanted = _lots_to_hold(
            levels[actions[lane]],
            size_quote,
            last_close,
            held,
            unit,
            rules.least_lots,
            rules.least_notional,
        )
        before = cash + held * last_close * unit

        row += 1
        due, due_end, funding = due_first[row], due_first[row + 1], 0.0
        while due < due_end:
            payer = wanted if due_is_path[due] else held
            funding -= payer * due_mark[due] * unit * due_rate[due]
            due += 1
        lots = wanted - held
        buy, sell = ask[row], bid[row]
        price = buy if lots > 0 else sell
        fees = _fees(lots, price, unit, rate)
        cash += funding - lots * price * unit - fees
        after = cash + wanted * close[row] * unit

        terms[lane, PRICE_TERM] = (
            held * (open_[row] - last_close) + wanted * (close[row] - open_[row])
        ) * unit
        terms[lane, FEE_TERM] = -fees
        terms[lane, SLIPPAGE_TERM] = -lots * (price - open_[row]) * unit
        terms[lane, FUNDING_TERM] = funding
        lane_row[lane], held_lots[lane], lane_cash[lane] = row, wanted, cash
        growth[lane] = after / before
        is_ruined = after <= ruin_equity
        terminated[lane] = is_ruined
        truncated[lane] = row == last_row[lane] and not is_ruined
        is_done[lane] = is_ruined or row == last_row[lane]
        # The layout of `desk.learning.observation`: features, then the sign of the position.
        for column in range(size):
            observation[lane, column] = features[row, column]
        observation[lane, size] = (wanted > 0) - (wanted < 0)


@_jit
def _reset(features: Features, episodes: Episodes, lanes: Lanes, lane: int) -> None:
    start = episodes.starts[_draw(lanes.random, lane) % np.uint64(len(episodes.starts))]
    lanes.row[lane] = start
    lanes.last_row[lane] = min(start + episodes.length, episodes.segment_end[start])
    lanes.held_lots[lane], lanes.cash[lane] = 0, episodes.cash
    lanes.is_done[lane] = False
    lanes.growth[lane] = 1.0
    lanes.terminated[lane] = False
    lanes.truncated[lane] = False
    lanes.terms[lane] = 0.0
    size = features.shape[1]
    for column in range(size):
        lanes.observation[lane, column] = features[start, column]
    lanes.observation[lane, size] = 0.0


@_jit
def _draw(random: NDArray[np.uint64], lane: int) -> np.uint64:
    """The lane's next number (splitmix64): its episodes do not depend on other lanes."""
    state = random[lane] + np.uint64(0x9E3779B97F4A7C15)
    random[lane] = state
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
