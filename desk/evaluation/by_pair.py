"""Evaluations on several pairs in one table: each pair's figures, and those of all together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk.evaluation.report import EvaluationReport
from desk.trading.fills import ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """What some reports come to. Money in USDT, exact; a Sharpe ratio of several accounts is none."""

    evaluations: int
    passed: int
    """Those whose own verdict is pass."""
    candle_count: int
    trade_count: int
    win_rate: float
    """Of all trades; 0 without any."""
    net_pnl_after_fees: Decimal
    fees: Decimal
    funding: Decimal
    deepest_drawdown: float
    """Of any one of them, as a fraction of its own peak equity."""
    exposure: float
    """Share of all candles with a position."""


def together(reports: Sequence[EvaluationReport]) -> Together:
    """Sums over reports; every one of them traded an account of its own."""
    trades = sum(one.trade_count for one in reports)
    candles = sum(one.candle_count for one in reports)
    won = sum(one.win_rate * one.trade_count for one in reports)
    held = sum(one.exposure * one.candle_count for one in reports)
    return Together(
        evaluations=len(reports),
        passed=sum(one.verdict == "pass" for one in reports),
        candle_count=candles,
        trade_count=trades,
        win_rate=won / trades if trades else 0.0,
        net_pnl_after_fees=sum((Decimal(one.net_pnl_after_fees) for one in reports), ZERO),
        fees=sum((Decimal(one.fees) for one in reports), ZERO),
        funding=sum((Decimal(one.funding) for one in reports), ZERO),
        deepest_drawdown=max((one.max_drawdown for one in reports), default=0.0),
        exposure=held / candles if candles else 0.0,
    )


def by_pair(reports: Iterable[EvaluationReport]) -> dict[str, Together]:
    """The same for each pair, in the order of their names."""
    found: dict[str, list[EvaluationReport]] = {}
    for one in reports:
        found.setdefault(one.pair, []).append(one)
    return {pair: together(found[pair]) for pair in sorted(found)}


def newest_on_each_pair(
    reports: Iterable[EvaluationReport], version_id: str
) -> list[EvaluationReport]:
    """A version's last report on every pair it was evaluated on, in the order of their names."""
    newest: dict[str, EvaluationReport] = {}
    for one in reports:
        if one.version_id != version_id:
            continue
        known = newest.get(one.pair)
        if known is None or known.created_ms < one.created_ms:
            newest[one.pair] = one
    return [newest[pair] for pair in sorted(newest)]
