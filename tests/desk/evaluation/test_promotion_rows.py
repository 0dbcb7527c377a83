"""The promotion gate row by row says just what its verdict says."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from desk.evaluation import gates
from desk.evaluation.promotion import (
    NOT_EVALUATED,
    OTHER_DATASET,
    VERDICT_FAIL,
    PromotionVerdict,
    judge_report,
    on_dataset,
)
from desk.evaluation.promotion_rows import gate_rows
from desk.runs import PromotionGate
from tests.desk.evaluation.test_gate_evidence import GOOD as GOOD_EVIDENCE
from tests.learning.test_promotion import GOOD

GATE = PromotionGate()
REPORTS = st.builds(
    lambda trades, won, net, fall, evidence, reasons, verdict: replace(
        GOOD,
        trade_count=trades,
        win_rate=won,
        net_pnl_after_fees=net,
        max_drawdown=fall,
        evidence=evidence,
        reasons=tuple(reasons),
        verdict=verdict,
    ),
    st.integers(0, 40),
    st.sampled_from((0.0, 0.54, 0.55, 0.9)),
    st.sampled_from(("-3.5", "0", "0.01", "100")),
    st.sampled_from((0.0, 0.25, 0.26, 1.0)),
    st.sampled_from((None, GOOD_EVIDENCE)),
    st.sets(
        st.sampled_from(
            (
                gates.LIQUIDATED,
                gates.PARITY_BROKEN,
                gates.LOW_DEFLATED_SHARPE,
                gates.LIKELY_OVERFIT,
                gates.COSTS_EAT_IT,
                gates.WORSE_THAN_BASELINE,
                "a_code_of_a_newer_release",
            )
        )
    ),
    st.sampled_from(("pass", "fail")),
)


@given(report=REPORTS, recorded=st.sampled_from((GOOD.dataset_sha256, "other", None)))
def test_every_reason_stands_in_exactly_one_row(report: object, recorded: str | None) -> None:
    assert isinstance(report, type(GOOD))
    verdict = on_dataset(judge_report(report, GOOD.feature_set_id, GATE), recorded)

    rows = gate_rows(verdict, report, GATE)

    told = [code for row in rows for code in row.reasons]
    assert sorted(told) == sorted(verdict.reasons)
    assert all(row.passed for row in rows) == verdict.passed
    assert len({row.gate for row in rows}) == len(rows)
    assert all(bool(row.problem) != row.passed for row in rows)


def test_a_figure_tells_its_distance_to_what_the_gate_asks_for() -> None:
    thin = replace(GOOD, trade_count=8, win_rate=0.6, net_pnl_after_fees="12.5", max_drawdown=0.02)
    verdict = judge_report(thin, GOOD.feature_set_id, GATE)

    rows = {row.gate: row for row in gate_rows(verdict, thin, GATE)}

    assert (rows["trades"].value, rows["trades"].threshold) == ("8", "at least 20")
    assert (rows["trades"].margin, rows["trades"].passed) == ("-12", False)
    assert rows["trades"].problem == "insufficient_trade_count: evaluate a longer period"
    assert rows["win_rate"].margin == "+5.00 %"
    assert rows["net_pnl_after_fees"].margin == "+12.50 USDT"
    assert rows["max_drawdown"].margin == "+23.00 %"


def test_without_an_evaluation_there_is_one_row_that_asks_for_one() -> None:
    verdict = PromotionVerdict(reasons=(NOT_EVALUATED,), evaluation_id="")

    (row,) = gate_rows(verdict, None, GATE)

    assert (row.gate, row.value, row.passed) == ("evaluation", "none", False)
    assert row.problem == "not_evaluated_on_pair: evaluate it on this pair first"


def test_a_failed_verdict_and_changed_candles_are_told_too() -> None:
    failed = replace(GOOD, verdict="fail", reasons=())
    verdict = on_dataset(judge_report(failed, GOOD.feature_set_id, GATE), "other")

    rows = {row.gate: row.reasons for row in gate_rows(verdict, failed, GATE)}

    assert rows["evaluation"] == (VERDICT_FAIL,)
    assert rows["dataset"] == (OTHER_DATASET,)
