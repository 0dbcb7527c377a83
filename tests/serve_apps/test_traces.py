"""One trace's story: complete, or with a reason for each hop that is missing."""

import pytest
from fastapi.testclient import TestClient

from actors.audit import append_row
from desk import ids
from desk.clock import MINUTE_MS
from desk.runs import Action, AuditEvent, DecisionRecord, GateResult
from desk.trading.orders import Order
from tests.serve_apps.scene import NOW_MS, OPEN_MS, PAIR, Scene

TRACE = ids.trace_id("candle", PAIR, "1m", OPEN_MS)


def hops(client: TestClient, trace_id: str = TRACE) -> dict[str, tuple[bool, str]]:
    answer = client.get(f"/traces/{trace_id}")
    assert answer.status_code == 200, answer.text
    return {hop["name"]: (hop["present"], hop["note"]) for hop in answer.json()["hops"]}


def traded(scene: Scene) -> tuple[DecisionRecord, Order]:
    scene.candles(3)
    decision_id = ids.decision_id("run-1", PAIR, "1m", OPEN_MS)
    order = scene.order(decision_id, trace_id=TRACE)
    return scene.decide(client_order_ids=(order.client_order_id,)), order


def test_a_filled_trade_has_every_hop_under_one_trace_id(scene: Scene, client: TestClient) -> None:
    _, order = traded(scene)
    scene.fill(scene.send(order))
    scene.alert(trace_id=TRACE)

    story = client.get(f"/traces/{TRACE}").json()

    assert all(hop["present"] for hop in story["hops"])
    assert story["candle"]["open_ms"] == OPEN_MS
    assert {row["trace_id"] for row in story["decisions"] + story["orders"]} == {TRACE}
    assert story["fills"][0]["client_order_id"] == order.client_order_id
    assert story["ledger"][0]["position_delta"] == "0.0100"
    assert story["ledger"][0]["cash_delta"] == "-0.2"
    assert [alert["alert_id"] for alert in story["alerts"]] == ["late:BTC"]


def test_an_order_under_way_misses_its_fill_and_says_so(scene: Scene, client: TestClient) -> None:
    _, order = traded(scene)
    scene.send(order)

    found = hops(client)

    assert found["orders"][0] is True
    assert found["fills"] == (False, "no fill: open")
    assert found["ledger"] == (False, "nothing was booked")


def test_a_held_decision_names_the_gate(scene: Scene, client: TestClient) -> None:
    scene.candles(3)
    scene.decide(
        action=Action.HOLD,
        hold_reason="data_source_unavailable",
        gates=(
            GateResult(gate="run_running", passed=True),
            GateResult(gate="sources", passed=False, code="data_source_unavailable"),
        ),
    )

    found = hops(client)

    assert found["decision"][0] is True
    assert found["gates"] == (True, "sources: data_source_unavailable")
    assert found["orders"] == (
        False,
        "no order: held by data_source_unavailable at gate sources",
    )


def test_a_kept_position_needs_no_order(scene: Scene, client: TestClient) -> None:
    scene.candles(3)
    scene.decide(action=Action.KEEP)

    assert hops(client)["orders"] == (
        False,
        "no order: the position already was where it should be",
    )


def test_a_candle_that_nobody_decided_on_says_so(scene: Scene, client: TestClient) -> None:
    scene.candles(3)

    found = hops(client)

    assert found["candle"][0] is True
    assert found["decision"] == (False, "no run decided on this candle")


def test_an_order_whose_answer_is_open_is_not_reconciled(scene: Scene, client: TestClient) -> None:
    _, order = traded(scene)
    scene.move(order, "sending")

    assert hops(client)["reconciliation"] == (False, "pending")


def test_an_operators_request_is_a_trace_too(scene: Scene, client: TestClient) -> None:
    trace_id = ids.trace_id("request", "abc")
    event = AuditEvent(
        audit_id="a1",
        actor="operator",
        action="trade.close",
        resource="trade/t1",
        at_ms=NOW_MS,
        before={},
        after={},
        trace_id=trace_id,
    )
    append_row(scene.store, event)
    scene.order("manual", trace_id=trace_id)

    story = client.get(f"/traces/{trace_id}").json()

    assert story["audit"][0]["action"] == "trade.close"
    assert len(story["orders"]) == 1
    assert story["hops"][1]["note"] == "no decision: an operator's order"


@pytest.mark.parametrize("trace_id", ["nothing", "tr" + "a" * 22, "tr..%2F..%2Fetc", "x" * 200])
def test_an_unknown_trace_is_404(client: TestClient, trace_id: str) -> None:
    assert client.get(f"/traces/{trace_id}").status_code == 404


def test_a_trace_of_last_week_is_still_found(scene: Scene, client: TestClient) -> None:
    scene.candles(3)
    scene.clock.advance(7 * 24 * 60 * MINUTE_MS)

    assert hops(client)["candle"][0] is True
