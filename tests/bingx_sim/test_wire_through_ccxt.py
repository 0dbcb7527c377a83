"""Everything the desk needs of the venue, through the unmodified ccxt client."""

import itertools
from collections.abc import Callable
from typing import Any

import ccxt as errors
import pytest

SYMBOL = "BTC/USDT:USDT"
MINUTE_MS = 60_000


def test_markets_carry_precision_fees_and_minimums(
    sim: Any, with_client: Callable[..., Any]
) -> None:
    async def script(client: Any) -> Any:
        return client.markets

    markets = with_client(sim, script)

    btc = markets[SYMBOL]
    assert set(markets) == {SYMBOL, "ETH/USDT:USDT", "PAXG/USDT:USDT"}
    assert btc["id"] == "BTC-USDT"
    assert (btc["precision"]["price"], btc["precision"]["amount"]) == ("0.1", "0.0001")
    assert (btc["maker"], btc["taker"]) == ("0.0002", "0.0005")
    assert (btc["linear"], btc["swap"], btc["active"]) == (True, True, True)
    assert btc["limits"]["cost"]["min"] == "2"


def test_the_server_tells_both_clocks(
    sim: Any, with_client: Callable[..., Any], start_ms: int
) -> None:
    async def script(client: Any) -> Any:
        row = (await client.swapV2PublicGetServerTime())["data"]
        return row, await client.fetch_time(), client.milliseconds()

    row, server_ms, local_ms = with_client(sim, script)

    assert abs(server_ms - local_ms) < 2_000
    assert row["marketTime"] == start_ms
    assert row["marketSpeed"] == "1"


def test_candle_pages_join_without_a_hole(
    sim: Any, with_client: Callable[..., Any], start_ms: int
) -> None:
    first_ms = (start_ms // MINUTE_MS - 3_000) * MINUTE_MS

    async def script(client: Any) -> Any:
        rows: list[Any] = []
        at_ms = first_ms
        while at_ms <= start_ms:
            until = min(at_ms + 1_439 * MINUTE_MS, start_ms)
            rows += await client.fetch_ohlcv(SYMBOL, "1m", at_ms, 1_440, {"until": until})
            at_ms = until + MINUTE_MS
        return rows

    rows = with_client(sim, script)

    times = [row[0] for row in rows]
    assert times == list(range(first_ms, start_ms + 1, MINUTE_MS))
    assert all(float(row[3]) <= float(row[4]) <= float(row[2]) for row in rows)


def test_with_a_start_alone_the_newest_rows_of_the_range_come(
    sim: Any, with_client: Callable[..., Any], start_ms: int
) -> None:
    async def script(client: Any) -> Any:
        since = start_ms - 3_000 * MINUTE_MS
        params = {"symbol": "BTC-USDT", "interval": "1m", "startTime": since}
        return (await client.swapV3PublicGetQuoteKlines(params))["data"]

    rows = with_client(sim, script)

    assert len(rows) == 500
    assert rows[0]["time"] == start_ms // MINUTE_MS * MINUTE_MS
    assert [row["time"] for row in rows] == sorted((row["time"] for row in rows), reverse=True)


@pytest.mark.parametrize(
    "interval",
    ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"],
)
def test_all_intervals_are_served(venue: Any, interval: str) -> None:
    params = {"symbol": "ETH-USDT", "interval": interval, "limit": 3}

    _, body = venue.call("GET", "swap/v3/quote/klines", params, key=None, secret=None)

    assert len(body["data"]) == 3
    row_types = {name: type(value) for name, value in body["data"][0].items()}
    strings = dict.fromkeys(("open", "close", "high", "low", "volume"), str)
    assert row_types == {**strings, "time": int}


def test_prices_of_all_endpoints_agree(
    sim: Any, venue: Any, with_client: Callable[..., Any]
) -> None:
    async def script(client: Any) -> Any:
        return (
            await client.fetch_ticker(SYMBOL),
            await client.fetch_order_book(SYMBOL, 5),
            await client.fetch_funding_rate(SYMBOL),
            await client.fetch_mark_price(SYMBOL),
            (await client.fetch_trades(SYMBOL, limit=10)),
            (await client.fetch_open_interest(SYMBOL)),
        )

    ticker, book, funding, mark, trades, interest = with_client(sim, script)

    price = venue.price()
    assert float(ticker["last"]) == float(mark["markPrice"]) == float(funding["markPrice"]) == price
    assert book["bids"][0][0] < price < book["asks"][0][0]
    assert book["asks"] == sorted(book["asks"])
    assert float(trades[-1]["price"]) == pytest.approx(price, rel=0.001)
    assert float(interest["openInterestValue"]) > 1e8


def test_funding_history_has_every_settlement_and_the_rate_that_was_announced(
    sim: Any, with_client: Callable[..., Any], start_ms: int
) -> None:
    async def script(client: Any) -> Any:
        announced = await client.fetch_funding_rate(SYMBOL)
        sim.clock(advance_ms=8 * 3_600_000)
        return announced, await client.fetch_funding_rate_history(SYMBOL, limit=30)

    announced, rows = with_client(sim, script)

    settlements = [round(row["timestamp"] / MINUTE_MS) * MINUTE_MS for row in rows]
    assert {later - earlier for earlier, later in itertools.pairwise(settlements)} == {28_800_000}
    assert all(ms % 28_800_000 == 0 for ms in settlements)
    assert announced["nextFundingTimestamp"] == settlements[-1]
    assert announced["fundingRate"] == rows[-1]["fundingRate"]
    assert start_ms < settlements[-1]


def test_account_settings_are_kept(sim: Any, with_client: Callable[..., Any]) -> None:
    async def script(client: Any) -> Any:
        await client.set_margin_mode("isolated", SYMBOL)
        await client.set_leverage(7, SYMBOL, {"side": "BOTH"})
        await client.set_position_mode(hedged=False)
        return (
            await client.fetch_leverage(SYMBOL),
            await client.fetch_margin_mode(SYMBOL),
            await client.fetch_position_mode(),
            await client.fetch_market_leverage_tiers(SYMBOL),
            await client.fetch_trading_fee(SYMBOL),
        )

    leverage, margin, mode, tiers, fee = with_client(sim, script)

    assert (leverage["longLeverage"], leverage["shortLeverage"]) == (7, 7)
    assert margin["marginMode"] == "isolated"
    assert mode["hedged"] is False
    assert float(tiers[0]["maintenanceMarginRate"]) == 0.004
    assert (fee["maker"], fee["taker"]) == ("0.0002", "0.0005")


def test_a_round_trip_moves_position_and_money_exactly(
    sim: Any, with_client: Callable[..., Any]
) -> None:
    async def script(client: Any) -> Any:
        opened = await client.create_order(SYMBOL, "market", "buy", 0.02)
        opened = await client.fetch_order(opened["id"], SYMBOL)
        held = await client.fetch_positions([SYMBOL])
        sim.clock(advance_ms=30 * MINUTE_MS)
        closed = await client.create_order(
            SYMBOL, "market", "sell", 0.02, None, {"reduceOnly": True}
        )
        closed = await client.fetch_order(closed["id"], SYMBOL)
        flat = await client.fetch_positions([SYMBOL])
        return opened, held, closed, flat, await client.fetch_balance()

    opened, held, closed, flat, balance = with_client(sim, script)

    assert (opened["status"], opened["filled"]) == ("closed", "0.0200")
    assert (held[0]["side"], held[0]["contracts"]) == ("long", "0.0200")
    assert float(held[0]["entryPrice"]) == float(opened["average"])
    assert flat == []
    profit = (float(closed["average"]) - float(opened["average"])) * 0.02
    fees = float(opened["fee"]["cost"]) + float(closed["fee"]["cost"])
    assert float(balance["USDT"]["free"]) == pytest.approx(10_000 + profit - fees, abs=0.001)
    assert float(closed["info"]["profit"]) == pytest.approx(profit, abs=0.001)


def test_a_resting_order_is_listed_and_cancelled(
    sim: Any, venue: Any, with_client: Callable[..., Any]
) -> None:
    price = round(venue.price() * 0.8, 1)

    async def script(client: Any) -> Any:
        params = {"clientOrderId": "rest1", "timeInForce": "GTC"}
        order = await client.create_order(SYMBOL, "limit", "buy", 0.01, price, params)
        resting = await client.fetch_open_orders(SYMBOL)
        cancelled = await client.cancel_order(order["id"], SYMBOL)
        return order, resting, cancelled, await client.fetch_open_orders(SYMBOL)

    order, resting, cancelled, left = with_client(sim, script)

    assert [row["id"] for row in resting] == [order["id"]]
    assert (resting[0]["status"], resting[0]["clientOrderId"]) == ("open", "rest1")
    assert cancelled["status"] == "canceled"
    assert left == []


def test_cancel_by_client_id_and_cancel_all(
    sim: Any, venue: Any, with_client: Callable[..., Any]
) -> None:
    price = round(venue.price() * 0.8, 1)

    async def script(client: Any) -> Any:
        for name in ("one", "two", "three"):
            params = {"clientOrderId": name}
            await client.create_order(SYMBOL, "limit", "buy", 0.01, price, params)
        await client.cancel_order("", SYMBOL, {"clientOrderId": "two"})
        gone = await client.cancel_all_orders(SYMBOL)
        return gone, await client.fetch_orders(SYMBOL)

    gone, orders = with_client(sim, script)

    assert {row["clientOrderId"] for row in gone} == {"one", "three"}
    assert {row["status"] for row in orders} == {"canceled"}
    assert len(orders) == 3


def test_histories_tell_the_same_story(sim: Any, with_client: Callable[..., Any]) -> None:
    async def script(client: Any) -> Any:
        await client.create_order(SYMBOL, "market", "buy", 0.01, None, {"clientOrderId": "h1"})
        fills = await client.swapV2PrivateGetTradeFillHistory({"symbol": "BTC-USDT"})
        older = await client.swapV2PrivateGetTradeAllFillOrders(
            {"symbol": "BTC-USDT", "tradingUnit": "COIN"}
        )
        incomes = await client.swapV2PrivateGetUserIncome({"symbol": "BTC-USDT"})
        orders = await client.swapV2PrivateGetTradeAllOrders({"symbol": "BTC-USDT"})
        full = await client.swapV1PrivateGetTradeFullOrder({"symbol": "BTC-USDT"})
        return fills, older, incomes, orders, full

    fills, older, incomes, orders, full = with_client(sim, script)

    (fill,) = fills["data"]["fill_history_orders"]
    (row,) = older["data"]["fill_orders"]
    (order,) = orders["data"]["orders"]
    (same,) = full["data"]["orders"]
    assert fill["orderId"] == row["orderId"] == str(order["orderId"]) == str(same["orderId"])
    assert fill["volume"] == row["volume"] == order["executedQty"] == "0.0100"
    assert fill["commission"] == row["commission"] == order["commission"]
    assert [i["incomeType"] for i in incomes["data"]] == ["TRADING_FEE"]
    assert incomes["data"][0]["income"] == fill["commission"]
    assert fills["data"]["total"] == 1


def test_close_all_positions_flattens(sim: Any, with_client: Callable[..., Any]) -> None:
    async def script(client: Any) -> Any:
        await client.create_order(SYMBOL, "market", "buy", 0.01)
        await client.create_order("ETH/USDT:USDT", "market", "sell", 0.5)
        before = await client.fetch_positions()
        await client.close_all_positions()
        return before, await client.fetch_positions()

    before, after = with_client(sim, script)

    assert {row["side"] for row in before} == {"long", "short"}
    assert after == []


def test_the_dead_man_switch_cancels_when_it_is_not_renewed(
    sim: Any, venue: Any, with_client: Callable[..., Any]
) -> None:
    price = round(venue.price() * 0.8, 1)

    async def script(client: Any) -> Any:
        await client.create_order(SYMBOL, "limit", "buy", 0.01, price)
        armed = await client.cancel_all_orders_after(10_000)
        before = await client.fetch_open_orders(SYMBOL)
        sim.clock(server_offset_ms=10_001)
        return armed, before

    armed, before = with_client(sim, script)

    assert armed["data"]["status"] == "ACTIVATED"
    assert len(before) == 1
    (account,) = sim.state()["accounts"]
    assert [order["status"] for order in account["orders"]] == ["CANCELLED"]


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"quantity": "0.00001"}, errors.InvalidOrder, 101400),
        ({"quantity": "0.00015"}, errors.InvalidOrder, 101400),
        ({"quantity": "50"}, errors.InsufficientFunds, 101204),
        ({"reduceOnly": "true"}, errors.InvalidOrder, 101205),
        ({"symbol": "DOGE-USDT"}, errors.BadSymbol, 109425),
        ({"positionSide": "LONG"}, errors.BadRequest, 109400),
        ({"type": "LIMIT"}, errors.BadRequest, 109400),
        ({"type": "LIMIT", "price": "1"}, errors.ExchangeError, 110425),
        ({"type": "LIMIT", "price": "20000"}, errors.ExchangeError, 101211),
        ({"side": "HOLD"}, errors.BadRequest, 109400),
    ],
)
def test_refusals_carry_the_documented_code(
    sim: Any,
    with_client: Callable[..., Any],
    change: dict[str, str],
    error: type[Exception],
    code: int,
) -> None:
    order = {
        "symbol": "BTC-USDT",
        "side": "BUY",
        "type": "MARKET",
        "quantity": "0.01",
        "positionSide": "BOTH",
        **change,
    }

    async def script(client: Any) -> Any:
        with pytest.raises(error, match=str(code)):
            await client.swapV2PrivatePostTradeOrder(order)

    with_client(sim, script)

    (account,) = sim.state()["accounts"]
    assert account["orders"] == []


def test_an_amount_under_the_notional_minimum_is_refused(venue: Any) -> None:
    order = {"symbol": "PAXG-USDT", "side": "BUY", "type": "MARKET", "quantity": "0.0001"}

    _, body = venue.call("POST", "swap/v2/trade/order", order)

    assert body["code"] == 110425


def test_the_plain_way_to_load_markets_works_too(sim: Any, with_client: Callable[..., Any]) -> None:
    async def script(client: Any) -> Any:
        await client.load_markets(reload=True)
        return client.symbols, await client.fetch_mark_ohlcv(SYMBOL, "1m", limit=3)

    symbols, marks = with_client(sim, script)

    assert SYMBOL in symbols
    assert len(marks) == 3
