"""What goes over the wire to BingX, and what is concluded from whatever comes back."""

import asyncio
import hashlib
import hmac
import json
import pickle
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any, override

import pytest

from desk.errors import (
    BadInput,
    Banned,
    DeskError,
    DuplicateClientId,
    LikelyRefused,
    OutcomeUnknown,
    ProtocolError,
    Throttled,
    VenueRejected,
    VenueUnavailable,
    WriteBanned,
    WriteThrottled,
)
from desk.trading.orders import Order, Side, VenueOrder
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.wallclock import monotonic_s, wall_ms

PLACE = "POST swap/v2/trade/order"
QUERY = "GET swap/v2/trade/order"
CANCEL = "DELETE swap/v2/trade/order"
POSITIONS = "GET swap/v2/user/positions"
OPEN = "GET swap/v2/trade/openOrders"
BALANCE = "GET swap/v3/user/balance"
KLINES = "GET swap/v3/quote/klines"
TIME = "GET swap/v2/server/time"
MODE = "GET swap/v1/positionSide/dual"

type MakeOrder = Callable[..., Order]
type CannedVenue = Callable[..., AbstractAsyncContextManager[tuple[BingxVenue, Any]]]
type Use = Callable[[BingxVenue, Any], Awaitable[Any]]

UNREADABLE = {
    "html": (200, "<html><body>Bad Gateway</body></html>", "text/html"),
    "empty": (200, ""),
    "blank": (200, "  \n"),
    "truncated": (200, '{"code":0,"msg":"","data":{"orders":['),
    "null": (200, "null"),
    "list": (200, "[]"),
    "number": (200, "0"),
    "bytes": (200, "\x00\x01", "application/octet-stream"),
    "no code": (200, '{"data":[]}'),
    "no data": (200, '{"code":0,"msg":""}'),
    "null data": (200, '{"code":0,"msg":"","data":null}'),
    "data is text": (200, '{"code":0,"msg":"","data":"[]"}'),
    "data is the other container": (200, '{"code":0,"msg":"","data":{"orders":{}}}'),
    "gateway": (502, "<html>", "text/html"),
}


def _use(canned_venue: CannedVenue, answers: dict[str, Any], use: Use, **config: Any) -> Any:
    async def run() -> Any:
        async with canned_venue(answers, **config) as (venue, canned):
            return await use(venue, canned)

    return asyncio.run(run())


def _code(code: int, message: str = "no") -> tuple[int, str]:
    return (200, json.dumps({"code": code, "msg": message, "data": {}}))


# --- orders: one send, exact parameters, nothing concluded without proof --------------------------


def test_order_goes_out_signed_once_with_its_receive_window(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    answers = {PLACE: {"order": {"orderId": 1736012449498123456}}}
    order = make_order(side=Side.SELL, reduce_only=True, quantity=Decimal("0.0100"))

    async def use(venue: BingxVenue, canned: Any) -> Any:
        return await venue.submit(order), canned.query(PLACE), canned.requests[-1]

    venue_id, query, request = _use(canned_venue, answers, use, recv_window_ms=4000)

    assert venue_id == "1736012449498123456"
    signature = query.pop("signature")
    assert abs(int(query.pop("timestamp")) - wall_ms()) < 5000
    assert query == {
        "symbol": "BTC-USDT",
        "side": "SELL",
        "positionSide": "BOTH",
        "type": "MARKET",
        "quantity": "0.01",
        "reduceOnly": "true",
        "clientOrderID": order.client_order_id,
        "recvWindow": "4000",
    }
    signed = "&".join(f"{k}={v}" for k, v in request.query.items() if k != "signature")
    assert signature == hmac.new(b"a-secret", signed.encode(), hashlib.sha256).hexdigest()
    assert request.headers["X-BX-APIKEY"] == "a-key"


def test_limit_order_carries_its_price(canned_venue: CannedVenue, make_order: MakeOrder) -> None:
    order = make_order(limit_price=Decimal("40000.50"))

    async def use(venue: BingxVenue, canned: Any) -> dict[str, str]:
        await venue.submit(order)
        return canned.query(PLACE)

    query = _use(canned_venue, {PLACE: {"order": {"orderId": "7"}}}, use)

    assert (query["type"], query["price"], query["timeInForce"]) == ("LIMIT", "40000.5", "GTC")


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize("form", UNREADABLE)
def test_unreadable_answer_to_an_order_leaves_its_outcome_unknown(
    canned_venue: CannedVenue, make_order: MakeOrder, form: str
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(OutcomeUnknown):
            await venue.submit(make_order())
        return canned.count(PLACE)

    assert _use(canned_venue, {PLACE: UNREADABLE[form]}, use) == 1


@pytest.mark.parametrize(
    "data", [{}, {"order": {}}, {"order": None}, {"order": {"orderId": ""}}, {"order": []}]
)
def test_acceptance_without_an_order_id_is_unknown(
    canned_venue: CannedVenue, make_order: MakeOrder, data: Any
) -> None:
    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(OutcomeUnknown, match="order"):
            await venue.submit(make_order())

    _use(canned_venue, {PLACE: data}, use)


def test_acceptance_of_another_client_id_is_unknown(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    data = {"order": {"orderId": 7, "clientOrderID": "t1somebodyelse"}}

    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(OutcomeUnknown, match="t1somebodyelse"):
            await venue.submit(make_order())

    _use(canned_venue, {PLACE: data}, use)


@pytest.mark.catalogue("O21")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_code(100410, "rate limited"), WriteThrottled),
        ((429, '{"code":429,"msg":"too many"}'), WriteThrottled),
        ((429, "slow down", "text/plain"), WriteThrottled),
        (_code(109500, "system busy"), OutcomeUnknown),
        ((418, "banned"), WriteBanned),
        ((503, "maintenance"), OutcomeUnknown),
        ((504, ""), OutcomeUnknown),
        ((-1, ""), OutcomeUnknown),
        (_code(100421, "timestamp"), OutcomeUnknown),
        (_code(101481, "used"), DuplicateClientId),
        (_code(101211, "price"), LikelyRefused),
        (_code(123456, "?"), OutcomeUnknown),
        (_code(101204, "margin"), VenueRejected),
        ((200, '{"code":"101204","msg":"margin","data":null}'), VenueRejected),
    ],
)
def test_order_is_sent_once_and_refused_only_by_proof(
    canned_venue: CannedVenue,
    make_order: MakeOrder,
    answer: tuple[int, str],
    error: type[DeskError],
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(DeskError) as refused:
            await venue.submit(make_order())
        assert type(refused.value) is error
        return canned.count(PLACE)

    assert _use(canned_venue, {PLACE: answer}, use) == 1


@pytest.mark.catalogue("O27")
def test_order_meets_its_deadline_when_the_venue_says_nothing(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def run() -> float:
        over = asyncio.Event()

        async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with canned_venue({}, base_url=f"http://{host}:{port}", deadline_s=0.3) as (venue, _):
            before_s = monotonic_s()
            with pytest.raises(OutcomeUnknown, match=r"within 0\.3 s"):
                await venue.submit(make_order())
            took_s = monotonic_s() - before_s
        over.set()
        server.close()
        return took_s

    assert asyncio.run(run()) < 2.0


def test_order_is_signed_with_the_stamp_that_was_stored(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    stamp_ms = wall_ms() - 1500

    async def use(venue: BingxVenue, canned: Any) -> int:
        await venue.submit(make_order(sent_wall_ms=stamp_ms))
        return int(canned.query(PLACE)["timestamp"])

    signed_ms = _use(canned_venue, {PLACE: {"order": {"orderId": 7}}}, use)

    assert abs(signed_ms - stamp_ms) < 500


def test_order_stamped_longer_ago_than_the_window_is_not_sent(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(OutcomeUnknown, match="not sent"):
            await venue.submit(make_order(sent_wall_ms=wall_ms() - 6000))
        return canned.count(PLACE)

    assert _use(canned_venue, {PLACE: {"order": {"orderId": 7}}}, use) == 0


# --- reads: an unreadable answer is never flat, never empty ---------------------------------------


@pytest.mark.catalogue("O29")
@pytest.mark.parametrize("form", UNREADABLE)
def test_unreadable_answer_to_a_read_is_never_an_empty_result(
    canned_venue: CannedVenue, form: str
) -> None:
    answers = {key: UNREADABLE[form] for key in (POSITIONS, OPEN, BALANCE, KLINES, QUERY)}
    answers[MODE] = {"dualSidePosition": "false"}

    async def use(venue: BingxVenue, _: Any) -> None:
        for read in (
            venue.positions(),
            venue.open_orders(),
            venue.balance(),
            venue.candles("BTC-USDT", "1m", 60_000, 120_000),
            venue.look_up("BTC-USDT", "t1abc"),
        ):
            with pytest.raises(VenueUnavailable) as refused:
                await read
            assert isinstance(refused.value, ProtocolError) or form == "gateway"

    _use(canned_venue, answers, use)


@pytest.mark.parametrize("code", [109421, 80016, 80017])
def test_look_up_of_an_order_the_venue_does_not_see_is_one_vote(
    canned_venue: CannedVenue, code: int
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> None:
        assert await venue.look_up("BTC-USDT", "t1abc") is None
        assert canned.query(QUERY)["clientOrderId"] == "t1abc"
        assert "orderId" not in canned.query(QUERY)

    _use(canned_venue, {QUERY: _code(code, "order not exist")}, use)


def test_look_up_never_adopts_another_order(canned_venue: CannedVenue) -> None:
    other = {"order": {**_ORDER, "clientOrderId": "t1other"}}

    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(ProtocolError, match="t1other"):
            await venue.look_up("BTC-USDT", "t1abc")

    _use(canned_venue, {QUERY: other}, use)


def test_throttled_read_is_retried_and_answers(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        assert await venue.open_orders() == []
        return canned.count(OPEN)

    answers = {OPEN: iter([_code(100410, "slow"), (429, "slow"), {"orders": []}])}
    assert _use(canned_venue, answers, use) == 3


def test_read_that_stays_throttled_gives_up_as_throttled(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(Throttled):
            await venue.instruments()
        return canned.count("GET swap/v2/quote/contracts")

    assert _use(canned_venue, {"GET swap/v2/quote/contracts": _code(100410)}, use) == 5


def test_ban_stops_every_call_before_it_reaches_the_wire(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(Banned):
            await venue.balance()
        seen = len(canned.requests)
        with pytest.raises(Banned):
            await venue.server_clock()
        with pytest.raises(WriteBanned):
            await venue.submit(make_order())
        with pytest.raises(WriteBanned):
            await venue.cancel("BTC-USDT", "t1abc")
        return len(canned.requests) - seen

    assert _use(canned_venue, {BALANCE: (418, "banned")}, use) == 0


class KnownBans:
    """What processes behind one address tell each other."""

    def __init__(self) -> None:
        self.until_ms = self.reads = 0

    def until_wall_ms(self) -> int:
        self.reads += 1
        return self.until_ms

    def note(self, until_wall_ms: int) -> None:
        self.until_ms = until_wall_ms


@pytest.mark.catalogue("O22")
def test_O22_ban_that_one_process_met_is_honoured_by_another(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        bans, config = KnownBans(), venue._config
        first, second = BingxVenue(config, bans=bans), BingxVenue(config, bans=bans)
        with pytest.raises(Banned):
            await first.balance()
        seen = len(canned.requests)
        with pytest.raises(Banned):
            await second.positions()
        await first.close()
        await second.close()
        assert bans.until_ms > wall_ms() + 500_000
        return len(canned.requests) - seen

    assert _use(canned_venue, {BALANCE: (418, "banned")}, use) == 0


def test_a_write_waits_for_no_reading_once_the_venue_is_ready(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> tuple[int, int]:
        bans = KnownBans()
        ready = BingxVenue(venue._config, bans=bans)
        await ready.get_ready()
        read, asked = bans.reads, canned.count(TIME)
        with pytest.raises(DeskError):
            await ready.submit(make_order(sent_wall_ms=wall_ms()))
        await ready.close()
        return bans.reads - read, canned.count(TIME) - asked

    assert _use(canned_venue, {PLACE: _code(80012)}, use) == (0, 0)


@pytest.mark.catalogue("O22")
def test_O22_ban_that_was_met_elsewhere_is_known_to_a_venue_that_got_ready(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        bans = KnownBans()
        ready = BingxVenue(venue._config, bans=bans)
        bans.until_ms = wall_ms() + 60_000
        await ready.get_ready()
        with pytest.raises(WriteBanned):
            await ready.submit(make_order(sent_wall_ms=wall_ms()))
        await ready.close()
        return canned.count(PLACE)

    assert _use(canned_venue, {}, use) == 0


class SlowBans(KnownBans):
    """A store that takes its time."""

    @override
    def until_wall_ms(self) -> int:
        time.sleep(0.1)
        return super().until_wall_ms()


@pytest.mark.catalogue("O22")
def test_O22_no_call_of_a_new_process_goes_out_while_another_one_still_reads_of_a_ban(
    canned_venue: CannedVenue,
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> tuple[list[type], int]:
        bans = SlowBans()
        bans.until_ms = wall_ms() + 60_000
        fresh = BingxVenue(venue._config, bans=bans)
        told = await asyncio.gather(fresh.balance(), fresh.positions(), return_exceptions=True)
        await fresh.close()
        return [type(one) for one in told], len(canned.requests)

    assert _use(canned_venue, {}, use) == ([Banned, Banned], 0)


@pytest.mark.catalogue("O22")
def test_O22_ban_is_honoured_as_long_as_the_venue_said_and_an_hour_at_most(
    canned_venue: CannedVenue,
) -> None:
    async def use(venue: BingxVenue, _: Any) -> float:
        with pytest.raises(Banned):
            await venue.balance()
        return (venue._wire._banned_until_ms - wall_ms()) / 60_000

    def ban(minutes: int) -> tuple[int, str]:
        return _code(418, f"unblocked after {wall_ms() + minutes * 60_000}")

    assert 29 < _use(canned_venue, {BALANCE: ban(30)}, use) <= 30
    assert 59 < _use(canned_venue, {BALANCE: ban(600)}, use) <= 60


def test_ban_ends_when_the_venue_said_it_would(canned_venue: CannedVenue) -> None:
    def ban(_: Any) -> tuple[int, str]:
        return _code(418, f"banned, will be unblocked after {wall_ms() + 200}")

    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(Banned):
            await venue.open_orders()
        with pytest.raises(Banned, match="another 1 s"):
            await venue.open_orders()
        await asyncio.sleep(1.05)
        assert await venue.open_orders() == []

    _use(canned_venue, {OPEN: iter([ban, {"orders": []}])}, use)


# --- cancels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [*UNREADABLE.values(), _code(80016), _code(80018), _code(80012), _code(100413), (-1, "")],
)
def test_unclear_cancel_proves_nothing(canned_venue: CannedVenue, answer: tuple[int, str]) -> None:
    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(OutcomeUnknown):
            await venue.cancel("BTC-USDT", "t1abc")

    _use(canned_venue, {CANCEL: answer}, use)


# --- the clock ------------------------------------------------------------------------------------


def test_real_venue_without_market_time_lives_at_speed_one(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, _: Any) -> Any:
        return await venue.server_clock()

    anchor = _use(canned_venue, {TIME: {"serverTime": "1700000000000"}}, use)

    assert (anchor.market_ms, anchor.speed) == (1_700_000_000_000, 1.0)
    assert abs(anchor.wall_ms - wall_ms()) < 5000


def test_market_clock_of_a_simulator_is_taken_over(canned_venue: CannedVenue) -> None:
    data = {"serverTime": wall_ms(), "marketTime": 1_800_000_000_000, "marketSpeed": "30"}

    async def use(venue: BingxVenue, _: Any) -> Any:
        return await venue.server_clock()

    anchor = _use(canned_venue, {TIME: data}, use)

    assert (anchor.market_ms, anchor.speed) == (1_800_000_000_000, 30.0)


@pytest.mark.parametrize(
    "data",
    [{}, {"serverTime": ""}, {"serverTime": 1, "marketSpeed": "0"}, {"serverTime": 1, "marketSpeed": "NaN"}],
)  # fmt: skip
def test_clock_that_cannot_be_read_is_an_error(canned_venue: CannedVenue, data: Any) -> None:
    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(ProtocolError):
            await venue.server_clock()

    _use(canned_venue, {TIME: data}, use)


@pytest.mark.catalogue("O24")
@pytest.mark.parametrize("offset_ms", [-30_000, 30_000])
def test_orders_and_reads_are_signed_by_the_venues_clock(
    canned_venue: CannedVenue, make_order: MakeOrder, offset_ms: int
) -> None:
    answers = {
        TIME: lambda _: {"serverTime": wall_ms() + offset_ms},
        PLACE: {"order": {"orderId": 7}},
        OPEN: {"orders": []},
    }

    async def use(venue: BingxVenue, canned: Any) -> list[int]:
        await venue.submit(make_order(sent_wall_ms=wall_ms()))
        await venue.open_orders()
        stamps = [int(canned.query(key)["timestamp"]) for key in (PLACE, OPEN)]
        return [stamp - wall_ms() for stamp in stamps]

    assert _use(canned_venue, answers, use) == pytest.approx([offset_ms, offset_ms], abs=500)


@pytest.mark.catalogue("O24")
@pytest.mark.parametrize(
    "refusal", [_code(100421, "Null timestamp"), _code(109400, "timestamp is invalid")]
)
def test_refused_clock_is_read_afresh_and_a_read_repeated_once(
    canned_venue: CannedVenue, refusal: tuple[int, str]
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> tuple[int, int]:
        assert await venue.open_orders() == []
        return canned.count(TIME), canned.count(OPEN)

    assert _use(canned_venue, {OPEN: iter([refusal, {"orders": []}])}, use) == (2, 2)


@pytest.mark.catalogue("O24")
def test_order_with_a_refused_clock_is_unknown_and_the_next_call_syncs(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> tuple[int, int]:
        with pytest.raises(OutcomeUnknown, match="clock_skew"):
            await venue.submit(make_order())
        assert await venue.look_up("BTC-USDT", "t1abc") is None
        return canned.count(TIME), canned.count(PLACE)

    answers = {PLACE: _code(100421, "Null timestamp"), QUERY: _code(109421)}
    assert _use(canned_venue, answers, use) == (2, 1)


# --- the account's settings -----------------------------------------------------------------------

LEVERAGE = "swap/v2/trade/leverage"
MARGIN = "swap/v2/trade/marginType"


def test_prepared_pair_sends_no_setting_again(canned_venue: CannedVenue) -> None:
    answers = {
        MODE: {"dualSidePosition": "false"},
        f"GET {MARGIN}": {"marginType": "ISOLATED"},
        f"GET {LEVERAGE}": {"longLeverage": 3, "shortLeverage": 3},
    }

    async def use(venue: BingxVenue, canned: Any) -> set[str]:
        await venue.prepare("BTC-USDT", 3)
        return {request.method for request in canned.requests}

    assert _use(canned_venue, answers, use) == {"GET"}


def test_prepare_sets_what_differs_and_asserts_both_sides(canned_venue: CannedVenue) -> None:
    answers = {
        MODE: {"dualSidePosition": "false"},
        f"GET {MARGIN}": iter([{"marginType": "CROSSED"}, {"marginType": "ISOLATED"}]),
        f"POST {MARGIN}": (200, '{"code":0,"msg":""}'),
        f"GET {LEVERAGE}": iter(
            [
                {"longLeverage": 5, "shortLeverage": 3},
                {"longLeverage": 3, "shortLeverage": 3},
            ]
        ),
        f"POST {LEVERAGE}": {"leverage": 3},
    }

    async def use(venue: BingxVenue, canned: Any) -> tuple[str, str, str]:
        await venue.prepare("BTC-USDT", 3)
        sent = canned.query(f"POST {LEVERAGE}")
        return canned.query(f"POST {MARGIN}")["marginType"], sent["side"], sent["leverage"]

    assert _use(canned_venue, answers, use) == ("ISOLATED", "BOTH", "3")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({MODE: {"dualSidePosition": "true"}}, "hedge_mode"),
        (
            {f"POST {MARGIN}": _code(109400, "there are open orders or positions")},
            "setting_locked",
        ),
        ({f"POST {MARGIN}": {}}, "setting_ignored"),
    ],
)
def test_account_that_cannot_be_prepared_is_refused_with_the_reason(
    canned_venue: CannedVenue, answers: dict[str, Any], reason: str
) -> None:
    common = {
        MODE: {"dualSidePosition": "false"},
        f"GET {MARGIN}": {"marginType": "CROSSED"},
    }

    async def use(venue: BingxVenue, _: Any) -> str:
        with pytest.raises(VenueRejected) as refused:
            await venue.prepare("BTC-USDT", 3)
        return refused.value.reason

    assert _use(canned_venue, {**common, **answers}, use) == reason


def test_hedged_account_has_no_readable_positions(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, _: Any) -> None:
        with pytest.raises(ProtocolError, match="hedge mode"):
            await venue.positions()

    _use(canned_venue, {MODE: {"dualSidePosition": "true"}, POSITIONS: []}, use)


# --- fills ----------------------------------------------------------------------------------------

FILLS = "GET swap/v2/trade/fillHistory"
MADE_MS = wall_ms() - 60_000
ORDER_ID = (MADE_MS - 1_288_834_974_657) << 22
_ORDER: dict[str, Any] = {
    "symbol": "BTC-USDT",
    "orderId": ORDER_ID,
    "side": "BUY",
    "origQty": "0.03",
    "executedQty": "0.03",
    "avgPrice": "40000",
    "commission": "-0.6",
    "status": "FILLED",
    "time": MADE_MS,
    "updateTime": MADE_MS,
    "clientOrderId": "t1abc",
}
_TRADE = {"orderId": str(ORDER_ID), "price": "40000", "commission": "-0.2"}


async def _order_of(venue: BingxVenue) -> VenueOrder:
    order = await venue.look_up("BTC-USDT", "t1abc")
    assert order is not None
    return order


def test_trades_that_lag_are_waited_for(canned_venue: CannedVenue) -> None:
    trades = [{**_TRADE, "tradeId": str(n), "volume": "0.01"} for n in (1, 2, 3)]
    answers = {
        QUERY: {"order": _ORDER},
        FILLS: iter([{"fill_history_orders": trades[:1]}, {"fill_history_orders": trades}]),
    }

    async def use(venue: BingxVenue, _: Any) -> list[str]:
        return [fill.fill_id for fill in await venue.fills("BTC-USDT", await _order_of(venue))]

    assert _use(canned_venue, answers, use) == ["1", "2", "3"]


def test_final_order_without_trade_ids_is_booked_by_its_total(canned_venue: CannedVenue) -> None:
    trades = [{**_TRADE, "volume": "0.03"}]
    answers = {QUERY: {"order": _ORDER}, FILLS: {"fill_history_orders": trades}}

    async def use(venue: BingxVenue, _: Any) -> Any:
        (fill,) = await venue.fills("BTC-USDT", await _order_of(venue))
        return fill.fill_id, fill.quantity, fill.price, fill.fee

    assert _use(canned_venue, answers, use) == (
        f"{ORDER_ID}:0.03",
        Decimal("0.03"),
        Decimal(40_000),
        Decimal("0.6"),
    )


def test_fresh_or_open_order_whose_trades_are_missing_is_not_booked_yet(
    canned_venue: CannedVenue,
) -> None:
    fresh = {"order": {**_ORDER, "updateTime": wall_ms()}}
    still_open = {"order": {**_ORDER, "status": "PARTIALLY_FILLED", "origQty": "1"}}

    async def use(venue: BingxVenue, _: Any) -> None:
        for _ in range(2):
            with pytest.raises(VenueUnavailable, match="do not add up"):
                await venue.fills("BTC-USDT", await _order_of(venue))

    answers = {QUERY: iter([fresh, still_open]), FILLS: {"fill_history_orders": []}}
    _use(canned_venue, answers, use)


# --- the object -----------------------------------------------------------------------------------


def test_venue_survives_pickling_unopened_and_its_secret_is_not_shown() -> None:
    config = BingxConfig(base_url="http://127.0.0.1:1", api_key="a-key", secret="a-secret")

    copy = pickle.loads(pickle.dumps(BingxVenue(config)))

    assert isinstance(copy, BingxVenue)
    assert "a-secret" not in repr(config)
    assert "a-key" not in repr(config)


def test_unreachable_venue_is_unavailable_and_its_error_shows_no_signature(
    make_order: MakeOrder,
) -> None:
    async def run() -> str:
        config = BingxConfig(base_url="http://127.0.0.1:1", api_key="a-key", secret="a-secret")
        venue = BingxVenue(config)
        try:
            with pytest.raises(OutcomeUnknown) as unknown:
                await venue.submit(make_order())
            return repr(unknown.value)
        finally:
            await venue.close()

    text = asyncio.run(run())

    assert "Connect" in text
    assert "signature" not in text
    assert "timestamp" not in text


def test_error_of_a_malformed_answer_shows_no_signature(
    canned_venue: CannedVenue, make_order: MakeOrder
) -> None:
    async def run() -> str:
        async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = await reader.readuntil(b"\r\n\r\n")
            body = b'{"code":0,"data":{"serverTime":%d}}' % wall_ms()
            head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"
            writer.write(head + body if b"server/time" in asked else b"HTTP/x babble\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(babble, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        async with canned_venue({}, base_url=f"http://{host}:{port}") as (venue, _):
            with pytest.raises(OutcomeUnknown) as unknown:
                await venue.submit(make_order())
        server.close()
        return "".join(traceback.format_exception(unknown.value))

    text = asyncio.run(run())

    assert "ClientResponseError" in text
    assert "signature" not in text


def test_private_call_without_keys_names_the_setting(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(BadInput, match="BINGX_API_KEY"):
            await venue.balance()
        return canned.count(BALANCE)

    assert _use(canned_venue, {}, use, api_key="", secret="") == 0


def test_venue_can_be_used_again_after_it_was_closed(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        await venue.server_clock()
        await venue.close()
        await venue.server_clock()
        return canned.count(TIME)

    assert _use(canned_venue, {}, use) == 2


def test_calls_share_one_kept_alive_connection(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        for _ in range(3):
            await venue.server_clock()
        return len({request.transport for request in canned.requests})

    assert _use(canned_venue, {}, use) == 1


def test_market_data_keeps_its_share_of_the_rate(canned_venue: CannedVenue) -> None:
    async def use(venue: BingxVenue, _: Any) -> float:
        await venue.candles("BTC-USDT", "1m", 0, 60_000)
        before_s = monotonic_s()
        for _ in range(3):
            await venue.candles("BTC-USDT", "1m", 0, 60_000)
        return monotonic_s() - before_s

    clock = {"serverTime": wall_ms(), "marketTime": 1, "marketSpeed": "20"}
    took_s = _use(canned_venue, {KLINES: [], TIME: clock}, use, market_share=0.5)

    assert took_s == pytest.approx(0.3, abs=0.15)


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 0), (60_000, 0), (0, 1441 * 60_000)])
def test_candle_range_of_more_than_one_call_is_refused(
    canned_venue: CannedVenue, start_ms: int, end_ms: int
) -> None:
    async def use(venue: BingxVenue, canned: Any) -> int:
        with pytest.raises(BadInput, match="1440"):
            await venue.candles("BTC-USDT", "1m", start_ms, end_ms)
        return len(canned.requests)

    assert _use(canned_venue, {}, use) == 0
