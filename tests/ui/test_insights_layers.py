"""The layers of the insights page: each is switched, read, drawn, listed, and says what it lacks."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, Request, expect

from actors.control import BackfillAsk
from actors.signal_status import new_signal_status, status_key
from desk.clock import MINUTE_MS, to_iso
from desk.evaluation.metrics import ClosedTrade
from desk.market.candles import Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.market.signals import receive
from desk.store import kinds, signals
from desk.store.evaluation_files import EvaluationFiles, tables_of
from desk.store.memory import MemoryStore
from desk.store.port import Event
from desk.trading.fills import FillCause
from desk.trading.orders import Leg, Side
from desk.wallclock import wall_ms
from tests.desk.evaluation.test_gate_evidence import GOOD
from tests.serve_apps.test_learning import report
from tests.ui.conftest import (
    CANDLES,
    NOW_MS,
    PAIR,
    START_MS,
    FakeDesk,
    Served,
    fill_store,
    replace_times,
    serve,
    trade,
)
from tests.ui.test_insights_page import layer, opened, painted

pytestmark = pytest.mark.browser
HOLE = (1_950, 1_953)
"""Rows of the first and the last missing candle."""
EVALUATED, OTHER = "ev-00000000000000000001", "ev-00000000000000000002"
HOSTILE = "<img src=x onerror=alert(1)>"
FIRST_LAYERS = "paper,live,gaps,levels"


def notes(page: Page) -> Any:
    return page.locator(".notes")


def closed_trades(candles: Candles, count: int) -> list[ClosedTrade]:
    """Trades of three candles each, ten candles apart, the last ones at the end of the chart."""
    rows = range(CANDLES - 10 * count, CANDLES, 10)
    return [
        ClosedTrade(
            side=Side.BUY if number % 2 else Side.SELL,
            quantity=Decimal("0.01"),
            entry_price=Decimal(str(candles.close[row])),
            exit_price=Decimal(str(candles.close[row + 3])),
            opened_ms=int(candles.open_ms[row]),
            closed_ms=int(candles.open_ms[row + 3]),
            pnl=Decimal(1 if number % 3 else -1),
            fees=Decimal("0.1"),
            funding=Decimal(0),
            cause=FillCause.TAKE_PROFIT,
        )
        for number, row in enumerate(rows)
    ]


def put_evaluation(
    store: MemoryStore, files: EvaluationFiles, evaluation_id: str, trades: list[ClosedTrade]
) -> None:
    close_ms = np.array([MINUTE_MS], dtype=np.int64)
    tables = tables_of(GOOD, close_ms, close_ms.astype(float), trades, {})
    done = replace(
        report(evaluation_id, NOW_MS + len(trades)),
        trade_count=len(trades),
        evidence=replace(GOOD, files=files.write(evaluation_id, tables)),
    )
    store.put(kinds.EVALUATIONS, evaluation_id, done, at_ms=done.created_ms)


def put_signals(store: MemoryStore, candles: Candles) -> None:
    """A buy of this pair, a hostile one without a side, and one of another pair."""
    source = replace(
        new_signal_status("tradingview", "main"), status="ok", last_success_ms=wall_ms()
    )
    store.put(kinds.SOURCES, status_key("tradingview", "main"), source, at_ms=NOW_MS)
    now_ms = wall_ms()
    for ticker, more in (
        ("BTCUSDT", {"side": "buy"}),
        ("BTCUSDT", {"note": HOSTILE}),
        ("ETHUSDT", {"side": "sell"}),
    ):
        said = {
            "ticker": ticker,
            "time": to_iso(int(candles.open_ms[-40])),
            "timenow": to_iso(now_ms),
            "close": str(candles.close[-40]),
            "interval": "1",
            **more,
        }
        signals.append(store, receive("main", json.dumps(said).encode(), received_ms=now_ms))


def put_gap(store: MemoryStore, status: GapStatus = GapStatus.OPEN) -> None:
    first, last = (START_MS + row * MINUTE_MS for row in HOLE)
    gap = GapEvent(
        gap_id="g1",
        pair=PAIR,
        interval="1m",
        source_type="bingx_candles",
        start_ms=first,
        end_ms=last,
        missing_points=4,
        status=status,
        detected_ms=NOW_MS,
    )
    event = Event(topic="gap", key="g1", data={"status": status.value}, at_ms=NOW_MS)
    store.put(kinds.GAPS, "g1", gap, at_ms=NOW_MS, event=event)


def scene(folder: Path, candles: Candles) -> tuple[MemoryStore, EvaluationFiles]:
    """A desk with something on every layer."""
    store, files = MemoryStore(), EvaluationFiles(folder)
    there = np.ones(len(candles), dtype=bool)
    there[HOLE[0] : HOLE[1] + 1] = False
    fill_store(store, candles, stored=candles.take(there), has_levels=True)
    trade(store, candles, account="live")
    put_evaluation(store, files, OTHER, [])
    put_evaluation(store, files, EVALUATED, closed_trades(candles, 10))
    put_signals(store, candles)
    put_gap(store)
    return store, files


@pytest.fixture
def served(tmp_path: Path, walk: Callable[..., Candles]) -> Iterator[Served]:
    store, files = scene(tmp_path, replace_times(walk(CANDLES, seed=11)))
    desk = FakeDesk(store)
    with serve(store, desk, files, signal_sources=(("tradingview", "main"),)) as url:
        yield Served(url=url, store=store, desk=desk)


def test_layers_are_switched_painted_and_kept_in_the_address(page: Page, served: Served) -> None:
    opened(page, served.url)
    assert painted(page, "live", 1) == 1
    assert painted(page, "levels", 4) == 4
    assert painted(page, "gaps", 1) == 1
    for name in FIRST_LAYERS.split(","):
        expect(layer(page, name)).to_have_attribute("aria-pressed", "true")
    assert painted(page, "blocked", 0) == 0

    layer(page, "live").click()
    layer(page, "blocked").click()

    assert painted(page, "live", 0) == 0
    assert painted(page, "blocked", 10) == 10
    expect(page).to_have_url(re.compile(r"layers=paper%2Cblocked%2Cgaps%2Clevels"))
    page.reload()
    expect(layer(page, "live")).to_have_attribute("aria-pressed", "false")
    assert painted(page, "blocked", 10) == 10
    for name in ("paper", "blocked", "gaps", "levels"):
        layer(page, name).click()
    expect(page).to_have_url(re.compile(r"layers=none"))


def test_the_trades_of_a_chosen_evaluation_lie_on_the_chart(page: Page, served: Served) -> None:
    asked: list[str] = []
    opened(page, served.url)
    page.on("request", lambda request: asked.append(_path(request)))

    layer(page, "evaluation").click()

    choice = page.get_by_role("combobox", name="Evaluation")
    expect(choice).to_have_value(EVALUATED)
    expect(layer(page, "evaluation").locator("[data-count]")).to_have_text("10")
    assert painted(page, "evaluation", 10) == 10
    assert f"/agents/desk/evaluations/{EVALUATED}/trades" in asked
    twin = page.get_by_role("table", name="Trades of the evaluation")
    expect(twin.locator("tbody tr")).to_have_count(10)
    expect(twin).to_contain_text("take profit")
    twin.locator("tbody tr").first.click()
    expect(twin.locator("tbody tr").first).to_have_attribute("aria-selected", "true")
    choice.select_option(OTHER)
    expect(notes(page)).to_contain_text("This evaluation made no trade.")
    assert painted(page, "evaluation", 0) == 0
    expect(page).to_have_url(re.compile(rf"evaluation={OTHER}"))


@pytest.mark.allow_console("404")
def test_an_evaluation_that_kept_no_trades_says_so_and_is_asked_again(
    page: Page, served: Served
) -> None:
    kept = served.store.get(kinds.EVALUATIONS, EVALUATED)
    assert kept is not None
    served.store.put(kinds.EVALUATIONS, EVALUATED, replace(kept.value, evidence=None), at_ms=NOW_MS)
    opened(page, f"{served.url}", f"?layers=evaluation&evaluation={EVALUATED}")
    told = page.locator("[data-failed=evaluation]")
    expect(told).to_contain_text(f"{EVALUATED}/trades")
    expect(layer(page, "evaluation").locator("[data-count]")).to_have_text("!")
    served.store.put(kinds.EVALUATIONS, EVALUATED, kept.value, at_ms=NOW_MS)

    told.get_by_role("button", name="Retry").click()

    expect(told).to_have_count(0)
    assert painted(page, "evaluation", 10) == 10


def test_signals_of_the_pair_are_drawn_and_their_text_is_text(page: Page, served: Served) -> None:
    opened(page, served.url)

    layer(page, "signals").click()

    assert painted(page, "signals", 2) == 2
    twin = page.get_by_role("table", name="Signals on the chart")
    expect(twin.locator("tbody tr")).to_have_count(2)
    expect(twin).to_contain_text(HOSTILE)
    expect(page.locator("main img")).to_have_count(0)


def test_a_gap_is_shaded_named_and_healed_from_the_chart(page: Page, served: Served) -> None:
    opened(page, served.url)
    expect(notes(page)).to_contain_text("4 candles missing from 2026-01-02 08:30:00, open")

    notes(page).get_by_role("button", name="Heal").click()
    page.get_by_role("dialog").get_by_role("button", name="Start backfill").click()

    expect(page.get_by_text("Backfill of BTC-USDT started")).to_be_visible()
    ask = served.desk.commands[-1][1]
    assert isinstance(ask, BackfillAsk)
    step = [START_MS + row * MINUTE_MS for row in (HOLE[0], HOLE[1] + 1)]
    assert [ask.pair, ask.interval, ask.start_ms, ask.end_ms] == [PAIR, "1m", *step]
    put_gap(served.store, GapStatus.RESOLVED)
    expect(notes(page)).not_to_contain_text("missing from")
    assert painted(page, "gaps", 0) == 0


def test_the_open_trade_has_lines_for_entry_stop_and_target(page: Page, served: Served) -> None:
    opened(page, served.url, "?layers=levels")

    assert painted(page, "levels", 4) == 4
    page.get_by_role("table", name="Trades on the chart").locator("tbody tr").first.click()
    expect(page.get_by_role("region", name="Trades", exact=True)).to_contain_text("stop, target")


def test_a_typed_time_is_loaded_and_a_wrong_one_is_refused_before_sending(
    page: Page, served: Served
) -> None:
    opened(page, served.url)
    time = page.get_by_role("textbox", name="Time to go to, UTC")
    time.fill("31st of January")
    page.get_by_role("button", name="Go", exact=True).click()
    expect(notes(page)).to_contain_text("time: expected a UTC date like 2026-01-31 12:00")
    time.fill("2026-01-01 01:00")

    with page.expect_request(lambda request: "before_ms" in request.url) as asked:
        page.get_by_role("button", name="Go", exact=True).click()

    assert f"before_ms={START_MS + 360 * MINUTE_MS}" in asked.value.url
    expect(notes(page)).not_to_contain_text("expected a UTC date")
    expect(page.locator(".chart")).to_have_attribute("data-ready", "360")
    oldest = "() => deskTape.chart.getDataList()[0].timestamp"
    assert page.evaluate(oldest) == START_MS
    page.get_by_role("button", name="Go to now").click()
    expect(page.locator(".chart")).to_have_attribute("data-ready", "1500")
    assert page.evaluate(oldest) > START_MS


@pytest.mark.allow_console("503")
def test_a_layer_that_cannot_be_read_again_keeps_its_marks_and_says_how_old_they_are(
    page: Page, served: Served
) -> None:
    opened(page, served.url)
    assert painted(page, "gaps", 1) == 1
    expect(page.get_by_test_id("stream")).to_contain_text("live")
    problem = '{"title":"store away","status":503,"detail":"try later","trace_id":"tr1"}'
    page.route(
        "**/ops/gaps/health?*",
        lambda route: route.fulfill(
            status=503, body=problem, content_type="application/problem+json"
        ),
    )

    put_gap(served.store, GapStatus.HEALING)

    expect(page.locator("[data-failed=gaps]")).to_contain_text("store away try later")
    expect(page.locator("[data-failed=gaps]")).to_contain_text("drawn as of")
    assert painted(page, "gaps", 1) == 1


def test_a_desk_without_evaluations_or_sources_says_where_they_come_from(
    page: Page, served_empty: Served
) -> None:
    page.goto(f"{served_empty.url}/insights?layers=evaluation,signals")

    expect(page.get_by_role("link", name="Evaluate a version")).to_be_visible()
    expect(notes(page)).to_contain_text("No source of signals is configured.")


def _path(request: Request) -> str:
    return re.sub(r"^https?://[^/]+|\?.*$", "", request.url)


IN_SIGHT = """(ms) => {
  const bars = deskTape.chart.getDataList();
  const { from, to } = deskTape.chart.getVisibleRange();
  return bars[from].timestamp <= ms && ms <= bars[Math.min(to, bars.length) - 1].timestamp;
}"""


def is_in_sight(page: Page, ms: int) -> bool:
    """Whether the chart shows that time; waits until it does."""
    for _ in range(50):
        if page.evaluate(IN_SIGHT, ms):
            return True
        page.wait_for_timeout(100)
    return False


def test_a_gap_and_the_first_trade_of_an_evaluation_are_gone_to(page: Page, served: Served) -> None:
    opened(page, served.url)
    pressed = notes(page).get_by_role("button", name="Show", exact=True).first
    gap_ms = max(doc.value.start_ms for doc in served.store.list(kinds.GAPS))
    page.evaluate("() => deskTape.chart.scrollToDataIndex(200)")
    assert not page.evaluate(IN_SIGHT, gap_ms)

    pressed.click()

    assert is_in_sight(page, gap_ms)
    layer(page, "evaluation").click()
    twin = page.get_by_role("table", name="Trades of the evaluation")
    expect(twin.locator("tbody tr")).to_have_count(10)
    with page.expect_response("**/evaluations/*/trades*") as read:
        page.reload()
    first_ms = min(trade["opened_ms"] for trade in read.value.json()["items"])
    notes(page).get_by_role("button", name="Show the first").click()

    assert is_in_sight(page, first_ms)


INDICATORS = "() => deskTape.chart.getIndicators().map(each => each.name).sort().join()"


def drawn(page: Page, expected: str) -> str:
    """Indicators that the chart has, by name; waits until they are these."""
    found = ""
    for _ in range(50):
        found = page.evaluate(INDICATORS)
        if found == expected:
            break
        page.wait_for_timeout(100)
    return found


def test_indicators_are_switched_drawn_and_kept_in_the_address(page: Page, served: Served) -> None:
    opened(page, served.url)
    bar = page.get_by_role("group", name="Indicators")
    assert drawn(page, "VOL") == "VOL"

    for name in ("MACD", "RSI", "MA", "BOLL"):
        bar.get_by_role("button", name=name, exact=True).click()
    assert drawn(page, "BOLL,MA,MACD,RSI,VOL") == "BOLL,MA,MACD,RSI,VOL"
    bar.get_by_role("button", name="VOL", exact=True).click()
    bar.get_by_role("button", name="BOLL", exact=True).click()

    assert drawn(page, "MA,MACD,RSI") == "MA,MACD,RSI"
    expect(page).to_have_url(re.compile("indicators=MACD%2CRSI%2CMA"))
    page.reload()
    assert drawn(page, "MA,MACD,RSI") == "MA,MACD,RSI"


def test_the_chart_is_saved_as_a_picture(page: Page, served: Served, tmp_path: Path) -> None:
    opened(page, served.url)

    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()

    assert re.fullmatch(r"BTC-USDT-1m-[-0-9]+\.png", download.value.suggested_filename)
    saved = tmp_path / "chart.png"
    download.value.save_as(saved)
    assert saved.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert saved.stat().st_size > 10_000


def test_live_and_paper_are_compared_over_the_time_in_which_both_traded(
    page: Page, served: Served
) -> None:
    opened(page, served.url)

    rows = page.get_by_role("table", name="Live and paper compared").locator("tbody tr")
    expect(rows).to_have_count(2)
    found = [each.split("\t") for each in rows.all_inner_texts()]
    closed = [
        order
        for account in ("live", "paper")
        for order in served.store.orders_of_trade(served.store.trade_ids(account=account)[-1])
        if order.leg is Leg.ENTRY
    ]
    for row, entry in zip(found, closed, strict=True):
        assert entry.average_price is not None
        sign = 1 if entry.side is Side.BUY else -1
        bps = (entry.average_price / entry.reference_price - 1) * 10_000 * sign
        shown = row[3].replace("\N{MINUS SIGN}", "-")
        assert float(shown) == pytest.approx(float(bps), abs=0.06)
        assert row[1] == "1"


def test_without_live_trades_there_is_nothing_to_compare(page: Page, served: Served) -> None:
    page.route("**/trades?**", lambda route: route.fulfill(json={"items": [], "next_cursor": None}))
    opened(page, served.url)

    expect(page.get_by_text("Nothing to compare")).to_be_visible()
