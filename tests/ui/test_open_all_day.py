"""A tab that is left open does not grow: memory, nodes and listeners after a day of events."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from playwright.sync_api import CDPSession, Page, expect

from actors import events
from desk import ids
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.runs import Alert
from desk.store import kinds
from desk.trading.orders import Leg, Side
from serve_apps.sse import StreamTimes
from tests.ui.conftest import CANDLES, PAIR, START_MS, FakeDesk, Served, decide, serve, trade
from tests.ui.test_insights_layers import scene

pytestmark = pytest.mark.browser
DAY_MINUTES = 24 * 60
WARM_UP_MINUTES = 40
FIRST_TRADES = 210
FIRST_DECISIONS = 510
"""More than the lists show: a new trade or decision takes the place of an old one."""
LISTED = 30
"""Rows, at least, of the longest list of each page."""
MOST_GROWTH = 0.20
MOST_GROWTH_SOON = 0.06
"""In half an hour, of which the chart's new candles are half."""
LOOKS = 6
UPDATES = 4
"""Of the forming candle in a minute."""
PAGES = {
    "insights": "/insights?layers=paper,live,evaluation,blocked,signals,gaps,levels",
    "operations": "/rl-ops",
}


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of one tab after a full collection."""

    heap_bytes: float
    nodes: float
    listeners: float


def usage(page: Page, session: CDPSession) -> Usage:
    """The least of several looks: answers under way and rows just replaced are not what stays."""
    looks: list[dict[str, float]] = []
    for _ in range(LOOKS):
        page.wait_for_timeout(200)
        session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        looks.append({row["name"]: row["value"] for row in metrics})
    return Usage(
        heap_bytes=min(look["JSHeapUsedSize"] for look in looks),
        nodes=min(look["Nodes"] for look in looks),
        listeners=min(look["JSEventListeners"] for look in looks),
    )


class Day:
    """What a desk tells in a day, minute by minute."""

    def __init__(self, served: Served, candles: Candles) -> None:
        self.store, self.candles, self.row = served.store, candles, CANDLES

    def minute(self) -> None:
        """One candle forms and closes and is decided on; now and then a trade, an alert, a stale source."""
        row, self.row = self.row, self.row + 1
        candle = self.candles.row(row)
        now_ms = candle.open_ms + MINUTE_MS
        for part in range(UPDATES):
            forming = candle._replace(close=candle.close + part)
            event = events.candle_event(PAIR, "1m", forming, at_ms=now_ms, trace_id="")
            self.store.emit(replace(event, data={**event.data, "closed": False}))
        self.store.write_candles(PAIR, "1m", self.candles.take(slice(row, row + 1)))
        self.store.emit(events.candle_event(PAIR, "1m", candle, at_ms=now_ms, trace_id=""))
        decide(self.store, self.candles, row)
        key = ids.decision_id("run-1", PAIR, "1m", candle.open_ms)
        decided = self.store.get(kinds.decisions_of_run("run-1"), key)
        assert decided is not None
        self.store.emit(events.decision_event(decided.value, at_ms=now_ms))
        for source in self.store.list(kinds.SOURCES, limit=3):
            self.store.emit(events.source_event(source.value, at_ms=now_ms))
        if row % 20 == 0:
            self._trade(row, now_ms)
        if row % 45 == 0:
            self._alert(row, now_ms)

    def _trade(self, row: int, now_ms: int) -> None:
        plan = ((Leg.ENTRY, Side.BUY, row - 15, row - 15), (Leg.EXIT, Side.SELL, row - 2, row - 15))
        trade(self.store, self.candles, account="live", plan=plan)
        for order in self.store.orders_of_trade(self.store.trade_ids(account="live", limit=1)[0]):
            self.store.emit(events.order_event(order, at_ms=now_ms))
            for fill in self.store.fills_of_order(order.client_order_id):
                self.store.emit(events.fill_event(fill, order, at_ms=now_ms))

    def _alert(self, row: int, now_ms: int) -> None:
        alert = Alert(
            alert_id="alert-1",
            category="data",
            severity="warning",
            code="source_stale:bingx_candles",
            detail=f"ETH-USDT is silent since {row}",
            created_ms=now_ms,
        )
        event = events.alert_event(alert, at_ms=now_ms)
        self.store.put(kinds.ALERTS, alert.alert_id, alert, at_ms=now_ms, event=event)


@pytest.fixture
def candles(walk: Callable[..., Candles]) -> Candles:
    long = walk(CANDLES + WARM_UP_MINUTES + DAY_MINUTES + 20, seed=11)
    return replace(long, open_ms=long.open_ms - long.open_ms[0] + START_MS)


@pytest.fixture
def served(tmp_path: Path, candles: Candles) -> Iterator[Served]:
    store, files = scene(tmp_path, candles.take(slice(0, CANDLES)))
    plan = [
        order
        for row in range(10, 10 + 6 * FIRST_TRADES, 6)
        for order in ((Leg.ENTRY, Side.BUY, row, row), (Leg.EXIT, Side.SELL, row + 3, row))
    ]
    trade(store, candles, account="live", plan=plan)
    for row in range(CANDLES - FIRST_DECISIONS, CANDLES):
        decide(store, candles, row)
    desk = FakeDesk(store)
    times = StreamTimes(coalesce_s=0.01, end_s=30.0)
    sources = (("tradingview", "main"),)
    with serve(store, desk, files, signal_sources=sources, stream_times=times) as url:
        yield Served(url=url, store=store, desk=desk)


def live_through(page: Page, day: Day, minutes: int) -> None:
    """Tell so many minutes, each of which passes on the tab's clock when its events are there."""
    for _ in range(minutes):
        day.minute()
        page.wait_for_load_state()  # lets the driver's own messages through
        page.clock.fast_forward(MINUTE_MS)


def check(page: Page, day: Day, url: str, *, minutes: int, most: float) -> None:
    """Let so many minutes pass after a warm-up; `most`: the growth of the heap that is allowed."""
    page.clock.install()
    page.goto(url)
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    page.clock.fast_forward(1_000)  # the lists come behind the chart
    expect(page.locator("table tbody tr").nth(LISTED)).to_be_attached()
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.enable")
    session.send("Performance.enable")
    live_through(page, day, WARM_UP_MINUTES)
    before = usage(page, session)
    live_through(page, day, minutes)
    after = usage(page, session)
    said = f"{before} became {after}"
    print(said)
    assert after.heap_bytes <= before.heap_bytes * (1 + most), said
    assert after.nodes <= before.nodes * 1.02, said
    assert after.listeners <= before.listeners * 1.02, said


@pytest.mark.parametrize("name", PAGES)
def test_half_an_hour_of_events_leaves_a_tab_as_it_was(
    page: Page, served: Served, candles: Candles, name: str
) -> None:
    day = Day(served, candles)
    check(page, day, served.url + PAGES[name], minutes=30, most=MOST_GROWTH_SOON)


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", PAGES)
def test_a_day_of_events_leaves_a_tab_as_it_was(
    page: Page, served: Served, candles: Candles, name: str
) -> None:
    day = Day(served, candles)
    check(page, day, served.url + PAGES[name], minutes=DAY_MINUTES, most=MOST_GROWTH)
