"""A durable order transition beside the bare server doing the same amount of durable work."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from bench.figures import Figure, quantile
from desk import ids
from desk.store import server
from desk.store.port import Event, Fence, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.ledger import Ledger
from desk.trading.orders import Leg, Order, OrderState, Side

ORDERS = 150
MOVES = (OrderState.SENDING, OrderState.UNKNOWN, OrderState.OPEN, OrderState.CANCELLING)


def figures() -> Iterator[Figure]:
    """Measure on a server of its own, with the product's durability (`appendfsync always`)."""
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as home:
        running = server.start(Path(home))
        try:
            yield from _transition(ValkeyStore(running.url))
        finally:
            server.stop(running)


def _transition(store: ValkeyStore) -> Iterator[Figure]:
    fence = store.acquire_lease("order_executor:bench", "bench", 60_000)
    ledger = store.create_ledger(
        Ledger(account="bench", starting_cash=Decimal(10_000), cash=Decimal(10_000)),
        fence=fence,
        event=_event("ledger"),
    )
    bare_client = store.connection.money
    ours: list[float] = []
    bare: list[float] = []
    for number in range(ORDERS):
        order = _order(number)
        current = store.create_order(
            order,
            ledger,
            fence=fence,
            request_id=ids.request_id("c", number),
            event=_event("order"),
        )
        ledger = store.ledger("bench") or ledger
        for state in MOVES:
            after = replace(current, state=state)
            began = time.perf_counter()
            current = _move(store, current, after, fence)
            ours.append(time.perf_counter() - began)
            began = time.perf_counter()
            bare_client.hset(f"bench:{number}", mapping={"state": str(state), "v": current.version})
            bare.append(time.perf_counter() - began)
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        mine, floor = quantile(ours, fraction) * 1e3, quantile(bare, fraction) * 1e3
        goal = "≤ 10 ms" if name == "p99" else "≤ 3 x floor"
        met = mine <= 10 if name == "p99" else mine <= 3 * floor
        yield Figure(
            name=f"durable order transition, {name}",
            ours=mine,
            floor=floor,
            unit="ms",
            floor_name="bare durable HSET",
            goal=goal,
            met=met,
        )
    per_second = len(ours) / sum(ours)
    yield Figure(
        name="durable order transitions per second, one writer",
        ours=per_second,
        floor=len(bare) / sum(bare),
        unit="1/s",
        floor_name="bare durable HSET",
        goal="≥ 500",
        met=per_second >= 500,
    )


def _move(store: ValkeyStore, before: Order, after: Order, fence: Fence) -> Order:
    request = ids.request_id("m", before.client_order_id, before.version)
    return store.move_order(before, after, fence=fence, request_id=request, event=_event("order"))


def _event(topic: str) -> Event:
    return Event(topic=topic, key="bench", data={"state": "bench"}, at_ms=1, stream=Stream.ORDERS)


def _order(number: int) -> Order:
    decision = ids.decision_id("bench", "BTC-USDT", "1m", number)
    cid = ids.client_order_id("bench", "bench", decision, "entry")
    return Order(
        client_order_id=cid,
        account="bench",
        run_id="bench",
        decision_id=decision,
        trade_id=cid,
        pair="BTC-USDT",
        leg=Leg.ENTRY,
        side=Side.BUY,
        quantity=Decimal("0.01"),
        reduce_only=False,
        reference_price=Decimal(50_000),
        decided_open_ms=number,
        created_ms=number,
        trace_id=ids.trace_id("bench", number),
        reserved_quote=Decimal(1),
    )
