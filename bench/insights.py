"""The insights page beside the bare chart library: the first chart of 5,000 candles and 200 trades.

Both are cold tabs of one browser and read the same two routes; the seconds end with the frame after
the first painting that has every candle loaded and a trade drawn.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse

from bench.figures import REPETITIONS, Figure, median
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.store.memory import MemoryStore
from desk.trading.orders import Leg, Side
from serve_apps.ui.assets import load_assets
from tests.ui.conftest import PAIR, START_MS, FakeDesk, fill_store, serve, trade

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CANDLES = 5_000
TRADES = 200
GOAL = 1.5
WITHIN_MS = 60_000
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking"]  # fmt: skip
PAGES = {
    f"/insights?pair={PAIR}&bars={CANDLES}": "globalThis.deskTape?.chart.getDataList().length >= %d && deskTape.painted('live') > 0",
    f"/bare?bars={CANDLES}": "globalThis.bareChart?.getDataList().length >= %d && globalThis.isDrawn",
}
"""Page → when its first chart is there."""
LOOK = """
(() => {
  const look = () => {
    if (!(%s)) return requestAnimationFrame(look);
    requestAnimationFrame(() => document.documentElement.setAttribute('data-first-chart', performance.now()));
  };
  requestAnimationFrame(look);
})()
"""


def figures() -> Iterator[Figure]:
    """Cold tabs in turn, ours and the bare one; a first one of each is not counted."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this bench needs a browser

    store = _filled()
    found = shutil.which("chromium") or shutil.which("google-chrome")
    with serve(store, FakeDesk(store), also=_bare) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        try:
            rounds = [
                [_first_chart_ms(browser, url, page) for page in PAGES]
                for _ in range(REPETITIONS + 1)
            ]
        finally:
            browser.close()
    ours, bare = (median(times) for times in zip(*rounds[1:], strict=True))
    yield Figure(
        name=f"first chart, {CANDLES:,} candles and {TRADES} trades",
        ours=ours,
        floor=bare,
        unit="ms",
        floor_name="bare KLineChart",
        goal=f"<= {GOAL:g} x",
        met=ours <= GOAL * bare,
        notes={
            f"round_{number}": f"{mine:.0f} / {floor:.0f}"
            for number, (mine, floor) in enumerate(rounds)
        },
    )


def _first_chart_ms(browser: "Browser", url: str, page: str) -> float:
    """Milliseconds from the navigation to the first whole chart, in a tab without a cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="UTC")
    try:
        tab = context.new_page()
        tab.add_init_script(LOOK % (PAGES[page] % CANDLES))
        tab.goto(url + page)
        tab.locator("html[data-first-chart]").wait_for(state="attached", timeout=WITHIN_MS)
        return float(tab.locator("html").get_attribute("data-first-chart") or "nan")
    finally:
        context.close()


def _filled() -> MemoryStore:
    store = MemoryStore()
    steps = np.random.default_rng(11).normal(0.0, 8.0, CANDLES + 1)
    close = np.round(40_000.0 + np.cumsum(steps), 1)
    candles = Candles(
        open_ms=START_MS + MINUTE_MS * np.arange(CANDLES, dtype=np.int64),
        open=close[:-1],
        high=np.maximum(close[:-1], close[1:]) + 2.0,
        low=np.minimum(close[:-1], close[1:]) - 2.0,
        close=close[1:],
        volume=np.ones(CANDLES),
    )
    fill_store(store, candles)
    entries = [CANDLES - 24 * (number + 1) for number in reversed(range(TRADES))]
    trade(
        store,
        candles,
        account="live",
        plan=[
            order
            for row in entries
            for order in ((Leg.ENTRY, Side.BUY, row, row), (Leg.EXIT, Side.SELL, row + 12, row))
        ],
    )
    return store


def _bare(app: FastAPI) -> None:
    library = load_assets().script_urls["klinecharts"]
    text = f"""<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/bare.css">
<div id="chart"></div><script src="{library}"></script><script src="/bare.js"></script>"""
    folder = Path(__file__).parent
    app.add_api_route("/bare", lambda: HTMLResponse(text))
    app.add_api_route("/bare.js", lambda: FileResponse(folder / "bare_chart.js"))
    app.add_api_route(
        "/bare.css", lambda: HTMLResponse("#chart { height: 620px; }", media_type="text/css")
    )
