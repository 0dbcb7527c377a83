"""Walking other ways to trade over the candles of an evaluation: at the same size, by the same rules."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desk.clock import DAY_MS, HOUR_MS
from desk.evaluation.fast import HELD_SIGNS, Forward, run_plan, walk_table
from desk.evaluation.metrics import DAYS_PER_YEAR, max_drawdown, sharpe
from desk.evaluation.overfitting import moments, totals_by_step
from desk.evaluation.plan import Plan
from desk.learning import kernel, kernel_exits
from desk.learning.arrays import MarketArrays
from desk.market.candles import Floats, Ints
from desk.market.features import Features
from desk.trading.intents import NO_PROTECTION, Protection
from desk.trading.tape import Market, quotes_of

type Table = NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every way to trade is given. Money in USDT."""

    size_quote: float
    """Notional of a target of 1."""
    cash: float
    protection: Protection = NO_PROTECTION
    leverage: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rival:
    """A policy to compare with, over features of its own."""

    name: str
    version_id: str
    forward: Forward
    levels: tuple[float, ...]
    features: Features
    """float32[T, F], of the very candles of the evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Walked:
    """What came of one way to trade by the compiled rules."""

    plan: Plan
    equity: Floats
    """float64[T] at each close."""
    lots: Ints
    """int64[T] held at each close."""
    changes: Floats
    """Of equity by step; see `step_ms`."""
    net_pnl: float
    sharpe: float
    """Of daily returns, see `desk.evaluation.metrics.sharpe`."""
    hourly_sharpe: float
    """Of `changes`, yearly."""
    max_drawdown: float
    trade_count: int

    @property
    def exposure(self) -> float:
        """Share of candles that close with a position."""
        return float(np.count_nonzero(self.lots) / len(self.lots))


def step_ms(candle_ms: int) -> int:
    """Length of time whose change of equity is one observation: an hour, or a longer candle."""
    return max(HOUR_MS, candle_ms)


def yearly(candle_ms: int) -> float:
    """Observations in a year of 365 days."""
    return DAYS_PER_YEAR * DAY_MS / step_ms(candle_ms)


def hourly_sharpe(changes: Floats, candle_ms: int) -> float:
    """Yearly ratio of mean to deviation of float64[N] changes of equity by step; 0 without variation."""
    return moments(changes).sharpe * yearly(candle_ms) ** 0.5


def walked(arrays: MarketArrays, plan: Plan, cash: float) -> Walked:
    """Replay a plan by the compiled rules and measure it."""
    done = run_plan(arrays, plan, cash)
    moved = np.zeros(len(arrays), dtype=np.int64)
    np.add.at(moved, done.fills[:, kernel_exits.CANDLE], done.fills[:, kernel_exits.LOTS])
    after = np.cumsum(done.fills[:, kernel_exits.LOTS])
    before = np.concatenate([[0], after[:-1]])[: len(after)]
    entered = (after != 0) & (np.sign(after) != np.sign(before))
    close_ms, step = arrays.open_ms + arrays.step_ms, step_ms(arrays.step_ms)
    changes = totals_by_step(done.equity, cash, close_ms, step)
    return Walked(
        plan=plan,
        equity=done.equity,
        lots=np.cumsum(moved),
        changes=changes,
        net_pnl=done.balance - cash,
        sharpe=sharpe(done.equity, close_ms, cash),
        hourly_sharpe=hourly_sharpe(changes, arrays.step_ms),
        max_drawdown=max_drawdown(done.equity, cash),
        trade_count=int(entered.sum()),
    )


def walk(arrays: MarketArrays, table: Table, levels: Sequence[float], terms: Terms) -> Walked:
    """Walk an account along int8[3, T] decisions, see `desk.evaluation.fast.decision_table`."""
    run = walk_table(
        arrays,
        table,
        levels=levels,
        size_quote=terms.size_quote,
        cash=terms.cash,
        protection=terms.protection,
        leverage=terms.leverage,
    )
    return walked(arrays, run.plan, terms.cash)


def with_costs(market: Market, multiple: int) -> Market:
    """The market with fees and slippage so many times as large."""
    spec, tape = market.spec, market.tape
    dearer = replace(
        spec,
        slippage_bps=spec.slippage_bps * multiple,
        taker_rate=spec.taker_rate * multiple,
        maker_rate=spec.maker_rate * multiple,
    )

    bid, ask = quotes_of(tape.open, dearer)
    return replace(market, spec=dearer, tape=replace(tape, bid=bid, ask=ask))


def flat_table(rows: int) -> Table:
    """Never decides."""
    return np.full((len(HELD_SIGNS), rows), kernel.HOLD, dtype=np.int8)


def hold_table(rows: int) -> Table:
    """Goes long on the first candle, with levels `(0, 1)`, and stays."""
    table = flat_table(rows)
    table[:, 0] = 1
    return table


def levels_held(found: Walked, arrays: MarketArrays, levels: Sequence[float], size: float) -> Ints:
    """int64[T]: index of the level of `levels` (0 among them) that was held at each close."""
    unit = arrays.rules.quote_per_tick_lot
    held = found.lots * arrays.columns.close * unit / size
    index = np.abs(held[:, None] - np.array(levels)).argmin(axis=1)
    nearest = np.array(levels)[index]
    # Less than half of the smallest level is still a position.
    smallest = {sign: _smallest(levels, sign) for sign in (-1, 1)}
    lost = (found.lots != 0) & (np.sign(nearest) != np.sign(found.lots))
    index[lost] = [smallest[int(sign)] for sign in np.sign(found.lots[lost])]
    return index


def shifted_table(held: Ints, zero: int, shift: int) -> Table:
    """Holds what was held, `shift` candles later and around the end: as often and as long, at another
    time. `held` int64[T] are indices of levels, `zero` that of flat."""
    wanted = np.roll(held, shift)
    table = flat_table(len(held))
    changed = np.flatnonzero(np.diff(wanted))
    table[:, changed] = wanted[changed + 1]
    if wanted[0] != zero and table[0, 0] == kernel.HOLD:
        table[:, 0] = wanted[0]
    return table


def random_shift(rows: int, seed: int) -> int:
    """A shift that leaves none of the candles near its place: a twentieth of them at least."""
    nearest = max(rows // 20, 1)
    return int(np.random.default_rng(seed).integers(nearest, max(rows - nearest, nearest + 1)))


def _smallest(levels: Sequence[float], sign: int) -> int:
    sided = [(abs(level), number) for number, level in enumerate(levels) if level * sign > 0]
    return min(sided)[1] if sided else 0
