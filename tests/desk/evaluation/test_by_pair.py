"""Figures of several pairs: nothing is lost between the reports, the pairs and the total."""

from dataclasses import replace
from decimal import Decimal
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from desk.cli import tables
from desk.evaluation.by_pair import by_pair, newest_on_each_pair, together
from desk.evaluation.report import EvaluationReport
from tests.serve_apps.test_learning import report

AMOUNTS = st.decimals(-10_000, 10_000, places=8)


@st.composite
def reports(draw: st.DrawFn) -> EvaluationReport:
    trades = draw(st.integers(0, 50))
    return replace(
        report("ev", draw(st.integers(0, 5))),
        version_id=draw(st.sampled_from(["v1", "v2"])),
        pair=draw(st.sampled_from(["BTC-USDT", "ETH-USDT", "SOL-USDT"])),
        trade_count=trades,
        win_rate=draw(st.integers(0, trades)) / trades if trades else 0.0,
        candle_count=draw(st.integers(1, 10_000)),
        net_pnl_after_fees=f"{draw(AMOUNTS):f}",
        fees=f"{draw(AMOUNTS):f}",
        max_drawdown=draw(st.floats(0, 1)),
        exposure=draw(st.floats(0, 1)),
        verdict=draw(st.sampled_from(["pass", "fail"])),
    )


@given(found=st.lists(reports(), max_size=12))
def test_pairs_add_up_to_the_total_and_the_total_to_the_reports(
    found: list[EvaluationReport],
) -> None:
    total, pairs = together(found), by_pair(found)

    earned = sum((Decimal(one.net_pnl_after_fees) for one in found), Decimal(0))
    assert total.net_pnl_after_fees == earned
    assert list(pairs) == sorted({one.pair for one in found})
    for name in ("evaluations", "passed", "candle_count", "trade_count", "net_pnl_after_fees"):
        assert sum(getattr(one, name) for one in pairs.values()) == getattr(total, name)
    won = sum(one.win_rate * one.trade_count for one in pairs.values())
    assert won == pytest.approx(total.win_rate * total.trade_count)
    assert total.deepest_drawdown == max((one.max_drawdown for one in found), default=0.0)
    assert 0.0 <= total.win_rate <= 1.0 + 1e-12
    assert 0.0 <= total.exposure <= 1.0 + 1e-12


@given(found=st.lists(reports(), max_size=12))
def test_a_version_has_its_newest_report_of_each_pair(found: list[EvaluationReport]) -> None:
    newest = newest_on_each_pair(found, "v1")

    own = [one for one in found if one.version_id == "v1"]
    assert [one.pair for one in newest] == sorted({one.pair for one in own})
    for one in newest:
        assert one.created_ms == max(other.created_ms for other in own if other.pair == one.pair)


def test_the_table_ends_with_all_pairs_together() -> None:
    found = [
        replace(report("e1", 1), verdict="pass", net_pnl_after_fees="10.5"),
        replace(report("e2", 2), pair="ETH-USDT", trade_count=6, win_rate=1.0),
    ]
    console = Console(width=160, record=True, file=StringIO())

    console.print(tables.by_pair("v1", by_pair(found), together(found)))

    lines = [line.split() for line in console.export_text().splitlines()]
    assert _cells(lines[-2])[:6] == ["ETH-USDT", "0", "of", "1", "6", "100.0%"]
    assert _cells(lines[-1])[:7] == ["all", "1", "of", "2", "8", "87.5%", "9.25"]


def _cells(words: list[str]) -> list[str]:
    return [word for word in words if word.strip("│|")]
