"""The fast evaluator: a policy walked over a market by the compiled rules, and the plan it made.

A policy sees nothing of the account but the sign of its position. So all its decisions fit a table,
three signs for every candle, which is computed in batches and then walked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from desk.errors import EvaluationFailed
from desk.evaluation.plan import Plan, Replay
from desk.learning import kernel, kernel_exits
from desk.learning.arrays import MarketArrays, exit_rules
from desk.learning.observation import Observation, observation
from desk.learning.policy import probabilities
from desk.market.candles import Floats, Ints
from desk.market.features import Features
from desk.trading.fills import QUOTE_DELAY_MS, ZERO, FillCause, FundingPayment, LotFill
from desk.trading.intents import NO_PROTECTION, Protection
from desk.trading.tape import Market

type Forward = Callable[[Observation], NDArray[np.float32]]
"""Logits float32[N, K] of observations float32[N, F + 1]; no row may depend on another."""

HELD_SIGNS = (-1, 0, 1)
_BATCH = 65_536
CAUSES = {
    kernel_exits.BY_ORDER: FillCause.ORDER,
    kernel_exits.BY_STOP: FillCause.STOP,
    kernel_exits.BY_TAKE_PROFIT: FillCause.TAKE_PROFIT,
    kernel_exits.BY_LIQUIDATION: FillCause.LIQUIDATION,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FastRun:
    """What a policy decided and what it came to by float64 rules."""

    plan: Plan
    """Ends flat; what other engines replay."""
    equity: Floats
    """float64[T] at each close."""
    balance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """Figures of C accounts that walked one market; see `desk.evaluation.metrics.Metrics`."""

    balance: Floats
    trade_count: Ints
    max_drawdown: Floats
    exposure: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlanRun:
    """What the compiled rules made of a plan."""

    fills: Ints
    """int64[K, 6], columns by the names in `desk.learning.kernel_exits`."""
    fees: Floats
    """float64[K]"""
    funding: Floats
    """float64[D]: what each settlement moved, 0 where nothing was held."""
    equity: Floats
    balance: float

    def as_replay(self, market: Market) -> Replay:
        """The same in the words of the other executions; amounts are exact decimals of the floats."""
        fills = [self._fill(market, number) for number in range(len(self.fills))]
        dues = [due for due in market.dues if due.rate is not None]
        lots = _lots_at(market, fills)
        funding = [
            FundingPayment(
                due_ms=due.due_ms,
                lots=held,
                mark_ticks=due.mark_ticks,
                rate=due.rate,
                amount=Decimal(amount),
            )
            for due, amount, held in zip(dues, self.funding.tolist(), lots, strict=True)
            if held
        ]
        return Replay(fills=tuple(fills), funding=tuple(funding), balance=Decimal(self.balance))

    def _fill(self, market: Market, number: int) -> LotFill:
        row, tape = self.fills[number], market.tape
        candle = int(row[kernel_exits.CANDLE])
        at_quote_ms = int(tape.open_ms[candle]) + QUOTE_DELAY_MS
        is_path = row[kernel_exits.IS_PATH] == 1
        return LotFill(
            order_id="",
            cause=CAUSES[int(row[kernel_exits.CAUSE])],
            lots=int(row[kernel_exits.LOTS]),
            price_ticks=int(row[kernel_exits.PRICE]),
            fee=Decimal(float(self.fees[number])),
            realized_pnl=ZERO,
            is_maker=bool(row[kernel_exits.IS_MAKER]),
            filled_ms=int(tape.close_ms[candle]) if is_path else at_quote_ms,
        )


def decision_table(
    forward: Forward,
    features: Features,
    levels: Sequence[float],
    threshold: float,
    *,
    feature_limit: float = math.inf,
) -> NDArray[np.int8]:
    """Decide for each held sign (-1, 0, +1) on each row: int8[3, T], an index of `levels` or `HOLD`.

    The rule of `desk.learning.policy.decide`, and before it the gates that hold live: features that
    are not finite or beyond `feature_limit` are not decided on.
    """
    rows = len(features)
    table = np.full((len(HELD_SIGNS), rows), kernel.HOLD, dtype=np.int8)
    for first in range(0, rows, _BATCH):
        part = features[first : first + _BATCH]
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(part).all(axis=1) & (np.abs(part).max(axis=1) <= feature_limit)
        seen = np.flatnonzero(usable)
        if not len(seen):
            continue
        for number, sign in enumerate(HELD_SIGNS):
            held = np.full(len(seen), sign, dtype=np.int64)
            logits = forward(observation(part[seen], held))
            table[number, first + seen] = _choices(logits, len(levels), threshold)
    return table


def run_policy(
    arrays: MarketArrays,
    forward: Forward,
    *,
    levels: Sequence[float],
    threshold: float,
    size_quote: float,
    cash: float,
    feature_limit: float = math.inf,
    protection: Protection = NO_PROTECTION,
    leverage: int | None = None,
) -> FastRun:
    """Let a policy decide on every candle, holding when it is not sure, and record the plan.

    `size_quote` is the notional of target 1 in USDT. The last candle but one goes flat. Every decided
    position gets the exits of `protection` and, with a `leverage`, those of isolated margin.
    """
    table = decision_table(forward, arrays.features, levels, threshold, feature_limit=feature_limit)
    return walk_table(
        arrays,
        table,
        levels=levels,
        size_quote=size_quote,
        cash=cash,
        protection=protection,
        leverage=leverage,
    )


def walk_table(
    arrays: MarketArrays,
    table: NDArray[np.int8],
    *,
    levels: Sequence[float],
    size_quote: float,
    cash: float,
    protection: Protection = NO_PROTECTION,
    leverage: int | None = None,
    into: FastRun | None = None,
) -> FastRun:
    """Walk one account along a table of decisions, see `decision_table`, and record the plan.

    `into` is an earlier run on as many candles whose arrays are written anew: in a sweep, asking for
    memory would take longer than the walk.
    """
    exits = exit_rules(arrays, protection, leverage)
    if into is None:
        plan, equity = Plan.undecided(len(arrays)), np.zeros(len(arrays))
    else:
        plan, equity = into.plan, into.equity
        for column in _columns(plan):
            column.fill(0)
    balance = kernel.run_table(
        arrays.columns,
        arrays.rules,
        exits,
        np.array(levels, dtype=np.float64),
        table,
        size_quote,
        kernel_exits.new_account(cash, len(arrays.columns.due_mark)),
        _columns(plan),
        equity,
    )
    return FastRun(plan=plan, equity=equity, balance=balance)


def sweep(
    arrays: MarketArrays,
    tables: NDArray[np.int8],
    *,
    levels: Sequence[float],
    size_quote: float,
    cash: float,
) -> Sweep:
    """Walk one account along each of int8[C, 3, T] tables; what `walk_table` says, in figures only."""
    if tables.shape[1:] != (len(HELD_SIGNS), len(arrays)):
        raise EvaluationFailed(f"tables had shape {tables.shape} for {len(arrays)} candles")
    figures = np.zeros((len(tables), 4))
    kernel.sweep_tables(
        arrays.columns,
        arrays.rules,
        np.array(levels, dtype=np.float64),
        tables,
        size_quote,
        cash,
        figures,
    )
    balance, entries, deepest, busy = figures.T
    return Sweep(
        balance=balance,
        trade_count=entries.astype(np.int64),
        max_drawdown=deepest,
        exposure=busy / len(arrays),
    )


def run_plan(arrays: MarketArrays, plan: Plan, cash: float) -> PlanRun:
    """Replay a plan by the compiled rules, exits included."""
    if len(plan) != len(arrays):
        raise EvaluationFailed(f"the plan had {len(plan)} rows for {len(arrays)} candles")
    most = kernel_exits.FILLS_PER_CANDLE * int(plan.decided.sum())
    dues = len(arrays.columns.due_mark)
    account, equity = kernel_exits.new_account(cash, dues, most), np.zeros(len(arrays))
    kernel_exits.run_plan(arrays.columns, arrays.rules, _columns(plan), account, equity)
    count = int(account.fill_count[0])
    return PlanRun(
        fills=account.fills[:count],
        fees=account.fees[:count],
        funding=account.funding,
        equity=equity,
        balance=float(account.money[kernel_exits.CASH]),
    )


def replay_compiled(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """Replay a plan by the compiled rules, told like every other execution's."""
    no_features = np.zeros((len(market.tape), 1), dtype=np.float32)
    arrays = MarketArrays.from_market(market, no_features)
    return run_plan(arrays, plan, float(cash)).as_replay(market)


def _lots_at(market: Market, fills: Sequence[LotFill]) -> list[int]:
    """Signed lots held at each settlement: after every fill stamped at or before it."""
    filled_ms = np.array([fill.filled_ms for fill in fills], dtype=np.int64)
    held = np.cumsum([0, *(fill.lots for fill in fills)])
    due_ms = [due.due_ms for due in market.dues if due.rate is not None]
    return held[np.searchsorted(filled_ms, due_ms, side="right")].tolist()


def _columns(plan: Plan) -> kernel_exits.PlanColumns:
    """The plan's own arrays, as compiled code reads and writes them."""
    return kernel_exits.PlanColumns(
        decided=plan.decided,
        target_lots=plan.target_lots,
        stop_ticks=plan.stop_ticks,
        take_ticks=plan.take_ticks,
        is_liquidation=plan.is_liquidation,
    )


def _choices(logits: NDArray[np.float32], level_count: int, threshold: float) -> NDArray[np.int8]:
    if logits.shape[1:] != (level_count,):
        raise EvaluationFailed(f"logits had shape {logits.shape}, expected {level_count} columns")
    is_finite = np.isfinite(logits).all(axis=1)
    chances = probabilities(np.where(is_finite[:, None], logits, np.float32(0)))
    best = chances.argmax(axis=1)
    is_sure = chances[np.arange(len(best)), best] >= threshold
    return np.where(is_finite & is_sure, best, kernel.HOLD).astype(np.int8)
