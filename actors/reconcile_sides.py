"""Our side and the venue's, read at one moment, so that a fill on its way is not taken for a drift."""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.store_calls import stored
from actors.venue_talk import in_time
from desk import ids
from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS, Clock
from desk.errors import NotFound
from desk.ids import Pair
from desk.store.port import Store
from desk.trading.ledger import Ledger
from desk.trading.orders import Order, VenueOrder, VenuePosition
from desk.venues.port import TradingVenue

REACH_MS = 2 * HOUR_MS
"""How far beyond the last full pass the next one reads the venue's history."""
HISTORY_LIMIT_MS = 7 * DAY_MS
STILL_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Orders, books and positions: ours with what the venue says of them."""

    ours: tuple[Order, ...]
    theirs: tuple[VenueOrder, ...]
    ledger: Ledger
    positions: tuple[VenuePosition, ...]


class SideReader:
    """Reads both sides of one account."""

    def __init__(
        self,
        account: str,
        store: Store,
        venue: TradingVenue,
        clock: Clock,
        pairs: tuple[Pair, ...],
    ) -> None:
        self._account, self._store, self._venue = account, store, venue
        self._clock, self._pairs = clock, pairs

    async def read(self, *, full: bool, since_ms: int) -> Sides:
        """Read again while our books move under the reading; `since_ms`: the last full pass."""
        tries = STILL_TRIES
        while True:
            before = await self._ledger()
            active = await stored(lambda: self._store.active_orders(self._account))
            # Positions first: a fill that shows in them is in the histories read after them.
            positions = await in_time("positions", self._venue.positions())
            theirs = await self._venue_orders(active, full=full, since_ms=since_ms)
            known = await self._rows_of(theirs, active)
            ledger, tries = await self._ledger(), tries - 1
            if ledger.version == before.version or not tries:
                return Sides(
                    ours=(*active, *known),
                    theirs=theirs,
                    ledger=ledger,
                    positions=tuple(positions),
                )

    async def _venue_orders(
        self, active: Sequence[Order], *, full: bool, since_ms: int
    ) -> tuple[VenueOrder, ...]:
        """Open orders, and the history of every pair on which an order of ours is active."""
        now_ms = self._clock.now_ms()
        listed = await in_time("open_orders", self._venue.open_orders())
        found = {row.venue_order_id: row for row in listed}
        begin_ms = {order.pair: order.created_ms - MINUTE_MS for order in reversed(active)}
        if full:
            reach_ms = min(since_ms or now_ms, now_ms) - REACH_MS
            begin_ms = {pair: min(begin_ms.get(pair, now_ms), reach_ms) for pair in self._pairs}
        for pair, start_ms in sorted(begin_ms.items()):
            first_ms = max(start_ms, now_ms - HISTORY_LIMIT_MS + 2 * MINUTE_MS)
            past = self._venue.orders_between(pair, first_ms, now_ms + MINUTE_MS)
            found |= {row.venue_order_id: row for row in await in_time("orders_between", past)}
        return tuple(found.values())

    async def _rows_of(
        self, theirs: Sequence[VenueOrder], active: Sequence[Order]
    ) -> tuple[Order, ...]:
        """Our rows of orders that the venue lists and that are not active any more."""
        have = {order.client_order_id for order in active}
        wanted = {row.client_order_id for row in theirs if ids.is_ours(row.client_order_id)} - have

        def read() -> list[Order]:
            found = (self._store.order(cid) for cid in sorted(wanted))
            return [order for order in found if order is not None]

        return tuple(await stored(read))

    async def _ledger(self) -> Ledger:
        ledger = await stored(lambda: self._store.ledger(self._account))
        if ledger is None:
            raise NotFound("ledger", self._account)
        return ledger
