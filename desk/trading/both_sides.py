"""What our books and the venue said at one comparison, row beside row, for people to look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk.ids import Pair
from desk.trading import ledger as books
from desk.trading import protection
from desk.trading.ledger import ZERO, Ledger
from desk.trading.orders import Order, OrderState, VenueOrder, VenuePosition

MOST_ROWS = 50
"""Of positions, and of orders; those that differ come first."""
_ON_ITS_WAY = frozenset({OrderState.INTENT, OrderState.SENDING})
NOTED = "noted"
"""State of an exit that rests at the venue and protects a trade that is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """A pair that one side holds. Quantities are signed, in coins; 0: that side holds none."""

    pair: Pair
    ours: Decimal
    theirs: Decimal
    our_price: Decimal | None
    their_price: Decimal | None
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order that is open on one side."""

    pair: Pair
    side: str
    quantity: Decimal
    client_order_id: str
    """Empty: the venue has it without an id of a client, as exits have it."""
    venue_order_id: str
    kind: str
    """`order`, or which exit it is."""
    ours: str
    """Our state; empty: we know nothing of it."""
    theirs: str
    """The venue's status; empty: it does not list it."""
    our_filled: Decimal
    their_filled: Decimal
    differs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BothSides:
    """At most `MOST_ROWS` of each; `left_off` counts the others."""

    positions: tuple[PositionRow, ...]
    orders: tuple[OrderRow, ...]
    left_off: int


def both_sides(
    *,
    ours: Sequence[Order],
    theirs: Sequence[VenueOrder],
    ledger: Ledger,
    venue_positions: Sequence[VenuePosition],
    dust: Mapping[Pair, Decimal],
    traded: Sequence[Order] = (),
) -> BothSides:
    """Lay both sides side by side; the arguments are those of `reconcile.compare`.

    A position differs by the lot of its pair or more. An order differs where one side has it open and
    the other does not know it, holds it for over, or filled another quantity of it; one that is on its
    way to the venue does not differ yet.
    """
    held = {position.pair: position for position in venue_positions}
    positions = [
        _position(ledger, pair, held.get(pair), dust.get(pair, ZERO))
        for pair in sorted({*ledger.positions, *held})
    ]
    by_id = {order.client_order_id: order for order in ours}
    family = list({order.client_order_id: order for order in (*ours, *traded)}.values())
    rows = list[OrderRow]()
    seen = set[str]()
    for report in theirs:
        order = by_id.get(report.client_order_id)
        seen.add(report.client_order_id)
        if protection.is_resting(report) or (order is not None and order.is_open):
            rows.append(_order(order, report, ledger, family))
    rows += [
        _unlisted(order)
        for order in ours
        if order.is_open and order.client_order_id not in seen and order.exit_kind is None
    ]
    positions.sort(key=lambda row: (not row.differs, row.pair))
    rows.sort(key=lambda row: (not row.differs, row.pair, row.venue_order_id, row.client_order_id))
    left_off = max(len(positions) - MOST_ROWS, 0) + max(len(rows) - MOST_ROWS, 0)
    return BothSides(
        positions=tuple(positions[:MOST_ROWS]), orders=tuple(rows[:MOST_ROWS]), left_off=left_off
    )


def _position(ledger: Ledger, pair: Pair, found: VenuePosition | None, lot: Decimal) -> PositionRow:
    mine = ledger.positions.get(pair)
    ours, theirs = books.held_quantity(ledger, pair), found.quantity if found else ZERO
    return PositionRow(
        pair=pair,
        ours=ours,
        theirs=theirs,
        our_price=mine.average_price if mine else None,
        their_price=found.average_price if found else None,
        differs=ours != theirs and abs(theirs - ours) >= lot,
    )


def _order(
    order: Order | None, report: VenueOrder, ledger: Ledger, family: Sequence[Order]
) -> OrderRow:
    if order is not None:
        ours, our_filled = order.state.value, order.filled_quantity
        is_open = protection.is_resting(report)
        differs = order.is_open != is_open or our_filled != report.filled_quantity
    else:
        ours = _noted(report, ledger, family)
        our_filled = report.filled_quantity if ours else ZERO
        differs = not ours
    return OrderRow(
        pair=report.pair,
        side=report.side.value,
        quantity=report.quantity,
        client_order_id=report.client_order_id,
        venue_order_id=report.venue_order_id,
        kind=report.exit_kind.value if report.exit_kind else "order",
        ours=ours,
        theirs=report.status.value,
        our_filled=our_filled,
        their_filled=report.filled_quantity,
        differs=differs,
    )


def _noted(report: VenueOrder, ledger: Ledger, family: Sequence[Order]) -> str:
    """Whether it is an exit of ours that protects a trade that is open."""
    parent = protection.parent_of(report, family)
    position = ledger.positions.get(report.pair)
    is_ours = parent is not None and position is not None and position.trade_id == parent.trade_id
    return NOTED if is_ours else ""


def _unlisted(order: Order) -> OrderRow:
    return OrderRow(
        pair=order.pair,
        side=order.side.value,
        quantity=order.quantity,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        kind="order",
        ours=order.state.value,
        theirs="",
        our_filled=order.filled_quantity,
        their_filled=ZERO,
        differs=order.state not in _ON_ITS_WAY,
    )
