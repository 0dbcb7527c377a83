"""The evaluations page, used by a browser against the real API."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from desk.evaluation.bootstrap import Interval
from desk.evaluation.evidence import FoldResult
from desk.runs import Agent
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles, tables_of
from desk.store.memory import MemoryStore
from tests.desk.evaluation.test_gate_evidence import GOOD, outcome
from tests.serve_apps.test_learning import WEIGHED, report
from tests.ui.conftest import NOW_MS, PAIR, FakeDesk, Served, serve
from tests.ui.test_operations_page import opened, panel

pytestmark = pytest.mark.browser
RIVAL = "ev-" + "b" * 20
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A desk with one report that has evidence, and an older one that has none."""
    store, files = MemoryStore(), EvaluationFiles(tmp_path)
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=NOW_MS)
    fold = FoldResult(
        number=0,
        pair=PAIR,
        train_start_ms=NOW_MS,
        train_end_ms=NOW_MS,
        test_start_ms=NOW_MS,
        test_end_ms=NOW_MS + 1,
        is_in_sample=True,
        candle_count=60,
        win_rate=0.5,
        outcome=outcome("12.5"),
    )
    sure = {"net_pnl": Interval(estimate=100.0, low=-3.5, high=250.0)}
    evidence = replace(GOOD, folds=(fold,), intervals=sure, trials=9)
    equity = 10_000.0 + np.sin(np.arange(60.0))
    close_ms = np.arange(1, 61, dtype=np.int64) * 60_000
    tables = tables_of(evidence, close_ms, equity, [], {"hold": equity + 5.0})
    weighed = replace(
        report(WEIGHED, NOW_MS),
        version_id=HOSTILE,
        reasons=("deflated_sharpe_below_threshold",),
        evidence=replace(evidence, files=files.write(WEIGHED, tables)),
    )
    for one in (weighed, report("older", NOW_MS - 1)):
        store.put(kinds.EVALUATIONS, one.evaluation_id, one, at_ms=one.created_ms)
    desk = FakeDesk(store)
    with serve(store, desk, files) as url:
        yield Served(url=url, store=store, desk=desk)


def test_the_newest_report_is_shown_with_what_speaks_for_and_against_it(
    page: Page, served: Served
) -> None:
    opened(page, served.url, "/rl-evaluations")

    expect(panel(page, "Reports").locator("tbody tr")).to_have_count(2)
    expect(panel(page, "Report")).to_contain_text("deflated_sharpe_below_threshold")
    expect(panel(page, "Folds")).to_contain_text("no: trained on")
    expect(panel(page, "On the same candles")).to_contain_text("costs \N{MULTIPLICATION SIGN} 2")
    expect(panel(page, "On the same candles")).to_contain_text("trend rule")
    expect(panel(page, "On the same candles")).to_contain_text("95 % earned less")
    expect(panel(page, "How sure")).to_contain_text("-3.50 … 250.00")
    expect(panel(page, "How sure")).to_contain_text("deflated by 9 trial(s) 0.950")
    expect(panel(page, "Equity").locator("[data-curves]")).to_have_attribute("data-curves", "2")


def test_a_version_that_was_evaluated_on_two_pairs_has_a_table_of_both_with_a_total(
    page: Page, served: Served
) -> None:
    other = replace(
        report("ev-eth", NOW_MS - 2), pair="ETH-USDT", net_pnl_after_fees="4.00", trade_count=6
    )
    served.store.put(kinds.EVALUATIONS, "ev-eth", other, at_ms=NOW_MS - 2)
    opened(page, served.url, "/rl-evaluations?id=older")

    rows = panel(page, "By pair").locator("tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("ETH-USDT")
    expect(rows.last).to_contain_text("all0 of 28")
    expect(rows.last).to_contain_text("2.75")
    panel(page, "Reports").locator("tbody tr").first.click()  # a version with one pair

    expect(panel(page, "Report")).to_contain_text(HOSTILE)
    expect(panel(page, "By pair")).to_have_count(0)


def test_text_of_a_report_is_text_and_never_html(page: Page, served: Served) -> None:
    opened(page, served.url, "/rl-evaluations")

    expect(panel(page, "Report")).to_contain_text(HOSTILE)
    expect(page.locator("main img")).to_have_count(0)


def test_an_older_report_shows_its_figures_alone(page: Page, served: Served) -> None:
    opened(page, served.url, "/rl-evaluations?id=older")

    expect(panel(page, "Report")).to_contain_text("insufficient_trade_count")
    expect(panel(page, "Folds")).to_have_count(0)
    panel(page, "Reports").locator("tbody tr").first.click()

    expect(panel(page, "Folds")).to_have_count(1)
    expect(page).to_have_url(f"{served.url}/rl-evaluations?id={WEIGHED}")


def second_report(served: Served, folder: Path, **changes: Any) -> None:
    """Another report with a curve, of another version, on the same candles."""
    close_ms = np.arange(1, 61, dtype=np.int64) * 60_000
    tables = tables_of(GOOD, close_ms, 10_000.0 - np.arange(60.0), [], {})
    other = replace(
        report(RIVAL, NOW_MS - 2),
        version_id="ppo-2",
        net_pnl_after_fees="-59.00",
        sharpe=-0.5,
        evidence=replace(GOOD, files=EvaluationFiles(folder).write(RIVAL, tables)),
        **changes,
    )
    served.store.put(kinds.EVALUATIONS, RIVAL, other, at_ms=other.created_ms)


def colours(page: Page, kind: str) -> int:
    """Different colours on a plot's canvas."""
    return page.evaluate(
        """kind => {
          const canvas = document.querySelector(`.${kind} canvas`);
          const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
          const found = new Set();
          for (let i = 0; i < data.length; i += 4) if (data[i + 3]) found.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
          return found.size;
        }""",
        kind,
    )


def test_equity_and_drawdown_share_a_cursor_and_their_curves_are_switched(
    page: Page, served: Served
) -> None:
    opened(page, served.url, "/rl-evaluations")
    curves = panel(page, "Equity")
    plot = curves.locator("[data-curves]")
    expect(plot).to_have_attribute("data-curves", "2")
    both = colours(page, "equity")
    assert both > 10
    assert colours(page, "drawdown") > 10
    expect(curves).to_contain_text("at the end: USDT, drawdown")

    curves.locator(".equity .u-over").hover()
    expect(curves).to_contain_text("1970-01-01 00:3")
    expect(curves.locator(".drawdown .u-cursor-x")).not_to_have_class(re.compile("u-off"))
    curves.get_by_role("button", name="hold").click()
    expect(plot).to_have_attribute("data-curves", "1")
    assert colours(page, "equity") < both
    curves.get_by_role("button", name="Log scale").click()

    expect(plot).to_have_attribute("data-scale", "log")


def test_ticked_reports_are_compared_with_the_first_and_the_address_keeps_them(
    page: Page, served: Served, tmp_path: Path
) -> None:
    second_report(served, tmp_path)
    opened(page, served.url, "/rl-evaluations?id=older")
    page.get_by_role("checkbox", name=f"Compare {WEIGHED}").check()
    expect(panel(page, "Comparison")).to_contain_text("Tick one more report")

    with page.expect_request("**/evaluations/compare?*") as asked:
        page.get_by_role("checkbox", name=f"Compare {RIVAL}").check()

    assert asked.value.url.endswith(f"ids={WEIGHED}%2C{RIVAL}")
    both = panel(page, "Comparison")
    expect(both.locator("[data-curves]")).to_have_attribute("data-curves", "3")
    rows = both.get_by_role("table", name="Comparison").locator("tbody tr")
    expect(rows.first).to_contain_text("\N{BLACK DOWN-POINTING TRIANGLE} \N{MINUS SIGN}57.75")
    expect(both.locator("tr[data-key='version id']")).to_contain_text("ppo-2")
    expect(both.locator("tr[data-key=pair]")).to_have_count(0)
    expect(both).not_to_contain_text("not comparable")
    expect(both.locator("main img")).to_have_count(0)
    page.reload()
    expect(rows.first).to_contain_text("57.75")
    both.get_by_role("button", name="Clear").click()
    expect(both).to_have_count(0)
    expect(page).not_to_have_url(re.compile("compare="))


@pytest.mark.allow_console("404", "503")
def test_a_comparison_across_candles_is_warned_of_and_a_failed_one_is_tried_again(
    page: Page, served: Served, tmp_path: Path
) -> None:
    second_report(served, tmp_path, dataset_sha256="d" * 64)
    page.route("**/evaluations/compare?*", lambda route: route.fulfill(status=503, body="{}"))
    opened(page, served.url, f"/rl-evaluations?compare={RIVAL},older")
    both = panel(page, "Comparison")
    expect(both.get_by_role("alert")).to_contain_text("HTTP 503")
    page.unroute("**/evaluations/compare?*")

    both.get_by_role("button", name="Retry").click()

    expect(both).to_contain_text("not comparable")
    expect(both.locator("[data-curves]")).to_have_attribute("data-curves", "1")  # older has none
