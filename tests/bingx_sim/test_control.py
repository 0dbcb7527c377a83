"""The control plane: manual life on the account, a moving market, maintenance, limits, reset."""

import json
import urllib.error
from typing import Any

import pytest

from bingx_sim.errors import BadOption, HttpRefusal, Refusal
from bingx_sim.journal import KEPT, Journal
from bingx_sim.limits import Limits


def test_a_manual_trade_changes_the_position_without_our_client_id(venue: Any) -> None:
    trade = {"symbol": "BTC-USDT", "side": "SELL", "quantity": "0.03"}

    venue.sim.control("POST", "account", {"trade": trade})

    (position,) = venue.positions()
    (order,) = venue.data("GET", "swap/v2/trade/allOrders")["orders"]
    assert (position["positionSide"], position["positionAmt"]) == ("SHORT", "0.0300")
    assert order["clientOrderId"] == ""


def test_a_foreign_order_rests_beside_ours_and_can_be_cancelled(venue: Any) -> None:
    price = round(venue.price() * 0.9, 1)
    order = {"symbol": "BTC-USDT", "side": "BUY", "type": "LIMIT", "price": price, "quantity": 0.01}

    venue.sim.control("POST", "account", {"order": {**order, "clientOrderID": "web-1"}})
    (resting,) = venue.data("GET", "swap/v2/trade/openOrders")["orders"]
    venue.sim.control("POST", "account", {"cancel": resting["orderId"]})

    assert resting["clientOrderId"] == "web-1"
    assert venue.data("GET", "swap/v2/trade/openOrders")["orders"] == []


def test_an_order_that_had_ended_can_be_filled_after_all(venue: Any) -> None:
    venue.sim.fault({"kind": "partial_fill", "schedule": [[0, 0.4]]}, method="POST")
    placed = venue.buy(quantity="0.02", clientOrderID="back")
    venue.data(
        "DELETE", "swap/v2/trade/order", {"symbol": "BTC-USDT", "orderId": placed["orderId"]}
    )
    cancelled = venue.order(placed["orderId"])

    venue.sim.control("POST", "account", {"fill": {"client_id": "BACK", "quantity": "0.01"}})
    partial = venue.order(placed["orderId"])
    venue.sim.control("POST", "account", {"fill": {"order": placed["orderId"]}})
    filled = venue.order(placed["orderId"])

    assert (cancelled["status"], cancelled["executedQty"]) == ("CANCELLED", "0.0080")
    assert (partial["status"], partial["executedQty"]) == ("PARTIALLY_FILLED", "0.0180")
    assert (filled["status"], filled["executedQty"]) == ("FILLED", "0.0200")
    assert venue.positions()[0]["positionAmt"] == "0.0200"


def test_the_server_clock_can_drift_and_keeps_what_it_gained(venue: Any) -> None:
    before = venue.sim.clock(server_drift_ppm=500_000)
    skewed = venue.sim.clock()
    while skewed["server_ms"] - skewed["wall_ms"] < 20:
        skewed = venue.sim.clock()
    gained = venue.sim.clock(server_drift_ppm=0)["server_offset_ms"]

    assert before["server_offset_ms"] == 0
    assert gained >= 20
    assert venue.sim.clock()["server_offset_ms"] == gained
    venue.sim.clock(server_offset_ms=0)


def test_a_reset_lets_the_server_clock_follow_the_wall_again(venue: Any) -> None:
    venue.sim.clock(pin_server_ms=1_700_000_000_000)

    venue.sim.reset()

    clock = venue.sim.clock()
    assert abs(clock["server_ms"] - clock["wall_ms"]) < 1_000


def test_money_and_mode_can_be_changed_behind_our_back(venue: Any) -> None:
    change = {"balance": "100", "deposit": "-40", "hedged": True}
    venue.sim.control("POST", "account", change)

    assert venue.data("GET", "swap/v3/user/balance")[0]["balance"] == "60.0000"
    assert venue.data("GET", "swap/v1/positionSide/dual") == {"dualSidePosition": "true"}
    assert venue.data("GET", "swap/v2/user/income")[0]["incomeType"] == "TRANSFER"


@pytest.mark.parametrize(("action", "kind"), [("liquidate", "LIQUIDATION"), ("adl", "ADL")])
def test_the_venue_can_close_a_position_by_force(venue: Any, action: str, kind: str) -> None:
    venue.buy()

    venue.sim.control("POST", "account", {action: "BTC-USDT"})

    forced = venue.data("GET", "swap/v2/trade/forceOrders", {"autoCloseType": kind})["orders"]
    assert venue.positions() == []
    assert [row["executedQty"] for row in forced] == ["0.0100"]


def test_the_price_can_be_set_and_shows_in_candle_and_mark(venue: Any) -> None:
    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "price": "50000"})

    mark = venue.data("GET", "swap/v2/quote/premiumIndex", {"symbol": "BTC-USDT"})["markPrice"]
    forming = venue.candles(limit=1)[0]
    assert (mark, forming["close"], forming["low"]) == ("50000.0", "50000.0", "50000.0")
    assert float(forming["high"]) > 50_000


def test_a_candle_can_be_revised_removed_and_made_impossible(venue: Any) -> None:
    plain = venue.candles(limit=5)
    open_ms = plain[2]["time"]

    def edited(**change: Any) -> list[dict[str, Any]]:
        body = {"pair": "BTC-USDT", "candle": {"open_ms": open_ms, **change}}
        venue.sim.control("POST", "market", body)
        return venue.candles(limit=5)

    assert edited(close="99.5")[2] == {**plain[2], "close": "99.5"}
    assert edited(volume="0")[2]["volume"] == "0.0000"
    assert open_ms not in {row["time"] for row in edited(missing=True)}


def test_maintenance_blocks_entries_before_exits(venue: Any) -> None:
    venue.buy(quantity="0.02")
    row = {"status": 25, "open_allowed": False, "maintain_ms": 1_760_000_000_000}
    exit_ = {"side": "SELL", "reduceOnly": "true"}

    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "contract": row})
    closing = (venue.place()[1]["code"], venue.place(**exit_)[1]["code"])
    contract = venue.data("GET", "swap/v2/quote/contracts", {"symbol": "BTC-USDT"})[0]
    off = {"status": 0, "close_allowed": False}
    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "contract": off})

    assert closing == (109418, 0)
    assert (contract["status"], contract["apiStateOpen"]) == (25, "false")
    assert contract["maintainTime"] == 1_760_000_000_000
    assert venue.place(**exit_)[1]["code"] == 109418


def test_filters_can_change_while_we_trade(venue: Any) -> None:
    change = {"min_quantity": "0.05", "min_notional": "100"}
    venue.sim.control("POST", "market", {"pair": "BTC-USDT", "contract": change})

    row = venue.data("GET", "swap/v2/quote/contracts", {"symbol": "BTC-USDT"})[0]

    assert (row["tradeMinQuantity"], row["tradeMinUSDT"]) == (0.05, 100)
    assert venue.place(quantity="0.01")[1]["code"] == 101400
    assert venue.place(quantity="0.05")[1]["code"] == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("clock", {"advance_ms": -1}),
        ("clock", {"speed": 0}),
        ("clock", {"sped": 3}),
        ("account", {"key": "nobody"}),
        ("account", {"liquidate": "BTC-USDT"}),
        ("account", {"trade": {"symbol": "BTC-USDT", "side": "BUY", "quantity": "0.00001"}}),
        ("market", {"pair": "XXX-USDT", "price": 1}),
        ("market", {"pair": "BTC-USDT", "candle": {"open_ms": 5}}),
        ("habits", {"nothing": 1}),
    ],
)
def test_a_control_request_that_makes_no_sense_is_refused_with_a_sentence(
    venue: Any, path: str, body: dict[str, Any]
) -> None:
    with pytest.raises(urllib.error.HTTPError) as refusal:
        venue.sim.control("POST", path, body)

    with refusal.value as answer:
        assert answer.status == 400
        assert len(json.loads(answer.read())["error"]) > 10


def test_a_reset_starts_the_venue_again(venue: Any, start_ms: int) -> None:
    price = venue.price()
    venue.buy()
    venue.sim.fault({"kind": "stale"})
    venue.sim.control("POST", "market", {"shock": 0.5})

    venue.sim.reset(seed=7, market_ms=start_ms)

    state = venue.sim.state()
    assert venue.price() == price
    assert (state["rules"], state["requests"], state["accounts"][0]["orders"]) == ([], 0, [])
    assert venue.sim.reset(seed=8, market_ms=start_ms)["market_ms"] == start_ms
    assert venue.price() != price


def test_the_journal_numbers_requests_and_connections(venue: Any) -> None:
    for _ in range(3):
        venue.candles(limit=1)

    entries = venue.sim.journal()
    assert [entry["sequence"] for entry in entries] == [1, 2, 3]
    assert [entry["sequence"] for entry in venue.sim.journal(after=2)] == [3]
    assert len({entry["connection"] for entry in entries}) == 3
    assert all(entry["answered"] and entry["receive_ms"] <= entry["answer_ms"] for entry in entries)


def test_the_journal_holds_requests_as_they_came_and_no_secret(venue: Any) -> None:
    key = venue.call("POST", "user/auth/userDataStream")[1]["listenKey"]
    venue.call("PUT", "user/auth/userDataStream", {"listenKey": key})
    venue.place(clientOrderID="A b")

    entries = venue.sim.journal()
    assert [entry["method"] for entry in entries] == ["POST", "PUT", "POST"]
    assert all(row["receive_ms"] <= row["answer_ms"] for row in entries)
    assert sorted(row["receive_ms"] for row in entries) == [row["receive_ms"] for row in entries]
    assert "clientOrderID=A+b" in entries[2]["raw_query"]
    assert entries[2]["params"]["clientOrderID"] == "A b"
    assert key not in json.dumps(entries)
    assert entries[1]["params"]["listenKey"] == "***"
    assert "signature=***" in entries[2]["raw_query"]


def test_a_request_that_is_held_stands_in_the_journal_before_it_is_answered(venue: Any) -> None:
    venue.sim.fault({"kind": "hold", "when": "before"}, path="server/time", times=1)
    with pytest.raises(TimeoutError):
        venue.call("GET", "swap/v2/server/time", timeout=0.2)
    venue.candles(limit=1)

    (held, later) = venue.sim.journal()
    assert (held["sequence"], held["answered"], held["answer_ms"]) == (1, False, 0)
    assert (later["sequence"], later["answered"]) == (2, True)
    venue.sim.clear_faults()


def test_a_journal_that_has_forgotten_what_is_asked_for_says_so() -> None:
    journal = Journal()
    for _ in range(KEPT + 5):
        journal.open(
            receive_ms=1,
            market_ms=1,
            connection=1,
            method="GET",
            path="/x",
            pairs=[],
            raw_query="",
        )

    assert next(iter(journal.after(5, 1)))["sequence"] == 6
    with pytest.raises(BadOption, match="read the journal more often"):
        next(iter(journal.after(4, 1)))


def test_limits_are_per_second_and_per_caller_and_end_in_a_ban() -> None:
    now = [0.0]
    limits = Limits(enabled=True, now_s=lambda: now[0])

    def attempt(caller: str = "a", speed: float = 1.0) -> int:
        try:
            limits.check(caller=caller, endpoint="GET /x", per_second=2, speed=speed)
        except Refusal as refusal:
            return refusal.code
        except HttpRefusal as refusal:
            return refusal.status
        return 0

    assert [attempt() for _ in range(3)] == [0, 0, 100410]
    assert attempt("b") == 0
    now[0] = 1.0
    assert attempt() == 0
    assert [attempt("c", speed=2.0) for _ in range(5)] == [0, 0, 0, 0, 100410]
    codes = [attempt() for _ in range(70)]
    assert codes[-1] == 418
    now[0] = 60.0
    assert attempt() == 418
    now[0] = 62.0
    assert attempt() == 0


def test_the_wire_enforces_its_limits_when_they_are_on(venue: Any) -> None:
    venue.sim.control("POST", "habits", {"limits": True, "lift": True})

    codes = [venue.code("GET", "swap/v2/quote/contracts") for _ in range(3)]
    venue.sim.control("POST", "habits", {"ban": {"caller": "sim-key", "seconds": 60}})
    banned, _ = venue.call("GET", "swap/v3/user/balance")
    venue.sim.control("POST", "habits", {"lift": True})

    assert codes[0] == 0
    assert 100410 in codes
    assert banned == 418
    assert venue.call("GET", "swap/v3/user/balance")[0] == 200
