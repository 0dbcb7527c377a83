"""The adapter against the independent exchange over real HTTP, judged by the exchange's own journal."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS
from desk.errors import (
    DuplicateClientId,
    LikelyRefused,
    OutcomeUnknown,
    ProtocolError,
    Throttled,
    VenueRejected,
    VenueUnavailable,
)
from desk.market.candles import Candles
from desk.trading.orders import Fill, Order, Side, VenueOrder, VenueOrderStatus
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_parse import created_ms
from desk.venues.bingx_reads import HEADROOM, PUBLIC_RATE_PER_S
from desk.venues.bingx_wire import BingxConfig
from desk.venues.pager import find_earliest, page
from desk.wallclock import monotonic_s, wall_ms

PAIR = "BTC-USDT"
ORDER_PATH = "swap/v2/trade/order"
SPEED = 30
SPACED = 10
"""Reads in a row whose spacing is measured."""

type Simulator = Any
type MakeOrder = Callable[..., Order]
type Use = Callable[[BingxVenue], Awaitable[Any]]


@pytest.fixture
def simulator(shared_simulator: Simulator) -> Iterator[Simulator]:
    """A fresh market at 30 times the wall's speed: the documented rates do not slow the tests."""
    shared_simulator.reset()
    shared_simulator.clock(freeze=False, speed=SPEED)
    yield shared_simulator
    shared_simulator.clock(speed=1)
    shared_simulator.reset()


def _use(simulator: Simulator, use: Use, **config: Any) -> Any:
    async def run() -> Any:
        defaults = {"base_url": simulator.url, "api_key": "sim-key", "secret": "sim-secret"}
        venue = BingxVenue(BingxConfig(**{**defaults, **config}))
        try:
            return await use(venue)
        finally:
            await venue.close()

    return asyncio.run(run())


def _sent(simulator: Simulator, method: str, path: str = ORDER_PATH) -> list[dict[str, Any]]:
    return [
        entry
        for entry in simulator.journal()
        if entry["method"] == method and entry["path"].endswith(path)
    ]


async def _seen(venue: BingxVenue, order: Order) -> VenueOrder:
    found = await venue.look_up(order.pair, order.client_order_id)
    assert found is not None
    return found


# --- the journey ----------------------------------------------------------------------------------


def test_position_is_opened_and_closed_and_every_account_reading_agrees(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    entry = make_order(client_order_id="t1entry", side=Side.SELL, quantity=Decimal("0.02"))
    close = make_order(
        client_order_id="t1close", side=Side.BUY, quantity=Decimal("0.02"), reduce_only=True
    )

    async def use(venue: BingxVenue) -> None:
        before = await venue.balance()
        instrument = (await venue.instruments())[PAIR]
        await venue.prepare(PAIR, 3)

        venue_id = await venue.submit(entry)
        opened = await _seen(venue, entry)
        (fill,) = await venue.fills(PAIR, opened)
        (position,) = await venue.positions()

        assert (opened.venue_order_id, opened.status) == (venue_id, VenueOrderStatus.FILLED)
        assert opened.filled_quantity == fill.quantity == Decimal("0.02")
        assert fill.price == opened.average_price == position.average_price
        assert fill.fee == opened.fees == fill.quantity * fill.price * instrument.taker_rate
        assert (position.quantity, position.leverage) == (Decimal("-0.02"), 3)
        assert instrument.to_ticks(fill.price) * instrument.tick == fill.price

        await venue.submit(close)
        closed = await _seen(venue, close)
        (exit_fill,) = await venue.fills(PAIR, closed)

        assert closed.reduce_only
        assert await venue.positions() == []
        assert await venue.open_orders() == []
        after = await venue.balance()
        earned = (fill.price - exit_fill.price) * fill.quantity - fill.fee - exit_fill.fee
        assert after.balance - before.balance == pytest.approx(earned, abs=Decimal("0.001"))
        assert after.equity == after.balance

    _use(simulator, use)


def test_market_data_reading_agrees_with_the_venues_clock(simulator: Simulator) -> None:
    async def use(venue: BingxVenue) -> None:
        anchor = await venue.server_clock()
        now_ms = anchor.market_at(wall_ms())
        mark = await venue.mark_price(PAIR)
        rates = await venue.funding_rates(PAIR, now_ms - 3 * DAY_MS, now_ms)

        assert anchor.speed == 30.0
        assert abs(anchor.wall_ms - wall_ms()) < 2000
        assert 0 <= mark.at_ms - now_ms < 60 * MINUTE_MS
        assert mark.at_ms < mark.next_funding_ms <= mark.at_ms + 8 * HOUR_MS
        assert abs(mark.mark / mark.index - 1) < Decimal("0.01")
        assert len(rates) == 9
        assert {rate.due_ms % (8 * HOUR_MS) for rate in rates} == {0}
        assert rates == sorted(rates, key=lambda rate: rate.due_ms)

    _use(simulator, use)


@pytest.mark.catalogue("D14")
def test_candles_of_many_pages_join_without_a_hole(simulator: Simulator) -> None:
    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // MINUTE_MS * MINUTE_MS
        start_ms = end_ms - 5000 * MINUTE_MS

        pages = [part async for part in page(venue, PAIR, "1m", start_ms, end_ms)]
        opens = np.concatenate([part.open_ms for part in pages])
        hourly = await venue.candles(PAIR, "1h", start_ms, end_ms)

        assert np.array_equal(opens, np.arange(start_ms, end_ms, MINUTE_MS))
        high = np.concatenate([part.high for part in pages])
        at = int(np.searchsorted(opens, hourly.open_ms[1]))
        assert hourly.high[1] == high[at : at + 60].max()

    _use(simulator, use)
    requests = _sent(simulator, "GET", "quote/klines")
    assert all({"startTime", "endTime"} <= set(entry["params"]) for entry in requests)
    assert not any("signature" in entry["raw_query"] for entry in requests)


def test_earliest_candle_of_the_venue_is_found(simulator: Simulator) -> None:
    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        earliest = await find_earliest(venue, PAIR, "4h", 0, now_ms)

        assert earliest is not None
        before = await venue.candles(PAIR, "4h", earliest - 1440 * 4 * HOUR_MS, earliest)
        first = await venue.candles(PAIR, "4h", earliest, earliest + 4 * HOUR_MS)
        assert (len(before), len(first)) == (0, 1)

    _use(simulator, use)


@pytest.mark.catalogue("D03")
@pytest.mark.parametrize("kind", ["candles_unsorted", "candles_duplicated", "code_as_string"])
def test_candles_are_the_same_however_the_page_is_written(simulator: Simulator, kind: str) -> None:
    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // HOUR_MS * HOUR_MS
        plain = await venue.candles(PAIR, "1m", end_ms - HOUR_MS, end_ms)
        simulator.fault({"kind": kind}, path="quote/klines")
        odd = await venue.candles(PAIR, "1m", end_ms - HOUR_MS, end_ms)

        assert len(plain) == 60
        for column in ("open_ms", "open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(plain, column), getattr(odd, column))
        assert plain.noted == ()
        assert odd.noted == ((kind,) if kind.startswith("candles") else ())

    _use(simulator, use)


def test_candles_read_the_same_in_every_habit_of_the_venue(simulator: Simulator) -> None:
    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // MINUTE_MS * MINUTE_MS
        start_ms = end_ms - 2000 * MINUTE_MS
        read: list[Candles] = []
        for habits in (
            {"kline_rows": "dict", "kline_mode": "last"},
            {"kline_rows": "array", "kline_mode": "last"},
            {"kline_rows": "dict", "kline_mode": "first"},
        ):
            simulator.control("POST", "habits", habits)
            pages = [part async for part in page(venue, PAIR, "1m", start_ms, end_ms)]
            read.append(Candles.concat(pages))

        assert [len(candles) for candles in read] == [2000] * 3
        for column in ("open_ms", "open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(read[0], column), getattr(read[1], column))
            assert np.array_equal(getattr(read[0], column), getattr(read[2], column))

    _use(simulator, use)


@pytest.mark.parametrize("newest_first", [False, True])
def test_stale_replica_that_misses_the_newest_candles_leaves_no_hole_between_pages(
    simulator: Simulator, newest_first: bool
) -> None:
    simulator.fault({"kind": "candles_flip_flop", "count": 2}, path="quote/klines")

    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // HOUR_MS * HOUR_MS - DAY_MS
        start_ms = end_ms - 4000 * MINUTE_MS
        pages = page(venue, PAIR, "1m", start_ms, end_ms, newest_first=newest_first)
        opens = sorted([int(at_ms) async for part in pages for at_ms in part.open_ms])

        assert opens == list(range(start_ms, end_ms, MINUTE_MS))

    _use(simulator, use)


@pytest.mark.catalogue("D16")
def test_history_beyond_an_empty_page_is_still_read(simulator: Simulator) -> None:
    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // HOUR_MS * HOUR_MS
        hole_ms = end_ms - 2 * 1440 * MINUTE_MS
        asked = {"startTime": str(hole_ms - 1)}
        simulator.fault({"kind": "candles_empty"}, path="quote/klines", params=asked)
        start_ms = end_ms - 4 * 1440 * MINUTE_MS
        pages = page(venue, PAIR, "1m", start_ms, end_ms, newest_first=True)
        opens = sorted([int(at_ms) async for part in pages for at_ms in part.open_ms])

        hole = range(hole_ms, hole_ms + 1440 * MINUTE_MS, MINUTE_MS)
        assert opens == [at_ms for at_ms in range(start_ms, end_ms, MINUTE_MS) if at_ms not in hole]

    _use(simulator, use)


# --- ambiguous orders -----------------------------------------------------------------------------


@pytest.mark.catalogue("O06")
def test_order_whose_answer_was_lost_is_unknown_and_then_found(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    simulator.fault({"kind": "drop_response"}, method="POST", path="trade/order", times=1)
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(OutcomeUnknown):
            await venue.submit(order)
        found = await _seen(venue, order)
        assert found.status is VenueOrderStatus.FILLED
        assert (await venue.positions())[0].quantity == order.quantity

    _use(simulator, use)
    assert len(_sent(simulator, "POST")) == 1


@pytest.mark.catalogue("O07")
def test_order_that_never_arrived_is_unknown_and_not_found_and_may_go_again(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    simulator.fault({"kind": "drop_request"}, method="POST", path="trade/order", times=1)
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        now_ms = (await venue.server_clock()).market_ms
        with pytest.raises(OutcomeUnknown):
            await venue.submit(order)
        assert await venue.look_up(PAIR, order.client_order_id) is None
        assert await venue.open_orders(PAIR) == []
        assert await venue.orders_between(PAIR, now_ms - HOUR_MS, now_ms + DAY_MS) == []
        assert await venue.positions() == []

        await venue.submit(order)
        assert (await _seen(venue, order)).status is VenueOrderStatus.FILLED

    _use(simulator, use)
    sent = _sent(simulator, "POST")
    assert len(sent) == 2
    assert {entry["params"]["clientOrderID"] for entry in sent} == {order.client_order_id}


@pytest.mark.catalogue("O11")
@pytest.mark.parametrize("pause_s", [0.0, 1.1])
def test_order_sent_twice_is_evidence_of_the_first(
    simulator: Simulator, make_order: MakeOrder, pause_s: float
) -> None:
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        await asyncio.sleep(pause_s)
        with pytest.raises(DuplicateClientId):
            await venue.submit(order)
        assert (await _seen(venue, order)).filled_quantity == order.quantity
        assert (await venue.positions())[0].quantity == order.quantity

    _use(simulator, use)


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize(
    "action",
    [
        {"kind": "body", "form": "html"},
        {"kind": "body", "form": "empty"},
        {"kind": "body", "form": "truncated"},
        {"kind": "data", "value": "wrong"},
        {"kind": "data", "value": []},
        {"kind": "data", "missing": ["order"]},
        {"kind": "http", "status": 502, "processed": True},
        {"kind": "code", "code": 109500, "msg": "busy", "processed": True},
    ],
    ids=lambda action: "-".join(str(value) for value in action.values()),
)
def test_order_with_a_spoilt_answer_is_unknown_and_then_found(
    simulator: Simulator, make_order: MakeOrder, action: dict[str, Any]
) -> None:
    simulator.fault(action, method="POST", path="trade/order", times=1)
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(OutcomeUnknown):
            await venue.submit(order)
        assert (await _seen(venue, order)).filled_quantity == order.quantity

    _use(simulator, use)
    assert len(_sent(simulator, "POST")) == 1


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize(
    "action",
    [
        {"kind": "body", "form": "html"},
        {"kind": "body", "form": "empty"},
        {"kind": "body", "form": "truncated"},
        {"kind": "data", "value": "wrong"},
        {"kind": "data", "value": None},
    ],
    ids=lambda action: "-".join(str(value) for value in action.values()),
)
def test_spoilt_reads_of_a_held_position_never_look_flat(
    simulator: Simulator, make_order: MakeOrder, action: dict[str, Any]
) -> None:
    async def use(venue: BingxVenue) -> None:
        await venue.submit(make_order())
        await venue.positions()
        for path in ("user/positions", "trade/openOrders", "user/balance", "trade/fullOrder"):
            simulator.fault(action, method="GET", path=path)
        now_ms = (await venue.server_clock()).market_ms
        for read in (
            venue.positions(),
            venue.open_orders(),
            venue.balance(),
            venue.orders_between(PAIR, now_ms - HOUR_MS, now_ms),
        ):
            with pytest.raises(ProtocolError):
                await read

    _use(simulator, use)


def test_late_order_is_refused_by_its_receive_window(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    fault = {"kind": "delay", "ms": 600, "when": "before"}
    simulator.fault(fault, method="POST", path="trade/order", times=1)

    async def use(venue: BingxVenue) -> None:
        await venue.server_clock()
        order = make_order(sent_wall_ms=wall_ms())
        with pytest.raises(OutcomeUnknown, match="clock_skew"):
            await venue.submit(order)
        assert await venue.look_up(PAIR, order.client_order_id) is None
        assert await venue.positions() == []

    _use(simulator, use, recv_window_ms=200)


def test_order_that_is_not_visible_yet_is_not_seen_and_then_found(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    fault = {"kind": "invisible", "ms": 400}
    simulator.fault(fault, method="POST", path="trade/order", times=1)
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        assert await venue.look_up(PAIR, order.client_order_id) is None
        await asyncio.sleep(0.5)
        assert (await _seen(venue, order)).filled_quantity == order.quantity

    _use(simulator, use)


# --- refusals -------------------------------------------------------------------------------------


def test_order_below_the_minimum_is_rejected_for_its_size(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue) -> None:
        for quantity in ("0.00001", "0.00015"):
            with pytest.raises(VenueRejected) as refused:
                await venue.submit(make_order(quantity=Decimal(quantity)))
            assert refused.value.reason == "size"
        assert await venue.positions() == []

    _use(simulator, use)


def test_order_beyond_the_margin_is_rejected_for_it(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue) -> None:
        with pytest.raises(VenueRejected) as refused:
            await venue.submit(make_order(quantity=Decimal(50)))
        assert refused.value.reason == "margin"

    _use(simulator, use)


def test_close_without_a_position_has_nothing_to_reduce(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue) -> None:
        with pytest.raises(VenueRejected) as refused:
            await venue.submit(make_order(reduce_only=True))
        assert refused.value.reason == "nothing_to_reduce"

    _use(simulator, use)


def test_wrong_key_is_refused_on_an_order_and_unavailable_on_a_read(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue) -> None:
        with pytest.raises(VenueRejected) as refused:
            await venue.submit(make_order())
        assert refused.value.reason == "auth"
        with pytest.raises(VenueUnavailable, match="auth"):
            await venue.balance()

    _use(simulator, use, secret="not-the-secret")


def test_pair_that_takes_no_orders_is_a_likely_refusal(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    simulator.control("POST", "market", {"pair": PAIR, "contract": {"status": 25}})

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(LikelyRefused, match="pair_closed"):
            await venue.submit(make_order())
        assert not (await venue.instruments())[PAIR].tradable

    _use(simulator, use)


@pytest.mark.catalogue("O21")
@pytest.mark.parametrize(
    "action",
    [
        {"kind": "code", "code": 100410, "msg": "limited", "processed": True},
        {"kind": "http", "status": 429, "body": '{"code":429,"msg":"many"}', "processed": True},
    ],
    ids=["code", "http"],
)
def test_throttled_order_is_unknown_and_never_sent_again_by_itself(
    simulator: Simulator, make_order: MakeOrder, action: dict[str, Any]
) -> None:
    simulator.fault(action, method="POST", path="trade/order")
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(OutcomeUnknown) as unknown:
            await venue.submit(order)
        assert isinstance(unknown.value, Throttled)
        assert (await _seen(venue, order)).filled_quantity == order.quantity

    _use(simulator, use)
    assert len(_sent(simulator, "POST")) == 1


@pytest.mark.catalogue("O21")
def test_a_throttled_order_slows_the_reads_and_throttled_orders_stop_them_before_an_exit(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    limited = {"kind": "code", "code": 100410, "msg": "limited", "processed": False}
    position = make_order(client_order_id="t1held", side=Side.BUY, quantity=Decimal("0.02"))
    exit_ = make_order(
        client_order_id="t1exit", side=Side.SELL, quantity=Decimal("0.02"), reduce_only=True
    )

    async def throttled_entry(venue: BingxVenue, number: int) -> None:
        with pytest.raises(Throttled):
            await venue.submit(make_order(client_order_id=f"t1throttled{number}"))

    async def use(venue: BingxVenue) -> None:
        await venue.submit(position)
        await venue.mark_price(PAIR)
        simulator.fault(limited, times=12, method="POST", path="trade/order")
        await throttled_entry(venue, 0)
        began_s = monotonic_s()
        for _ in range(1 + SPACED):
            await venue.mark_price(PAIR)
        took_s = monotonic_s() - began_s
        for number in range(1, 12):
            await throttled_entry(venue, number)
        asked = len(_sent(simulator, "GET", "premiumIndex"))
        with pytest.raises(Throttled):
            await venue.mark_price(PAIR)

        await venue.submit(exit_)
        assert (await _seen(venue, exit_)).filled_quantity == exit_.quantity
        assert len(_sent(simulator, "GET", "premiumIndex")) == asked
        assert took_s >= SPACED * 2 / (PUBLIC_RATE_PER_S * SPEED * HEADROOM)

    _use(simulator, use)


# --- orders that rest, fill in parts, end otherwise -----------------------------------------------


def test_partly_filled_order_is_cancelled_with_what_it_had(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    simulator.fault(
        {"kind": "partial_fill", "schedule": [[0, 0.25], [0, 0.25]]},
        method="POST",
        path="trade/order",
    )
    order = make_order(quantity=Decimal("0.02"))

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        partial = await _seen(venue, order)
        fills = await venue.fills(PAIR, partial)
        listed = await venue.open_orders(PAIR)
        await venue.cancel(PAIR, order.client_order_id)
        cancelled = await _seen(venue, order)

        assert (partial.status, partial.filled_quantity) == (
            VenueOrderStatus.PARTIAL,
            Decimal("0.01"),
        )
        assert [fill.quantity for fill in fills] == [Decimal("0.005")] * 2
        assert sum(fill.fee for fill in fills) == partial.fees
        assert [row.client_order_id for row in listed] == [order.client_order_id]
        assert (cancelled.status, cancelled.filled_quantity) == (
            VenueOrderStatus.CANCELLED,
            Decimal("0.01"),
        )
        assert (await venue.positions())[0].quantity == Decimal("0.01")

    _use(simulator, use)


def test_order_booked_by_its_total_goes_on_so_when_its_trades_appear(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    """Trades without ids, then a restart, then trades with ids: every coin is booked once."""
    schedule = [[0, 0.5], [40_000, 0.5]]
    simulator.fault(
        {"kind": "partial_fill", "schedule": schedule}, method="POST", path="trade/order"
    )
    no_ids = simulator.fault({"kind": "data", "missing": ["tradeId"]}, path="trade/fillHistory")
    order = make_order(quantity=Decimal("0.02"))
    booked: dict[str, Fill] = {}

    def book(fills: list[Fill]) -> None:
        for fill in fills:
            booked.setdefault(fill.fill_id, fill)

    def venue_of_a_new_process() -> BingxVenue:
        config = BingxConfig(base_url=simulator.url, api_key="sim-key", secret="sim-secret")
        return BingxVenue(config, lambda _: list(booked.values()), fill_patience_s=0.0)

    async def run() -> None:
        first, second = venue_of_a_new_process(), venue_of_a_new_process()
        try:
            await first.submit(order)
            book(await first.fills(PAIR, await _seen(first, order)))
            assert sum(fill.quantity for fill in booked.values()) == Decimal("0.01")

            simulator.control("DELETE", f"faults?id={no_ids}")
            simulator.clock(advance_ms=60_000)
            whole = await _seen(second, order)
            for _ in range(2):
                book(await second.fills(PAIR, whole))

            assert whole.status is VenueOrderStatus.FILLED
            assert sum(fill.quantity for fill in booked.values()) == Decimal("0.02")
            assert sum(fill.fee for fill in booked.values()) == whole.fees
        finally:
            await first.close()
            await second.close()

    asyncio.run(run())


def test_cancel_of_what_is_gone_proves_nothing_and_the_order_tells(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(OutcomeUnknown, match="order_not_seen"):
            await venue.cancel(PAIR, order.client_order_id)
        await venue.submit(order)
        with pytest.raises(OutcomeUnknown, match="order_already_final"):
            await venue.cancel(PAIR, order.client_order_id)
        assert (await _seen(venue, order)).status is VenueOrderStatus.FILLED

    _use(simulator, use)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("EXPIRED", VenueOrderStatus.EXPIRED), ("FAILED", VenueOrderStatus.CANCELLED)],
)
def test_order_that_ends_otherwise_is_seen_so(
    simulator: Simulator, make_order: MakeOrder, status: str, expected: VenueOrderStatus
) -> None:
    simulator.fault({"kind": "order_ends", "status": status}, method="POST", path="trade/order")
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        assert (await _seen(venue, order)).status is expected

    _use(simulator, use)


def test_ids_come_back_lower_case_and_are_found_in_any_case(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    order = make_order(client_order_id="T1MixedCase")

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        assert (await _seen(venue, order)).client_order_id == "t1mixedcase"

    _use(simulator, use)


def test_fill_and_order_times_are_the_venues_market_time(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    """Trades are stamped 8 hours off; the order's time and the snowflake of its id agree."""
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        venue_id = await venue.submit(order)
        seen = await _seen(venue, order)
        (fill,) = await venue.fills(PAIR, seen)
        now_ms = (await venue.server_clock()).market_ms
        (listed,) = await venue.orders_between(PAIR, now_ms - HOUR_MS, now_ms + HOUR_MS)

        assert fill.filled_ms == seen.updated_ms == listed.updated_ms
        assert abs(created_ms(venue_id) - fill.filled_ms) < MINUTE_MS
        assert now_ms - HOUR_MS < fill.filled_ms <= now_ms

    _use(simulator, use)


def test_manual_position_and_foreign_orders_are_seen(simulator: Simulator) -> None:
    manual = {"symbol": PAIR, "side": "SELL", "quantity": "0.03", "positionSide": "BOTH"}
    price = f"{Decimal(simulator.state()['prices'][PAIR]) * Decimal('0.99'):.1f}"
    resting = {**manual, "side": "BUY", "type": "LIMIT", "price": price, "quantity": "0.01"}
    simulator.control("POST", "account", {"trade": manual, "order": resting})

    async def use(venue: BingxVenue) -> None:
        (position,) = await venue.positions()
        (foreign,) = await venue.open_orders()

        assert position.quantity == Decimal("-0.03")
        assert (foreign.client_order_id, foreign.status) == ("", VenueOrderStatus.OPEN)

    _use(simulator, use)


def test_hedged_account_is_refused_before_it_trades(simulator: Simulator) -> None:
    simulator.control("POST", "account", {"hedged": True})

    async def use(venue: BingxVenue) -> None:
        with pytest.raises(VenueRejected) as refused:
            await venue.prepare(PAIR, 3)
        assert refused.value.reason == "hedge_mode"
        with pytest.raises(ProtocolError, match="hedge mode"):
            await venue.positions()

    _use(simulator, use)


# --- clock and limits -----------------------------------------------------------------------------


@pytest.mark.catalogue("O24")
@pytest.mark.parametrize("offset_ms", [-30_000, 30_000])
def test_skewed_clock_is_tracked_from_the_first_order_on(
    simulator: Simulator, make_order: MakeOrder, offset_ms: int
) -> None:
    simulator.clock(server_offset_ms=offset_ms)
    order = make_order()

    async def use(venue: BingxVenue) -> None:
        await venue.submit(order)
        assert (await _seen(venue, order)).filled_quantity == order.quantity

    _use(simulator, use)


@pytest.mark.catalogue("O24")
def test_clock_that_jumps_costs_one_unknown_order_and_is_tracked_again(
    simulator: Simulator, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue) -> None:
        await venue.server_clock()
        simulator.clock(server_offset_ms=30_000)
        order = make_order()

        with pytest.raises(OutcomeUnknown, match="clock_skew"):
            await venue.submit(order)
        assert await venue.look_up(PAIR, order.client_order_id) is None
        await venue.submit(order)
        assert (await _seen(venue, order)).filled_quantity == order.quantity

    _use(simulator, use)


def test_documented_limits_are_never_crossed_by_a_backfill(
    start_simulator: Callable[..., Simulator],
) -> None:
    simulator = start_simulator(speed=30, limits="on")

    async def use(venue: BingxVenue) -> int:
        now_ms = (await venue.server_clock()).market_ms
        end_ms = now_ms // MINUTE_MS * MINUTE_MS
        pages = page(venue, PAIR, "1m", end_ms - 40 * DAY_MS, end_ms, newest_first=True)
        return sum([len(part) async for part in pages])

    rows = _use(simulator, use)

    assert rows > 30 * 1440
    assert {(entry["status"], entry["code"]) for entry in simulator.journal()} == {(200, 0)}


def test_the_adapter_loads_no_other_exchange() -> None:
    """In a process of its own: other tests drive the simulator by the whole of ccxt."""
    program = (
        "import sys; from desk.venues.ccxt_light import bingx_class; bingx_class();"
        " sys.exit('ccxt.async_support.binance' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)

    assert done.returncode == 0
