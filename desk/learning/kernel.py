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
    ROW_COLUMNS,
    Columns,
    Dues,
    ExitRules,
    Rows,
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
from desk.learning.memory import copy_numbers, prefetch
from desk.learning.reward import log_growth as _log_growth
from desk.market.candles import Floats, Ints
from desk.market.features import Features
from desk.trading.intents import aimed_lots, kept_or_aimed

# Whole arrays stay in the outer loops: handing them to inner functions counts references at every
# call, which costs more than a step. Inner functions take and return numbers.
_aimed_lots, _kept_or_aimed = compiled(aimed_lots), compiled(kept_or_aimed)

# What a step's change of equity is made of.
PRICE_TERM, FEE_TERM, SLIPPAGE_TERM, FUNDING_TERM = range(4)
TERM_NAMES = ("price", "fees", "slippage", "funding")

BLOCK = 256
"""Lanes that are worked on together: their numbers stay in the processor's nearest cache."""
AHEAD = 24
"""Lanes whose rows are on their way while one is gathered."""
LINE = 16
"""Columns of a row in a line of the processor's cache."""

STRETCH = 512
"""Candles that a sweep works on together."""
QUIET = 16
"""Candles that it passes over at once where nothing can happen on them."""

HOLD = -128
"""In a decision table: keep the position."""


class Lanes(NamedTuple):
    """State of N independent accounts, and what their last step gave."""

    row: Ints
    """The candle that closed last."""
    last_row: Ints
    """The episode's end."""
    held_lots: Floats
    """Whole numbers in float64, as the ticks below: what several lanes at once are worked out in."""
    cash: Floats
    """Start + sales - purchases - fees + funding; equity adds the position at its price."""
    close: Floats
    """Close of that candle, ticks."""
    is_done: NDArray[np.bool_]
    """Ended at the last step: the next one starts anew."""
    random: NDArray[np.uint64]
    observation: Features
    """float32[N, F + 1]"""
    growth: Floats
    """Equity after ÷ before the last step; 1 for a lane that started anew."""
    reward: Floats
    """Scaled log of it."""
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    terms: Floats
    """float64[4, N] of the last step, in USDT: price, fees, slippage, funding; they add up to the
    change of equity."""
    traded: Floats
    """Notional of the last step's fills, USDT."""


class Exits(NamedTuple):
    """What lanes with exits have beside. Without exits there is none, and the code for it is left out."""

    columns: Columns
    rules: ExitRules
    books: Ints
    """int64[N, 6], columns by the names in `kernel_exits`."""
    due_lanes: Ints
    """Lanes of a step that have to be settled."""
    due_state: Floats
    """float64[N, 3]: what each of them wants, holds and has."""
    liquidated: NDArray[np.bool_]
    """At the last step."""
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
    reward_scale: float


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
    return int(_kept_or_aimed(held_lots, aim, band))


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
    unit, rate, rows, count = rules.quote_per_tick_lot, rules.taker_rate, len(close), len(tables)
    # What a level means on a candle is the same for every table. So the tables walk by stretches,
    # whose aims are found once and stay in the processor's nearest cache.
    aims, bands = np.empty((STRETCH, len(levels))), np.empty((STRETCH, len(levels)))
    closes, is_due = np.empty(STRETCH), np.empty(STRETCH, dtype=np.bool_)
    asks, bids, ask, bid = np.empty(STRETCH), np.empty(STRETCH), columns.ask, columns.bid
    # Of blocks of candles: the closes' ends, and what is left of a band over all of their aims.
    ends, spans = np.empty((STRETCH // QUIET, 2)), np.empty((STRETCH // QUIET, len(levels), 3))
    has_due = np.empty(STRETCH // QUIET, dtype=np.bool_)
    money, lots = np.empty((count, 3)), np.zeros((count, 4), dtype=np.int64)
    for column in range(count):
        money[column, 0], money[column, 1], money[column, 2] = start_cash, start_cash, 0.0
    for first in range(0, rows, STRETCH):
        size = min(STRETCH, rows - first)
        deciding = min(size, max(rows - 2 - first, 0))
        for here in range(size):
            closes[here] = close[first + here]
            asks[here], bids[here] = ask[first + here], bid[first + here]
            is_due[here] = due_first[first + here] < due_end[first + here]
            for level in range(len(levels)):
                aims[here, level], bands[here, level] = _aimed_lots(
                    levels[level],
                    size_quote,
                    closes[here],
                    unit,
                    rules.least_lots,
                    rules.least_notional,
                )
        for block in range(size // QUIET):
            here, stop = block * QUIET, (block + 1) * QUIET
            ends[block, 0], ends[block, 1] = closes[here:stop].min(), closes[here:stop].max()
            has_due[block] = is_due[here:stop].any()
            for level in range(len(levels)):
                spans[block, level, 0] = aims[here:stop, level].min()
                spans[block, level, 1] = aims[here:stop, level].max()
                spans[block, level, 2] = bands[here:stop, level].min()
        for column in range(count):
            cash, peak, deepest = money[column, 0], money[column, 1], money[column, 2]
            held, target = float(lots[column, 0]), float(lots[column, 1])
            entries, busy = lots[column, 2], lots[column, 3]
            side = int(held > 0) - int(held < 0)
            here = 0
            while here < size:
                if target != held or is_due[here]:
                    if is_due[here]:
                        cash = _enter(columns, rules, first + here, int(held), int(target), cash)
                    else:  # a call that takes the tuples costs more than a hundred candles
                        traded = target - held
                        traded *= asks[here] if traded > 0 else bids[here]
                        traded *= unit
                        cash -= traded + abs(traded) * rate
                    side = int(target > 0) - int(target < 0)
                    entries += target != 0 and int(held > 0) - int(held < 0) != side
                    held = target
                begun = here
                while here < size and (here == begun or not is_due[here]):
                    is_quiet = here % QUIET == 0 and here + QUIET <= deciding
                    if is_quiet and not has_due[here // QUIET]:
                        choice = tables[column, side + 1, first + here]
                        for ahead in range(1, QUIET):
                            is_quiet &= tables[column, side + 1, first + here + ahead] == choice
                        block = here // QUIET
                        if is_quiet and (
                            choice == HOLD
                            or _is_kept(
                                held,
                                spans[block, choice, 0],
                                spans[block, choice, 1],
                                spans[block, choice, 2],
                            )
                        ):
                            low = cash + held * ends[block, 0] * unit
                            high = cash + held * ends[block, 1] * unit
                            if max(low, high) <= peak and peak - min(low, high) <= deepest * peak:
                                here += QUIET
                                continue
                    equity = cash + held * closes[here] * unit
                    if equity > peak:
                        peak = equity
                    elif peak - equity > deepest * peak:
                        deepest = (peak - equity) / peak
                    choice = tables[column, side + 1, first + here]
                    if here >= deciding:
                        target = 0.0
                    elif choice != HOLD:
                        target = _kept_or_aimed(held, aims[here, choice], bands[here, choice])
                    here += 1
                    if target != held:
                        break
                if held != 0:
                    busy += here - begun
            money[column, 0], money[column, 1], money[column, 2] = cash, peak, deepest
            lots[column, 0], lots[column, 1], lots[column, 2], lots[column, 3] = (
                int(held),
                int(target),
                entries,
                busy,
            )
    figures[:, 0], figures[:, 1] = money[:, 0], lots[:, 2]
    figures[:, 2], figures[:, 3] = money[:, 2], lots[:, 3]


@compiled
def _is_kept(held: float, lowest: float, highest: float, band: float) -> bool:
    """Whether a position is kept under every aim between two, whose bands are all at least this."""
    if held == 0:
        return lowest == 0 and highest == 0
    is_same_sign = lowest * held > 0 and highest * held > 0
    return is_same_sign and highest - held <= band and held - lowest <= band


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
def reset_lanes(rows: Rows, episodes: Episodes, lanes: Lanes, exits: Exits | None) -> None:
    """Start an episode in every lane."""
    shown = rows.view(np.float32)
    for lane in range(len(lanes.row)):
        _reset(rows, shown, episodes, lanes, exits, lane)


@compiled
def step_lanes(
    rows: Rows,
    dues: Dues,
    rules: Rules,
    episodes: Episodes,
    exits: Exits | None,
    levels: Floats,
    lanes: Lanes,
    actions: Ints,
) -> bool:
    """Move every lane by one candle; a lane that ended at the last step starts anew instead.

    False, and nothing is done, when an action is no index of `levels`.
    """
    due_mark, due_rate, due_is_path = dues.mark, dues.rate, dues.is_path
    lane_row, lane_held, lane_cash, lane_close = (
        lanes.row,
        lanes.held_lots,
        lanes.cash,
        lanes.close,
    )
    is_done, growth, traded, observation = (
        lanes.is_done,
        lanes.growth,
        lanes.traded,
        lanes.observation,
    )
    price_term, fee_term = lanes.terms[PRICE_TERM], lanes.terms[FEE_TERM]
    slippage_term, funding_term = lanes.terms[SLIPPAGE_TERM], lanes.terms[FUNDING_TERM]
    waiting = 0
    unit, rate = rules.quote_per_tick_lot, rules.taker_rate
    size_quote, least_notional = episodes.size_quote, rules.least_notional
    least_lots = float(rules.least_lots)
    shown, size, count = rows.view(np.float32), observation.shape[1] - 1, len(lane_row)
    strangers = 0
    for lane in range(count):
        strangers += actions[lane] < 0 or actions[lane] >= len(levels)
    if strangers > 0:
        return False
    # A block's numbers are gathered lane by lane, then worked out in loops so plain that the compiler
    # does several lanes per instruction: no branches, few arrays each, all float64.
    meant, aimed, bands, notional = (
        np.empty(BLOCK),
        np.empty(BLOCK),
        np.empty(BLOCK),
        np.empty(BLOCK),
    )
    opens, closes, asks, bids = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK)
    settled, prices = np.empty(BLOCK, dtype=np.int64), np.empty(BLOCK)
    for lane in range(min(AHEAD, count)):
        _fetch(rows, lane_row[lane] + (0 if is_done[lane] else 1))
    for first in range(0, count, BLOCK):
        lanes_here, due_here = min(BLOCK, count - first), 0
        for here in range(lanes_here):
            lane = first + here
            # Lanes stand far apart on the tape, and what waits for memory is most of a step. So the
            # rows of the lanes to come are on their way already.
            if lane + AHEAD < count:
                _fetch(rows, lane_row[lane + AHEAD] + (0 if is_done[lane + AHEAD] else 1))
            row = lane_row[lane] + (0 if is_done[lane] else 1)
            opens[here], closes[here] = rows[row, OPEN], rows[row, CLOSE]
            asks[here], bids[here] = rows[row, ASK], rows[row, BID]
            meant[here] = levels[actions[lane]]
            lane_row[lane] += 1
            settled[due_here] = here
            due_here += rows[row, DUE_FIRST] < rows[row, DUE_END]
            copy_numbers(observation, lane, shown, row, ROW_COLUMNS, size)
        held, cash = lane_held[first : first + lanes_here], lane_cash[first : first + lanes_here]
        close = lane_close[first : first + lanes_here]
        for here in range(lanes_here):
            aimed[here], bands[here] = _aimed_lots(
                meant[here], size_quote, close[here], unit, least_lots, least_notional
            )
        for here in range(lanes_here):
            aimed[here] = _kept_or_aimed(held[here], aimed[here], bands[here])
        before, paid = growth[first : first + lanes_here], funding_term[first : first + lanes_here]
        for here in range(lanes_here):
            before[here] = cash[here] + held[here] * close[here] * unit
        paid[:] = 0.0
        for number in range(due_here):
            here = settled[number]
            row = lane_row[first + here]
            for due in range(int(rows[row, DUE_FIRST]), int(rows[row, DUE_END])):
                payer = aimed[here] if due_is_path[due] else held[here]
                paid[here] -= payer * due_mark[due] * unit * due_rate[due]
        if exits is not None:
            waiting = _wait(rows, lanes, exits, first, aimed[:lanes_here], waiting)
        for here in range(lanes_here):
            prices[here] = asks[here] if aimed[here] > held[here] else bids[here]
        for here in range(lanes_here):
            notional[here] = (aimed[here] - held[here]) * prices[here] * unit
        for here in range(lanes_here):
            cash[here] += paid[here] - notional[here] - abs(notional[here]) * rate
        gain, cost = price_term[first : first + lanes_here], fee_term[first : first + lanes_here]
        for here in range(lanes_here):
            gain[here] = (
                held[here] * (opens[here] - close[here])
                + aimed[here] * (closes[here] - opens[here])
            ) * unit
        slipped, moved = (
            slippage_term[first : first + lanes_here],
            traded[first : first + lanes_here],
        )
        for here in range(lanes_here):
            slipped[here] = (aimed[here] - held[here]) * (opens[here] - prices[here]) * unit
        for here in range(lanes_here):
            moved[here] = abs(notional[here])
            cost[here] = -moved[here] * rate
        held[:] = aimed[:lanes_here]
        close[:] = closes[:lanes_here]
    # Calls that take the tuples stay out of the loop over lanes: with them in it a step takes twice
    # as long, even if they are never made.
    if exits is not None:
        exits.liquidated[:] = False
        _settle_lanes(rules, exits, lanes, waiting)
    _end_step(rows, shown, unit, episodes, lanes, exits)
    return True


@compiled
def _end_step(
    rows: Rows,
    shown: Features,
    unit: float,
    episodes: Episodes,
    lanes: Lanes,
    exits: Exits | None,
) -> None:
    """What the step was worth, which lanes it ended, and a new episode where the last one did."""
    held, cash, close, growth = lanes.held_lots, lanes.cash, lanes.close, lanes.growth
    row, last_row, is_done = lanes.row, lanes.last_row, lanes.is_done
    terminated, truncated, observation = lanes.terminated, lanes.truncated, lanes.observation
    count, size, ruin_equity = len(held), lanes.observation.shape[1] - 1, episodes.ruin_equity
    after = np.empty(count)
    for lane in range(count):
        after[lane] = cash[lane] + held[lane] * close[lane] * unit
    for lane in range(count):
        growth[lane] = after[lane] / growth[lane]
    for lane in range(count):
        terminated[lane] = after[lane] <= ruin_equity
    if exits is not None:
        terminated |= exits.liquidated
    for lane in range(count):
        truncated[lane] = (row[lane] == last_row[lane]) & ~terminated[lane]
    ended = 0
    for lane in range(count):
        ended += is_done[lane]
        # The layout of `desk.learning.observation`: features, then the sign of the position.
        observation[lane, size] = (held[lane] > 0) - (held[lane] < 0)
    if ended > 0:
        for lane in range(count):
            if is_done[lane]:
                _reset(rows, shown, episodes, lanes, exits, lane)
    for lane in range(count):
        is_done[lane] = terminated[lane] | truncated[lane]
    _log_growth(growth, episodes.reward_scale, lanes.reward)


@compiled
def _fetch(rows: Rows, row: int) -> None:
    size = rows.shape[1]
    for column in range(0, size - 1, LINE):
        prefetch(rows, row, column)
    prefetch(rows, row, size - 1)  # a row need not begin where a line does


@compiled
def _wait(rows: Rows, lanes: Lanes, exits: Exits, first: int, aimed: Floats, waiting: int) -> int:
    """Put a block's lanes that trade or may be taken out aside: they are settled by themselves.

    Returns how many wait by now.
    """
    for here in range(len(aimed)):
        lane = first + here
        held, row = lanes.held_lots[lane], lanes.row[lane]
        if lanes.is_done[lane] or not (
            aimed[here] != held
            or may_exit(
                held,
                exits.books[lane, STOP],
                exits.books[lane, TAKE],
                min(rows[row, BID], rows[row, LOW]),
                max(rows[row, ASK], rows[row, HIGH]),
            )
        ):
            continue
        exits.due_lanes[waiting] = lane
        exits.due_state[waiting, 0] = aimed[here]
        exits.due_state[waiting, 1], exits.due_state[waiting, 2] = held, lanes.cash[lane]
        waiting += 1
    return waiting


@compiled
def _settle_lanes(rules: Rules, exits: Exits, lanes: Lanes, waiting: int) -> None:
    """Settle the first so many of `due_lanes`."""
    for number in range(waiting):
        lane = exits.due_lanes[number]
        lanes.held_lots[lane] = exits.due_state[number, 1]
        lanes.cash[lane] = exits.due_state[number, 2]
        exits.liquidated[lane] = _settle_lane(
            rules, exits, lanes, lane, lanes.row[lane], int(exits.due_state[number, 0])
        )


@compiled
def _settle_lane(
    rules: Rules, exits: Exits, lanes: Lanes, lane: int, row: int, wanted: int
) -> bool:
    """Settle a candle of one lane with its exits; whether it was liquidated."""
    columns, account = exits.columns, exits.desk
    held, book = int(lanes.held_lots[lane]), exits.books[lane]
    account.book[:] = book
    account.book[HELD] = held
    account.money[:] = 0.0
    account.money[CASH] = lanes.cash[lane]
    account.fill_count[0] = 0
    last_close = columns.close[row - 1]
    stop, take, is_liquidation = decided_exits(
        exits.rules, held, average_of(account), wanted, last_close
    )
    settle(columns, rules, row, wanted != held, wanted, stop, take, is_liquidation, account)
    book[:] = account.book
    money, terms = account.money, lanes.terms
    drift = held * (columns.close[row] - last_close) * rules.quote_per_tick_lot
    terms[PRICE_TERM, lane] = money[BY_PRICE] + drift
    terms[FEE_TERM, lane], terms[SLIPPAGE_TERM, lane] = money[BY_FEES], money[BY_SLIPPAGE]
    terms[FUNDING_TERM, lane] = money[BY_FUNDING]
    lanes.held_lots[lane], lanes.cash[lane] = account.book[HELD], money[CASH]
    lanes.traded[lane] = money[TRADED]
    for fill in range(account.fill_count[0]):
        if account.fills[fill, CAUSE] == BY_LIQUIDATION:
            return True
    return False


@compiled
def _reset(
    rows: Rows, shown: Features, episodes: Episodes, lanes: Lanes, exits: Exits | None, lane: int
) -> None:
    start = episodes.starts[_draw(lanes.random, lane) % np.uint64(len(episodes.starts))]
    lanes.row[lane], lanes.close[lane] = start, rows[start, CLOSE]
    lanes.last_row[lane] = min(start + episodes.length, episodes.segment_end[start])
    lanes.held_lots[lane], lanes.cash[lane] = 0.0, episodes.cash
    lanes.is_done[lane] = False
    lanes.growth[lane] = 1.0
    lanes.terminated[lane] = False
    lanes.truncated[lane] = False
    lanes.terms[:, lane] = 0.0
    lanes.traded[lane] = 0.0
    if exits is not None:
        exits.books[lane] = 0
    size = lanes.observation.shape[1] - 1
    copy_numbers(lanes.observation, lane, shown, start, ROW_COLUMNS, size)
    lanes.observation[lane, size] = 0.0


@compiled
def _draw(random: NDArray[np.uint64], lane: int) -> np.uint64:
    """The lane's next number (splitmix64): its episodes do not depend on other lanes."""
    state = random[lane] + np.uint64(0x9E3779B97F4A7C15)
    random[lane] = state
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
