"""What all pages have in common: keys, drawers, sorting, and a page that no longer sees the desk."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from actors import source_book
from desk.runs import RunStatus
from desk.store import kinds
from tests.ui.conftest import NOW_MS
from tests.ui.test_operations_page import opened, panel

pytestmark = pytest.mark.browser
BOOK = source_book.key_of("orderbook", "BTC-USDT", "")
PROBLEM = {"type": "about:blank", "title": "store away", "status": 503, "detail": "try later"}


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


@contextmanager
def held_back(page: Page, address: str) -> Iterator[list[Route]]:
    """The answers from an address come when the block ends."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(address, hold)
    yield held
    for route in held:
        route.continue_()
    page.unroute(address)


# --- keys -------------------------------------------------------------------------------------


def test_a_question_mark_lists_the_keys_and_gives_the_focus_back(page: Page, served: Any) -> None:
    opened(page, served.url)
    page.get_by_role("button", name="Reconcile now").focus()

    page.keyboard.press("?")
    expect(dialog(page)).to_contain_text("to Insights")
    page.keyboard.press("Escape")

    expect(dialog(page)).to_have_count(0)
    expect(page.locator(":focus")).to_have_text("Reconcile now")
    page.get_by_role("button", name="Keys").click()
    dialog(page).get_by_role("button", name="Close").click()
    expect(page.locator(":focus")).to_have_text("?")


def test_g_and_a_letter_go_to_each_page(page: Page, served: Any) -> None:
    opened(page, served.url)

    for letter, path in (
        ("a", "/rl-agent"),
        ("e", "/rl-evaluations"),
        ("d", "/rl-data-sources"),
        ("i", "/ingestion"),
        ("t", "/insights"),
        ("o", "/rl-ops"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_url(f"{served.url}{path}*")
        expect(page.get_by_test_id("stream")).to_contain_text("live")


def test_keys_are_letters_while_somebody_types(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-ops?tab=audit")
    action = page.get_by_label("Action")

    action.press_sequentially("go?.K")

    expect(action).to_have_value("go?.K")
    expect(dialog(page)).to_have_count(0)
    assert served.desk.commands == []


def test_a_dot_asks_to_pause_and_a_slash_goes_to_the_first_filter(page: Page, served: Any) -> None:
    opened(page, served.url)
    page.keyboard.press(".")
    dialog(page).get_by_label("Reason").fill("by key")
    page.keyboard.press("Enter")
    expect(panel(page, "Trading")).to_contain_text("paused: by key")
    assert served.desk.commands == [("pause", "by key")]

    opened(page, served.url, "/rl-data-sources")
    expect(page.get_by_label("Kind")).to_be_visible()
    page.keyboard.press("/")

    expect(page.get_by_label("Kind")).to_be_focused()


def test_a_dot_pressed_before_the_page_knows_of_a_run_still_asks_to_pause(
    page: Page, served: Any
) -> None:
    with held_back(page, "**/ops/trading/summary") as held:
        opened(page, served.url)
        page.keyboard.press(".")
        page.wait_for_timeout(300)
        assert held, "the page asks for its summary"

    expect(dialog(page).get_by_label("Reason")).to_be_visible()


@pytest.mark.allow_console("503")
def test_a_dot_asks_to_pause_though_the_desk_cannot_say_whether_a_run_is_at_work(
    page: Page, served: Any
) -> None:
    page.route("**/ops/trading/summary", _away)
    opened(page, served.url)

    page.keyboard.press(".")

    expect(dialog(page).get_by_label("Reason")).to_be_visible()


def test_the_skip_link_goes_to_the_content(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.locator("main")).to_be_focused()


def test_a_drawer_takes_the_focus_and_gives_it_back_to_its_row(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")
    rows = page.get_by_role("table", name="Sources").locator("tbody tr")

    rows.first.focus()
    page.keyboard.press("j")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    drawer = page.get_by_role("complementary", name="Source")
    expect(drawer).to_be_focused()
    page.keyboard.press("Escape")

    expect(drawer).to_have_count(0)
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.first).to_be_focused()


# --- sorting ----------------------------------------------------------------------------------


def test_a_column_sorts_by_its_figures_up_down_and_as_it_was(page: Page, served: Any) -> None:
    opened(page, served.url)
    table = page.get_by_role("table", name="Trades")
    head = table.get_by_role("columnheader", name="net PnL")
    nets = table.locator("tbody tr td:nth-child(9)")
    before = nets.all_inner_texts()
    figures = sorted(float(text.replace("−", "-")) for text in before)  # noqa: RUF001 - as it is shown

    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    up = [float(text.replace("−", "-")) for text in nets.all_inner_texts()]  # noqa: RUF001 - as above
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    down = [float(text.replace("−", "-")) for text in nets.all_inner_texts()]  # noqa: RUF001 - as above
    page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "none")

    assert (up, down) == (figures, figures[::-1])
    assert nets.all_inner_texts() == before


def test_the_order_chosen_is_kept_while_rows_change(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-data-sources")
    table = page.get_by_role("table", name="Sources")
    head = table.get_by_role("columnheader", name="threshold")
    head.get_by_role("button").click()
    head.get_by_role("button").click()
    expect(table.locator("tbody tr").first).to_contain_text("28800 s")

    known = served.store.get(kinds.SOURCES, BOOK).value
    longer = replace(known, freshness_threshold_s=90_000)
    served.store.put(kinds.SOURCES, BOOK, longer, at_ms=NOW_MS)

    expect(table.locator("tbody tr").first).to_contain_text("orderbook", timeout=15_000)
    expect(table.locator("tbody tr").first).to_contain_text("90000 s")
    expect(head).to_have_attribute("aria-sort", "descending")


def test_ages_sort_by_time_and_not_by_their_first_digit(page: Page, served: Any) -> None:
    known = served.store.get(kinds.SOURCES, BOOK).value
    silent = replace(known, last_event_ms=0)
    served.store.put(kinds.SOURCES, BOOK, silent, at_ms=NOW_MS)
    opened(page, served.url, "/rl-data-sources")
    table = page.get_by_role("table", name="Sources")

    table.get_by_role("columnheader", name="age", exact=True).get_by_role("button").click()

    last = table.locator("tbody tr td:nth-child(7)").all_inner_texts()[-2:]
    assert last == ["24 h", "never"]


# --- a stale page -----------------------------------------------------------------------------


@pytest.mark.allow_console("ERR_FAILED")
def test_without_its_stream_a_page_only_takes_risk_away_until_it_is_back(
    page: Page, served: Any
) -> None:
    page.route("**/events*", lambda route: route.abort())
    page.goto(f"{served.url}/rl-ops")
    banner = page.get_by_test_id("stale")
    expect(banner).to_contain_text("its event stream is lost", timeout=15_000)

    panel(page, "Trading").get_by_role("button", name="Start").click()
    expect(dialog(page)).to_contain_text("This page is stale")
    expect(dialog(page).get_by_role("button", name="Start paper run")).to_be_disabled()
    page.keyboard.press("Escape")
    panel(page, "Alerts").get_by_role("button", name="acknowledge").click()
    expect(page.get_by_role("status").filter(has_text="acts again when it sees")).to_be_visible()
    assert served.store.get(kinds.ALERTS, "alert-1").value.status == "open"
    panel(page, "Trading").get_by_role("button", name="Pause").click()
    dialog(page).get_by_label("Reason").fill("blind")
    dialog(page).get_by_role("button", name="Pause run").click()
    expect(panel(page, "Trading")).to_contain_text("paused: blind")
    page.keyboard.press("Shift+K")
    page.keyboard.press("Shift+K")
    expect(page.get_by_role("button", name="KILLED")).to_be_visible()
    assert served.desk.commands == [("pause", "blind"), ("kill", True)]

    page.unroute("**/events*")
    expect(banner).to_have_count(0, timeout=15_000)
    panel(page, "Alerts").get_by_role("button", name="acknowledge").click()
    expect(panel(page, "Alerts")).to_contain_text("acknowledged")


@pytest.mark.allow_console("503")
@pytest.mark.parametrize("path", ["/rl-agent", "/rl-evaluations", "/ingestion", "/insights"])
def test_a_desk_that_does_not_answer_is_said_on_every_page(
    page: Page, served: Any, path: str
) -> None:
    page.clock.install()
    page.goto(served.url + path)
    expect(page.get_by_test_id("mode-strip")).to_have_text("BTC-USDT")
    page.route("**/ops/trading/summary", _away)

    page.clock.fast_forward(30_000)

    expect(page.get_by_test_id("stale")).to_contain_text("the desk does not answer")


@pytest.mark.allow_console("503")
def test_a_list_that_cannot_be_read_again_says_of_when_it_is(page: Page, served: Any) -> None:
    opened(page, served.url)
    expect(panel(page, "Trades").locator("tbody tr")).to_have_count(2)
    page.route("**/trades?*", _away)
    run = served.store.get(kinds.RUNS, "run-1").value
    served.desk._move(replace(run, status=RunStatus.PAUSED))

    expect(panel(page, "Trades")).to_contain_text(
        re.compile(r"as of \d\d:\d\d:\d\d"), timeout=20_000
    )
    expect(panel(page, "Trades").locator("tbody tr")).to_have_count(2)


def _away(route: Route) -> None:
    route.fulfill(status=503, json=PROBLEM, content_type="application/problem+json")


# --- what a dialog is made of -----------------------------------------------------------------

RUN_PARTS = ("**/agents/desk", "**/versions?*", "**/risk-limits", "**/data-sources/status")


@pytest.mark.parametrize("late", RUN_PARTS)
def test_a_dialog_opened_before_its_choices_have_come_waits_for_them(
    page: Page, served: Any, late: str
) -> None:
    with held_back(page, late) as held:
        opened(page, served.url)
        panel(page, "Trading").get_by_role("button", name="Start …").click()
        expect(dialog(page).get_by_role("status")).to_have_text("Loading Start a paper run")
        expect(dialog(page).get_by_role("button")).to_have_text(["Cancel"])
        assert held, "the page asks for it"

    for label in ("Pair", "Policy version", "Risk limit set"):
        expect(dialog(page).get_by_label(label).locator("option")).not_to_have_count(0)
    expect(dialog(page).get_by_label("Pair")).to_be_focused()


@pytest.mark.allow_console("503")
def test_a_dialog_whose_choices_cannot_be_read_says_so_and_tries_again_when_told(
    page: Page, served: Any
) -> None:
    page.route("**/versions?*", _away)
    opened(page, served.url)
    panel(page, "Trading").get_by_role("button", name="Start …").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("store away")
    page.unroute("**/versions?*")

    dialog(page).get_by_role("button", name="Retry").click()

    expect(dialog(page).get_by_label("Policy version").locator("option")).not_to_have_count(0)


def test_a_dialog_that_is_left_while_it_waits_gives_the_focus_back(page: Page, served: Any) -> None:
    with held_back(page, "**/versions?*"):
        opened(page, served.url)
        panel(page, "Trading").get_by_role("button", name="Start …").click()
        expect(dialog(page).get_by_role("status")).to_be_attached()

        page.keyboard.press("Escape")
        expect(dialog(page)).to_have_count(0)
        expect(page.locator(":focus")).to_have_text("Start …")

    page.wait_for_timeout(300)
    expect(dialog(page)).to_have_count(0)


def test_what_is_chosen_stays_when_the_choices_are_read_again(page: Page, served: Any) -> None:
    opened(page, served.url, "/rl-agent")
    panel(page, "Runs").get_by_role("button", name="New paper run").click()
    dialog(page).get_by_label("Pair").select_option("ETH-USDT")
    dialog(page).get_by_label("Stop loss").fill("0.05")
    agent = served.store.get(kinds.AGENTS, "desk").value
    fewer = replace(agent, allowed_instruments=("BTC-USDT",))
    served.store.put(kinds.AGENTS, "desk", fewer, at_ms=NOW_MS)
    with page.expect_response("**/agents/desk"):
        served.desk._move(served.store.get(kinds.RUNS, "run-1").value)
    page.wait_for_timeout(300)

    expect(dialog(page).get_by_label("Pair")).to_have_value("ETH-USDT")
    expect(dialog(page).get_by_label("Stop loss")).to_have_value("0.05")


# --- what somebody else changed ---------------------------------------------------------------


@pytest.mark.allow_console("412")
def test_what_changed_meanwhile_is_shown_and_the_edit_goes_on_from_there(
    page: Page, served: Any
) -> None:
    opened(page, served.url, "/rl-agent")
    gate = panel(page, "Promotion gate")
    gate.get_by_role("button", name="Edit").click()
    dialog(page).get_by_label("Trades, at least").fill("99")
    agent = served.store.get(kinds.AGENTS, "desk").value
    stricter = replace(agent.promotion_gate, min_win_rate=0.7)
    served.store.put(kinds.AGENTS, "desk", replace(agent, promotion_gate=stricter), at_ms=NOW_MS)

    dialog(page).get_by_role("button", name="Save").click()
    moved = dialog(page).get_by_role("table", name="Changed meanwhile")
    expect(moved.locator("tbody tr")).to_have_count(1)
    expect(moved.locator("tbody tr")).to_have_text("min_win_rate0.550.7")
    dialog(page).get_by_role("button", name="Reload").click()
    expect(dialog(page).get_by_label("Win rate")).to_have_value("0.7")
    dialog(page).get_by_label("Trades, at least").fill("99")
    dialog(page).get_by_role("button", name="Save").click()
    expect(gate).to_contain_text("99")

    after = served.store.get(kinds.AGENTS, "desk").value.promotion_gate
    assert (after.min_trades, after.min_win_rate) == (99, 0.7)


@pytest.mark.allow_console("412")
def test_a_run_that_moved_on_is_not_resumed_unseen(page: Page, served: Any) -> None:
    run = replace(served.store.get(kinds.RUNS, "run-1").value, status=RunStatus.PAUSED)
    served.store.put(kinds.RUNS, "run-1", replace(run, pause_reason="news"), at_ms=NOW_MS)
    opened(page, served.url)
    panel(page, "Trading").get_by_role("button", name="Resume").click()
    dialog(page).get_by_label("Reason").fill("news is out")
    served.store.put(kinds.RUNS, "run-1", replace(run, pause_reason="max_daily_loss"), at_ms=NOW_MS)

    dialog(page).get_by_role("button", name="Resume run").click()

    expect(dialog(page).get_by_role("table", name="Changed meanwhile")).to_contain_text(
        "max_daily_loss"
    )
    assert served.desk.commands == []


def test_a_dialog_that_is_left_sends_nothing(page: Page, served: Any) -> None:
    opened(page, served.url)

    for leave in ("button", "Escape"):
        panel(page, "Trading").get_by_role("button", name="Stop").click()
        dialog(page).get_by_label("Reason").fill("no, wait")
        if leave == "button":
            dialog(page).get_by_role("button", name="Cancel").click()
        else:
            page.keyboard.press(leave)
        expect(dialog(page)).to_have_count(0)
        expect(page.locator(":focus")).to_have_text("Stop …")

    assert served.desk.commands == []
