"""Our side and the venue's, read at one moment, so that a fill on its way is not taken for a drift."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from actors.store_calls import stored
from actors.venue_talk import in_time
from desk import ids
from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS, Clock
from desk.errors import NotFound
from desk.ids import Pair
from desk.store.port import Store
from desk.trading.both_sides import both_sides
from desk.trading.ledger import Ledger, Position
from desk.trading.orders import Order, VenueOrder, VenuePosition
from desk.venues.port import TradingVenue

REACH_MS = 2 * HOUR_MS
"""How far beyond the last full pass the next one reads the venue's history."""
HISTORY_LIMIT_MS = 7 * DAY_MS
STILL_TRIES = 5
TRADES_WITH_EXITS = 20
"""Newest trades whose exits are recognised at the venue, besides those that are open."""


def sides_key(account: str) -> str:
    """Name of the fact with both sides of an account's last comparison."""
    return f"venue_sides:{account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Orders, books and positions: ours with what the venue says of them."""

    ours: tuple[Order, ...]
    theirs: tuple[VenueOrder, ...]
    ledger: Ledger
    positions: tuple[VenuePosition, ...]
    traded: tuple[Order, ...]
    """Orders of the trades whose exits may rest or have fired at the venue."""


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
            moved = _moved(before, positions)
            theirs = await self._venue_orders(active, moved, full=full, since_ms=since_ms)
            traded = await self._traded(before, theirs)
            theirs = (*theirs, *await self._gone_exits(moved, traded, theirs))
            known = await self._rows_of(theirs, active)
            ledger, tries = await self._ledger(), tries - 1
            if ledger.version == before.version or not tries:
                return Sides(
                    ours=(*active, *known),
                    theirs=theirs,
                    ledger=ledger,
                    positions=tuple(positions),
                    traded=traded,
                )

    async def _venue_orders(
        self,
        active: Sequence[Order],
        moved: Mapping[Pair, Position],
        *,
        full: bool,
        since_ms: int,
    ) -> tuple[VenueOrder, ...]:
        """Open orders, and the history of every pair on which an order of ours is active.

        Also of every pair whose position at the venue is not ours: an exit may have fired there.
        """
        now_ms = self._clock.now_ms()
        listed = await in_time("open_orders", self._venue.open_orders())
        found = {row.venue_order_id: row for row in listed}
        begin_ms = {pair: position.opened_ms - MINUTE_MS for pair, position in moved.items()}
        for order in reversed(active):
            begin_ms[order.pair] = min(
                order.created_ms - MINUTE_MS, begin_ms.get(order.pair, order.created_ms)
            )
        if full:
            reach_ms = min(since_ms or now_ms, now_ms) - REACH_MS
            begin_ms = {pair: min(begin_ms.get(pair, now_ms), reach_ms) for pair in self._pairs}
        for pair, start_ms in sorted(begin_ms.items()):
            first_ms = max(start_ms, now_ms - HISTORY_LIMIT_MS + 2 * MINUTE_MS)
            past = self._venue.orders_between(pair, first_ms, now_ms + MINUTE_MS)
            found |= {row.venue_order_id: row for row in await in_time("orders_between", past)}
        return tuple(found.values())

    async def _traded(self, ledger: Ledger, theirs: Sequence[VenueOrder]) -> tuple[Order, ...]:
        """Orders of the open trades and, while the venue lists exits, of the newest ones."""
        lists_exits = any(row.exit_kind is not None and not row.client_order_id for row in theirs)

        def read() -> list[Order]:
            trades = {position.trade_id for position in ledger.positions.values()}
            if lists_exits:
                newest = self._store.trade_ids(account=self._account, limit=TRADES_WITH_EXITS)
                trades |= set(newest)
            return [row for trade in sorted(trades) for row in self._store.orders_of_trade(trade)]

        return tuple(await stored(read))

    async def _gone_exits(
        self,
        moved: Mapping[Pair, Position],
        traded: Sequence[Order],
        theirs: Sequence[VenueOrder],
    ) -> list[VenueOrder]:
        """Exits that were noted and are in no list any more, asked by their ids.

        A stop may rest for longer than the venue's history reaches back.
        """
        listed = {row.venue_order_id for row in theirs}
        found: list[VenueOrder] = []
        for order in traded:
            if order.pair not in moved or order.trade_id != moved[order.pair].trade_id:
                continue
            for name in {order.stop_order_id, order.take_order_id} - listed - {""}:
                asked = self._venue.order_by_id(order.pair, name)
                if (row := await in_time("order_by_id", asked)) is not None:
                    found.append(row)
        return found

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


def sides_row(sides: Sides, dust: Mapping[Pair, Decimal], *, now_ms: int) -> dict[str, Any]:
    """What both sides said, as it is kept in the place of what they said before."""
    beside = both_sides(
        ours=sides.ours,
        theirs=sides.theirs,
        ledger=sides.ledger,
        venue_positions=sides.positions,
        dust=dust,
        traded=sides.traded,
    )
    return {
        "compared_ms": now_ms,
        "positions": [_as_row(each) for each in beside.positions],
        "orders": [_as_row(each) for each in beside.orders],
        "left_off": beside.left_off,
    }


def _as_row(beside: Any) -> dict[str, Any]:
    """Amounts as plain digits, as a document holds them."""
    row = asdict(beside)
    return {name: f"{it:f}" if isinstance(it, Decimal) else it for name, it in row.items()}


def _moved(ledger: Ledger, positions: Sequence[VenuePosition]) -> dict[Pair, Position]:
    """Positions of ours of which the venue holds another quantity."""
    held = {row.pair: row.quantity for row in positions}
    return {
        pair: position
        for pair, position in ledger.positions.items()
        if held.get(pair, 0) != position.quantity
    }
