"""The operator API over a running desk: what the actors store is what the pages show."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from actors.parts.control import control
from actors.parts.foundation import market_clock
from desk.runs import Action
from desk.store.history import History
from serve_apps.api import build_api
from serve_apps.context import ApiFacts
from serve_apps.learning import RayLearning
from serve_apps.stored_candles import StoredCandles
from serve_apps.ui.assets import Assets
from tests.cluster.desk_on_ray import PAIRS, RunningDesk, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

HERE = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def api(desk: RunningDesk) -> Iterator[TestClient]:
    clock = market_clock(desk.store)
    app = build_api(
        control(desk.wiring, desk.store),
        desk.store,
        clock,
        learning=RayLearning(desk.wiring, desk.store, clock),
        candles=StoredCandles(desk.store, History(desk.wiring.home / "history")),
        facts=ApiFacts(
            venue="simulator 60x",
            api_token_set=False,
            pairs=PAIRS,
            intervals=("1m",),
            accounts=desk.wiring.accounts,
        ),
        assets=Assets(folder=desk.wiring.home, import_map="{}", script_urls={}),
    )
    with TestClient(app, base_url=HERE, client=("127.0.0.1", 1)) as client:
        yield client


def closed_trade(api: TestClient) -> dict[str, Any] | None:
    trades = api.get("/trades", params={"status": "filled"}).json()["items"]
    return next((trade for trade in trades if trade["closed_at_ms"]), None)


def test_a_traded_candle_has_every_hop_of_its_trace(desk: RunningDesk, api: TestClient) -> None:
    def traded() -> Any:
        filled = {order.decision_id for order in desk.orders() if order.filled_quantity}
        rows = (one for one in desk.decisions() if one.action is Action.TRADE)
        return next((one for one in rows if one.decision_id in filled), None)

    decision = eventually(traded, what="a filled decision")

    story = api.get(f"/traces/{decision.trace_id}").json()

    assert [hop for hop in story["hops"] if not hop["present"]] == []
    assert story["candle"]["open_ms"] == decision.open_ms
    assert {order["trace_id"] for order in story["orders"]} == {decision.trace_id}
    assert [row["decision_id"] for row in story["decisions"]] == [decision.decision_id]


def test_the_summary_is_the_ledger_and_every_actor_is_up(
    desk: RunningDesk, api: TestClient
) -> None:
    account = api.get("/ops/trading/summary").json()["accounts"][0]
    assert Decimal(account["starting_cash"]) == desk.ledger().starting_cash

    def all_up() -> bool:
        actors = api.get("/ops/actors").json()["items"]
        return {actor["status"] for actor in actors} == {"up"}

    eventually(all_up, what="every actor up")
    eventually(lambda: api.get("/healthz").json()["status"] == "ok", what="health")


def test_a_closed_trade_is_the_sum_of_its_orders(desk: RunningDesk, api: TestClient) -> None:
    trade = eventually(lambda: closed_trade(api), what="a closed trade")

    detail = api.get(f"/trades/{trade['trade_id']}").json()

    orders = desk.store.orders_of_trade(trade["trade_id"])
    net = sum((order.realized_pnl - order.fees for order in orders), Decimal(0))
    assert Decimal(detail["net_pnl"]) == net
    entry = [row for row in detail["state_events"] if row["client_order_id"] == trade["trade_id"]]
    assert [row["to"] for row in entry][-1] == "filled"
    assert "sending" in [row["to"] for row in entry]


def test_the_metrics_of_the_desk_are_known_by_name(api: TestClient) -> None:
    def all_recorded() -> bool:
        items = api.get("/ops/trading/metrics").json()["items"]
        return all(item["count"] for item in items)

    eventually(all_recorded, what="a sample of every metric that the pages show")


def test_candles_and_freshness_are_those_of_the_pollers(api: TestClient) -> None:
    columns = api.get("/market-data/candles", params={"pair": PAIRS[0], "interval": "15m"}).json()
    sources = api.get("/data-sources/status", params={"pair": PAIRS[0]}).json()["items"]

    assert len(columns["t"]) > 50
    assert "bingx_candles" in {row["source_type"] for row in sources}
    assert api.get("/market-data/pairs").json()["items"][0]["tick"] is not None


def test_a_command_through_the_api_reaches_the_actors_once(api: TestClient) -> None:
    key = {"Idempotency-Key": "reconcile-once"}

    first = api.post("/ops/trading/reconcile", json={"account": "paper"}, headers=key)
    second = api.post("/ops/trading/reconcile", json={"account": "paper"}, headers=key)

    assert first.status_code == 200, first.text
    assert second.json() == first.json()
    trace_id = first.headers["x-trace-id"]
    audit = api.get("/ops/audit", params={"action": "trading.reconcile"}).json()["items"]
    assert [row["trace_id"] for row in audit].count(trace_id) == 1
    assert api.get(f"/traces/{trace_id}").json()["audit"][0]["action"] == "trading.reconcile"


def test_pause_and_resume_move_the_run(api: TestClient) -> None:
    paused = api.post("/agents/desk/pause", json={"reason": "test"}).json()
    resumed = api.post("/agents/desk/resume").json()

    assert (paused["status"], paused["pause_reason"]) == ("paused", "test")
    assert resumed["status"] == "running"
