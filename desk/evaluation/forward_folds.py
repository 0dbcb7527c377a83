"""Scoring a policy on what came after its training: folds of later candles, costs included.

A policy is trained on rows before the first fold and scored on folds after it, with a purge in
between; by walk-forward there is a policy for each fold, trained on all rows before it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from desk.errors import BadInput
from desk.evaluation.fast import run_policy
from desk.evaluation.metrics import max_drawdown, sharpe
from desk.learning.arrays import MarketArrays
from desk.learning.policy import MlpPolicy
from desk.learning.policy_lanes import forward_lanes
from desk.market.candles import Floats

LEAST_FOLD_ROWS = 3
"""A plan ends flat on its last candle but one."""
BLOCKS = 64
"""Parts of the scored candles whose returns are kept: enough for combinations of 16."""

type Rows = tuple[int, int]
"""First row and end (exclusive)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What one policy is trained on, and the folds it is scored on, oldest first."""

    train: Rows
    folds: tuple[Rows, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """How decisions are acted on while scoring. Money in USDT."""

    cash: float
    size_quote: float
    decision_threshold: float
    feature_limit: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldRun:
    """An account walked over one fold by a policy."""

    rows: Rows
    equity: Floats
    """float64[rows], at each close, costs paid."""
    cash: float


def plan_stretches(
    rows: int,
    *,
    is_walk_forward: bool,
    folds: int,
    train_fraction: float,
    purge: int,
    embargo: int,
) -> tuple[Stretch, ...]:
    """Cut rows into a training part and equal contiguous folds after it.

    `purge` rows before each first scored row are neither trained on nor scored, so that no feature of
    a fold looks at a candle of the training; `embargo` rows lie between two folds of one policy.
    Raises `BadInput` naming what is too large for these rows.
    """
    first = round(rows * train_fraction)
    bounds = np.linspace(first, rows, folds + 1).round().astype(int).tolist()
    if is_walk_forward:
        stretches = [
            Stretch(train=(0, begin), folds=((begin + purge, end),))
            for begin, end in itertools.pairwise(bounds)
        ]
    else:
        gaps = [purge] + [embargo] * (folds - 1)
        scored = [
            (begin + gap, end)
            for begin, end, gap in zip(bounds[:-1], bounds[1:], gaps, strict=True)
        ]
        stretches = [Stretch(train=(0, first), folds=tuple(scored))]
    shortest = min(end - begin for stretch in stretches for begin, end in stretch.folds)
    if shortest < LEAST_FOLD_ROWS:
        raise BadInput(
            "validation.folds",
            f"{folds} folds of {rows - first} rows, {purge} purged and {embargo} under embargo, left "
            f"{max(shortest, 0)} rows in the shortest: take fewer folds, a lower train_fraction, or "
            "a longer dataset",
        )
    return tuple(stretches)


def part_of(arrays: MarketArrays, rows: Rows) -> MarketArrays:
    """Some rows of a market; its settlements keep their numbers."""
    cut = slice(*rows)
    columns = arrays.columns
    return replace(
        arrays,
        open_ms=arrays.open_ms[cut],
        features=arrays.features[cut],
        columns=columns._replace(
            open=columns.open[cut],
            high=columns.high[cut],
            low=columns.low[cut],
            close=columns.close[cut],
            bid=columns.bid[cut],
            ask=columns.ask[cut],
            due_first=columns.due_first[cut],
            due_end=columns.due_end[cut],
        ),
    )


def fold_runs(
    policy: MlpPolicy, arrays: MarketArrays, folds: Sequence[Rows], account: Account
) -> list[FoldRun]:
    """Walk a fresh account over each fold."""
    forward, runs = forward_lanes(policy), list[FoldRun]()
    for rows in folds:
        done = run_policy(
            part_of(arrays, rows),
            forward,
            levels=policy.levels,
            threshold=account.decision_threshold,
            size_quote=account.size_quote,
            cash=account.cash,
            feature_limit=account.feature_limit,
        )
        runs.append(FoldRun(rows=rows, equity=done.equity, cash=account.cash))
    return runs


def fold_scores(
    policy: MlpPolicy,
    arrays: MarketArrays,
    folds: Sequence[Rows],
    *,
    metric: str,
    account: Account,
) -> list[float]:
    """The metric of each fold, costs in: see `scores_of`."""
    return scores_of(fold_runs(policy, arrays, folds, account), arrays, metric)


def scores_of(runs: Sequence[FoldRun], arrays: MarketArrays, metric: str) -> list[float]:
    """`sharpe` of daily returns over 365 days, `net_return` or `max_drawdown` as fractions."""
    return [_score(run, arrays, metric) for run in runs]


def candle_returns(runs: Sequence[FoldRun]) -> Floats:
    """Return of each scored candle, fold after fold: what was earned on it, as a fraction of cash.

    Every fold begins with the same cash, and sizes do not grow with it, so returns add up.
    """
    moved = [np.diff(run.equity, prepend=run.cash) / run.cash for run in runs]
    return np.concatenate(moved) if moved else np.zeros(0)


def block_returns(runs: Sequence[FoldRun], blocks: int = BLOCKS) -> tuple[float, ...]:
    """Summed returns of `blocks` equal contiguous parts of the scored candles, oldest first.

    Of fewer candles than that there are as many parts as candles.
    """
    returns = candle_returns(runs)
    parts = np.array_split(returns, max(min(blocks, len(returns)), 1))
    return tuple(float(part.sum()) for part in parts)


def joined_sharpe(runs: Sequence[FoldRun], arrays: MarketArrays) -> float:
    """Annualised Sharpe ratio of the daily returns over all folds put together."""
    cash = runs[0].cash
    equity = cash * (1.0 + np.cumsum(candle_returns(runs)))
    open_ms = np.concatenate([arrays.open_ms[slice(*run.rows)] for run in runs])
    return sharpe(equity, open_ms + arrays.step_ms, cash)


def candle_sharpe(runs: Sequence[FoldRun]) -> float:
    """Mean over deviation of the scored candles' returns, not annualised; 0 without variation."""
    returns = candle_returns(runs)
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / deviation if deviation > 0.0 else 0.0


def _score(run: FoldRun, arrays: MarketArrays, metric: str) -> float:
    match metric:
        case "sharpe":
            close_ms = arrays.open_ms[slice(*run.rows)] + arrays.step_ms
            return sharpe(run.equity, close_ms, run.cash)
        case "net_return":
            return float(run.equity[-1]) / run.cash - 1.0
        case "max_drawdown":
            return max_drawdown(run.equity, run.cash)
        case _:
            raise BadInput("metric", f"was {metric!r}, expected sharpe, net_return or max_drawdown")
