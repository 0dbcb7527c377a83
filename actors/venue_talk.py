"""What the executor says to a venue, and how its answers become events: never more than was proved."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from decimal import Decimal

import structlog

from desk.clock import MINUTE_MS
from desk.errors import (
    DuplicateClientId,
    LikelyRefused,
    VenueRejected,
    VenueUnavailable,
)
from desk.trading import orders
from desk.trading.orders import Fill, Order, OrderEvent, VenueOrder
from desk.venues.port import TradingVenue

log = structlog.stdlib.get_logger()

DEADLINE_S = 10.0
LIKELY_REFUSED = "likely_refused"
PAIR_CLOSED = f"{LIKELY_REFUSED}:pair_closed"
NO_MARGIN = "margin"
DUPLICATE_ID = "duplicate_client_id"
SIZE_REFUSED = "size"
NOTHING_TO_REDUCE = "nothing_to_reduce"


class VenueTalk:
    """Every call has a deadline; a call without a clear answer is no answer."""

    def __init__(self, venue: TradingVenue) -> None:
        self._venue = venue

    async def submit(self, order: Order) -> OrderEvent:
        """Send once. Whatever is not a definite answer leaves the outcome unknown."""
        try:
            venue_id = await asyncio.wait_for(self._venue.submit(order), DEADLINE_S)
        except VenueRejected as refused:
            log.warning("order_refused", why=str(refused), **named(order))
            return orders.SendRefused(reason=await self._meaning(refused, order))
        except Exception as unclear:  # noqa: BLE001 - a bug in the adapter proves nothing either
            log.warning("send_unclear", why=repr(unclear), **named(order))
            return orders.SendUnanswered(reason=_reason_of(unclear))
        return orders.SendAccepted(venue_order_id=venue_id)

    async def look_up(self, order: Order) -> VenueOrder | None:
        """The venue's state of an order; None is one vote. Raises `VenueUnavailable`."""
        if order.exit_kind is not None:
            asked = self._venue.order_by_id(order.pair, order.venue_order_id)
            seen = await in_time("order_by_id", asked)
            return replace(seen, client_order_id=order.client_order_id) if seen else None
        return await in_time("look_up", self._venue.look_up(order.pair, order.client_order_id))

    async def fills(self, order: Order, seen: VenueOrder) -> list[Fill]:
        """Executions of an order, oldest first. Raises `VenueUnavailable`."""
        return await in_time("fills", self._venue.fills(order.pair, seen))

    async def cancel(self, order: Order) -> None:
        """Ask for cancellation; the outcome is learnt by looking up."""
        try:
            await in_time("cancel", self._venue.cancel(order.pair, order.client_order_id))
        except (VenueUnavailable, VenueRejected) as unclear:
            log.warning("cancel_unclear", why=str(unclear), **named(order))

    async def is_absent_elsewhere(self, order: Order, *, now_ms: int) -> bool:
        """The second source of absence: open orders, and history from a minute before the order.

        `now_ms` is market time. False when the venue does not answer.
        """
        start_ms, end_ms = order.created_ms - MINUTE_MS, now_ms + MINUTE_MS
        try:
            listed = await in_time("open_orders", self._venue.open_orders(order.pair))
            past = await in_time(
                "orders_between", self._venue.orders_between(order.pair, start_ms, end_ms)
            )
        except VenueUnavailable:
            return False
        return all(row.client_order_id != order.client_order_id for row in (*listed, *past))

    async def is_position(self, order: Order, *, expected: Decimal) -> bool:
        """Whether the venue's position is the `expected` one, so that nothing unknown happened."""
        try:
            rows = await in_time("positions", self._venue.positions())
        except VenueUnavailable:
            return False
        held = sum((row.quantity for row in rows if row.pair == order.pair), Decimal(0))
        return held == expected

    async def _meaning(self, refused: VenueRejected, order: Order) -> str:
        """A close refused for lack of a position is done if the venue holds none; else it failed."""
        if not (order.reduce_only and refused.reason == NOTHING_TO_REDUCE):
            return refused.reason
        try:
            rows = await in_time("positions", self._venue.positions())
        except VenueUnavailable:
            return refused.reason
        held = any(row.quantity for row in rows if row.pair == order.pair)
        return refused.reason if held else orders.POSITION_IS_FLAT


def named(order: Order) -> dict[str, str]:
    """By what a log line about an order is found."""
    return {
        "client_order_id": order.client_order_id,
        "trace_id": order.trace_id,
        "account": order.account,
        "pair": order.pair,
    }


def _reason_of(unclear: Exception) -> str:
    match unclear:
        case DuplicateClientId():
            return DUPLICATE_ID
        case LikelyRefused():
            return f"{LIKELY_REFUSED}:{unclear.reason}"
        case TimeoutError():
            return "timeout"
        case VenueUnavailable():
            return unclear.reason
        case _:
            return type(unclear).__name__


async def in_time[R](call: str, answer: Awaitable[R]) -> R:
    """Wait for an answer of the venue. Raises `VenueUnavailable` past the deadline."""
    try:
        return await asyncio.wait_for(answer, DEADLINE_S)
    except TimeoutError:
        raise VenueUnavailable(call, f"no answer in {DEADLINE_S:g} s") from None
