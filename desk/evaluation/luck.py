"""The history that an evaluation's statistics rest on, and how sure its figures are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desk.evaluation.bootstrap import Intervals, intervals
from desk.evaluation.metrics import ClosedTrade, Metrics
from desk.evaluation.overfitting import totals_by_step
from desk.evaluation.rivals import step_ms
from desk.evaluation.walk_forward import Rows
from desk.market.candles import Floats
from desk.trading.tape import Tape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class History:
    """What happened on the rows that count, one part after another."""

    changes: Floats
    """float64[N] of equity by step, USDT; see `desk.evaluation.rivals.step_ms`."""
    wins: Floats
    """float64[K]: 1 for each trade that closed with a profit, else 0."""


def counted_history(tape: Tape, metrics: Metrics, cash: float, counted: Sequence[Rows]) -> History:
    """The history of the counted tests, in order; neighbouring ones are one part."""
    changes, wins = [np.empty(0)], list[float]()
    step = step_ms(int(tape.close_ms[0] - tape.open_ms[0]))
    for first, end in _joined(counted):
        before = float(metrics.equity[first - 1]) if first else cash
        equity, close_ms = metrics.equity[first:end], tape.close_ms[first:end]
        changes.append(totals_by_step(equity, before, close_ms, step))
        closed = closed_between(metrics.trades, int(tape.open_ms[first]), int(close_ms[-1]))
        wins += [float(trade.pnl > 0) for trade in closed]
    return History(changes=np.concatenate(changes), wins=np.array(wins))


def luck_intervals(history: History, cash: float, per_year: float, *, seed: int) -> Intervals:
    """Intervals of `net_pnl`, `hourly_sharpe` (yearly), `max_drawdown` and, of the trades, `win_rate`."""
    of_changes = intervals(
        history.changes,
        {
            "net_pnl": lambda drawn: drawn.sum(axis=1),
            "hourly_sharpe": lambda drawn: _sharpes(drawn) * per_year**0.5,
            "max_drawdown": lambda drawn: _drawdowns(drawn, cash),
        },
        seed=seed,
    )
    of_wins = intervals(history.wins, {"win_rate": lambda drawn: drawn.mean(axis=1)}, seed=seed + 1)
    return Intervals(
        figures={**of_changes.figures, **of_wins.figures},
        block_length=of_changes.block_length,
        observations=of_changes.observations,
    )


def closed_between(trades: Sequence[ClosedTrade], start_ms: int, end_ms: int) -> list[ClosedTrade]:
    """Trades that closed after the start, up to and including the end."""
    return [trade for trade in trades if start_ms < trade.closed_ms <= end_ms]


def _sharpes(drawn: Floats) -> Floats:
    if drawn.shape[1] < 2:
        return np.zeros(len(drawn))
    spread = drawn.std(axis=1, ddof=1)
    varies = spread > 1e-12
    return np.where(varies, drawn.mean(axis=1) / np.where(varies, spread, 1.0), 0.0)


def _drawdowns(drawn: Floats, cash: float) -> Floats:
    curve = cash + np.cumsum(drawn, axis=1)
    peak = np.maximum(np.maximum.accumulate(curve, axis=1), cash)
    return ((peak - curve) / peak).max(axis=1)


def _joined(counted: Sequence[Rows]) -> list[Rows]:
    joined: list[Rows] = []
    for rows in counted:
        if joined and joined[-1].end == rows.first:
            joined[-1] = Rows(joined[-1].first, rows.end)
        else:
            joined.append(rows)
    return joined
