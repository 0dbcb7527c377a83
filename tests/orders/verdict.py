"""Whether an account's orders are whole: judged by the exchange's own books and its journal."""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from actors.wiring import LIVE
from desk import ids
from desk.ids import Pair
from desk.store.valkey import ValkeyStore
from desk.trading import invariants
from desk.trading.orders import Fill, Order, OrderState

PLACED = {
    OrderState.FILLED: {"FILLED"},
    OrderState.CANCELLED: {"CANCELED", "CANCELLED", "FAILED"},
    OrderState.EXPIRED: {"EXPIRED"},
    OrderState.OPEN: {"NEW", "PENDING"},
    OrderState.PARTIAL: {"PARTIALLY_FILLED"},
}
"""Our states of orders that are at the exchange, with its words for them."""

NOTHING: Mapping[Pair, Decimal] = {}


def judge(
    store: ValkeyStore, simulator: Any, external: Mapping[Pair, Decimal] = NOTHING
) -> Counter[str]:
    """Fail unless no order is lost, doubled or orphaned and both books agree.

    Nothing may be on its way. `external` is what others did to the positions. Returns how many orders stand where.
    """
    account = simulator.state()["accounts"][0]
    theirs = [row for row in account["orders"] if ids.is_ours(row["clientOrderId"])]
    per_id = Counter(row["clientOrderId"] for row in theirs)
    doubled = {cid: count for cid, count in per_id.items() if count > 1}
    assert doubled == {}, f"W3: doubled: {doubled}"
    ours = orders_of(store)
    by_id = {order.client_order_id: order for order in ours}
    orphaned = sorted(set(per_id) - set(by_id))
    assert orphaned == [], f"orphaned: {orphaned}"
    for row in theirs:
        order = by_id[row["clientOrderId"]]
        assert row["status"] in PLACED.get(order.state, ()), (row["status"], order)
        assert order.filled_quantity == Decimal(row["executedQty"]), order
        assert order.venue_order_id == str(row["orderId"]), order
    placed = {order.client_order_id for order in ours if order.state in PLACED}
    lost = sorted(placed - set(per_id))
    assert lost == [], f"lost: {lost}"
    _judge_positions(store, account)
    _judge_books(store, ours, external)
    _judge_wire(simulator, per_id)
    return Counter(order.state.value for order in ours)


def orders_of(store: ValkeyStore, account: str = LIVE) -> list[Order]:
    """Every order of an account."""
    trades = store.trade_ids(account=account, limit=100_000)
    return [order for trade in trades for order in store.orders_of_trade(trade)]


def held_at(account: Any) -> dict[str, Decimal]:
    """Signed positions in the exchange's own books."""
    return {
        row["symbol"]: Decimal(row["positionAmt"]) * (1 if row["positionSide"] == "LONG" else -1)
        for row in account["positions"]
    }


def entries_of(simulator: Any) -> list[dict[str, Any]]:
    """The whole journal, page by page; the simulator refuses if it has forgotten a part."""
    entries: list[dict[str, Any]] = []
    while page := simulator.journal(entries[-1]["sequence"] if entries else 0):
        entries += page
    return entries


def _judge_positions(store: ValkeyStore, account: Any) -> None:
    ledger = store.ledger(LIVE)
    assert ledger is not None
    ours = {pair: position.quantity for pair, position in ledger.positions.items()}
    theirs = held_at(account)
    assert ours == theirs, f"L3: positions: ours {ours}, at the exchange {theirs}"


def _judge_books(store: ValkeyStore, ours: list[Order], external: Mapping[Pair, Decimal]) -> None:
    ledger, resting = store.ledger(LIVE), store.active_orders(LIVE)
    assert ledger is not None
    under_way = [order for order in resting if order.state not in PLACED]
    assert under_way == [], f"under way: {under_way}"
    fills: list[Fill] = [
        fill for order in ours for fill in store.fills_of_order(order.client_order_id)
    ]
    broken = [
        *invariants.s1_fills_make_the_order(ours, fills),
        *invariants.s2_fill_is_applied_once(fills),
        *invariants.s3_position_is_its_fills(ledger, fills, external),
        *invariants.s7_reservations_are_open_intents(resting, store.reservations(LIVE)),
        *invariants.s8_books_balance(ledger),
    ]
    assert broken == [], f"{broken}"


def _judge_wire(simulator: Any, per_id: Counter[str]) -> None:
    """Every order that stands was accepted exactly once, over the wire."""
    accepted: Counter[str] = Counter()
    for entry in entries_of(simulator):
        is_order = entry["method"] == "POST" and entry["path"].endswith("/trade/order")
        if is_order and entry["order_id"]:
            accepted[entry["params"]["clientOrderID"].lower()] += 1
    twice = {cid: count for cid, count in accepted.items() if count > 1}
    assert twice == {}, f"W2: accepted twice: {twice}"
    known, heard = set(per_id), {cid for cid in accepted if ids.is_ours(cid)}
    assert known == heard, f"at the exchange {known - heard}, over the wire {heard - known}"
