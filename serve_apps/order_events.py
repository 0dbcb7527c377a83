"""The stored events of a few orders: a bounded walk through the order stream."""

from collections.abc import Sequence

from desk.clock import ClockAnchor
from desk.store.port import Event, EventStore, Stream
from desk.trading.orders import Order
from serve_apps.event_ids import START, order_of

MARGIN_MS = 60_000
"""Wall time around an order's life in which its events are looked for."""
BATCH = 500
MAX_BATCHES = 40


def events_of(
    store: EventStore, orders: Sequence[Order], anchor: ClockAnchor | None
) -> list[Event]:
    """Events of these orders, oldest first, as far as the stream still holds them.

    Entry ids are wall time: the walk begins shortly before the first order was made and ends after
    the last change, or after 20,000 events.
    """
    wanted = {order.client_order_id for order in orders}
    place = _start(store, orders, anchor)
    end_ms = _wall(max(order.updated_ms or order.created_ms for order in orders), anchor)
    found: list[Event] = []
    for _ in range(MAX_BATCHES):
        batch = store.read_events({Stream.ORDERS: place}, limit=BATCH)
        found += [event for event in batch if event.data.get("client_order_id") in wanted]
        if len(batch) < BATCH:
            break
        place = batch[-1].event_id
        if end_ms is not None and order_of(place)[0] > end_ms + MARGIN_MS:
            break
    return found


def _start(store: EventStore, orders: Sequence[Order], anchor: ClockAnchor | None) -> str:
    first_ms = _wall(min(order.created_ms for order in orders), anchor)
    newest = store.last_event_ids().get(Stream.ORDERS) or START
    if first_ms is None or order_of(newest)[0] <= first_ms - MARGIN_MS:
        return START  # not the clock these ids were made on: read from the beginning
    return f"{max(first_ms - MARGIN_MS, 0)}-0"


def _wall(market_ms: int, anchor: ClockAnchor | None) -> int | None:
    if anchor is None:
        return None
    return anchor.wall_ms + round((market_ms - anchor.market_ms) / anchor.speed)
