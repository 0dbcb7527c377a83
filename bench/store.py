"""A durable order transition beside the bare server doing the same amount of durable work."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from bench.figures import Figure, quantile
from desk import ids
from desk.store import server
from desk.store.port import Event, Fence, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.ledger import Ledger
from desk.trading.orders import Leg, Order, OrderState, Side

CLIENTS = (1, 8)
ROUNDS = 5
MOVES_EACH = 120
"""Timed moves of one client in one round."""
MOVES = (OrderState.SENDING, OrderState.UNKNOWN, OrderState.OPEN, OrderState.CANCELLING)
WAIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds of each call, and of each round from the first client's start to the last one's end."""

    calls_s: list[float]
    rounds_s: list[float]

    @property
    def per_second(self) -> float:
        return len(self.calls_s) / sum(self.rounds_s)


def figures() -> Iterator[Figure]:
    """Measure on a server of its own, with the product's durability (`appendfsync always`).

    In each round every client, a process of its own, first moves orders and then writes as many bare
    hashes, so that both see the same disk and the same machine.
    """
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as home:
        running = server.start(Path(home))
        try:
            synced = _fsync_setting(running.url)
            for clients in CLIENTS:
                ours, bare = _measure(running.url, clients)
                yield from _figures(clients, ours, bare, {"appendfsync": synced})
        finally:
            server.stop(running)


def _figures(
    clients: int, ours: Measured, bare: Measured, notes: dict[str, float | str]
) -> Iterator[Figure]:
    writers = "one client" if clients == 1 else f"{clients} clients"
    for name, fraction in (("p50", 0.5), ("p99", 0.99)):
        mine, floor = (quantile(one.calls_s, fraction) * 1e3 for one in (ours, bare))
        is_absolute = name == "p99" and clients == 1
        yield Figure(
            name=f"durable order transition, {writers}, {name}",
            ours=mine,
            floor=floor,
            unit="ms",
            floor_name="bare durable HSET",
            goal="≤ 10 ms" if is_absolute else "≤ 3 x floor",
            met=mine <= 10 if is_absolute else mine <= 3 * floor,
            notes=notes,
        )
    yield Figure(
        name=f"durable order transitions per second, {writers}",
        ours=ours.per_second,
        floor=bare.per_second,
        unit="1/s",
        floor_name="bare durable HSET",
        goal="≥ 500",
        met=ours.per_second >= 500,
        notes=notes,
    )


def _fsync_setting(url: str) -> str:
    store = ValkeyStore(url)
    store.load_functions()
    setting = store.durability()["appendfsync"]
    store.close()
    return setting


def _measure(url: str, clients: int) -> tuple[Measured, Measured]:
    """Let clients work at once: what their moves took, and what their bare writes took."""
    context = multiprocessing.get_context("spawn")
    together, answers = context.Barrier(clients), context.Queue()
    workers = [
        context.Process(target=_work, args=(url, number, clients, together, answers))
        for number in range(clients)
    ]
    for worker in workers:
        worker.start()
    found: list[tuple[Measured, Measured]] = [answers.get(timeout=WAIT_S) for _ in workers]
    for worker in workers:
        worker.join(WAIT_S)
    return tuple(_together([pair[which] for pair in found]) for which in (0, 1))  # pyright: ignore[reportReturnType]


def _together(each: list[Measured]) -> Measured:
    return Measured(
        calls_s=[seconds for one in each for seconds in one.calls_s],
        rounds_s=[max(rounds) for rounds in zip(*(one.rounds_s for one in each), strict=True)],
    )


def _work(url: str, number: int, clients: int, together: Barrier, answers: Any) -> None:
    """One client: in each round its moves, then its bare writes, in step with the others."""
    store, account = ValkeyStore(url), f"bench-{clients}-{number}"
    fence = store.acquire_lease(account, "bench", 600_000)
    fresh = Ledger(account=account, starting_cash=Decimal(10_000), cash=Decimal(10_000))
    store.create_ledger(fresh, fence=fence, event=_event("ledger"))
    ours, bare = Measured([], []), Measured([], [])
    for round_ in range(ROUNDS):
        orders = [
            _create(store, account, fence, round_ * MOVES_EACH + index)
            for index in range(MOVES_EACH // len(MOVES))
        ]
        _timed(together, ours, _moves(store, orders, fence))
        _timed(together, bare, _bare_writes(store, account, round_))
    store.close()
    answers.put((ours, bare))


def _timed(together: Barrier, measured: Measured, calls: Iterator[Callable[[], object]]) -> None:
    together.wait(WAIT_S)
    round_began = time.perf_counter()
    for call in calls:
        began = time.perf_counter()
        call()
        measured.calls_s.append(time.perf_counter() - began)
    measured.rounds_s.append(time.perf_counter() - round_began)


def _moves(store: ValkeyStore, orders: list[Order], fence: Fence) -> Iterator[Callable[[], object]]:
    current = {order.client_order_id: order for order in orders}

    def move(cid: str, state: OrderState) -> None:
        before = current[cid]
        current[cid] = _move(store, before, replace(before, state=state), fence)

    for cid in list(current):
        for state in MOVES:
            yield lambda cid=cid, state=state: move(cid, state)


def _bare_writes(store: ValkeyStore, account: str, round_: int) -> Iterator[Callable[[], object]]:
    client = store.connection.money
    for index in range(MOVES_EACH):
        row = {"state": "open", "v": index}
        key = f"bench:{account}:{round_}:{index // len(MOVES)}"
        yield lambda key=key, row=row: client.hset(key, mapping=row)


def _create(store: ValkeyStore, account: str, fence: Fence, number: int) -> Order:
    order, ledger = _order(account, number), store.ledger(account)
    if ledger is None:
        raise ValueError(f"the ledger of {account} was lost during the bench")
    request = ids.request_id("c", account, number)
    return store.create_order(order, ledger, fence=fence, request_id=request, event=_event("order"))


def _move(store: ValkeyStore, before: Order, after: Order, fence: Fence) -> Order:
    request = ids.request_id("m", before.client_order_id, before.version)
    return store.move_order(before, after, fence=fence, request_id=request, event=_event("order"))


def _event(topic: str) -> Event:
    return Event(topic=topic, key="bench", data={"state": "bench"}, at_ms=1, stream=Stream.ORDERS)


def _order(account: str, number: int) -> Order:
    decision = ids.decision_id(account, "BTC-USDT", "1m", number)
    cid = ids.client_order_id(account, "bench", decision, "entry")
    return Order(
        client_order_id=cid,
        account=account,
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
