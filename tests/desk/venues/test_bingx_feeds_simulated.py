"""The feeds beside candles on the real adapter and the real simulator, and every documented candle habit."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import BadInput, ProtocolError, VenueUnavailable
from desk.market.integrity import inspect
from desk.market.interval import ALL_INTERVALS, CALENDAR_MS, floor_ms, interval_ms, is_aligned
from desk.store.memory import MemoryStore
from desk.venues.bingx import CANDLES_PER_CALL, BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.venues.pager import find_earliest, page
from desk.venues.turns import TurnBook

PAIR = "BTC-USDT"
NOW_MS = 1_750_000_000_000

type Use = Callable[[BingxVenue], Awaitable[Any]]


@pytest.fixture
def sim(shared_simulator: Any) -> Iterator[Any]:
    """The market stands still at NOW_MS: two reads may be compared."""
    shared_simulator.clock(freeze=True, speed=600)
    shared_simulator.reset(market_ms=NOW_MS)
    yield shared_simulator
    habits = {"kline_rows": "dict", "kline_mode": "last", "minute_horizon_days": 0}
    shared_simulator.control("POST", "habits", {**habits, "rate_budget": 0})
    shared_simulator.clear_faults()
    shared_simulator.clock(freeze=False, speed=1)
    shared_simulator.reset()


def use(sim: Any, work: Use, turns: TurnBook | None = None) -> Any:
    async def run() -> Any:
        venue = BingxVenue(BingxConfig(base_url=sim.url), turns=turns)
        try:
            return await work(venue)
        finally:
            await venue.close()

    return asyncio.run(run())


def test_marks_tickers_book_trades_and_interest_tell_one_story(sim: Any) -> None:
    async def work(venue: BingxVenue) -> None:
        marks, tickers = await venue.mark_prices(), await venue.tickers()
        book, trades = await venue.order_book(PAIR, 50), await venue.recent_trades(PAIR, 10)
        interest, alone = await venue.open_interest(PAIR), await venue.mark_price(PAIR)

        assert set(marks) == set(tickers) == {"BTC-USDT", "ETH-USDT", "PAXG-USDT"}
        mark = marks[PAIR].mark
        assert alone.mark == mark
        assert book.bids[0][0] < mark < book.asks[0][0]
        assert (tickers[PAIR].bid, tickers[PAIR].ask) == (book.bids[0][0], book.asks[0][0])
        assert len(book.bids) == len(book.asks) == 50
        assert len(trades.trades) == 10
        assert trades.trades[-1].price == pytest.approx(mark, rel=Decimal("0.001"))
        assert interest.at_ms == NOW_MS
        assert marks[PAIR].next_funding_ms % (8 * 60 * MINUTE_MS) == 0
        assert NOW_MS < marks[PAIR].next_funding_ms <= NOW_MS + 8 * 60 * MINUTE_MS

    use(sim, work)


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("premiumIndex", lambda venue: venue.mark_prices()),
        ("quote/ticker", lambda venue: venue.tickers()),
        ("openInterest", lambda venue: venue.open_interest(PAIR)),
        ("quote/depth", lambda venue: venue.order_book(PAIR)),
        ("quote/trades", lambda venue: venue.recent_trades(PAIR)),
        ("quote/klines", lambda venue: venue.candles(PAIR, "1m", NOW_MS - 60_000, NOW_MS)),
        ("fundingRate", lambda venue: venue.funding_rates(PAIR, NOW_MS - DAY_MS, NOW_MS)),
    ],
)
@pytest.mark.parametrize(
    "action",
    [
        {"kind": "body", "form": "html"},
        {"kind": "body", "form": "empty"},
        {"kind": "body", "form": "truncated"},
        {"kind": "data", "value": "nothing"},
        {"kind": "http", "status": 503},
    ],
    ids=lambda action: str(action.get("form") or action.get("status") or "data"),
)
def test_a_spoilt_answer_is_never_an_empty_market(
    sim: Any, path: str, ask: Use, action: dict[str, Any]
) -> None:
    sim.fault(action, path=path)

    async def work(venue: BingxVenue) -> None:
        with pytest.raises(VenueUnavailable):
            await ask(venue)

    use(sim, work)


def test_an_answer_about_another_pair_is_refused(sim: Any) -> None:
    other = {"openInterest": "1", "symbol": "ETH-USDT", "time": NOW_MS}
    sim.fault({"kind": "data", "value": other}, path="openInterest")

    async def work(venue: BingxVenue) -> None:
        with pytest.raises(ProtocolError, match="asked for BTC-USDT"):
            await venue.open_interest(PAIR)

    use(sim, work)


def test_what_the_venue_does_not_offer_is_refused_before_it_is_asked(sim: Any) -> None:
    before = sim.state()["requests"]

    async def work(venue: BingxVenue) -> None:
        with pytest.raises(BadInput, match="levels"):
            await venue.order_book(PAIR, 7)
        with pytest.raises(BadInput, match="limit"):
            await venue.recent_trades(PAIR, 1_001)
        with pytest.raises(BadInput, match="interval"):
            await venue.candles(PAIR, "7m", 0, 60_000)
        with pytest.raises(BadInput, match="end_ms"):
            await venue.candles(PAIR, "1m", 0, (CANDLES_PER_CALL + 1) * MINUTE_MS)

    use(sim, work)
    assert sim.state()["requests"] == before


# --- candles: sections 3 and 6 of the wire's description ------------------------------------------


@pytest.mark.parametrize("rows", ["dict", "array"])
@pytest.mark.parametrize("interval", ALL_INTERVALS)
def test_every_interval_is_aligned_sorted_unique_and_ends_with_the_forming_row(
    sim: Any, interval: str, rows: str
) -> None:
    sim.control("POST", "habits", {"kline_rows": rows})
    step = interval_ms(interval)
    end_ms = NOW_MS + step

    async def work(venue: BingxVenue) -> Any:
        return await venue.candles(PAIR, interval, end_ms - 6 * step, end_ms)

    found = use(sim, work)

    opens = found.open_ms
    assert len(opens) >= 4
    assert is_aligned(opens, interval).all()
    assert (np.diff(opens) > 0).all()
    assert int(opens[-1]) == floor_ms(NOW_MS, interval)  # forming
    closed = inspect(found, interval, now_ms=NOW_MS)
    assert closed.rejected == ()
    assert len(closed.candles) == len(opens) - 1  # and never stored


@pytest.mark.parametrize(
    ("interval", "first_day"),
    [
        ("3d", lambda day: (day - datetime(1970, 1, 1, tzinfo=UTC)).days % 3 == 0),
        ("1w", lambda day: day.weekday() == 0),
        ("1M", lambda day: day.day == 1),
    ],
)
def test_the_anchors_of_calendar_intervals_are_those_that_are_assumed(
    sim: Any, interval: str, first_day: Callable[[datetime], bool]
) -> None:
    async def work(venue: BingxVenue) -> Any:
        length = 10 * CALENDAR_MS[interval]
        return await venue.candles(PAIR, interval, NOW_MS - length, NOW_MS + DAY_MS)

    for open_ms in use(sim, work).open_ms:
        day = datetime.fromtimestamp(int(open_ms) / 1000, UTC)
        assert (day.hour, day.minute) == (0, 0)
        assert first_day(day)
        assert floor_ms(int(open_ms), interval) == int(open_ms)


def test_the_adapter_sends_both_bounds_and_the_whole_limit_with_every_candle_read(sim: Any) -> None:
    start_ms, end_ms = NOW_MS // MINUTE_MS * MINUTE_MS - 90 * MINUTE_MS, NOW_MS
    first = sim.state()["requests"]

    use(sim, lambda venue: venue.candles(PAIR, "1m", start_ms, end_ms))

    (sent,) = [entry["params"] for entry in sim.journal(first) if "klines" in entry["path"]]
    assert int(sent["startTime"]) == start_ms - 1
    assert int(sent["endTime"]) == end_ms - 1
    assert (sent["symbol"], sent["interval"], sent["limit"]) == (PAIR, "1m", "1440")


@pytest.mark.catalogue("D14")
@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("mode", ["last", "first"])
@pytest.mark.parametrize("interval", ["1m", "3m", "1d", "3d", "1w", "1M"])
def test_pages_of_every_kind_of_interval_join_without_a_hole(
    sim: Any, interval: str, mode: str, newest_first: bool
) -> None:
    sim.control("POST", "habits", {"kline_mode": mode})
    start_ms = NOW_MS - min(3_000 * interval_ms(interval), 300 * DAY_MS)

    async def work(venue: BingxVenue) -> list[int]:
        pages = page(venue, PAIR, interval, start_ms, NOW_MS, newest_first=newest_first)
        return sorted([int(at) for part in [p async for p in pages] for at in part.open_ms])

    opens = use(sim, work)

    gaps = {later - earlier for earlier, later in pairwise(opens)}
    month = {28 * DAY_MS, 29 * DAY_MS, 30 * DAY_MS, 31 * DAY_MS}
    assert gaps <= (month if interval == "1M" else {interval_ms(interval)})
    assert opens[-1] == floor_ms(NOW_MS - 1, interval)
    assert opens[0] - start_ms < interval_ms(interval) + 2 * DAY_MS


@pytest.mark.catalogue("D16")
def test_the_earliest_candle_moves_on_with_the_venues_retention(sim: Any) -> None:
    sim.control("POST", "habits", {"minute_horizon_days": 5})

    async def work(venue: BingxVenue) -> tuple[int | None, int | None]:
        reach = (NOW_MS - 400 * DAY_MS, NOW_MS)
        first = await find_earliest(venue, PAIR, "1m", *reach)
        sim.clock(advance_ms=3 * 60 * MINUTE_MS)
        return first, await find_earliest(venue, PAIR, "1m", *reach)

    first, later = use(sim, work)

    assert first is not None
    assert later is not None
    assert abs(first - (NOW_MS - 5 * DAY_MS)) <= 2 * MINUTE_MS
    assert later - first == 3 * 60 * MINUTE_MS


@pytest.mark.catalogue("D10")
def test_a_frozen_feed_is_seen_by_the_open_time_of_its_newest_candle(sim: Any) -> None:
    sim.fault({"kind": "candles_frozen"}, path="klines")

    async def work(venue: BingxVenue) -> list[int]:
        newest: list[int] = []
        for _ in range(2):
            found = await venue.candles(PAIR, "1m", NOW_MS - 600_000, NOW_MS + 3_600_000)
            newest.append(int(found.open_ms[-1]))
            sim.clock(advance_ms=10 * MINUTE_MS)
        return newest

    first, second = use(sim, work)
    assert second == first


# --- the venue's rate headers ---------------------------------------------------------------------


def test_reads_stop_before_the_budget_of_the_headers_is_used_up(sim: Any) -> None:
    store = MemoryStore()
    sim.control("POST", "habits", {"rate_budget": 1})  # times the market's speed of 600

    async def work(venue: BingxVenue) -> None:
        for _ in range(3):
            await venue.mark_prices()

    use(sim, work, turns=store)
    assert store._state.hindered == {}  # 597 left: nothing to heed

    sim.control("POST", "habits", {"rate_budget": 0, "lift": True})
    sim.clock(freeze=True, speed=20)
    sim.control("POST", "habits", {"rate_budget": 1})
    use(sim, lambda venue: venue.mark_prices(), turns=store)  # fewer than 20 left: held

    (held,) = store._state.hindered.values()
    wait_ms = store.ask_turn(
        next(iter(store._state.hindered)), "any", "another", priority=0, spacing_ms=1.0
    )
    assert held[1] > 0
    assert 5_000 < wait_ms <= 10_000


def test_a_complaint_about_one_process_slows_the_others_behind_the_address(sim: Any) -> None:
    store = MemoryStore()
    sim.fault({"kind": "code", "code": 100410, "message": "too many"}, times=1, path="klines")

    async def work(venue: BingxVenue) -> Any:
        return await venue.candles(PAIR, "1m", NOW_MS - 600_000, NOW_MS)

    found = use(sim, work, turns=store)

    (address,) = store._state.hindered
    slow_until_ms, held_until_ms = store._state.hindered[address]
    assert len(found) > 0  # a read may be repeated
    assert slow_until_ms > held_until_ms
    ask = {"priority": 0, "spacing_ms": 1_000.0, "now_ms": slow_until_ms - 1}
    assert store.ask_turn(address, f"{address}:other", "another process", **ask) == 0.0
    assert store.ask_turn(address, f"{address}:other", "a third", **ask) > 1_900.0
