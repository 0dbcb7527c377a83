"""Exits that live at the venue, as the account's executor books, notes, cancels and replaces them."""

from dataclasses import dataclass
from decimal import Decimal

import structlog

from actors.events import order_event
from actors.heartbeat import leave
from actors.order_rows import OrderRows
from actors.store_calls import RequestIds, retried, stored
from actors.venue_talk import in_time
from desk.clock import Clock
from desk.errors import BadInput, Fenced, NotFound
from desk.ids import Pair
from desk.store.port import Fence, Store
from desk.trading import protection
from desk.trading.orders import Order, Side, VenueOrder
from desk.venues.port import ExchangeExits
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()


# --- messages of the executor -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BookExit:
    """An exit that came with an order of ours has fired."""

    parent_id: str
    """Client order id of the order that it came with."""
    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteExit:
    """An exit that came with an order of ours rests at the venue."""

    parent_id: str
    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelExit:
    """An exit of ours rests for a position that is over."""

    pair: Pair
    venue_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceStop:
    """A position lacks its protective stop."""

    pair: Pair
    side: Side
    quantity: Decimal
    stop_price: Decimal


# --- the work -----------------------------------------------------------------------------------


class VenueExits:
    """Exits of one account. `exchange` is None where exits cannot get lost: on paper."""

    def __init__(
        self,
        rows: OrderRows,
        store: Store,
        fence: Fence,
        clock: Clock,
        exchange: ExchangeExits | None,
    ) -> None:
        self._rows, self._store, self._fence, self._clock = rows, store, fence, clock
        self._exchange = exchange
        self._requests = RequestIds(f"{fence.role}:exits", fence.epoch)

    async def row_of(self, ask: BookExit) -> Order:
        """The row of an exit, created when it is first heard of. Idempotent by the venue's order id."""
        parent = await self._rows.load(ask.parent_id)
        known = await stored(lambda: self._store.order(protection.exit_id(parent, ask.report)))
        return known or await retried(lambda: self._create(parent, ask.report))

    async def cancel(self, ask: CancelExit) -> None:
        """Ask the venue to end an exit. Raises `BadInput` on paper, and what the venue raises."""
        log.warning("stale_exit_cancelled", pair=ask.pair, venue_order_id=ask.venue_order_id)
        await in_time("cancel", self._at_venue().cancel_by_id(ask.pair, ask.venue_order_id))

    async def place(self, ask: PlaceStop) -> str:
        """Let a new stop rest and return its id. Raises as `cancel`."""
        log.warning("protective_stop_placed", pair=ask.pair, quantity=str(ask.quantity))
        return await in_time(
            "place_stop",
            self._at_venue().place_stop(ask.pair, ask.side, ask.quantity, ask.stop_price),
        )

    def _at_venue(self) -> ExchangeExits:
        if self._exchange is None:
            raise BadInput("account", "its venue keeps its exits by itself: nothing can be placed")
        return self._exchange

    async def _create(self, parent: Order, report: VenueOrder) -> Order:
        ledger = await stored(lambda: self._store.ledger(parent.account))
        if ledger is None:
            raise NotFound("ledger", parent.account)
        now_ms = self._clock.now_ms()
        row = protection.exit_row(parent, report, now_ms=now_ms, wall_ms=wall_ms())
        request_id = self._requests.fresh("exit")
        event = order_event(row, at_ms=now_ms)
        try:
            return await stored(
                lambda: self._store.create_order(
                    row, ledger, fence=self._fence, request_id=request_id, event=event
                )
            )
        except Fenced as newer:
            leave(str(newer))
