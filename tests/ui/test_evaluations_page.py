"""The evaluations page, used by a browser against the real API."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from playwright.sync_api import Page, expect

from desk.clock import MINUTE_MS
from desk.evaluation.evidence import ThresholdPoint
from desk.runs import Agent
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles, tables_of
from desk.store.memory import MemoryStore
from tests.desk.evaluation.test_gate_evidence import GOOD, outcome
from tests.serve_apps.test_learning import WEIGHED, report
from tests.ui.conftest import NOW_MS, PAIR, FakeDesk, Served, serve
from tests.ui.reports import put_reports, traded
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
    put_reports(
        store,
        files,
        is_in_sample=True,
        version_id=HOSTILE,
        reasons=("deflated_sharpe_below_threshold",),
    )
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


MONDAY_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC."""


@pytest.fixture
def served_busy(tmp_path: Path) -> Iterator[Served]:
    """A desk whose newest report made 120 trades in ten days."""
    store, files = MemoryStore(), EvaluationFiles(tmp_path)
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=NOW_MS)
    trades = [traded(number, since_ms=MONDAY_MS) for number in range(120)]
    put_reports(store, files, trades=trades)
    with serve(store, FakeDesk(store), files) as url:
        yield Served(url=url, store=store, desk=FakeDesk(store))


def test_the_trades_of_a_report_are_summed_by_side_and_by_the_time_they_were_entered(
    page: Page, served_busy: Served
) -> None:
    opened(page, served_busy.url, "/rl-evaluations")

    sides = page.get_by_role("table", name="By side").locator("tbody tr")
    expect(sides).to_have_count(3)
    assert [row.split("\t")[:4] for row in sides.all_inner_texts()] == [
        ["long", "60", "100.00 %", "120.00"],
        ["short", "60", "0.00 %", "\N{MINUS SIGN}60.00"],
        ["both", "120", "50.00 %", "60.00"],
    ]
    # From 00 to 04 on a Monday: the trades at 0 and 2 o'clock, one of each side, in two weeks.
    monday = page.get_by_role("table", name="By weekday and hour").locator("tbody tr").first
    expect(monday.get_by_role("cell").nth(1)).to_have_text("2.00")
    expect(monday.get_by_title("4 trades").first).to_be_visible()


def test_a_trade_of_a_report_is_looked_at_on_the_chart(page: Page, served_busy: Served) -> None:
    opened(page, served_busy.url, "/rl-evaluations")

    trades = page.get_by_role("table", name="Trades of the report").locator("tbody tr")
    expect(trades).to_have_count(100)
    panel(page, "Trades of the report").get_by_role("button", name="Show all 120").click()
    expect(trades).to_have_count(120)
    trades.last.click()

    page.wait_for_url(f"**/insights?pair=BTC-USDT*at={MONDAY_MS}*evaluation={WEIGHED}*")


def test_the_trades_of_a_report_are_saved_as_a_file(
    page: Page, served_busy: Served, tmp_path: Path
) -> None:
    opened(page, served_busy.url, "/rl-evaluations")

    with page.expect_download() as download:
        panel(page, "Trades of the report").get_by_role("button", name="Save as CSV").click()
    saved = tmp_path / "trades.csv"
    download.value.save_as(saved)

    assert download.value.suggested_filename == f"{WEIGHED}-trades.csv"
    rows = list(csv.DictReader(saved.read_text().splitlines()))
    assert len(rows) == 120
    assert rows[1]["side"] == "sell"
    assert Decimal(rows[1]["pnl"]) == -1
    assert int(rows[0]["opened_ms"]) == MONDAY_MS
    assert rows[0]["cause"] == "take_profit"


def test_a_report_without_trades_says_so(page: Page, served: Served) -> None:
    opened(page, served.url, "/rl-evaluations")

    expect(panel(page, "Trades of the report")).to_contain_text("It made no trade.")


# --- the gate, the trades as figures, files ----------------------------------------------------


def test_a_report_is_held_against_the_gate_part_by_part(page: Page, served: Served) -> None:
    opened(page, served.url, "/rl-evaluations")

    rows = panel(page, "Promotion gate").locator("tbody tr")
    expect(rows).to_have_count(13)
    trades = panel(page, "Promotion gate").locator("tr[data-key=trades]")
    expect(trades).to_contain_text("2at least 20\N{MINUS SIGN}18")
    expect(
        trades.get_by_title("insufficient_trade_count: evaluate a longer period")
    ).to_be_visible()
    sharpe = panel(page, "Promotion gate").locator("tr[data-key=deflated_sharpe]")
    expect(sharpe).to_contain_text("0.950at least 0.95+0.000")


@pytest.fixture
def served_even(tmp_path: Path) -> Iterator[Served]:
    """A desk whose report made 12 trades within its hour, and was judged at three thresholds."""
    store, files = MemoryStore(), EvaluationFiles(tmp_path)
    agent = Agent(agent_id="desk", name="desk", allowed_instruments=(PAIR,))
    store.put(kinds.AGENTS, "desk", agent, at_ms=NOW_MS)
    trades = [traded(number, since_ms=0, every_ms=4 * MINUTE_MS) for number in range(12)]
    one = put_reports(store, files, trades=trades)
    assert one.evidence is not None
    curve = tuple(
        ThresholdPoint(decision_threshold=at, outcome=outcome(net))
        for at, net in ((0.25, "-40"), (0.35, "12.5"), (0.45, "3"))
    )
    judged = replace(one, evidence=replace(one.evidence, threshold_curve=curve))
    store.put(kinds.EVALUATIONS, one.evaluation_id, judged, at_ms=NOW_MS)
    with serve(store, FakeDesk(store), files) as url:
        yield Served(url=url, store=store, desk=FakeDesk(store))


def test_trades_are_ticked_below_the_equity_where_they_ended(
    page: Page, served_even: Served
) -> None:
    opened(page, served_even.url, "/rl-evaluations")
    plot = panel(page, "Equity").locator("[data-curves]")
    expect(plot).to_have_attribute("data-ticks", "12")
    ticked = colours(page, "equity")

    panel(page, "Equity").get_by_role("button", name="Trades").click()

    expect(plot).to_have_attribute("data-ticks", "0")
    assert colours(page, "equity") < ticked


def test_the_spread_of_the_trades_and_the_other_thresholds_are_drawn(
    page: Page, served_even: Served
) -> None:
    opened(page, served_even.url, "/rl-evaluations")

    spread = panel(page, "Results of the trades").get_by_role("img")
    expect(spread.locator("rect.won")).to_have_count(11)
    expect(spread.locator("rect.lost")).to_have_count(5)
    told = spread.locator("rect title").all_text_contents()
    assert [text for text in told if not text.endswith("0 trades")] == [
        "\N{MINUS SIGN}1.00 to \N{MINUS SIGN}0.80 USDT: 6 trades",
        "2.00 to 2.20 USDT: 6 trades",
    ]
    thresholds = panel(page, "Other thresholds").get_by_role("img")
    expect(thresholds).to_have_attribute("data-points", "3")
    expect(thresholds).to_have_accessible_name(re.compile("\N{MINUS SIGN}40.00 to 12.50 USDT"))


@pytest.mark.parametrize(
    ("area", "name", "rows"),
    [("Trades of the report", "trades.arrows", 12), ("Equity", "equity.arrows", 60)],
)
def test_trades_and_curves_are_saved_whole_for_other_tools(  # noqa: PLR0917 - a row
    page: Page, served_even: Served, tmp_path: Path, area: str, name: str, rows: int
) -> None:
    opened(page, served_even.url, "/rl-evaluations")

    with page.expect_download() as download:
        panel(page, area).get_by_role("button", name="Save as Arrow").click()
    saved = tmp_path / name
    download.value.save_as(saved)

    assert download.value.suggested_filename == f"{WEIGHED}-{name}"
    assert pa.ipc.open_stream(saved.read_bytes()).read_all().num_rows == rows


def test_a_report_is_saved_as_the_route_answers_it(
    page: Page, served_even: Served, tmp_path: Path
) -> None:
    opened(page, served_even.url, "/rl-evaluations")

    with page.expect_download() as download:
        panel(page, "Report").get_by_role("button", name="Save as JSON").click()
    saved = tmp_path / "report.json"
    download.value.save_as(saved)

    told = json.loads(saved.read_text())
    assert download.value.suggested_filename == f"{WEIGHED}.json"
    assert (told["evaluation_id"], len(told["evidence"]["threshold_curve"])) == (WEIGHED, 3)


@pytest.mark.allow_console("503")
def test_a_file_that_the_desk_does_not_answer_is_told_and_not_saved(
    page: Page, served_even: Served
) -> None:
    opened(page, served_even.url, "/rl-evaluations")
    expect(panel(page, "Trades of the report").locator("tbody tr").first).to_be_visible()
    told = {"title": "The store is away", "status": 503, "detail": "no answer within 2 s"}
    page.route("**/trades", lambda route: route.fulfill(status=503, json=told))

    panel(page, "Trades of the report").get_by_role("button", name="Save as Arrow").click()

    expect(page.get_by_role("status").get_by_text("was not saved: no answer")).to_be_visible()
