"""The habits of the venue that a client must live with, and the shape of its rows."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
DAY_MS = 86_400_000


def test_client_ids_come_back_in_lower_case_and_find_the_order_in_any_case(venue: Any) -> None:
    created = venue.buy(clientOrderID="MixedCase1")

    params = {"symbol": "BTC-USDT", "clientOrderId": "mixedCASE1"}
    found = venue.data("GET", "swap/v2/trade/order", params)["order"]

    assert created["clientOrderID"] == found["clientOrderId"] == "mixedcase1"
    assert found["orderId"] == created["orderId"]


@pytest.mark.parametrize(("later_ms", "code"), [(0, 109201), (1_000, 109201), (1_001, 101481)])
def test_a_client_id_is_accepted_once(venue: Any, later_ms: int, code: int) -> None:
    venue.buy(clientOrderID="once")
    venue.sim.clock(advance_ms=later_ms)

    _, body = venue.place(clientOrderID="ONCE")

    assert body["code"] == code
    assert len(venue.account()["orders"]) == 1


def test_the_answer_to_a_placed_order_says_nothing_of_its_fate(venue: Any) -> None:
    created = venue.buy()

    assert not {"status", "executedQty", "avgPrice", "time", "updateTime"} & set(created)
    assert venue.order(created["orderId"])["status"] == "FILLED"


def test_order_ids_tell_when_they_were_made(venue: Any, start_ms: int) -> None:
    venue.sim.clock(advance_ms=12_345)

    order_id = int(venue.buy()["orderId"])

    assert (order_id >> 22) + SNOWFLAKE_EPOCH_MS == start_ms + 12_345
    assert order_id > 2**53


def test_fill_times_claim_utc_and_are_eight_hours_ahead(venue: Any, start_ms: int) -> None:
    venue.buy()

    (row,) = venue.data("GET", "swap/v2/trade/fillHistory", {"symbol": "BTC-USDT"})[
        "fill_history_orders"
    ]

    claimed = datetime.strptime(row["filledTm"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    honest = datetime.strptime(row["filledTime"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert int(claimed.timestamp()) == start_ms // 1000 + 8 * 3600
    assert honest.timestamp() * 1000 == start_ms


def test_a_flat_account_has_no_position_row_and_a_blank_asset_row(venue: Any) -> None:
    balances = venue.data("GET", "swap/v3/user/balance")

    assert venue.positions() == []
    assert [row["asset"] for row in balances] == ["USDT", "USDC"]
    assert {v for k, v in balances[1].items() if k not in {"asset", "userId", "shortUid"}} == {""}


def test_a_short_position_has_an_absolute_amount_and_a_side(venue: Any) -> None:
    venue.buy(side="SELL")

    (row,) = venue.positions()

    assert (row["positionSide"], row["positionAmt"]) == ("SHORT", "0.0100")


def test_order_history_is_limited_to_seven_days(venue: Any, start_ms: int) -> None:
    venue.buy()
    params = {"symbol": "BTC-USDT", "startTime": start_ms - 7 * DAY_MS - 1, "endTime": start_ms}

    for path in ("swap/v2/trade/allOrders", "swap/v1/trade/fullOrder"):
        assert venue.code("GET", path, params) == 109400
        allowed = venue.data("GET", path, {**params, "startTime": start_ms - 7 * DAY_MS})
        assert len(allowed["orders"]) == 1


def test_order_history_is_bounded_by_its_window(venue: Any, start_ms: int) -> None:
    venue.buy()
    venue.sim.clock(advance_ms=3_600_000)
    venue.buy()

    window = {"startTime": start_ms + 1, "endTime": start_ms + 2 * 3_600_000}
    late = venue.data("GET", "swap/v2/trade/allOrders", window)["orders"]
    all_ = venue.data("GET", "swap/v2/trade/allOrders", {"limit": 1})["orders"]

    assert [row["time"] for row in late] == [start_ms + 3_600_000]
    assert all_ == late


def test_open_orders_are_in_full_history_and_not_among_the_finished(venue: Any) -> None:
    venue.buy(type="LIMIT", price=round(venue.price() * 0.9, 1))

    assert venue.data("GET", "swap/v2/trade/allOrders")["orders"] == []
    assert len(venue.data("GET", "swap/v1/trade/fullOrder")["orders"]) == 1


def test_candle_pages_are_capped_and_default_to_five_hundred(venue: Any) -> None:
    assert len(venue.candles()) == 500
    assert len(venue.candles(limit=1_440)) == 1_440
    assert len(venue.candles(limit=5_000)) == 1_440


def test_candles_start_at_the_listing(venue: Any) -> None:
    params = {"symbol": "BTC-USDT"}
    (row,) = venue.data("GET", "swap/v2/quote/contracts", params)
    listed_ms = row["launchTime"]

    before = venue.candles(startTime=listed_ms - 10 * 60_000, endTime=listed_ms - 1)
    around = venue.candles(startTime=listed_ms - 10 * 60_000, endTime=listed_ms + 60_000)

    assert before == []
    assert [candle["time"] for candle in around] == [listed_ms + 60_000, listed_ms]


def test_margin_mode_is_locked_while_a_position_exists(venue: Any) -> None:
    params = {"symbol": "BTC-USDT", "marginType": "ISOLATED"}
    venue.buy()

    locked = venue.code("POST", "swap/v2/trade/marginType", params)
    venue.data("POST", "swap/v2/trade/closeAllPositions")
    _, free = venue.call("POST", "swap/v2/trade/marginType", params)

    assert locked == 109400
    assert free == {"code": 0, "msg": ""}


def test_position_mode_is_locked_while_an_order_rests(venue: Any) -> None:
    params = {"dualSidePosition": "true"}
    order = venue.buy(type="LIMIT", price=round(venue.price() * 0.9, 1))

    locked = venue.code("POST", "swap/v1/positionSide/dual", params)
    cancel = {"symbol": "BTC-USDT", "orderId": order["orderId"]}
    venue.data("DELETE", "swap/v2/trade/order", cancel)
    changed = venue.data("POST", "swap/v1/positionSide/dual", params)

    assert (locked, changed) == (104103, {"dualSidePosition": "true"})
    assert venue.place()[1]["code"] == 109400


def test_leverage_needs_side_both(venue: Any) -> None:
    params = {"symbol": "BTC-USDT", "leverage": 5}

    assert venue.code("POST", "swap/v2/trade/leverage", {**params, "side": "LONG"}) == 109400
    assert venue.code("POST", "swap/v2/trade/leverage", {**params, "side": "BOTH"}) == 0
    over = {**params, "side": "BOTH", "leverage": 126}
    assert venue.code("POST", "swap/v2/trade/leverage", over) == 109400


def test_final_and_unknown_orders_cannot_be_cancelled(venue: Any) -> None:
    filled = venue.buy()["orderId"]
    resting = venue.buy(type="LIMIT", price=round(venue.price() * 0.9, 1))["orderId"]
    path = "swap/v2/trade/order"

    codes = [
        venue.code("DELETE", path, {"symbol": "BTC-USDT", "orderId": order_id})
        for order_id in (filled, resting, resting, 12345)
    ]
    missing = venue.code("GET", path, {"symbol": "BTC-USDT", "orderId": ""})
    nonsense = venue.code("GET", path, {"symbol": "BTC-USDT", "orderId": "None"})
    elsewhere = venue.code("GET", path, {"symbol": "ETH-USDT", "orderId": filled})

    assert codes == [80018, 0, 80016, 109421]
    assert (missing, nonsense, elsewhere) == (109400, 109400, 109421)


def test_an_order_can_be_queried_only_after_the_visibility_lag(venue: Any) -> None:
    venue.sim.clock(pin_server_ms=1_700_000_000_000)
    venue.sim.control("POST", "habits", {"visibility_lag_ms": 500})
    stamp = {"stamp": 1_700_000_000_000}
    order = {"symbol": "BTC-USDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"}
    query = {"symbol": "BTC-USDT", "clientOrderId": "lag"}

    venue.call("POST", "swap/v2/trade/order", {**order, "clientOrderID": "lag"}, **stamp)
    hidden = venue.call("GET", "swap/v2/trade/order", query, **stamp)[1]
    history = venue.call("GET", "swap/v1/trade/fullOrder", {}, **stamp)[1]
    venue.sim.clock(server_offset_ms=500)
    shown = venue.call("GET", "swap/v2/trade/order", query, **stamp)[1]

    assert (hidden["code"], history["data"]["orders"], shown["code"]) == (109421, [], 0)


def test_the_older_candle_semantics_and_rows_can_be_chosen(venue: Any, start_ms: int) -> None:
    since = start_ms // 60_000 * 60_000 - 3_000 * 60_000
    venue.sim.control("POST", "habits", {"kline_mode": "first", "kline_rows": "array"})

    rows = venue.candles(startTime=since, limit=10)
    venue.sim.control("POST", "habits", {"kline_rows": "dict"})

    assert [row[0] for row in rows] == [since + n * 60_000 for n in range(9, -1, -1)]
    assert rows[0][6] == rows[0][0] + 59_999
    assert venue.candles(startTime=since, limit=10)[0]["open"] == rows[0][1]


def test_the_minute_horizon_hides_older_minutes_only(venue: Any, start_ms: int) -> None:
    venue.sim.control("POST", "habits", {"minute_horizon_days": 32})
    old = {"startTime": start_ms - 40 * DAY_MS, "endTime": start_ms - 33 * DAY_MS}

    assert venue.candles(**old) == []
    assert len(venue.candles(**old, interval="1h")) == 7 * 24


FIELDS: dict[str, dict[str, Any]] = {
    "contracts": {
        "contractId": str,
        "symbol": str,
        "size": str,
        "quantityPrecision": int,
        "pricePrecision": int,
        "feeRate": float,
        "tradeMinQuantity": float,
        "tradeMinUSDT": int,
        "status": int,
        "apiStateOpen": str,
        "brokerState": str,
        "launchTime": int,
    },
    "order": {
        "orderId": int,
        "origQty": str,
        "price": str,
        "avgPrice": str,
        "cumQuote": str,
        "commission": str,
        "leverage": str,
        "takeProfit": dict,
        "stopLoss": dict,
        "advanceAttr": int,
        "positionID": int,
        "stopGuaranteed": bool,
        "triggerOrderId": int,
        "reduceOnly": bool,
        "time": int,
    },
    "position": {
        "positionId": str,
        "positionAmt": str,
        "isolated": bool,
        "leverage": int,
        "liquidationPrice": float,
        "maxMarginReduction": str,
        "onlyOnePosition": bool,
        "createTime": int,
    },
}


def test_rows_carry_the_documented_fields_with_their_json_types(venue: Any) -> None:
    order_id = venue.buy(quantity="0.9")["orderId"]
    rows = {
        "contracts": venue.data("GET", "swap/v2/quote/contracts")[0],
        "order": venue.order(order_id),
        "position": venue.positions()[0],
    }

    for name, fields in FIELDS.items():
        found = {field: type(rows[name][field]) for field in fields}
        assert found == fields, name


def test_envelopes_of_version_one_are_stamped(venue: Any) -> None:
    _, mode = venue.call("GET", "swap/v1/positionSide/dual")
    _, tiers = venue.call("GET", "swap/v1/maintMarginRatio", {"symbol": "BTC-USDT"})

    assert isinstance(mode["timeStamp"], int)
    assert isinstance(tiers["timestamp"], int)


def test_speed_scales_the_market_and_not_the_server_clock(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any]
) -> None:
    venue = venue_of(start_simulator(speed=3_000, start_ms=1_700_000_000_000))
    first = venue.data("GET", "swap/v2/server/time")

    while True:
        row = venue.data("GET", "swap/v2/server/time")
        if row["serverTime"] >= first["serverTime"] + 200:
            break

    gone = (row["marketTime"] - first["marketTime"]) / (row["serverTime"] - first["serverTime"])
    assert gone == pytest.approx(3_000, rel=0.1)
    assert first["marketSpeed"] == "3000"


def test_a_listen_key_lives_for_an_hour_unless_it_is_renewed(venue: Any) -> None:
    path = "user/auth/userDataStream"
    status, opened = venue.call("POST", path)
    key = {"listenKey": opened["listenKey"]}

    renewed = venue.call("PUT", path, key)[0]
    unknown = venue.call("PUT", path, {"listenKey": "other"})[0]
    closed = venue.call("DELETE", path, key)[0]

    assert set(opened) == {"listenKey"}
    assert (status, renewed, unknown, closed) == (200, 200, 404, 200)
    assert venue.call("PUT", path, key)[0] == 404
