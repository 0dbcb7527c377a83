"""Evidence against an evaluation is named, each piece by its own code, and a missing one never helps."""

from dataclasses import replace
from decimal import Decimal

import pytest

from desk.evaluation.evidence import (
    FLAT,
    HOLD,
    PREVIOUS,
    TREND,
    BaselineResult,
    Evidence,
    Outcome,
    RandomResult,
    StressResult,
)
from desk.evaluation.gates import better_baselines, judge_evidence

PNL = Decimal(100)


def outcome(net_pnl: str, hourly_sharpe: float = 1.0) -> Outcome:
    return Outcome(
        net_pnl_after_fees=net_pnl,
        sharpe=0.0,  # a few hours have no daily ratio
        hourly_sharpe=hourly_sharpe,
        max_drawdown=0.1,
        trade_count=30,
        exposure=0.5,
    )


def baseline(name: str, net_pnl: str, sharpe: float) -> BaselineResult:
    return BaselineResult(name=name, outcome=outcome(net_pnl, sharpe))


def random(share_beaten: float) -> RandomResult:
    return RandomResult(
        seeds=50,
        net_pnl_low="-9",
        net_pnl_median="0",
        net_pnl_high="9",
        share_beaten=share_beaten,
    )


def stress(*net_pnl: str, sharpe: float = 2.0) -> tuple[StressResult, ...]:
    return tuple(
        StressResult(cost_multiple=multiple, outcome=outcome(pnl, sharpe))
        for multiple, pnl in enumerate(net_pnl, start=1)
    )


GOOD = Evidence(
    folds=(),
    purge_bars=0,
    embargo_bars=0,
    min_train_bars=0,
    baselines=(
        baseline(FLAT, "0", 0.0),
        baseline(HOLD, "250", 1.5),  # earned more, at a lower ratio
        baseline(TREND, "50", 3.0),  # a higher ratio, earned less
        baseline(PREVIOUS, "99", 1.9),
    ),
    random=random(0.95),
    stress=stress("100", "0.01", "-40"),
    threshold_curve=(),
    intervals={},
    block_hours=1.0,
    observations=500,
    trials=1,
    probabilistic_sharpe=0.99,
    deflated_sharpe=0.95,
    overfitting_probability=0.5,
    seed=0,
)


def test_evidence_at_every_threshold_passes() -> None:
    assert judge_evidence(GOOD, PNL).reasons == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"deflated_sharpe": 0.9499}, "deflated_sharpe_below_threshold"),
        ({"deflated_sharpe": float("nan")}, "deflated_sharpe_below_threshold"),
        ({"overfitting_probability": 0.51}, "overfitting_probability_too_high"),
        ({"overfitting_probability": float("nan")}, "overfitting_probability_too_high"),
        ({"stress": stress("100", "0", "-40")}, "cost_stress_unprofitable"),
        ({"random": random(0.94)}, "worse_than_baseline"),
        ({"random": random(float("nan"))}, "worse_than_baseline"),
        *(
            ({"baselines": (baseline(name, "100", 2.0),)}, "worse_than_baseline")
            for name in (HOLD, TREND, PREVIOUS)
        ),
    ],
)
def test_each_piece_of_evidence_fails_alone_and_is_named(
    change: dict[str, object], reason: str
) -> None:
    against = replace(GOOD, **change)  # pyright: ignore[reportArgumentType]

    assert judge_evidence(against, PNL).reasons == (reason,)


def test_without_a_measured_probability_of_overfitting_the_others_decide() -> None:
    assert judge_evidence(replace(GOOD, overfitting_probability=None), PNL).passed


def test_without_a_stress_test_there_is_no_profit_under_stress() -> None:
    assert "cost_stress_unprofitable" in judge_evidence(replace(GOOD, stress=()), PNL).reasons


def test_the_baselines_that_did_better_are_named() -> None:
    worse = replace(GOOD, random=random(0.3))

    assert better_baselines(worse, Decimal(40)) == (TREND, "random")
    assert better_baselines(GOOD, Decimal(40)) == (TREND,)
