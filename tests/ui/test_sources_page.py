"""The page of data sources, used by a browser against the real API."""

from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from actors.commands import FeedScope
from desk.clock import HOUR_MS, MINUTE_MS
from desk.market.ingestion import IngestionKind, IngestionRun
from desk.runs import SourceStatus
from desk.store import kinds
from desk.store.port import Sample
from desk.wallclock import wall_ms
from tests.ui.conftest import NOW_MS

pytestmark = pytest.mark.browser

CANDLES = "bingx_candles:BTC-USDT:1m"


def opened(page: Page, url: str, query: str = "") -> Page:
    page.goto(f"{url}/rl-data-sources{query}")
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    return page


def rows(page: Page) -> Any:
    return page.get_by_role("table", name="Sources").locator("tbody tr")


def dialog(page: Page) -> Any:
    return page.get_by_role("dialog")


def drawer(page: Page) -> Any:
    return page.get_by_role("complementary", name="Source")


def source(served: Any) -> SourceStatus:
    return served.store.get(kinds.SOURCES, CANDLES).value


def test_every_source_is_listed_with_its_age_and_the_filters_are_in_the_address(
    page: Page, served: Any
) -> None:
    opened(page, served.url)

    expect(rows(page)).to_have_count(16)
    page.get_by_label("Pair").select_option("ETH-USDT")
    expect(rows(page)).to_have_count(8)
    page.get_by_label("Show").select_option("not_ok")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("stale")
    assert "only=not_ok" in page.url
    assert "pair=ETH-USDT" in page.url
    page.reload()
    expect(rows(page)).to_have_count(1)


def test_switching_a_source_off_names_the_runs_that_will_pause(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.get_by_role("switch", name="bingx_candles BTC-USDT 1m on").click()
    expect(dialog(page)).to_contain_text("These runs will pause: run-1 on BTC-USDT")
    dialog(page).get_by_role("button", name="Switch off").click()
    expect(page.get_by_role("switch", name="bingx_candles BTC-USDT 1m on")).to_have_text("off")

    assert not source(served).enabled


def test_a_threshold_is_set_and_zero_is_refused_before_it_is_sent(page: Page, served: Any) -> None:
    opened(page, served.url, f"?source={CANDLES.replace('BTC', ':BTC', 1)}")

    drawer(page).get_by_role("button", name="Threshold").click()
    dialog(page).get_by_label("At most").fill("0")
    dialog(page).get_by_role("button", name="Set threshold").click()
    expect(dialog(page)).to_be_visible()
    assert source(served).freshness_threshold_s == 120
    dialog(page).get_by_label("At most").fill("300")
    dialog(page).get_by_role("button", name="Set threshold").click()
    expect(drawer(page)).to_contain_text("300 s")

    assert source(served).freshness_threshold_s == 300


def test_a_row_opens_its_checks_and_is_polled_by_itself(page: Page, served: Any) -> None:
    opened(page, served.url)

    rows(page).first.click()
    expect(drawer(page)).to_contain_text("100.000 % of")
    expect(drawer(page)).to_contain_text("rows refused")
    drawer(page).get_by_role("button", name="Poll now").click()
    expect(page.get_by_text("run told to 1 feed")).to_be_visible()
    drawer(page).get_by_role("button", name="Test").click()
    expect(page.get_by_text("run told to 1 feed").nth(1)).to_be_visible()
    page.keyboard.press("Escape")
    expect(drawer(page)).to_have_count(0)

    scopes = [(command[0], command[1].pair, command[2]) for command in served.desk.commands]
    assert scopes == [("run", "BTC-USDT", False), ("run", "BTC-USDT", True)]


def test_a_source_shows_what_the_polls_of_this_hour_brought_and_what_failed(
    page: Page, served: Any
) -> None:
    for at, errors in ((60, 1), (1, 3)):  # the hour before, and this one
        run = IngestionRun(
            run_id=f"ir{at}",
            source="bingx",
            source_type="bingx_candles",
            kind=IngestionKind.POLL,
            pair="BTC-USDT",
            interval="1m",
            started_ms=NOW_MS - at * MINUTE_MS,
            updated_ms=NOW_MS,
            answers=40,
            new=38,
            errors=errors,
            error="HTTP 503",
        )
        served.store.put(kinds.INGESTION, run.run_id, run, at_ms=run.started_ms)
    opened(page, served.url)

    row = rows(page).filter(has=page.get_by_role("switch", name="bingx_candles BTC-USDT 1m on"))
    expect(row.get_by_title("of 43 requests since")).to_have_text("▲ 3")
    expect(row.get_by_title("HTTP 503")).to_be_visible()
    expect(row.get_by_role("cell", name="38", exact=True)).to_be_visible()


def test_a_source_shows_its_lag_and_what_each_minute_of_the_last_hour_brought(
    page: Page, served: Any
) -> None:
    for lag_s in (1.0, 2.0, 9.0):
        sample = Sample(
            name="ingestion_lag_seconds",
            value=lag_s,
            unit="s",
            recorded_at_ms=NOW_MS - MINUTE_MS,
            tags={"pair": "BTC-USDT", "interval": "1m"},
        )
        served.store.record([sample])
    hour_ms = wall_ms() // HOUR_MS * HOUR_MS
    for hour, counts in ((hour_ms - HOUR_MS, (2,) * 60), (hour_ms, (2,) * 60)):
        run = IngestionRun(
            run_id=f"ir{hour}",
            source="bingx",
            source_type="bingx_candles",
            kind=IngestionKind.POLL,
            pair="BTC-USDT",
            interval="1m",
            started_ms=NOW_MS + hour - hour_ms,
            updated_ms=NOW_MS,
            hour_wall_ms=hour,
            new_by_minute=counts,
        )
        served.store.put(kinds.INGESTION, run.run_id, run, at_ms=run.started_ms)
    opened(page, served.url)

    row = rows(page).filter(has=page.get_by_role("switch", name="bingx_candles BTC-USDT 1m on"))
    expect(row.get_by_title("3 candles of the last market hour")).to_have_text("2.0 / 8.3 s")
    told = "120 new rows in the last hour, at most 2 in a minute"
    expect(row.get_by_role("img", name=told)).to_be_visible()
    expect(row.get_by_title(told)).to_have_text("2.0")
    other = rows(page).filter(has=page.get_by_role("switch", name="bingx_candles ETH-USDT 1m on"))
    expect(other.get_by_role("img")).to_have_count(0)


def test_a_kind_is_paused_as_a_whole(page: Page, served: Any) -> None:
    opened(page, served.url)

    for kind in ("Telegram", "TradingView", "BingX"):
        for button, wish in (
            ("Pause all", "pause"),
            ("Resume all", "resume"),
            ("Poll now", "run"),
        ):
            of = page.get_by_role("region", name=kind)
            of.get_by_role("button", name=button).click()
            expect(page.get_by_text(f"{kind.lower()}: {wish} told to").first).to_be_visible()

    assert [command[0] for command in served.desk.commands] == ["pause", "resume", "run"] * 3
    assert served.desk.commands[0] == ("pause", "telegram")
    assert served.desk.commands[3] == ("pause", "tradingview")
    assert served.desk.commands[6][1] == FeedScope()


def test_a_source_that_changes_is_shown_at_once(page: Page, served: Any) -> None:
    opened(page, served.url)
    expect(rows(page)).to_have_count(16)

    served.store.put(kinds.SOURCES, CANDLES, replace(source(served), status="stale"), at_ms=NOW_MS)

    expect(rows(page).first).to_contain_text("stale", timeout=15_000)


@pytest.mark.allow_console("503")
def test_an_error_says_what_is_wrong_and_goes_away_with_a_retry(page: Page, served: Any) -> None:
    page.route(
        "**/data-sources/status*",
        lambda route: route.fulfill(
            status=503,
            json={
                "type": "about:blank",
                "title": "The store is away",
                "status": 503,
                "detail": "no answer within 2 s",
                "trace_id": "t-1",
            },
        ),
    )
    opened(page, served.url)
    panel = page.get_by_role("region", name="Sources", exact=True)

    expect(panel.get_by_role("alert")).to_contain_text("The store is away")
    page.unroute("**/data-sources/status*")
    panel.get_by_role("button", name="Retry").click()

    expect(rows(page)).to_have_count(16)


def test_a_source_that_never_delivered_says_so_and_how_others_are_added(
    page: Page, served_empty: Any
) -> None:
    opened(page, served_empty.url)

    expect(rows(page).first).to_contain_text("never")
    expect(page.get_by_text("TRADINGVIEW_FEED_TOKENS").first).to_be_visible()
