"""Trades and their executions over HTTP, projected from orders in the store."""

from decimal import Decimal

import pytest
from fastapi.testclient import TestClient

from desk import ids
from desk.trading.orders import Leg, Side
from tests.serve_apps.scene import NOW_MS, PAIR, Scene

OF_ANOTHER = "t1" + "x" * 24


def test_a_filled_order_is_an_open_trade_with_its_position(
    scene: Scene, client: TestClient
) -> None:
    order = scene.fill(scene.send(scene.order()))

    trade = client.get("/trades").json()["items"][0]

    assert trade["trade_id"] == order.client_order_id
    assert (trade["status"], trade["side"], trade["mode"]) == ("filled", "buy", "paper")
    assert (trade["is_open"], trade["position_size"]) == (True, "0.0100")
    assert trade["average_fill_price"] == "40004.0"
    assert trade["net_pnl"] == "-0.2"
    assert trade["baseline"] is True
    assert trade["funding"] is None


def test_an_order_that_is_not_filled_has_no_price_instead_of_zero(
    scene: Scene, client: TestClient
) -> None:
    scene.order()

    trade = client.get("/trades").json()["items"][0]

    assert trade["status"] == "proposed"
    assert trade["average_fill_price"] is None
    assert trade["exit_price"] is None


def test_a_closed_trade_shows_both_legs_and_its_result(scene: Scene, client: TestClient) -> None:
    entry = scene.fill(scene.send(scene.order()))
    scene.clock.advance(60_000)
    exit_order = scene.order(
        "d2", leg=Leg.EXIT, trade_id=entry.trade_id, side=Side.SELL, reserved_quote=Decimal(0)
    )
    scene.fill(scene.send(exit_order), "40104.0")

    trade = client.get(f"/trades/{entry.trade_id}").json()

    assert [row["kind"] for row in trade["executions"]] == ["entry", "exit"]
    assert [len(row["fills"]) for row in trade["executions"]] == [1, 1]
    assert Decimal(trade["realized_pnl"]) == Decimal(1)
    assert Decimal(trade["net_pnl"]) == Decimal("0.6")
    assert trade["is_open"] is False
    assert trade["closed_at_ms"] == NOW_MS + 60_000


def test_every_change_of_state_is_told_once_and_in_order(scene: Scene, client: TestClient) -> None:
    order = scene.fill(scene.send(scene.order()))
    scene.order("other")

    events = client.get(f"/trades/{order.trade_id}").json()["state_events"]

    moves = [(row["from"], row["to"]) for row in events]
    assert moves == [
        ("", "intent"),
        ("intent", "sending"),
        ("sending", "open"),
        ("open", "filled"),
    ]


def test_slippage_is_positive_when_the_price_was_worse_for_us(
    scene: Scene, client: TestClient
) -> None:
    bought = scene.fill(scene.send(scene.order()))

    execution = client.get(f"/trades/{bought.trade_id}").json()["executions"][0]

    assert execution["slippage_bps"] == pytest.approx(1.0)


def test_filters_choose_by_status_pair_side_mode_and_time(scene: Scene, client: TestClient) -> None:
    scene.fill(scene.send(scene.order("a")))
    scene.clock.advance(1_000)
    scene.order("b", side=Side.SELL)
    scene.clock.advance(1_000)
    scene.order("c", pair="ETH-USDT")

    def found(**query: str | int) -> list[str]:
        rows = client.get("/trades", params=query).json()["items"]
        return [row["pair"][:3] + row["side"][0] for row in rows]

    assert found() == ["ETHb", "BTCs", "BTCb"]
    assert found(status="filled") == ["BTCb"]
    assert found(pair="eth-usdt") == ["ETHb"]
    assert found(side="sell") == ["BTCs"]
    assert found(mode="live") == []
    assert found(start_ms=NOW_MS + 500, end_ms=NOW_MS + 1_500) == ["BTCs"]


def test_pages_follow_each_other_without_a_gap_or_a_repeat(
    scene: Scene, client: TestClient
) -> None:
    made = [scene.order(f"d{n}").trade_id for n in range(7)]

    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = client.get("/trades", params=query).json()
        seen += [row["trade_id"] for row in page["items"]]
        cursor = page["next_cursor"]

    assert sorted(seen) == sorted(made)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "done"}, "status"),
        ({"pair": "x"}, "pair"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "!"}, "cursor"),
        ({"start_ms": 5, "end_ms": 5}, "start_ms"),
        ({"start_ms": -1}, "start_ms"),
        ({"end_ms": 10**18}, "end_ms"),
    ],
)
def test_a_bad_filter_is_a_422_that_names_it(
    client: TestClient, query: dict[str, str | int], field: str
) -> None:
    answer = client.get("/trades", params=query)

    assert answer.status_code == 422
    assert answer.json()["field"] == field


def test_an_unknown_trade_is_404(client: TestClient) -> None:
    assert client.get("/trades/t1nothing").status_code == 404
    assert client.post("/trades/t1nothing/close").status_code == 404
    assert client.post("/trades/t1nothing/cancel").status_code == 404


def test_a_close_asks_the_desk_for_a_part_of_the_position(scene: Scene, client: TestClient) -> None:
    order = scene.fill(scene.send(scene.order()))

    answer = client.post(
        f"/trades/{order.trade_id}/close",
        json={"quantity": "0.0040", "client_order_id": order.client_order_id, "reason": "enough"},
    )

    assert answer.status_code == 202
    assert ids.is_ours(answer.json()["client_order_id"])
    command, said = scene.desk.heard[0]
    assert (command, said["quantity"], said["reason"]) == ("close", Decimal("0.0040"), "enough")
    assert said["name"] == ""


def test_a_callers_own_name_of_a_close_reaches_the_desk(scene: Scene, client: TestClient) -> None:
    order = scene.fill(scene.send(scene.order()))

    answer = client.post(f"/trades/{order.trade_id}/close", json={"client_order_id": "my-close-1"})

    assert answer.status_code == 202
    assert scene.desk.heard[0][1]["name"] == "my-close-1"


def test_a_cancel_asks_the_desk_and_names_the_orders(scene: Scene, client: TestClient) -> None:
    order = scene.send(scene.order())

    answer = client.post(f"/trades/{order.trade_id}/cancel", json={"reason": "changed my mind"})

    assert answer.status_code == 202
    assert answer.json()["client_order_ids"] == [order.client_order_id]
    command, said = scene.desk.heard[0]
    assert (command, said["reason"]) == ("cancel", "changed my mind")


def test_one_key_makes_one_cancel_and_another_body_under_it_is_refused(
    scene: Scene, client: TestClient
) -> None:
    path = f"/trades/{scene.send(scene.order()).trade_id}/cancel"
    key = {"Idempotency-Key": "cancel-1"}

    first = client.post(path, json={"reason": "a"}, headers=key)
    again = client.post(path, json={"reason": "a"}, headers=key)
    other = client.post(path, json={"reason": "b"}, headers=key)

    assert (first.status_code, again.json(), other.status_code) == (202, first.json(), 422)
    assert len(scene.desk.heard) == 1


@pytest.mark.parametrize(
    "body",
    [{"quantity": "0"}, {"quantity": "NaN"}, {"quantity": "-1"}, {"client_order_id": OF_ANOTHER}],
)
def test_a_close_as_it_may_not_be_does_nothing(
    scene: Scene, client: TestClient, body: dict[str, str]
) -> None:
    order = scene.fill(scene.send(scene.order()))

    assert client.post(f"/trades/{order.trade_id}/close", json=body).status_code == 422
    assert scene.desk.heard == []


def test_a_pair_is_shown_as_the_venue_writes_it(scene: Scene, client: TestClient) -> None:
    scene.order()

    assert client.get("/trades").json()["items"][0]["pair"] == PAIR
