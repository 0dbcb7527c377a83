"""The promotion gate names every condition that failed, and passes only what met all of them."""

from dataclasses import dataclass
from decimal import Decimal

import pytest

from desk.evaluation.gates import Parity, judge
from desk.runs import PromotionGate

AGREED = Parity(max_abs_diff=Decimal("1e-8"), engine_fills=50, twin_fills=50)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Just good enough for the default gate."""

    trade_count: int = 20
    win_rate: float = 0.55
    net_pnl_after_fees: Decimal = Decimal("0.01")
    max_drawdown: float = 0.25
    is_liquidated: bool = False


def test_figures_at_the_thresholds_pass() -> None:
    verdict = judge(Figures(), AGREED, PromotionGate())

    assert (verdict.passed, verdict.verdict, verdict.reasons) == (True, "pass", ())


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        (Figures(trade_count=19), "insufficient_trade_count"),
        (Figures(win_rate=0.5499), "win_rate_below_threshold"),
        (Figures(win_rate=float("nan")), "win_rate_below_threshold"),
        (Figures(net_pnl_after_fees=Decimal(0)), "net_pnl_non_positive"),
        (Figures(max_drawdown=0.2501), "drawdown_too_high"),
        (Figures(max_drawdown=float("nan")), "drawdown_too_high"),
        (Figures(is_liquidated=True), "liquidated"),
    ],
)
def test_each_condition_fails_alone_and_is_named(figures: Figures, reason: str) -> None:
    verdict = judge(figures, AGREED, PromotionGate())

    assert (verdict.verdict, verdict.reasons) == ("fail", (reason,))


@pytest.mark.parametrize(
    "parity",
    [
        Parity(max_abs_diff=Decimal("0.0101"), engine_fills=50, twin_fills=50),
        Parity(max_abs_diff=Decimal(0), engine_fills=50, twin_fills=51),
    ],
)
def test_engines_that_disagree_promote_nothing(parity: Parity) -> None:
    assert judge(Figures(), parity, PromotionGate()).reasons == ("parity_broken",)


def test_all_failures_are_named_at_once() -> None:
    worst = Figures(trade_count=0, win_rate=0.0, net_pnl_after_fees=Decimal(-1), max_drawdown=1.2)

    assert len(judge(worst, AGREED, PromotionGate()).reasons) == 4
