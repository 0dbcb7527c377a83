"""The promotion gate: whether an evaluation is good enough, and the codes of what is not."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

INSUFFICIENT_TRADES = "insufficient_trade_count"
LOW_WIN_RATE = "win_rate_below_threshold"
NO_PROFIT = "net_pnl_non_positive"
DEEP_DRAWDOWN = "drawdown_too_high"
LIQUIDATED = "liquidated"
PARITY_BROKEN = "parity_broken"

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
