"""The evidence of an evaluation in a terminal."""

from dataclasses import replace
from io import StringIO

from rich.console import Console

from desk.cli.evidence import evidence_tables
from desk.cli.learning import _fold_plan, viewed
from desk.evaluation.bootstrap import Interval
from desk.evaluation.evidence import Evidence, FoldResult, ThresholdPoint
from desk.evaluation.walk_forward import FoldPlan
from tests.desk.evaluation.test_gate_evidence import GOOD, outcome


def printed(evidence: Evidence) -> str:
    console = Console(width=160, record=True, file=StringIO())
    for table in evidence_tables(viewed(evidence)):
        console.print(table)
    return console.export_text()


def test_every_piece_of_evidence_is_printed() -> None:
    fold = FoldResult(
        number=0,
        pair="BTC-USDT",
        train_start_ms=0,
        train_end_ms=0,
        test_start_ms=1_700_000_000_000,
        test_end_ms=1_700_003_600_000,
        is_in_sample=True,
        candle_count=60,
        win_rate=0.5,
        outcome=outcome("12.5"),
    )
    curve = (ThresholdPoint(decision_threshold=0.7, outcome=outcome("77.25")),)
    interval = {"net_pnl": Interval(estimate=100.0, low=-3.5, high=250.0)}

    text = printed(
        replace(GOOD, folds=(fold,), threshold_curve=curve, intervals=interval, trials=9)
    )

    for word in (
        *("2023-11-14T22:13", "no: trained on", "12.50"),
        *("costs 2 times", "trend rule", "previous version", "95% of 50 beaten", "0.70", "77.25"),
        *("net PnL, USDT", "-3.5 … 250", "deflated by 9 trials", "0.950", "0.500"),
    ):
        assert word in text, word


def test_where_nothing_was_chosen_or_traded_that_is_said() -> None:
    text = printed(replace(GOOD, overfitting_probability=None, random=None))

    assert "nothing to choose from" in text
    assert "beaten" not in text


def test_a_report_without_evidence_prints_none() -> None:
    assert evidence_tables(None) == []


def test_options_of_folds_make_a_plan_only_where_one_was_given() -> None:
    assert _fold_plan(None, 0, 0, 0) is None
    assert _fold_plan(None, 7, 0, 0) == FoldPlan(purge_bars=7)
    assert _fold_plan(3, 1, 2, 4) == FoldPlan(
        folds=3, purge_bars=1, embargo_bars=2, min_train_bars=4
    )
