"""Controls that need something in the lists: what they do is seen in the store."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Response, expect

from actors import source_book
from actors.audit import note
from actors.ingestion_config import overrides
from desk.clock import HOUR_MS, MINUTE_MS
from desk.market.candles import Candles
from desk.runs import JobStatus
from desk.store import kinds
from desk.trading.breaker import BreakerState
from desk.wallclock import wall_ms
from tests.ui.conftest import NOW_MS, PAIR, START_MS, Served, tell_job
from tests.ui.scene import serve_whole
from tests.ui.test_operations_page import opened, panel

pytestmark = pytest.mark.browser


@pytest.fixture
def served(walk: Callable[..., Candles], tmp_path: Path) -> Iterator[Served]:
    """A desk with something in every list."""
    with serve_whole(walk, tmp_path) as whole:
        yield whole


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


def set_to(page: Page, setting: str, value: str) -> None:
    row = panel(page, "Settings in force").locator(f"tr[data-key={setting}]")
    row.get_by_role("button", name="Set").click()
    if value in {"true", "false"}:
        dialog(page).get_by_label("Value").select_option(value)
    else:
        dialog(page).get_by_label("Value").fill(value)
    dialog(page).get_by_role("button", name="Set").click()
    expect(row).to_contain_text("operator")


# --- ingestion --------------------------------------------------------------------------------


def test_a_setting_is_set_and_those_set_before_stay_as_they_are(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")

    set_to(page, "DATA_GAP_HEAL_COOLDOWN_MIN", "7")
    set_to(page, "DATA_GAP_HEAL_ENABLED", "false")

    found = overrides(served.store)
    assert found == {"DATA_GAP_HEAL_COOLDOWN_MIN": 7, "DATA_GAP_HEAL_ENABLED": False}


@pytest.mark.allow_console("422")
def test_a_setting_out_of_bounds_is_refused_with_its_name(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")
    row = panel(page, "Settings in force").locator("tr[data-key=DATA_GAP_HEAL_COOLDOWN_MIN]")

    row.get_by_role("button", name="Set").click()
    dialog(page).get_by_label("Value").fill("-1")
    dialog(page).get_by_role("button", name="Set").click()

    expect(dialog(page).get_by_role("alert")).to_contain_text("DATA_GAP_HEAL_COOLDOWN_MIN")
    assert overrides(served.store) == {}


def test_signals_are_found_by_words_and_hostile_text_is_text(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")
    signals = panel(page, "Signals")
    now = wall_ms()
    signals.get_by_label("From, UTC").fill(_typed(now - 60 * MINUTE_MS))
    signals.get_by_label("to", exact=True).fill(_typed(now + MINUTE_MS))

    signals.get_by_role("button", name="Search").click()
    expect(signals.locator("tbody tr")).to_have_count(2)
    expect(signals).to_contain_text("<b>ETH</b> short now")
    signals.get_by_label("with the words").fill("long")
    signals.get_by_role("button", name="Search").click()

    expect(signals.locator("tbody tr")).to_have_count(1)
    expect(signals).to_contain_text("BTC long at 43,000")


def test_a_search_over_more_than_a_month_is_refused_before_it_is_sent(
    page: Page, served: Any
) -> None:
    opened(page, served.url, "/ingestion")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    signals = panel(page, "Signals")
    signals.get_by_label("From, UTC").fill("2026-01-01")
    signals.get_by_label("to", exact=True).fill("2026-03-01")

    signals.get_by_role("button", name="Search").click()

    expect(signals.get_by_role("alert")).to_contain_text("at most 31 days")
    assert not [url for url in asked if "/signals/search" in url]


def test_the_times_of_the_lag_and_of_the_map_are_asked_for(page: Page, served: Any) -> None:
    opened(page, served.url, "/ingestion")

    for button, step_ms in (("24 h", 900_000), ("7 d", 7_200_000), ("1 h", 60_000)):
        with page.expect_request(re.compile(rf"metrics\?.*step_ms={step_ms}$")):
            panel(page, "Lag").get_by_role("button", name=button).click()
    for button, hours in (("24 h", 24), ("7 d", 168), ("1 y", 8_760), ("30 d", 720)):
        with page.expect_response(_of_the_last(hours)) as read:
            panel(page, "Coverage").get_by_role("button", name=button).click()
        assert read.value.ok
    unbounded = re.compile(r"data-quality/status\?(?!.*start_ms).*buckets=")
    with page.expect_request(unbounded):
        panel(page, "Coverage").get_by_role("button", name="all").click()


@pytest.mark.parametrize(
    ("path", "title"),
    [("/ingestion", "Coverage"), ("/rl-ops", "Ingestion"), ("/rl-data-sources", "Sources")],
)
def test_a_backfill_is_cancelled_wherever_it_shows(
    page: Page, served: Any, path: str, title: str
) -> None:
    opened(page, served.url, path)
    tell_job(served.store, "backfill")
    job = panel(page, title).locator("[data-job=job-backfill]")

    job.get_by_role("button", name="Pause").click()
    expect(job).to_contain_text("paused")
    job.get_by_role("button", name="Resume").click()
    expect(job).to_contain_text("queued")
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_contain_text("cancelled")

    assert served.store.get(kinds.JOBS, "job-backfill").value.status is JobStatus.CANCELLED


# --- the agent --------------------------------------------------------------------------------


def test_a_breaker_is_reset_with_a_reason(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    rails = panel(page, "Account guardrails")
    expect(rails).to_contain_text("breaker open")

    rails.get_by_role("button", name="Reset").click()
    expect(dialog(page)).to_contain_text("max_daily_loss")
    dialog(page).get_by_label("Reason").fill("looked at it")
    dialog(page).get_by_role("button", name="End the cool-down").click()
    expect(rails).to_contain_text("breaker closed")

    assert served.store.get(kinds.BREAKERS, "paper").value.state is BreakerState.OK
    [row] = [doc.value for doc in served.store.list(kinds.AUDIT) if "breaker" in doc.value.action]
    assert "looked at it" in str(row.after)


def test_entries_of_a_trade_that_did_not_fill_are_cancelled(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    row = panel(page, "Open trades").locator("tr", has_text="placed")
    trade_id = row.get_attribute("data-key")
    expect(row.get_by_role("button", name="Close")).to_have_count(0)

    row.get_by_role("button", name="Cancel").click()
    dialog(page).get_by_label("Reason").fill("too late")
    dialog(page).get_by_role("button", name="End entries").click()
    expect(dialog(page)).to_have_count(0)

    assert served.desk.commands == [("cancel", trade_id, "too late")]


def test_a_learning_cycle_is_asked_for_by_the_pages_own_dialog(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")

    panel(page, "Learning").get_by_role("button", name="Run a cycle").click()
    dialog(page).get_by_label("Pair").fill("BTC-USDT")
    dialog(page).get_by_role("button", name="Run it").click()
    expect(dialog(page)).to_have_count(0)

    [cycle] = served.store.list(kinds.LEARNING_CYCLES)
    assert cycle.value.pair == "BTC-USDT"


# --- operations -------------------------------------------------------------------------------


def tab(page: Page, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_the_tab_shown_is_in_the_address_and_arrows_go_through_them(
    page: Page, served: Any
) -> None:
    opened(page, served.url, "/rl-ops?tab=audit")

    expect(panel(page, "Audit")).to_be_visible()
    page.get_by_role("tab", name="Audit").focus()
    page.keyboard.press("ArrowLeft")

    expect(panel(page, "Reconciliation")).to_be_visible()
    expect(page.get_by_role("tab", name="Reconciliation")).to_be_focused()
    assert "tab=reconciliation" in page.url


def test_a_run_tells_how_its_state_moved_and_who_moved_it(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=runs")

    row = panel(page, "Run history").locator("tbody tr").first
    expect(row).to_contain_text("−4.57")  # noqa: RUF001 - as it is shown
    row.click()
    drawer = page.get_by_role("complementary", name="Run")
    steps = drawer.get_by_role("listitem")
    expect(steps).to_have_count(3)
    expect(steps.nth(1)).to_contain_text("run.pause by operator: news at noon")
    expect(drawer).to_contain_text("−4.57 USDT")  # noqa: RUF001 - as it is shown
    steps.nth(1).get_by_role("button").click()
    expect(page.get_by_role("complementary", name="Trace")).to_contain_text("trrun.pause")
    page.keyboard.press("Escape")
    drawer.get_by_role("link", name="On the chart").click()

    page.wait_for_url(f"**/insights?pair=BTC-USDT&*at={START_MS}*")


ESCAPE_AT_ONCE = """() => new MutationObserver((_, watcher) => {
  if (!document.querySelector('aside[aria-label="Trace"]')) return;
  watcher.disconnect();
  document.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape', bubbles: true, cancelable: true }));
}).observe(document.body, { childList: true, subtree: true })"""


def test_escape_in_the_moment_a_drawer_appears_closes_it_and_not_the_one_below(
    page: Page, served: Any
) -> None:
    opened(page, served.url, "/rl-ops?tab=runs")
    panel(page, "Run history").locator("tbody tr").first.click()
    drawer = page.get_by_role("complementary", name="Run")
    step = drawer.get_by_role("listitem").nth(1).get_by_role("button")
    expect(step).to_be_visible()
    page.evaluate(ESCAPE_AT_ONCE)

    step.click()

    expect(page).not_to_have_url(re.compile("trace="))
    expect(page.get_by_role("complementary", name="Trace")).to_have_count(0)
    expect(drawer).to_be_visible()


def test_the_drawer_of_a_run_is_closed_by_its_button(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=runs")
    panel(page, "Run history").locator("tbody tr").first.click()
    drawer = page.get_by_role("complementary", name="Run")

    drawer.get_by_role("button", name="Close").click()

    expect(drawer).to_have_count(0)
    expect(panel(page, "Run history").locator("tbody tr").first).to_be_focused()


def test_the_audit_shows_before_and_after_and_that_its_chain_holds(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=audit")
    audit = panel(page, "Audit")

    expect(audit).to_contain_text("chain holds, 1 to 3")
    expect(audit).to_contain_text("status: running → paused; pause_reason: news at noon")
    audit.get_by_label("Action").fill("run.resume")
    audit.get_by_role("button", name="Filter").click()
    expect(audit.locator("tbody tr")).to_have_count(1)
    audit.get_by_label("Action").fill("")
    audit.get_by_label("Resource").fill("limits/")
    audit.get_by_role("button", name="Filter").click()

    expect(audit).to_contain_text("Nothing in the audit begins so.")


def test_a_row_of_the_audit_that_was_changed_is_told(page: Page, served: Any) -> None:
    doc = next(doc for doc in served.store.list(kinds.AUDIT) if doc.value.seq == 2)
    key = doc.key
    served.store.put(kinds.AUDIT, key, replace(doc.value, sha256="0" * 64), at_ms=doc.at_ms)

    opened(page, served.url, "/rl-ops?tab=audit")

    expect(panel(page, "Audit")).to_contain_text("chain broken at 3")


def test_more_of_the_audit_is_shown_on_demand(page: Page, served: Any) -> None:
    for number in range(60):
        note(
            served.store,
            "alert.acknowledge",
            f"alert/{number}",
            actor="operator",
            trace_id=f"tr{number}",
            at_ms=number,
        )
    opened(page, served.url, "/rl-ops?tab=audit")
    audit = panel(page, "Audit")

    expect(audit.locator("tbody tr")).to_have_count(50)
    audit.get_by_role("button", name="Show older").click()

    expect(audit.locator("tbody tr")).to_have_count(63)


def test_orders_show_what_the_venue_made_of_them(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=orders")
    orders = panel(page, "Orders")

    expect(orders.locator("tbody tr")).to_have_count(4)
    expect(orders).to_contain_text("exit, reduce-only")
    expect(orders.locator("tr", has_text="open")).to_contain_text("buy BTC-USDT0.020")


def test_reconciliation_sets_ours_beside_the_venues(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=reconciliation")
    beside = panel(page, "Reconciliation")

    expect(beside.get_by_role("table", name="Ours and the venue's")).to_contain_text("paper")
    expect(beside).to_contain_text("No trade shown differs")
    held = beside.get_by_role("table", name="Positions of paper")
    expect(held.locator("tr[data-key=BTC-USDT]")).to_contain_text("0.02")
    expect(held.locator("tr[data-key=BTC-USDT]")).to_contain_text("agrees")
    expect(held.locator("tbody tr").first).to_contain_text("ETH-USDT00.5")
    expect(held.locator("tbody tr").first).to_contain_text("differs")
    orders = beside.get_by_role("table", name="Open orders of paper").locator("tbody tr")
    expect(orders.first).to_contain_text("unknown to us")
    expect(orders.last).to_contain_text("agrees")
    beside.get_by_role("button", name="Reconcile now").click()

    expect(page.get_by_text("4 checked, 0 updated, 0 errors")).to_be_visible()
    assert served.desk.commands == [("reconcile", None)]


@pytest.mark.allow_console("503")
def test_sides_that_cannot_be_read_say_so_and_are_asked_for_again(page: Page, served: Any) -> None:
    told = {"title": "The store is away", "status": 503, "detail": "no answer within 2 s"}
    page.route("**/ops/trading/reconcile", lambda route: route.fulfill(status=503, json=told))
    opened(page, served.url, "/rl-ops?tab=reconciliation")
    beside = panel(page, "Reconciliation")

    expect(beside.get_by_role("alert")).to_contain_text("no answer within 2 s")
    page.unroute("**/ops/trading/reconcile")
    beside.get_by_role("button", name="Retry").click()

    expect(beside.get_by_role("table", name="Positions of paper")).to_be_visible()


def test_the_retry_queue_of_the_operations_page_acts(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=retries")
    queue = panel(page, "Retry queue")

    expect(queue.locator("tr[data-key=rty2]")).to_contain_text(re.compile(r"in \d+ s"))
    queue.locator("tr[data-key=rty1]").get_by_role("button", name="Discard").click()
    expect(queue.locator("tr[data-key=rty1]")).to_have_count(0)

    assert served.store.get(kinds.RETRIES, "rty1") is None


def test_the_tiles_name_what_is_wrong_and_lead_to_it(page: Page, served: Any) -> None:
    opened(page, served.url)
    tiles = page.locator("dl.tiles")

    expect(tiles).to_contain_text(re.compile(r"Circuit breaker▲ open5\d min left"))
    expect(tiles).to_contain_text("Retry queue2▲ 1 given up")
    leads = {
        "/rl-agent": (
            "Runs",
            "Mode",
            "Equity",
            "Open positions",
            "Exposure",
            "Drawdown",
            "Circuit",
        ),
        "/insights": ("Day PnL",),
        "/ingestion": ("Ingestion p95",),
        "/rl-ops?tab=retries": ("Retry queue",),
        "/rl-ops?tab=alerts": ("Service levels",),
        "/rl-ops?tab=reconciliation": ("Reconciler",),
    }
    for path, names in leads.items():
        for name in names:
            expect(tiles.get_by_role("link", name=name)).to_have_attribute("href", path)
    expect(tiles.get_by_role("link", name="Decision p95")).to_have_attribute("href", "/rl-agent")
    tiles.get_by_role("link", name="Worst source").click()

    page.wait_for_url("**/rl-data-sources?only=not_ok")
    expect(page.get_by_role("table", name="Sources").locator("tbody tr")).to_have_count(2)


# --- sources ----------------------------------------------------------------------------------


def test_a_scheduler_that_does_not_run_is_told_above_all(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")

    expect(page.get_by_role("alert").filter(has_text="scheduler")).to_contain_text("Telegram")
    page.get_by_role("link", name="Ingestion, Pollers").click()

    expect(panel(page, "Pollers")).to_be_visible()


def test_a_feed_is_added_by_what_the_dialog_says_and_its_token_shows_once(
    page: Page, served: Any
) -> None:
    opened(page, served.url, "/rl-data-sources")
    adding = panel(page, "Adding a source").get_by_role("button", name="Add a source")

    adding.click()
    dialog(page).get_by_label("Name of").fill("My Strategy!")
    dialog(page).get_by_role("button", name="Show what to set").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("expected small letters")
    dialog(page).get_by_label("Name of").fill("my-strategy")
    dialog(page).get_by_role("button", name="Show what to set").click()
    line, address = dialog(page).locator("code.copy").all_inner_texts()
    dialog(page).get_by_role("button", name="Done").click()
    adding.click()

    token = line.removeprefix("TRADINGVIEW_FEED_TOKENS=my-strategy=")
    assert re.fullmatch(r"[0-9a-f]{48}", token)
    assert address == f"{served.url}/webhooks/tradingview/{token}"
    expect(dialog(page)).not_to_contain_text(token)


def test_a_channel_is_added_by_its_name(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")

    panel(page, "Adding a source").get_by_role("button", name="Add a source").click()
    dialog(page).get_by_label("Kind").select_option("telegram")
    dialog(page).get_by_label("Name of").fill("@signals")
    dialog(page).get_by_role("button", name="Show what to set").click()

    expect(dialog(page)).to_contain_text("TELEGRAM_CHAT_IDS=signals")


def test_fetching_shows_where_a_source_is_switched_on(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")

    tell_job(served.store, "backfill")

    expect(panel(page, "Sources")).to_contain_text("250 of 1,000")


def test_a_backfill_begins_from_the_sources_too(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")

    panel(page, "Sources").get_by_role("button", name="Backfill").click()
    dialog(page).get_by_role("button", name="Start backfill").click()
    expect(dialog(page)).to_have_count(0)
    page.get_by_role("table", name="Sources").locator("tbody tr").nth(1).click()
    drawer = page.get_by_role("complementary", name="Source")
    drawer.get_by_role("button", name="Backfill").click()
    dialog(page).get_by_role("button", name="Start backfill").click()
    expect(dialog(page)).to_have_count(0)

    assert [command[1].pair for command in served.desk.commands] == [PAIR, "ETH-USDT"]


def test_a_source_is_switched_on_again_from_its_drawer(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")
    page.get_by_role("table", name="Sources").locator("tbody tr").first.click()
    drawer = page.get_by_role("complementary", name="Source")
    key = source_book.key_of(source_book.CANDLES, PAIR, "1m")

    for wish, enabled in (("Switch off", False), ("Switch on", True)):
        drawer.get_by_role("button", name=wish).click()
        dialog(page).get_by_role("button", name=wish).click()
        expect(drawer).to_contain_text(f"enabled{str(enabled).lower()}")
        assert served.store.get(kinds.SOURCES, key).value.enabled is enabled
    drawer.get_by_role("button", name="Close").click()

    expect(drawer).to_have_count(0)


# --- the way between pages --------------------------------------------------------------------


@pytest.mark.parametrize(("path", "title"), [("/rl-ops", "Trades"), ("/rl-agent", "Open trades")])
def test_a_pair_in_a_list_leads_to_its_trade_on_the_chart(
    page: Page, served: Any, path: str, title: str
) -> None:
    opened(page, served.url, path)
    row = panel(page, title).locator("tbody tr", has_text="filled").first
    trade_id = row.get_attribute("data-key")

    row.get_by_role("link", name=PAIR).click()

    page.wait_for_url(f"**/insights?*trade={trade_id}*")
    expect(page.get_by_role("region", name="Trades", exact=True)).to_contain_text("realised")


def test_a_decision_in_the_tape_opens_its_trace(page: Page, served: Any) -> None:
    opened(page, served.url, "/insights")
    newest = served.store.list(kinds.decisions_of_run("run-1"))[0].value

    page.get_by_role("table", name="Decisions of this pair").locator("tbody tr").first.click()

    expect(page.get_by_role("complementary", name="Trace")).to_contain_text(newest.trace_id)


def test_every_tab_shows_its_list(page: Page, served: Any) -> None:
    opened(page, served.url)

    for name in (
        *("Run history", "Retry queue", "Orders", "Reconciliation"),
        *("Audit", "Limits", "Actors", "Alerts"),
    ):
        tab(page, name)
        expect(panel(page, name).locator("tbody tr").first).to_be_visible()
        expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def test_a_cell_with_a_hole_is_filled_from_the_map(page: Page, served: Any) -> None:
    whole = served.store.read_candles(PAIR, "1m", START_MS, NOW_MS)
    served.store.write_candles("ETH-USDT", "1m", whole.take(slice(0, 600)))
    served.store.write_candles("ETH-USDT", "1m", whole.take(slice(1_200, None)))
    opened(page, served.url, "/ingestion")
    # A map that is drawn anew under the pointer takes no click.
    with page.expect_response(_is_whole_map_of("ETH-USDT")):
        panel(page, "Coverage").get_by_role("button", name="all").click()
    series = panel(page, "Coverage").get_by_role("img", name="ETH-USDT")
    expect(series.locator("rect.before")).to_have_count(0)
    hole = series.locator("rect.missing, rect.part").first

    hole.click()
    start = dialog(page).get_by_label("Start, UTC").input_value()
    dialog(page).get_by_role("button", name="Start backfill").click()
    expect(dialog(page)).to_have_count(0)

    ask = served.desk.commands[0][1]
    assert (ask.pair, _typed(ask.start_ms)) == ("ETH-USDT", start)
    assert ask.end_ms > ask.start_ms


def _is_whole_map_of(pair: str) -> Callable[[Response], bool]:
    """Whether an answer is of a pair's map from its first candle on."""

    def is_it(answer: Response) -> bool:
        asked = parse_qs(urlsplit(answer.url).query)
        return asked.get("pair") == [pair] and "buckets" in asked and "start_ms" not in asked

    return is_it


def _of_the_last(hours: int) -> Callable[[Response], bool]:
    """Whether an answer is of a map that begins so many hours before the market's now."""

    def is_it(answer: Response) -> bool:
        begin = re.search(r"data-quality/status\?.*start_ms=(\d+)", answer.url)
        return begin is not None and abs(NOW_MS - int(begin[1]) - hours * HOUR_MS) < HOUR_MS

    return is_it


def _typed(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M")
