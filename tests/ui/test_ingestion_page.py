"""The ingestion page, used by a browser against the real API."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from actors import retry_queue
from desk.clock import MINUTE_MS
from desk.market.gaps import GapEvent, GapStatus
from desk.store import kinds
from tests.serve_apps.test_retries import DEAD
from tests.ui.conftest import NOW_MS, START_MS

pytestmark = pytest.mark.browser


def opened(page: Page, url: str) -> Page:
    page.goto(url + "/ingestion")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    return page


def panel(page: Page, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


def put_gap(served: Any, status: GapStatus = GapStatus.OPEN) -> None:
    gap = GapEvent(
        gap_id="g1",
        pair="BTC-USDT",
        interval="1m",
        source_type="bingx_candles",
        start_ms=START_MS + 100 * MINUTE_MS,
        end_ms=START_MS + 109 * MINUTE_MS,
        missing_points=10,
        status=status,
        detected_ms=NOW_MS,
        attempts=2,
    )
    served.store.put(kinds.GAPS, gap.gap_id, gap, at_ms=gap.start_ms)


def test_the_map_tells_what_is_there_and_what_never_was(page: Page, served: Any) -> None:
    opened(page, served.url)
    coverage = panel(page, "Coverage")

    series = coverage.get_by_role("img", name="BTC-USDT 1m: 100.00 % of the candles")
    expect(series).to_be_visible()
    expect(series.locator("rect.before")).not_to_have_count(0)
    coverage.get_by_role("button", name="all", exact=True).click()
    expect(series.locator("rect.before")).to_have_count(0)
    expect(series.locator("rect.whole")).not_to_have_count(0)


def test_a_gap_is_healed_with_its_times_filled_in(page: Page, served: Any) -> None:
    put_gap(served)
    opened(page, served.url)

    panel(page, "Gaps").get_by_role("button", name="Heal").click()
    expect(dialog(page).get_by_label("Start, UTC")).to_have_value("2026-01-01 01:40")
    dialog(page).get_by_role("button", name="Start backfill").click()
    expect(panel(page, "Coverage")).to_contain_text("250 of 1,000 candles")

    (verb, ask) = served.desk.commands[0]
    assert (verb, ask.start_ms, ask.end_ms) == (
        "backfill",
        START_MS + 100 * MINUTE_MS,
        START_MS + 110 * MINUTE_MS,
    )


def test_gaps_that_the_exchange_does_not_have_are_told_and_not_offered(
    page: Page, served: Any
) -> None:
    put_gap(served, GapStatus.ABSENT_AT_VENUE)
    opened(page, served.url)

    expect(panel(page, "Gaps")).to_contain_text("0 open")
    expect(panel(page, "Gaps").get_by_role("button", name="Heal")).to_have_count(0)


def test_pollers_stored_series_and_empty_lists_say_what_is(page: Page, served: Any) -> None:
    opened(page, served.url)

    expect(panel(page, "Pollers")).to_contain_text("candle_poller:BTC-USDT")
    expect(panel(page, "Stored")).to_contain_text("2,000")
    expect(panel(page, "Retry queue")).to_contain_text("Nothing waits")
    expect(panel(page, "Fetches")).to_contain_text("Nothing was fetched yet")
    panel(page, "Pollers").get_by_role("button", name="Poll now").click()
    expect(page.get_by_text("bingx: run told to")).to_be_visible()


def test_a_search_without_its_bounds_is_not_sent_and_a_wrong_one_is_named(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    expect(panel(page, "Signals")).to_contain_text("No source of signals is configured")
    expect(panel(page, "Signals").get_by_role("button", name="Search")).to_be_disabled()


def test_a_failed_job_is_tried_again_or_taken_out(page: Page, served: Any) -> None:
    for item_id in ("rty1", "rty2"):
        retry_queue.put(served.store, replace(DEAD, item_id=item_id), expected_version=0)
    opened(page, served.url)
    queue = panel(page, "Retry queue")

    queue.locator("tr[data-key=rty1]").get_by_role("button", name="Retry").click()
    expect(queue.locator("tr[data-key=rty1]")).to_contain_text("waiting")
    queue.locator("tr[data-key=rty2]").get_by_role("button", name="Discard").click()
    expect(queue.locator("tr[data-key=rty2]")).to_have_count(0)

    assert served.store.get(kinds.RETRIES, "rty2") is None
