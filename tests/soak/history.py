"""What is checked while a soak runs: every move of every order, and the books at every look."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.wiring import LIVE, PAPER
from desk.store.port import Event, Stream
from desk.store.valkey import ValkeyStore
from desk.trading import invariants
from desk.trading.orders import TRANSITIONS, OrderState
from tests.orders.verdict import orders_of

PAGE = 1_000
TRIES = 5
"""A look that met a change in between is repeated; what never stands still is looked at the next time."""
NEVER = frozenset(
    {"invariant_breached", "illegal_transition", "overfill", "orphan_order", "audit_chain_broken"}
)
"""Alerts that may not come, whatever is killed."""


@dataclass(slots=True)
class History:
    """Follows the orders' events from the beginning, and remembers where each order stands."""

    stood: dict[str, OrderState] = field(default_factory=dict)
    filled: dict[str, Decimal] = field(default_factory=dict)
    fills: set[tuple[str, str]] = field(default_factory=set)
    breaches: list[str] = field(default_factory=list)
    moves: int = 0
    _cursor: str = "0-0"

    def follow(self, store: ValkeyStore) -> None:
        """Hear what has happened since the last call."""
        while events := store.read_events({Stream.ORDERS: self._cursor}, limit=PAGE):
            self.hear(events)
            self._cursor = events[-1].event_id

    def hear(self, events: Iterable[Event]) -> None:
        """Judge these events, oldest first."""
        for event in events:
            if event.topic == "order":
                self._moved(event.data["client_order_id"], OrderState(event.data["state"]))
                self._filled(event.data)
            elif event.topic == "fill":
                self._moved(event.data["client_order_id"], OrderState(event.data["order_state"]))
                self._booked(event.data["client_order_id"], event.data["fill_id"])

    def _moved(self, cid: str, state: OrderState) -> None:
        before = self.stood.get(cid)
        if before is None and state is not OrderState.INTENT:
            self.breaches.append(f"S6: {cid} began as {state}")
        if before is not None and state is not before and state not in TRANSITIONS[before]:
            self.breaches.append(f"S6: {cid} went from {before} to {state}")
        self.stood[cid] = state
        self.moves += 1

    def _filled(self, data: Any) -> None:
        cid, filled = data["client_order_id"], Decimal(data["filled_quantity"])
        if filled < self.filled.get(cid, Decimal(0)):
            self.breaches.append(f"S1: what was filled of {cid} fell to {filled}")
        if filled > Decimal(data["quantity"]):
            self.breaches.append(f"S1: {filled} of {cid} were filled, {data['quantity']} ordered")
        self.filled[cid] = filled

    def _booked(self, cid: str, fill_id: str) -> None:
        if (cid, fill_id) in self.fills:
            self.breaches.append(f"S2: fill {fill_id} of {cid} was told twice")
        self.fills.add((cid, fill_id))


def breaches_of(store: ValkeyStore, account: str) -> list[str] | None:
    """What does not hold of an account's books now; None: they never stood still for the look."""
    for _ in range(TRIES):
        ledger, resting = store.ledger(account), store.active_orders(account)
        if ledger is None:
            return []
        orders = orders_of(store, account)
        fills = [fill for order in orders for fill in store.fills_of_order(order.client_order_id)]
        reservations = store.reservations(account)
        adjustments = store.adjustments(account)
        if (store.ledger(account), store.active_orders(account)) != (ledger, resting):
            continue
        external: dict[str, Decimal] = {}
        for one in adjustments:
            external[one.pair] = external.get(one.pair, Decimal(0)) + one.quantity
        return [
            *invariants.s1_fills_make_the_order(orders, fills),
            *invariants.s2_fill_is_applied_once(fills),
            *invariants.s3_position_is_its_fills(ledger, fills, external),
            *invariants.s7_reservations_are_open_intents(resting, reservations),
            *invariants.s8_books_balance(ledger),
        ]
    return None


ACCOUNTS = (PAPER, LIVE)
