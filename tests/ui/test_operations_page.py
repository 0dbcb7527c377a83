"""The operations page, used by a browser against the real API."""

import re
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from desk.errors import BadInput
from desk.runs import RunStatus
from desk.store import kinds

pytestmark = pytest.mark.browser


def opened(page: Page, url: str, path: str = "/rl-ops") -> Page:
    page.goto(url + path)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    return page


def panel(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def test_the_page_shows_runs_sources_trades_and_actors(page: Page, served: Any) -> None:
    opened(page, served.url)

    expect(page.get_by_text("Loading Operations")).to_have_count(0)
    expect(panel(page, "Trading")).to_contain_text("BTC-USDT")
    expect(panel(page, "Trading")).to_contain_text("running")
    expect(panel(page, "Ingestion").get_by_role("row")).to_have_count(3)
    expect(panel(page, "Ingestion")).to_contain_text("stale")
    expect(panel(page, "Ingestion")).to_contain_text("14 more sources deliver")
    expect(panel(page, "Trades").locator("tbody tr")).to_have_count(2)
    expect(panel(page, "Alerts")).to_contain_text("source_stale:bingx_candles")
    expect(panel(page, "Positions and open orders")).to_contain_text("-0.02")
    page.get_by_role("tab", name="Actors").click()
    expect(panel(page, "Actors")).to_contain_text("132 MB")
    page.get_by_role("tab", name="Limits").click()
    expect(panel(page, "Limits")).to_contain_text("max_total_exposure")
    expect(panel(page, "Limits")).to_contain_text("BTC-USDT by default")


def test_of_many_sources_the_telling_ones_are_shown_and_the_others_on_demand(
    page: Page, served: Any
) -> None:
    known = served.store.get(kinds.SOURCES, "bingx_candles:BTC-USDT:1m").value
    for interval, status in (("1h", "ok"), ("4h", "unavailable"), ("1d", "ok")):
        row = replace(known, interval=interval, status=status, freshness_threshold_s=200_000)
        served.store.put(kinds.SOURCES, f"bingx_candles:BTC-USDT:{interval}", row, at_ms=1)
    opened(page, served.url)
    table = page.get_by_role("table", name="Data sources")

    expect(table.locator("tbody tr")).to_have_count(3)
    expect(table).to_contain_text("4h")
    expect(panel(page, "Ingestion")).to_contain_text("16 more sources deliver")
    panel(page, "Ingestion").get_by_role("button", name="Show all").click()
    expect(table.locator("tbody tr")).to_have_count(19)
    panel(page, "Ingestion").get_by_role("button", name="Show fewer").click()
    expect(table.locator("tbody tr")).to_have_count(3)


def test_every_page_says_that_the_market_is_simulated_and_the_policy_a_baseline(
    page: Page, served: Any
) -> None:
    for path in ("/rl-ops", "/insights"):
        opened(page, served.url, path)

        expect(page.get_by_text("market clock runs 30 times faster")).to_be_visible()
        expect(page.get_by_text("trades the baseline trend rule")).to_be_visible()
        expect(page.get_by_text("PAPER").first).to_be_visible()


def test_pause_and_resume_reach_the_run_with_their_reason(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Trading").get_by_role("button", name="Pause").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("news at noon")
    page.get_by_role("dialog").get_by_role("button", name="Pause run").click()
    expect(panel(page, "Trading")).to_contain_text("paused: news at noon")
    assert served.desk.commands == [("pause", "news at noon")]
    panel(page, "Trading").get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("news is out")
    page.get_by_role("dialog").get_by_role("button", name="Resume run").click()

    expect(panel(page, "Trading")).to_contain_text("running")
    assert served.store.get(kinds.RUNS, "run-1").value.status is RunStatus.RUNNING


def test_stop_can_close_the_position_reduce_only(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Trading").get_by_role("button", name="Stop").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("enough")
    page.get_by_role("dialog").get_by_label("Position").select_option("flatten")
    page.get_by_role("dialog").get_by_role("button", name="Stop run").click()

    expect(panel(page, "Trading")).to_contain_text("No run is at work.")
    assert served.desk.commands == [("stop", "enough", True)]


def test_a_run_is_started_with_what_the_dialog_says(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Trading").get_by_role("button", name="Start").click()
    page.get_by_role("dialog").get_by_label("Pair").select_option("ETH-USDT")
    page.get_by_role("dialog").get_by_label("Decision threshold").fill("0.5")
    page.get_by_role("dialog").get_by_role("button", name="Start paper run").click()

    expect(panel(page, "Trading")).to_contain_text("ETH-USDT")
    (verb, ask) = served.desk.commands[0]
    assert (verb, ask.pair, ask.mode, ask.decision_threshold) == ("start", "ETH-USDT", "paper", 0.5)


@pytest.mark.allow_console("422")
def test_the_servers_refusal_is_shown_as_it_is_and_nothing_changes(page: Page, served: Any) -> None:
    served.desk.refuse = BadInput("pair", "BTC-USDT already has a run: stop it first")
    opened(page, served.url)

    panel(page, "Trading").get_by_role("button", name="Start").click()
    page.get_by_role("dialog").get_by_role("button", name="Start paper run").click()

    expect(page.get_by_role("dialog")).to_contain_text("already has a run: stop it first")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_kill_by_keyboard_sets_the_flag_and_release_asks_for_a_reason(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    page.keyboard.press("Shift+K")
    page.keyboard.press("Shift+K")
    expect(page.get_by_role("button", name="KILLED")).to_be_visible()
    assert served.store.kill_reason("paper")
    page.get_by_role("button", name="KILLED").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("checked")
    page.get_by_role("dialog").get_by_role("button", name="Release").click()

    expect(page.get_by_role("button", name="KILL", exact=True)).to_be_visible()
    assert served.store.kill_reason("paper") is None


def test_kill_takes_a_held_press_never_a_slip(page: Page, served: Any) -> None:
    opened(page, served.url)
    kill = page.get_by_role("button", name="KILL", exact=True)

    kill.click()
    assert served.desk.commands == []
    kill.hover()
    page.mouse.down()
    expect(page.get_by_role("button", name="KILLED")).to_be_visible()

    assert served.desk.commands == [("kill", True)]


def test_a_backfill_shows_its_progress_and_a_wrong_date_is_named(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Ingestion").get_by_role("button", name="Backfill").click()
    page.get_by_role("dialog").get_by_label("Start, UTC").fill("the day before")
    page.get_by_role("dialog").get_by_role("button", name="Start backfill").click()
    expect(page.get_by_role("dialog")).to_contain_text("expected a UTC date")
    page.get_by_role("dialog").get_by_label("Start, UTC").fill("2026-01-01")
    page.get_by_role("dialog").get_by_role("button", name="Start backfill").click()

    expect(panel(page, "Ingestion")).to_contain_text("250 of 1,000 candles")
    (verb, ask) = served.desk.commands[0]
    assert (verb, ask.start_ms, ask.max_batches) == ("backfill", 1_767_225_600_000, None)


def test_reconcile_reports_what_it_found(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.get_by_role("button", name="Reconcile now").click()

    expect(page.get_by_text("4 checked, 0 updated, 0 errors")).to_be_visible()


def test_an_alert_is_acknowledged(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Alerts").get_by_role("button", name="acknowledge").click()

    expect(panel(page, "Alerts")).to_contain_text("acknowledged")
    assert served.store.get(kinds.ALERTS, "alert-1").value.status == "acknowledged"


def test_a_trace_tells_the_way_from_candle_to_ledger(page: Page, served: Any) -> None:
    opened(page, served.url)

    panel(page, "Trades").locator("tbody tr").first.get_by_role("button").click()

    drawer = page.get_by_role("complementary", name="Trace")
    expect(drawer.locator("[data-hop=candle]")).to_contain_text("BTC-USDT 1m")
    expect(drawer.locator("[data-hop=orders]")).to_contain_text("filled")
    expect(drawer.locator("[data-hop=fills]")).to_contain_text("taker")
    expect(drawer.locator("[data-hop=ledger]")).to_contain_text("paper")
    expect(page).to_have_url(re.compile(r"trace=tr"))
    page.keyboard.press("Escape")
    expect(drawer).to_have_count(0)


def test_a_desk_that_has_just_started_says_what_to_do_next(page: Page, served_empty: Any) -> None:
    opened(page, served_empty.url)

    expect(panel(page, "Trading")).to_contain_text("No run is at work.")
    expect(panel(page, "Trades")).to_contain_text("No trade yet.")
    expect(panel(page, "Trading").get_by_role("button", name="Start a paper run")).to_be_visible()


@pytest.mark.allow_console("503")
def test_a_failing_read_names_the_problem_and_can_be_tried_again(page: Page, served: Any) -> None:
    problem = (
        '{"title":"store away","status":503,"detail":"the store did not answer","trace_id":"tr1"}'
    )
    page.route(
        "**/trades?*",
        lambda route: route.fulfill(
            status=503, body=problem, content_type="application/problem+json"
        ),
    )
    opened(page, served.url)
    expect(panel(page, "Trades")).to_contain_text("store away the store did not answer (HTTP 503)")
    page.unroute("**/trades?*")

    panel(page, "Trades").get_by_role("button", name="Retry").click()

    expect(panel(page, "Trades").locator("tbody tr")).to_have_count(2)


def test_the_theme_is_kept(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.get_by_role("button", name="Switch to dark theme").click()
    page.reload()

    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_tab_order_starts_at_the_skip_link(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.keyboard.press("Tab")

    expect(page.locator(":focus")).to_have_text("Skip to content")


def test_every_tab_of_the_frame_leads_to_its_page(page: Page, served: Any) -> None:
    opened(page, served.url)
    tabs = page.get_by_role("navigation", name="Pages").get_by_role("link")

    for name, path in (
        ("Agent", "/rl-agent"),
        ("Evaluations", "/rl-evaluations"),
        ("Sources", "/rl-data-sources"),
        ("Ingestion", "/ingestion"),
        ("Insights", "/insights"),
        ("Operations", "/rl-ops"),
    ):
        tabs.filter(has_text=name).click()
        page.wait_for_url(f"{served.url}{path}*")
        expect(tabs.filter(has_text=name)).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="1 alert").click()
    page.wait_for_url("**/rl-ops?tab=alerts")


def test_a_trace_is_read_again_and_copied(page: Page, served: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, served.url)
    panel(page, "Trades").locator("tbody tr").first.get_by_role("button").click()
    drawer = page.get_by_role("complementary", name="Trace")
    expect(drawer.locator("[data-hop=ledger]")).to_contain_text("paper")

    with page.expect_response("**/traces/*") as read:
        drawer.get_by_role("button", name="Reload").click()
    drawer.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_text("The trace is copied as JSON")).to_be_visible()
    copied = page.evaluate("async () => JSON.parse(await navigator.clipboard.readText())")
    drawer.get_by_role("button", name="Close").click()

    assert copied == read.value.json()
    expect(drawer).to_have_count(0)
