"""The insights page: candles on a real canvas, trades on the candles, and their list twin."""

import itertools
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from desk.clock import MINUTE_MS
from desk.store.port import Event

pytestmark = pytest.mark.browser

COLOURS = """() => {
  const canvas = [...document.querySelectorAll('.chart canvas')];
  const colours = new Set();
  for (const each of canvas) {
    if (!each.width || !each.height) continue;
    const { data } = each.getContext('2d').getImageData(0, 0, each.width, each.height);
    for (let i = 0; i < data.length; i += 4) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
  }
  return colours.size;
}"""


def opened(page: Page, url: str, query: str = "") -> Page:
    page.goto(f"{url}/insights{query}")
    expect(page.locator(".chart")).to_have_attribute("data-state", "ready")
    return page


def painted(page: Page, layer: str, expected: int | None = None) -> int:
    """Marks of a layer that the last painting showed; waits until there are so many (None: any)."""
    found = 0
    for _ in range(100):
        found = page.evaluate(f"() => deskTape.painted({layer!r})")
        if found == expected or (expected is None and found):
            break
        page.wait_for_timeout(100)
    return found


def layer(page: Page, name: str) -> Any:
    return page.locator(f"button[data-layer={name}]")


def test_the_chart_paints_the_newest_candles(page: Page, served: Any) -> None:
    opened(page, served.url)

    expect(page.locator(".chart")).to_have_attribute("data-ready", "1500")
    assert page.evaluate(COLOURS) > 50


def test_older_candles_are_joined_in_order_without_doubles(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.evaluate("() => deskTape.chart.scrollToDataIndex(0)")
    for _ in range(50):
        if page.evaluate("() => deskTape.chart.getDataList().length") == 2_000:
            break
        page.wait_for_timeout(100)

    times = page.evaluate("() => deskTape.chart.getDataList().map(bar => bar.timestamp)")
    steps = {after - before for before, after in itertools.pairwise(times)}
    assert (len(times), steps) == (2_000, {MINUTE_MS})


def test_paper_trades_lie_on_the_chart_and_in_the_list(page: Page, served: Any) -> None:
    opened(page, served.url)
    expect(page.get_by_role("table", name="Trades on the chart").locator("tbody tr")).to_have_count(
        2
    )

    assert painted(page, "paper", 1) == 1  # the closed one lies further left
    layer(page, "paper").click()

    expect(layer(page, "paper")).to_have_attribute("aria-pressed", "false")
    assert painted(page, "paper", 0) == 0


def test_a_trade_picked_in_the_list_shows_its_costs_and_its_trace(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.get_by_role("table", name="Trades on the chart").locator("tbody tr").last.click()

    card = page.get_by_role("region", name="Trades", exact=True)
    expect(card).to_contain_text("fees")
    expect(card).to_contain_text("net")
    expect(page).to_have_url(re.compile(r"trade=t1"))
    card.get_by_role("button").last.click()
    expect(page.get_by_role("complementary", name="Trace")).to_be_visible()


def test_a_new_candle_moves_the_chart(page: Page, served: Any) -> None:
    opened(page, served.url)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    before = page.evaluate("() => deskTape.chart.getDataList().at(-1).timestamp")
    bar = {
        "t": before + MINUTE_MS,
        "o": 1.0,
        "h": 2.0,
        "l": 1.0,
        "c": 2.0,
        "v": 3.0,
        "closed": True,
    }

    served.store.emit(Event(topic="candle", key="BTC-USDT:1m", data=bar, at_ms=before))

    for _ in range(50):
        if page.evaluate("() => deskTape.chart.getDataList().at(-1).timestamp") > before:
            break
        page.wait_for_timeout(100)
    assert page.evaluate("() => deskTape.chart.getDataList().at(-1).close") == 2


def test_a_longer_interval_is_made_from_the_stored_one(page: Page, served: Any) -> None:
    opened(page, served.url)

    page.get_by_role("button", name="15m").click()

    expect(page.locator(".chart")).to_have_attribute("data-ready", re.compile(r"^13[345]$"))
    expect(page).to_have_url(re.compile(r"interval=15m"))


def test_a_slow_answer_for_another_interval_is_never_drawn(page: Page, served: Any) -> None:
    opened(page, served.url)
    held: list[Any] = []
    page.route("**/market-data/candles?*interval=5m*", lambda route: held.append(route))  # noqa: PLW0108 - playwright marks the callable it is given

    page.get_by_role("button", name="5m", exact=True).click()
    page.get_by_role("button", name="15m").click()
    expect(page.locator(".chart")).to_have_attribute("data-ready", re.compile(r"^13[345]$"))
    for route in held:
        route.continue_()

    step = page.evaluate(
        "() => { const l = deskTape.chart.getDataList(); return l[1].timestamp - l[0].timestamp; }"
    )
    assert step == 15 * MINUTE_MS


@pytest.mark.allow_console("503")
def test_a_failed_read_can_be_tried_again_and_the_chart_lives_on(page: Page, served: Any) -> None:
    problem = '{"title":"store away","status":503,"detail":"try later","trace_id":"tr1"}'
    page.route(
        "**/market-data/candles?*",
        lambda route: route.fulfill(
            status=503, body=problem, content_type="application/problem+json"
        ),
    )
    page.goto(f"{served.url}/insights")
    expect(page.get_by_role("alert").first).to_contain_text("store away")
    page.unroute("**/market-data/candles?*")

    page.get_by_role("button", name="Retry").click()

    expect(page.locator(".chart")).to_have_attribute("data-state", "ready")


def test_a_pair_without_candles_says_where_to_fetch_them(page: Page, served: Any) -> None:
    page.goto(f"{served.url}/insights?pair=ETH-USDT")

    expect(page.get_by_text("No candles for this range.")).to_be_visible()
    expect(page.get_by_role("link", name="Backfill on the operations page")).to_be_visible()


@pytest.mark.allow_console("ERR_INTERNET_DISCONNECTED")
def test_a_lost_stream_is_said_on_the_chart(page: Page, served: Any) -> None:
    opened(page, served.url)
    expect(page.get_by_test_id("stream")).to_contain_text("live")

    page.context.set_offline(True)

    expect(page.get_by_test_id("stream")).not_to_contain_text("live")
    expect(page.get_by_text("Stream lost")).to_be_visible()


def test_the_first_chart_is_asked_for_once_and_before_the_modules_run(
    page: Page, served: Any
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(served.url)))

    opened(page, served.url, "?pair=BTC-USDT")

    candles = [path for path in asked if path.startswith("/market-data/candles")]
    assert candles == ["/market-data/candles?pair=BTC-USDT&interval=1m&limit=1500"]
    assert asked.count("/market-data/pairs") == 1
    assert asked.count("/trades?pair=BTC-USDT&limit=200") == 1
    assert asked.index(candles[0]) < asked.index("/ops/trading/summary")
