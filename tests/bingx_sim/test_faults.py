"""The fault plan: what each rule does, judged by the journal and the venue's state."""

import http.client
import json
import threading
import time
import urllib.error
from collections.abc import Callable
from typing import Any

import pytest

ORDER = "trade/order"
KLINES = "quote/klines"


def last_entry(venue: Any, method: str, path: str) -> dict[str, Any]:
    found = [e for e in venue.sim.journal() if e["method"] == method and e["path"].endswith(path)]
    return found[-1]


def test_a_dropped_response_leaves_an_order_that_nobody_was_told_of(venue: Any) -> None:
    rule = venue.sim.fault({"kind": "drop_response"}, method="POST", path=ORDER, times=1)

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        venue.place(clientOrderID="lost")

    found = venue.data("GET", f"swap/v2/{ORDER}", {"symbol": "BTC-USDT", "clientOrderId": "lost"})
    entry = last_entry(venue, "POST", ORDER)
    assert found["order"]["status"] == "FILLED"
    assert (entry["rules"], entry["processed"], entry["answered"]) == ([rule], 1, False)
    assert venue.place(clientOrderID="lost")[1]["code"] == 109201


def test_a_dropped_request_never_reaches_the_venue(venue: Any) -> None:
    venue.sim.fault({"kind": "drop_request"}, method="POST", path=ORDER, times=1)

    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        venue.place(clientOrderID="gone")

    assert venue.account()["orders"] == []
    assert last_entry(venue, "POST", ORDER)["processed"] == 0
    assert venue.place(clientOrderID="gone")[1]["code"] == 0


def test_a_delay_before_processing_lets_the_receive_window_expire(venue: Any) -> None:
    venue.sim.fault({"kind": "delay", "ms": 400}, method="POST", path=ORDER, times=1)

    _, late = venue.place(recvWindow="200")

    assert late["code"] == 100421
    assert venue.account()["orders"] == []


def test_a_delay_after_processing_only_delays_the_answer(venue: Any) -> None:
    venue.sim.fault({"kind": "delay", "ms": 400, "when": "after"}, path=ORDER, times=1)

    with pytest.raises(TimeoutError):
        venue.call(
            "POST",
            f"swap/v2/{ORDER}",
            {"symbol": "BTC-USDT", "side": "BUY", "type": "MARKET", "quantity": "0.01"},
            timeout=0.1,
        )

    assert len(venue.account()["orders"]) == 1


@pytest.mark.parametrize(("processed", "orders"), [(False, 0), (True, 1)])
def test_a_business_code_can_hide_what_happened(venue: Any, processed: bool, orders: int) -> None:
    action = {"kind": "code", "code": 109500, "msg": "busy", "processed": processed}
    venue.sim.fault(action, method="POST", path=ORDER)

    status, body = venue.place()

    assert (status, body["code"], body["msg"]) == (200, 109500, "busy")
    assert len(venue.account()["orders"]) == orders
    assert last_entry(venue, "POST", ORDER)["code"] == 109500


@pytest.mark.parametrize("status", [403, 418, 429, 503, 504])
def test_any_http_status_can_be_answered(venue: Any, status: int) -> None:
    venue.sim.fault({"kind": "http", "status": status, "body": "<html>no</html>"})

    assert venue.call("GET", "swap/v2/server/time") == (status, "<html>no</html>")


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ({"form": "html"}, str),
        ({"form": "empty"}, str),
        ({"form": "truncated"}, str),
        ({"form": "text", "text": "[1]"}, list),
    ],
)
def test_a_body_can_be_unreadable(venue: Any, action: dict[str, Any], expected: type) -> None:
    venue.sim.fault({"kind": "body", **action}, path="user/positions")

    status, body = venue.call("GET", "swap/v2/user/positions")

    assert status == 200
    assert isinstance(body, expected)


def test_data_can_have_the_wrong_type_or_fields(venue: Any) -> None:
    venue.buy()
    path = "swap/v2/user/positions"

    rule = venue.sim.fault({"kind": "data", "value": "none"}, path=path)
    wrong = venue.call("GET", path)[1]["data"]
    venue.sim.control("DELETE", f"faults?id={rule}")
    venue.sim.fault({"kind": "data", "missing": ["avgPrice"], "extra": {"new": 1}}, path=path)
    venue.sim.fault({"kind": "code_as_string"}, path=path)
    _, body = venue.call("GET", path)

    assert wrong == "none"
    assert body["code"] == "0"
    assert body["data"][0]["new"] == 1
    assert "avgPrice" not in body["data"][0]


def test_a_duplicated_request_is_processed_twice_and_placed_once(venue: Any) -> None:
    venue.sim.fault({"kind": "duplicate"}, method="POST", path=ORDER, times=1)

    _, body = venue.place(clientOrderID="twin")

    assert body["code"] == 109201
    assert last_entry(venue, "POST", ORDER)["processed"] == 2
    assert len(venue.account()["orders"]) == 1


def test_an_answer_can_break_off_in_the_middle(venue: Any) -> None:
    rule = venue.sim.fault({"kind": "cut_response", "bytes": 20}, method="POST", path=ORDER)

    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        venue.place(clientOrderID="cut")

    entry = last_entry(venue, "POST", ORDER)
    assert (entry["rules"], entry["processed"], entry["answered"]) == ([rule], 1, False)
    assert len(venue.account()["orders"]) == 1


def test_an_order_can_be_hidden_from_look_ups_by_client_id_alone(venue: Any) -> None:
    by_id = {"symbol": "BTC-USDT", "clientOrderId": "hidden"}
    venue.sim.fault({"kind": "client_id_blind", "ms": 60_000}, method="POST", path=ORDER)

    placed = venue.buy(clientOrderID="hidden")

    listed = venue.data("GET", "swap/v1/trade/fullOrder", {"symbol": "BTC-USDT", "limit": 10})
    assert venue.code("GET", f"swap/v2/{ORDER}", by_id) == 109421
    assert venue.order(placed["orderId"])["clientOrderId"] == "hidden"
    assert [row["clientOrderId"] for row in listed["orders"]] == ["hidden"]
    venue.sim.clock(server_offset_ms=61_000)
    stamp = int(time.time() * 1000) + 61_000
    found = venue.call("GET", f"swap/v2/{ORDER}", by_id, stamp=stamp)[1]
    venue.sim.clock(server_offset_ms=0)
    assert found["data"]["order"]["clientOrderId"] == "hidden"


def test_a_held_answer_comes_when_it_is_released(venue: Any) -> None:
    rule = venue.sim.fault({"kind": "hold"}, method="POST", path=ORDER, times=1)
    answers: list[Any] = []
    waiting = threading.Thread(target=lambda: answers.append(venue.place()))
    waiting.start()

    while not venue.account()["orders"]:
        pass
    assert answers == []
    venue.sim.control("POST", "faults/release", {"id": rule})
    waiting.join(timeout=10)

    assert answers[0][1]["code"] == 0


def test_reordering_lets_the_second_request_overtake_the_first(venue: Any) -> None:
    venue.sim.fault({"kind": "reorder", "ms": 5_000}, method="POST", path=ORDER, times=2)
    first = threading.Thread(target=lambda: venue.place(clientOrderID="first"))
    first.start()
    while not venue.sim.journal():
        pass

    venue.place(clientOrderID="second")
    first.join(timeout=10)

    assert [row["clientOrderId"] for row in venue.account()["orders"]] == ["second", "first"]


def test_a_partial_fill_stays_partial_until_it_is_cancelled(venue: Any) -> None:
    schedule = [[0, 0.25], [60_000, 0.25]]
    venue.sim.fault({"kind": "partial_fill", "schedule": schedule}, method="POST", path=ORDER)
    price = round(venue.price() * 0.9, 1)
    order_id = venue.buy(type="LIMIT", price=price, quantity="0.04")["orderId"]

    quarter = venue.order(order_id)
    venue.sim.clock(advance_ms=60_000)
    half = venue.order(order_id)
    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "shock": 0.8})
    venue.data("DELETE", f"swap/v2/{ORDER}", {"symbol": "BTC-USDT", "orderId": order_id})
    cancelled = venue.order(order_id)

    assert (quarter["executedQty"], quarter["status"]) == ("0.0100", "PARTIALLY_FILLED")
    assert (half["executedQty"], half["avgPrice"]) == ("0.0200", f"{price:.1f}")
    assert (cancelled["status"], cancelled["executedQty"]) == ("CANCELLED", "0.0200")
    assert venue.positions()[0]["positionAmt"] == "0.0200"


def test_a_market_order_can_fill_in_parts_at_several_prices(venue: Any) -> None:
    schedule = [[0, 0.5], [600_000, 0.5]]
    venue.sim.fault({"kind": "partial_fill", "schedule": schedule}, method="POST", path=ORDER)
    order_id = venue.buy(quantity="0.02")["orderId"]
    venue.sim.clock(advance_ms=600_000)

    order = venue.order(order_id)
    fills = venue.data("GET", "swap/v2/trade/fillHistory", {"orderId": order_id})

    prices = {row["price"] for row in fills["fill_history_orders"]}
    assert (order["status"], order["executedQty"], len(prices)) == ("FILLED", "0.0200", 2)


@pytest.mark.parametrize("status", ["EXPIRED", "FAILED"])
def test_an_accepted_order_can_end_unfilled(venue: Any, status: str) -> None:
    venue.sim.fault({"kind": "order_ends", "status": status}, method="POST", path=ORDER)

    order = venue.order(venue.buy()["orderId"])

    assert (order["status"], order["executedQty"]) == (status, "0.0000")


def test_a_lagging_status_shows_the_order_as_it_was_accepted(venue: Any) -> None:
    venue.sim.fault({"kind": "status_lag", "ms": 3_000}, method="POST", path=ORDER)
    order_id = venue.buy()["orderId"]

    lagging = venue.order(order_id)
    venue.sim.clock(server_offset_ms=3_000)

    assert (lagging["status"], lagging["executedQty"]) == ("NEW", "0.0000")
    assert venue.positions()[0]["positionAmt"] == "0.0100"
    assert venue.order(order_id)["status"] == "FILLED"


def test_an_invisible_order_holds_a_position_and_cannot_be_found(venue: Any) -> None:
    venue.sim.fault({"kind": "invisible", "ms": 60_000}, method="POST", path=ORDER)
    order_id = venue.buy()["orderId"]

    query = {"symbol": "BTC-USDT", "orderId": order_id}
    assert venue.code("GET", f"swap/v2/{ORDER}", query) == 109421
    assert len(venue.positions()) == 1


@pytest.mark.parametrize(("when", "code"), [("before", 80018), ("after", 0)])
def test_a_match_can_race_a_cancel(venue: Any, when: str, code: int) -> None:
    venue.sim.fault({"kind": "fill_on_cancel", "when": when}, method="DELETE", path=ORDER)
    order_id = venue.buy(type="LIMIT", price=round(venue.price() * 0.9, 1))["orderId"]
    cancel = {"symbol": "BTC-USDT", "orderId": order_id}

    _, answer = venue.call("DELETE", f"swap/v2/{ORDER}", cancel)

    assert answer["code"] == code
    if code == 0:
        assert answer["data"]["order"]["status"] == "CANCELLED"
    assert venue.order(order_id)["status"] == "FILLED"


def test_the_rows_of_a_list_can_come_twice_and_in_another_order(venue: Any) -> None:
    for _ in range(3):
        venue.buy()
    path = "swap/v2/trade/fillHistory"
    plain = venue.data("GET", path, {"symbol": "BTC-USDT"})["fill_history_orders"]

    rule = venue.sim.fault({"kind": "rows", "order": "reversed"}, path="trade/fillHistory")
    reversed_ = venue.data("GET", path, {"symbol": "BTC-USDT"})["fill_history_orders"]
    venue.sim.control("DELETE", f"faults?id={rule}")
    venue.sim.fault({"kind": "rows", "order": "shuffled", "twice": True}, path="user/positions")
    twice = venue.data("GET", "swap/v2/user/positions")

    assert len(plain) == 3
    assert reversed_ == plain[::-1]
    assert len(twice) == 2
    assert twice[0] == twice[1]


def test_a_stale_answer_does_not_change(venue: Any) -> None:
    rule = venue.sim.fault({"kind": "stale"}, path="user/balance")
    before = venue.data("GET", "swap/v3/user/balance")
    venue.sim.control("POST", "account", {"deposit": "5"})

    stale = venue.data("GET", "swap/v3/user/balance")
    venue.sim.control("DELETE", f"faults?id={rule}")

    assert stale == before
    assert venue.data("GET", "swap/v3/user/balance")[0]["balance"] == "10005.0000"


# ---- candles ----


def test_candle_faults_change_the_page_as_they_say(venue: Any) -> None:
    plain = venue.candles(limit=20)

    def spoiled(**action: Any) -> list[dict[str, Any]]:
        venue.sim.clear_faults()
        venue.sim.fault({"kind": f"candles_{action.pop('kind')}", **action}, path=KLINES)
        return venue.candles(limit=20)

    assert spoiled(kind="missing", count=3) == plain[:2] + plain[5:]
    hole = plain[10]["time"]
    assert spoiled(kind="missing", count=2, from_ms=hole) == plain[:9] + plain[11:]
    assert spoiled(kind="duplicated", count=1) == [plain[0], *plain]
    shuffled = spoiled(kind="unsorted")
    assert shuffled != plain
    assert sorted(shuffled, key=lambda row: -row["time"]) == plain
    assert spoiled(kind="misaligned", ms=1_000)[0]["time"] == plain[0]["time"] + 1_000
    assert spoiled(kind="empty") == []
    edited = spoiled(kind="edited", index=2, set={"high": "NaN"})
    assert edited[2] == {**plain[2], "high": "NaN"}
    assert edited[:2] + edited[3:] == plain[:2] + plain[3:]


def test_a_holed_feed_loses_other_candles_in_every_answer(venue: Any) -> None:
    plain = venue.candles(limit=1_000)
    venue.sim.fault({"kind": "candles_holed", "fraction": 0.05}, path=KLINES)

    first, second = venue.candles(limit=1_000), venue.candles(limit=1_000)

    assert 900 < len(first) < 990
    assert first != second
    assert all(row in plain for row in first)


def test_a_frozen_feed_stops_at_its_newest_candle(venue: Any) -> None:
    venue.sim.fault({"kind": "candles_frozen"}, path=KLINES)
    newest = venue.candles(limit=1)[0]["time"]

    venue.sim.clock(advance_ms=600_000)

    assert venue.candles(limit=20)[0]["time"] == newest


def test_a_flip_flop_replica_misses_the_newest_candle_every_other_time(venue: Any) -> None:
    plain = [row["time"] for row in venue.candles(limit=10)]
    venue.sim.fault({"kind": "candles_flip_flop"}, path=KLINES)

    pages = [[row["time"] for row in venue.candles(limit=10)] for _ in range(4)]

    assert pages == [plain[1:], plain, plain[1:], plain]


# ---- rules ----


def test_rules_match_on_method_symbol_client_id_count_and_market_time(
    venue: Any, start_ms: int
) -> None:
    def fires(**match: Any) -> list[bool]:
        venue.sim.clear_faults()
        venue.sim.fault({"kind": "code", "code": 1}, **match)
        query = {"symbol": "BTC-USDT", "clientOrderId": "Abc"}
        codes = [venue.code("GET", f"swap/v2/{ORDER}", query) for _ in range(4)]
        return [code == 1 for code in codes]

    never, always = [False] * 4, [True] * 4
    assert fires() == always
    assert fires(method="POST") == never
    assert fires(path="trade/order", symbol="BTC-USDT", client_id="aBC") == always
    assert fires(symbol="ETH-USDT") == never
    assert fires(params={"symbol": "BTC-USDT"}) == always
    assert fires(account="another-key") == never
    assert fires(nth=2) == [False, True, False, False]
    assert fires(every=2) == [False, True, False, True]
    assert fires(from_ms=start_ms) == always
    assert fires(to_ms=start_ms) == never
    assert fires(times=3) == [True, True, True, False]


def test_a_chance_is_drawn_from_the_seed(venue: Any, start_ms: int) -> None:
    def drawn() -> list[int]:
        venue.sim.reset(seed=7, market_ms=start_ms)
        rule = {"id": "r", "match": {"probability": 0.5}, "action": {"kind": "code", "code": 1}}
        venue.sim.control("POST", "faults", rule)
        return [venue.code("GET", "swap/v2/server/time") for _ in range(30)]

    first = drawn()

    assert set(first) == {0, 1}
    assert drawn() == first


def test_rules_are_listed_with_their_hits(venue: Any) -> None:
    rule = venue.sim.fault({"kind": "drop_request"}, path="nowhere")

    (row,) = venue.sim.control("GET", "faults")["rules"]

    assert row == {
        "id": rule,
        "match": {"path": "nowhere"},
        "action": {"kind": "drop_request"},
        "times": None,
        "seen": 0,
        "hits": 0,
    }


@pytest.mark.parametrize(
    "rule",
    [
        {"action": {"kind": "unheard of"}},
        {"match": {"colour": "red"}, "action": {"kind": "stale"}},
        {"action": "stale"},
        {"actoin": {"kind": "stale"}},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(venue: Any, rule: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        venue.sim.control("POST", "faults", rule)

    with refusal.value as answer:
        assert "fault rule" in json.loads(answer.read())["error"]


def test_a_fault_plan_is_loaded_at_the_start(
    start_simulator: Callable[..., Any], venue_of: Callable[..., Any], tmp_path: Any
) -> None:
    plan = tmp_path / "faults.json"
    plan.write_text(json.dumps([{"action": {"kind": "http", "status": 503}}]))

    venue = venue_of(start_simulator(faults=plan))

    assert venue.call("GET", "swap/v2/server/time")[0] == 503
