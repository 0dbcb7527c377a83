"""The promotion gate: whether an evaluation is good enough, and the codes of what is not."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from desk.evaluation import evidence
from desk.evaluation.evidence import Evidence, Outcome

INSUFFICIENT_TRADES = "insufficient_trade_count"
LOW_WIN_RATE = "win_rate_below_threshold"
NO_PROFIT = "net_pnl_non_positive"
DEEP_DRAWDOWN = "drawdown_too_high"
LIQUIDATED = "liquidated"
PARITY_BROKEN = "parity_broken"

LOW_DEFLATED_SHARPE = "deflated_sharpe_below_threshold"
LIKELY_OVERFIT = "overfitting_probability_too_high"
COSTS_EAT_IT = "cost_stress_unprofitable"
WORSE_THAN_BASELINE = "worse_than_baseline"

MIN_DEFLATED_SHARPE = 0.95
"""Of 100 policies without skill, each the best of its trials, about 5 reach it."""
MAX_OVERFITTING_PROBABILITY = 0.5
"""Above it, the best of one half of the time is more often below the median on the other than not."""
STRESS_MULTIPLE = 2
"""Times fees and slippage at which there must still be a profit: slippage of a liquid minute doubles
easily, and a live account pays the higher tier of fees."""
RANDOM_SHARE = 0.95
"""Part of the random baselines that must have earned less."""

PARITY_LIMIT = Decimal("0.01")
"""USDT by which two engines may differ on one plan."""


class Figures(Protocol):
    """What the gate looks at; see `desk.evaluation.metrics.Metrics`. Money in USDT."""

    @property
    def trade_count(self) -> int: ...
    @property
    def win_rate(self) -> float: ...
    @property
    def net_pnl_after_fees(self) -> Decimal: ...
    @property
    def max_drawdown(self) -> float: ...
    @property
    def is_liquidated(self) -> bool: ...


class PromotionGate(Protocol):
    """Least figures; see `desk.runs.PromotionGate`."""

    @property
    def min_trades(self) -> int: ...
    @property
    def min_win_rate(self) -> float: ...
    @property
    def min_net_pnl(self) -> float: ...
    @property
    def max_drawdown(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far the engine and the `Decimal` rules are apart on the same plan."""

    max_abs_diff: Decimal
    """USDT, largest of balance, fees and funding."""
    engine_fills: int
    twin_fills: int

    @property
    def holds(self) -> bool:
        """Whether both tell the same story."""
        return self.engine_fills == self.twin_fills and self.max_abs_diff <= PARITY_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class GateVerdict:
    """`reasons` is empty exactly when the evaluation passed."""

    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def verdict(self) -> str:
        """pass or fail."""
        return "pass" if self.passed else "fail"


def judge(figures: Figures, parity: Parity, gate: PromotionGate) -> GateVerdict:
    """Hold the figures of an evaluation against the gate. A figure that is not a number fails."""
    checks = {
        INSUFFICIENT_TRADES: figures.trade_count < gate.min_trades,
        LOW_WIN_RATE: not figures.win_rate >= gate.min_win_rate,
        NO_PROFIT: not figures.net_pnl_after_fees > Decimal(str(gate.min_net_pnl)),
        DEEP_DRAWDOWN: not figures.max_drawdown <= gate.max_drawdown,
        LIQUIDATED: figures.is_liquidated,
        PARITY_BROKEN: not parity.holds,
    }
    return GateVerdict(reasons=tuple(code for code, failed in checks.items() if failed))


def judge_evidence(weighed: Evidence, net_pnl_after_fees: Decimal) -> GateVerdict:
    """Hold what speaks against the figures against the gate. A figure that is not a number fails.

    A baseline is better when it earned as much or more at an hourly Sharpe ratio as high or higher (a
    daily one says nothing of a few hours); of the random ones at most one in twenty may have earned as
    much.
    """
    overfit = weighed.overfitting_probability
    checks = {
        LOW_DEFLATED_SHARPE: not weighed.deflated_sharpe >= MIN_DEFLATED_SHARPE,
        LIKELY_OVERFIT: overfit is not None and not overfit <= MAX_OVERFITTING_PROBABILITY,
        COSTS_EAT_IT: not _is_profitable_under_stress(weighed),
        WORSE_THAN_BASELINE: bool(better_baselines(weighed, net_pnl_after_fees)),
    }
    return GateVerdict(reasons=tuple(code for code, failed in checks.items() if failed))


def better_baselines(weighed: Evidence, net_pnl_after_fees: Decimal) -> tuple[str, ...]:
    """Names of the baselines that did better than the version, see `judge_evidence`."""
    own = next((_hourly(each.outcome) for each in weighed.stress if each.cost_multiple == 1), 0.0)
    found = [
        each.name
        for each in weighed.baselines
        if each.name in {evidence.HOLD, evidence.TREND, evidence.PREVIOUS}
        and Decimal(each.outcome.net_pnl_after_fees) >= net_pnl_after_fees
        and _hourly(each.outcome) >= own
    ]
    if weighed.random is not None and not weighed.random.share_beaten >= RANDOM_SHARE:
        found.append(evidence.RANDOM)
    return tuple(found)


def _hourly(outcome: Outcome) -> float:
    return outcome.sharpe if outcome.hourly_sharpe is None else outcome.hourly_sharpe


def _is_profitable_under_stress(weighed: Evidence) -> bool:
    return any(
        each.cost_multiple == STRESS_MULTIPLE and Decimal(each.outcome.net_pnl_after_fees) > 0
        for each in weighed.stress
    )
