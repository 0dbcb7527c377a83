"""The operator API over a running desk: what the actors store is what the pages show."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from ray._private import worker as ray_worker

from actors import names
from actors.parts.control import control
from actors.parts.foundation import market_clock
from actors.wiring import LIVE
from desk import ids
from desk.runs import Action, DecisionRecord, RunStatus
from desk.spans import STAGES, spans_of
from desk.store import kinds
from desk.store.history import History
from desk.store.port import Stream
from desk.trading.orders import Order
from serve_apps.api import build_api
from serve_apps.context import ApiFacts
from serve_apps.event_ids import Place
from serve_apps.events import EventHub
from serve_apps.learning import RayLearning
from serve_apps.sse import stream
from serve_apps.stored_candles import StoredCandles
from serve_apps.ui.assets import Assets
from tests.actors.test_meters import FED_BY_A_DESK
from tests.cluster.desk_on_ray import PAIRS, RunningDesk, eventually
from tests.serve_apps.test_events import EVERYTHING, FAST, parse

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


def test_one_trace_id_is_on_every_hop_of_a_trade_over_the_wire(
    desk: RunningDesk, api: TestClient
) -> None:
    eventually(lambda: desk.ledger(LIVE).marks.get("ETH-USDT"), what="a mark")
    places, seen = desk.store.last_event_ids(), len(desk.simulator.journal())
    desk.put_live_run("run-trace", RunStatus.RUNNING, "ETH-USDT")

    decision, order = eventually(lambda: filled_entry(desk), within_s=120, what="a live trade")
    desk.end_run("run-trace")

    # candle: the id is a function of it, and its event has it
    trace_id = decision.trace_id
    assert trace_id == ids.trace_id("candle", "ETH-USDT", "1m", decision.open_ms)
    # features, policy, risk, execution: each with its time, one after the other
    assert set(STAGES) == set(decision.stage_began_ms) == set(decision.latency_ms) - {"total"}
    assert decision.observation
    assert [gate.code for gate in decision.gates if not gate.passed] == []
    # intent: the row carries the id, the venue's client order id is a function of the decision
    cid = order.client_order_id
    assert order.trace_id == trace_id
    assert cid == ids.client_order_id(LIVE, "run-trace", decision.decision_id, order.leg.value)
    # venue request and acknowledgement
    sent = [
        row for row in desk.simulator.journal(seen) if row["params"].get("clientOrderID") == cid
    ]
    assert [row["method"] for row in sent] == ["POST"]
    assert order.venue_order_id
    # fill, ledger, and everything that was said on the event stream
    told = streamed(desk, places, trace_id)
    assert {"order", "fill", "position"} <= {event["topic"] for event in told}
    # of these a page gets the newest alone: each is in the stream that it is told from
    kept = eventually(lambda: recorded(desk, places, trace_id), what="its candle and decision")
    assert {"candle", "decision", "order", "fill", "position"} <= kept
    states = [event["data"]["state"] for event in told if event["topic"] == "order"]
    assert states[:2] == ["intent", "sending"]
    assert "open" in states
    filled = [event["data"]["order_state"] for event in told if event["topic"] == "fill"]
    assert "filled" in {*states, *filled}  # the last fill moves the order, or its report does
    # samples
    for name, number in (
        ("decision_latency_ms", 5),
        ("slippage_bps", 1),
        ("ingestion_lag_seconds", 1),
    ):
        rows = desk.store.samples(name, start_ms=decision.open_ms, end_ms=1 << 52)
        assert [row.trace_id for row in rows].count(trace_id) >= number, name
    # log lines
    lines = eventually(lambda: logged(trace_id, least=4), what="the log lines of the trade")
    assert {"candle_passed_on", "decision_made", "order_answered", "fill_booked"} <= {
        line["event"] for line in lines
    }
    # the story, and the spans that a collector is given
    story = api.get(f"/traces/{trace_id}").json()
    assert [hop for hop in story["hops"] if not hop["present"]] == []
    fills = {cid: desk.store.fills_of_order(cid)}
    spans = spans_of(decision, [order], fills, float)
    assert {span.attributes["raydesk.trace_id"] for span in spans} == {trace_id}

    # the operator closes it: one id again, from the request to the books and the audit
    answer = api.post(f"/trades/{order.trade_id}/close", json={"reason": "test"})
    assert answer.status_code < 300, answer.text
    asked = answer.headers["x-trace-id"]
    closing = eventually(lambda: closed_by(desk, asked), what="the exit")
    story = api.get(f"/traces/{asked}").json()
    assert [row["client_order_id"] for row in story["orders"]] == [closing.client_order_id]
    assert [row["action"] for row in story["audit"]] == ["trade.close"]
    assert story["fills"]
    assert {event["topic"] for event in streamed(desk, places, asked)} >= {"order", "fill"}


def filled_entry(desk: RunningDesk) -> tuple[DecisionRecord, Order] | None:
    """An entry of the traced run that is filled in full, with the decision that it came from."""
    rows = {
        doc.value.decision_id: doc.value
        for doc in desk.store.list(kinds.decisions_of_run("run-trace"))
    }
    filled = (
        order
        for order in desk.orders_of("run-trace", LIVE)
        if order.state.is_terminal and order.filled_quantity and not order.reduce_only
    )
    done = ((rows[order.decision_id], order) for order in filled if order.decision_id in rows)
    return next(((row, order) for row, order in done if row.action is Action.TRADE), None)


def closed_by(desk: RunningDesk, trace_id: str) -> Order | None:
    """The filled order of an operator's request."""
    orders = desk.orders_of("run-trace", LIVE)
    return next(
        (order for order in orders if order.trace_id == trace_id and order.state.is_terminal), None
    )


def streamed(desk: RunningDesk, after: dict[Stream, str], trace_id: str) -> list[dict[str, Any]]:
    """What a page that resumes at a place hears of a trace, as it is written on the wire."""
    place = Place.of(after)
    listener = replace(EVERYTHING, last_event_id=str(place))

    async def listen() -> list[dict[str, Any]]:
        heard: list[dict[str, Any]] = []
        async with aclosing(stream(EventHub(desk.store), listener, FAST)) as messages:
            with suppress(TimeoutError):
                async with asyncio.timeout(3):
                    async for raw in messages:
                        message = parse(raw)
                        if message and message.data.get("trace_id") == trace_id:
                            heard.append({"topic": message.topic, "data": message.data["data"]})
        return heard

    return asyncio.run(listen())


def recorded(desk: RunningDesk, after: dict[Stream, str], trace_id: str) -> set[str] | None:
    """Topics of a trace in the store's streams, once its decision is among them."""
    events = desk.store.read_events(after, limit=20_000)
    found = {event.topic for event in events if event.trace_id == trace_id}
    return found if "decision" in found else None


def logged(trace_id: str, *, least: int) -> list[dict[str, Any]] | None:
    """Log lines of every process that carry a trace id."""
    node = ray_worker._global_node
    assert node is not None
    found = [
        json.loads(line)
        for path in Path(node.get_logs_dir_path()).glob("worker-*.out")
        for line in path.read_text().splitlines()
        if trace_id in line
    ]
    return found if len(found) >= least else None


def test_what_a_desk_feeds_by_itself_comes_to_a_value(desk: RunningDesk, api: TestClient) -> None:
    eventually(lambda: closed_trade(api), what="a closed trade")

    def missing() -> set[str]:
        text = api.get("/metrics").text
        moved = {
            f"{family.name}_total" if family.type == "counter" else family.name
            for family in text_string_to_metric_families(text)
            if any(row.value for row in family.samples)
        }
        return set(FED_BY_A_DESK - moved)

    def all_there() -> bool:
        return not missing()

    try:
        eventually(all_there, within_s=90)
    except AssertionError:
        assert missing() == set()


def test_every_actor_has_a_telling_name_in_ray_itself(desk: RunningDesk) -> None:
    """As the dashboard and `ray list actors` have them: they read the same table."""
    from ray._private.state import state

    def alive() -> list[dict[str, Any]]:
        return [row for row in state.actor_table(None).values() if row["State"] == "ALIVE"]

    def ours() -> set[str]:
        return {doc.key for doc in desk.store.list(kinds.ACTORS)}

    eventually(lambda: ours() <= {row["Name"] for row in alive()}, what="every actor by its name")
    roles = {role.name for role in vars(names).values() if isinstance(role, names.Role)}
    assert {name.split(":")[0] for name in ours()} <= roles
    # Other tests of this Ray leave workers of their libraries, which have no names.
    classes = {row["ActorClassName"] for row in alive() if row["Name"] in ours()}
    assert [row for row in alive() if not row["Name"] and row["ActorClassName"] in classes] == []


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
