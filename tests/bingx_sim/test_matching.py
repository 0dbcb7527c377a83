"""Orders against the price path: who fills when, at what price, and what it does to the account."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bingx_sim.path import Path, path_of

MINUTE_MS = 60_000


# ---- the path itself ----

candle = st.tuples(*[st.integers(1, 10**7)] * 4).map(
    lambda p: (p[0], max(p), min(p), p[1])  # open, high, low, close
)


@given(candle, st.integers(0, 10**9))
def test_the_path_touches_exactly_the_candles_four_prices(
    prices: tuple[int, int, int, int], minute: int
) -> None:
    opened, high, low, closed = prices

    path = path_of(prices, minute * MINUTE_MS)

    assert path.price_at(0) == opened
    assert path.price_at(MINUTE_MS) == closed
    assert path.range_until(MINUTE_MS) == (low, high)


@given(candle, st.integers(1, 10**7), st.integers(0, 59_999))
def test_a_crossing_is_the_first_moment_at_the_level(
    prices: tuple[int, int, int, int], level: int, from_ms: int
) -> None:
    path = path_of(prices, 0)

    falling, rising = path.first_at_or_below(level, from_ms), path.first_at_or_above(level, from_ms)

    _assert_first(path, falling, from_ms, lambda price: price < level - 1e-6)
    _assert_first(path, rising, from_ms, lambda price: price > level + 1e-6)
    for hit, sign in ((falling, 1), (rising, -1)):
        assert hit is None or sign * path.price_at(hit) <= sign * level + 1e-6


def _assert_first(
    path: Path, hit: int | None, from_ms: int, beyond: Callable[[float], bool]
) -> None:
    """`beyond` tells whether a price is past the level by more than rounding."""
    turns = [from_ms, *(at for at, _ in path.vertices if from_ms <= at < MINUTE_MS)]
    if hit is None:
        assert not any(beyond(path.price_at(at)) for at in turns)
        return
    assert from_ms <= hit <= MINUTE_MS
    assert not any(beyond(path.price_at(at)) for at in (from_ms, hit - 1) if from_ms <= at < hit)


# ---- orders ----


def test_a_market_order_pays_half_the_spread_and_more_for_size(venue: Any) -> None:
    venue.sim.control("POST", "account", {"balance": "10000000"})
    middle = venue.price()

    small = venue.order(venue.buy(quantity="0.01")["orderId"])
    large = venue.order(venue.buy(quantity="100")["orderId"])
    sold = venue.order(venue.buy(side="SELL", quantity="0.01")["orderId"])

    assert middle < float(small["avgPrice"]) <= middle + 0.3
    assert float(small["avgPrice"]) < float(large["avgPrice"]) < middle * 1.001
    assert middle - 0.3 <= float(sold["avgPrice"]) < middle
    assert float(small["commission"]) == -round(float(small["avgPrice"]) * 0.01 * 0.0005, 8)


def test_a_limit_order_fills_as_maker_when_the_path_crosses_it(venue: Any) -> None:
    limit = round(venue.price() * 0.997, 1)
    order = venue.buy(type="LIMIT", price=limit, timeInForce="GTC")
    waiting = venue.order(order["orderId"])

    venue.sim.clock(advance_ms=3 * 86_400_000)

    filled = venue.order(order["orderId"])
    assert (waiting["status"], filled["status"]) == ("PENDING", "FILLED")
    assert float(filled["avgPrice"]) == limit
    assert float(filled["commission"]) == pytest.approx(-limit * 0.01 * 0.0002, abs=1e-8)
    at_ms = filled["updateTime"]
    window = {"startTime": filled["time"], "endTime": at_ms, "limit": 1_440}
    lows = {row["time"]: float(row["low"]) for row in venue.candles(**window)}
    crossing = at_ms // MINUTE_MS * MINUTE_MS
    assert lows[crossing] <= limit - 0.1
    first = filled["time"] // MINUTE_MS * MINUTE_MS
    assert all(low > limit - 0.1 for ms, low in lows.items() if first < ms < crossing)


def test_fills_do_not_depend_on_how_often_the_clock_is_read(venue: Any, start_ms: int) -> None:
    limit = round(venue.price() * 0.998, 1)

    def run(steps: int) -> dict[str, Any]:
        venue.sim.reset(seed=7, market_ms=start_ms)
        order = venue.buy(type="LIMIT", price=limit)
        for _ in range(steps):
            venue.sim.clock(advance_ms=86_400_000 // steps)
        return venue.order(order["orderId"])

    assert run(1) == run(48)


def test_a_marketable_limit_takes_at_once_within_its_price(venue: Any) -> None:
    price = venue.price()

    order = venue.order(venue.buy(type="LIMIT", price=round(price * 1.01, 1))["orderId"])

    assert order["status"] == "FILLED"
    assert price < float(order["avgPrice"]) < price * 1.001
    assert float(order["commission"]) == pytest.approx(-float(order["avgPrice"]) * 0.01 * 0.0005)


@pytest.mark.parametrize(
    ("force", "factor", "status"),
    [
        ("IOC", 0.99, "CANCELLED"),
        ("FOK", 0.99, "EXPIRED"),
        ("IOC", 1.01, "FILLED"),
        ("FOK", 1.01, "FILLED"),
        ("PostOnly", 0.99, "PENDING"),
    ],
)
def test_time_in_force_decides_what_does_not_cross(
    venue: Any, force: str, factor: float, status: str
) -> None:
    price = round(venue.price() * factor, 1)

    order = venue.order(venue.buy(type="LIMIT", price=price, timeInForce=force)["orderId"])

    assert order["status"] == status


def test_post_only_that_would_take_is_refused(venue: Any) -> None:
    order = {
        "symbol": "BTC-USDT",
        "side": "BUY",
        "type": "LIMIT",
        "quantity": "0.01",
        "price": round(venue.price() * 1.01, 1),
        "timeInForce": "PostOnly",
    }

    assert venue.call("POST", "swap/v2/trade/order", order)[1]["code"] == 101215


def test_reduce_only_never_flips(venue: Any) -> None:
    venue.buy(quantity="0.02")
    order = {"symbol": "BTC-USDT", "side": "SELL", "type": "MARKET", "reduceOnly": "true"}

    too_much = venue.call("POST", "swap/v2/trade/order", {**order, "quantity": "0.03"})[1]
    wrong_side = venue.call(
        "POST", "swap/v2/trade/order", {**order, "side": "BUY", "quantity": "0.01"}
    )[1]
    venue.buy(side="SELL", quantity="0.02", reduceOnly="true")
    flat = venue.call("POST", "swap/v2/trade/order", {**order, "quantity": "0.01"})[1]

    assert (too_much["code"], wrong_side["code"], flat["code"]) == (101290, 101205, 101205)
    assert venue.positions() == []


def test_a_resting_reduce_only_order_is_cut_to_the_position_it_meets(venue: Any) -> None:
    venue.buy(quantity="0.02")
    price = round(venue.price() * 1.002, 1)
    exit_ = venue.buy(side="SELL", type="LIMIT", price=price, quantity="0.02", reduceOnly="true")
    venue.buy(side="SELL", quantity="0.015")

    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "price": price + 100})
    venue.sim.clock(advance_ms=1_000)

    order = venue.order(exit_["orderId"])
    assert order["executedQty"] == "0.0050"
    assert venue.positions() == []


def test_an_opposite_order_without_reduce_only_flips_the_position(venue: Any) -> None:
    venue.buy(quantity="0.01")
    before = venue.positions()[0]["positionId"]

    venue.buy(side="SELL", quantity="0.03")

    (position,) = venue.positions()
    assert (position["positionSide"], position["positionAmt"]) == ("SHORT", "0.0200")
    assert position["positionId"] != before


@pytest.mark.parametrize(
    ("move", "filled", "gone"), [(0.97, "stop", "take"), (1.03, "take", "stop")]
)
def test_attached_protection_closes_at_its_mark_price_and_takes_its_twin_away(
    venue: Any, move: float, filled: str, gone: str
) -> None:
    price = venue.price()
    stop = f'{{"type":"STOP_MARKET","stopPrice":{price * 0.98:.1f},"workingType":"MARK_PRICE"}}'
    take = f'{{"type":"TAKE_PROFIT_MARKET","stopPrice":{price * 1.02:.1f},"quantity":0.01}}'
    entry = venue.buy(stopLoss=stop, takeProfit=take)
    resting = venue.call("GET", "swap/v2/trade/openOrders", {"symbol": "BTC-USDT"})[1]
    orders = {row["type"]: row for row in resting["data"]["orders"]}

    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "price": round(price * move, 1)})
    venue.sim.clock(advance_ms=1_000)

    names = {"stop": "STOP_MARKET", "take": "TAKE_PROFIT_MARKET"}
    assert {row["triggerOrderId"] for row in orders.values()} == {entry["orderId"]}
    assert all(row["reduceOnly"] and row["origQty"] == "0.0100" for row in orders.values())
    after = {row["type"]: row["status"] for row in venue.account()["orders"]}
    assert (after[names[filled]], after[names[gone]]) == ("FILLED", "CANCELLED")
    assert venue.positions() == []


def test_protection_on_the_wrong_side_is_refused(venue: Any) -> None:
    stop = f'{{"type":"STOP_MARKET","stopPrice":{venue.price() * 1.1:.1f}}}'
    order = {"symbol": "BTC-USDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}

    _, body = venue.call("POST", "swap/v2/trade/order", {**order, "stopLoss": stop})

    assert body["code"] == 101400


def test_funding_is_paid_by_the_side_that_owes_it(venue: Any) -> None:
    venue.buy(quantity="0.05")
    params = {"symbol": "BTC-USDT"}

    venue.sim.clock(advance_ms=86_400_000)

    incomes = venue.call("GET", "swap/v2/user/income", {**params, "incomeType": "FUNDING_FEE"})[1]
    rates = venue.call("GET", "swap/v2/quote/fundingRate", {**params, "limit": 3})[1]["data"]
    paid = {row["time"]: Decimal(row["income"]) for row in incomes["data"]}
    assert len(paid) == 3
    for row in rates:
        at_ms = row["fundingTime"] // MINUTE_MS * MINUTE_MS
        due = -Decimal("0.05") * Decimal(row["markPrice"]) * Decimal(row["fundingRate"])
        assert paid[at_ms] == pytest.approx(due, abs=Decimal("0.00000001"))


def test_an_isolated_position_loses_its_margin_and_no_more(venue: Any) -> None:
    symbol = {"symbol": "BTC-USDT"}
    venue.call("POST", "swap/v2/trade/marginType", {**symbol, "marginType": "ISOLATED"})
    venue.call("POST", "swap/v2/trade/leverage", {**symbol, "side": "BOTH", "leverage": 20})
    venue.buy(quantity="0.1")
    (held,) = venue.positions()
    margin = float(held["initialMargin"])
    before = float(venue.account()["balance"]["balance"])

    venue.sim.control(
        "POST", "market", {"pair": "BTC-USDT", "price": held["liquidationPrice"] - 50}
    )
    venue.sim.clock(advance_ms=1_000)

    assert venue.positions() == []
    lost = before - float(venue.account()["balance"]["balance"])
    assert lost == pytest.approx(margin, rel=0.02)
    forced = venue.call(
        "GET", "swap/v2/trade/forceOrders", {**symbol, "autoCloseType": "LIQUIDATION"}
    )
    assert [row["status"] for row in forced[1]["data"]["orders"]] == ["FILLED"]
    kinds = {row["kind"] for row in venue.account()["incomes"]}
    assert {"TRADING_FEE", "REALIZED_PNL"} <= kinds


def test_equity_is_cash_plus_unrealised_profit_and_margins_add_up(venue: Any) -> None:
    venue.buy(quantity="0.02")
    venue.buy(type="LIMIT", price=round(venue.price() * 0.9, 1), quantity="0.01")

    venue.sim.clock(advance_ms=3_600_000)

    row = venue.call("GET", "swap/v3/user/balance")[1]["data"][0]
    money = {name: float(value) for name, value in row.items() if name not in {"asset", "userId"}}
    assert money["equity"] == pytest.approx(
        money["balance"] + money["unrealizedProfit"], abs=0.0002
    )
    free = money["balance"] - money["usedMargin"] - money["freezedMargin"]
    free += min(0.0, money["unrealizedProfit"])
    assert money["availableMargin"] == pytest.approx(free, abs=0.0002)
    assert money["freezedMargin"] > 0


def test_all_money_movements_are_incomes(venue: Any) -> None:
    for side in ("BUY", "SELL", "SELL", "BUY"):
        venue.buy(side=side, quantity="0.03")
        venue.sim.clock(advance_ms=9 * 3_600_000)

    row = venue.account()
    total = sum(Decimal(income["amount"]) for income in row["incomes"])
    assert float(row["balance"]["balance"]) == pytest.approx(float(10_000 + total), abs=0.0001)
