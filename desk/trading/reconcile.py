"""Our orders and positions against the venue's: what has to be put right, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk import ids
from desk.ids import Pair
from desk.trading import ledger as books
from desk.trading import orders, protection
from desk.trading.ledger import ZERO, Ledger
from desk.trading.orders import (
    Order,
    OrderState,
    Side,
    VenueOrder,
    VenuePosition,
    VenueReported,
)

_IN_DOUBT = frozenset({OrderState.SENDING, OrderState.UNKNOWN, OrderState.QUARANTINED})
_RESTING = frozenset({OrderState.OPEN, OrderState.PARTIAL, OrderState.CANCELLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptVenueState:
    """The venue's state of our order moves it: apply it as `VenueReported`."""

    client_order_id: str
    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class BookMissingFills:
    """The venue filled more than we booked: fetch its fills, then apply the report."""

    client_order_id: str
    report: VenueOrder
    missing_quantity: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUpOrder:
    """The venue's lists lack an order that we hold to be there, or whose outcome is unknown."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantineOrder:
    """Unresolved for too long: quarantine it, pause its pair, go on asking."""

    client_order_id: str
    pair: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportForeignOrder:
    """Somebody else's order on the account: tell the operator, never cancel it."""

    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOrphanOrder:
    """An order under our prefix of which we have no row: tell the operator and pause the pair."""

    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustPosition:
    """The venue holds another position than our fills explain (manual trade, liquidation, ADL).

    Book `quantity` (signed, venue minus ours) as external under the deterministic id, if the books
    still hold `ours`, and pause the pair when `pauses`.
    """

    adjustment_id: str
    pair: Pair
    quantity: Decimal
    price: Decimal
    ours: Decimal
    theirs: Decimal
    pauses: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BookVenueExit:
    """An exit of ours fired at the venue: book it as an exit of the trade it protected."""

    parent_id: str
    """Client order id of the order that it came with."""
    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteVenueExit:
    """An exit of ours rests at the venue under an id that the row of its order does not have yet."""

    parent_id: str
    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelStaleExit:
    """An exit of ours rests at the venue for a position that is over: it could close the next one."""

    report: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreStop:
    """A position holds `quantity` coins without the protective stop that its trade asked for."""

    pair: Pair
    trade_id: str
    side: Side
    """Of the stop."""
    quantity: Decimal
    stop_price: Decimal
    is_through: bool
    """The market is beyond the stop: close instead."""


type ExitCorrection = BookVenueExit | NoteVenueExit | CancelStaleExit | RestoreStop

type Correction = (
    AdoptVenueState
    | BookMissingFills
    | LookUpOrder
    | QuarantineOrder
    | ReportForeignOrder
    | ReportOrphanOrder
    | AdjustPosition
    | ExitCorrection
)


def compare(
    *,
    ours: Sequence[Order],
    theirs: Sequence[VenueOrder],
    ledger: Ledger,
    venue_positions: Sequence[VenuePosition],
    dust: Mapping[Pair, Decimal],
    now_ms: int,
    wall_ms: int,
    pause_above_quote: Decimal = ZERO,
    traded: Sequence[Order] = (),
) -> list[Correction]:
    """Return what to put right, orders before positions; empty when both sides agree.

    `ours` are all active orders and those that ended within the time `theirs` covers; `theirs` are
    the venue's open orders and its order history of that time. `dust` is the lot by pair: a smaller
    drift is rounding. A drift worth more than `pause_above_quote` USDT pauses the pair. The position
    of a pair is not judged while one of its orders is unresolved or lacks fills. `traded` are the
    orders of trades whose exits may rest or have fired at the venue. Applying the
    corrections and comparing again is safe: each is idempotent by its id.
    """
    by_id = {order.client_order_id: order for order in ours}
    corrections: list[Correction] = []
    exits = list[tuple[Order, VenueOrder]]()
    family = _once((*ours, *traded))
    for report in sorted(theirs, key=lambda seen: (seen.pair, seen.venue_order_id)):
        parent = protection.parent_of(report, family)
        if parent is not None:
            exits.append((parent, report))
        else:
            corrections.extend(_of_report(by_id, report, now_ms))
    seen = {report.client_order_id for report in theirs}
    for order in ours:
        if order.exit_kind is None:
            corrections.extend(_of_order(order, wall_ms, is_seen=order.client_order_id in seen))
    in_doubt = _pairs_in_doubt(ours, corrections)
    fired = _fired(exits, family, in_doubt)
    corrections.extend(fired)
    in_doubt |= {item.report.pair for item in fired}
    calm = {*dust, *ledger.positions} - in_doubt - {order.pair for order in ours if order.is_open}
    corrections.extend(_of_resting_exits(exits, ledger, calm))
    corrections.extend(_missing_stops(ledger, family, theirs, calm, dust))
    held = {position.pair: position for position in venue_positions}
    for pair in sorted({*ledger.positions, *held} - in_doubt):
        position = held.get(pair)
        drift = _drift(ledger, pair, position, dust.get(pair, ZERO), pause_above_quote)
        corrections.extend(drift)
    return corrections


def _of_report(ours: Mapping[str, Order], report: VenueOrder, now_ms: int) -> list[Correction]:
    if not ids.is_ours(report.client_order_id):
        return [ReportForeignOrder(report=report)] if _is_open(report) else []
    order = ours.get(report.client_order_id)
    if order is None:
        return [ReportOrphanOrder(report=report)]
    missing = report.filled_quantity - order.filled_quantity
    if missing > 0:
        return [
            BookMissingFills(
                client_order_id=order.client_order_id, report=report, missing_quantity=missing
            )
        ]
    moved, effects = orders.advance(order, VenueReported(order=report), now_ms=now_ms)
    if moved is order and not effects:
        return []
    return [AdoptVenueState(client_order_id=order.client_order_id, report=report)]


def _once(orders_: Sequence[Order]) -> list[Order]:
    return list({order.client_order_id: order for order in orders_}.values())


def _fired(
    exits: Sequence[tuple[Order, VenueOrder]], family: Sequence[Order], in_doubt: set[Pair]
) -> list[BookVenueExit]:
    """Exits that did something we have not booked; after the fills of the order they came with."""
    rows = {order.venue_order_id: order for order in family if order.exit_kind is not None}
    return [
        BookVenueExit(parent_id=parent.client_order_id, report=report)
        for parent, report in exits
        if report.pair not in in_doubt
        and parent.filled_quantity
        and not protection.is_settled(rows.get(report.venue_order_id), report)
    ]


def _of_resting_exits(
    exits: Sequence[tuple[Order, VenueOrder]], ledger: Ledger, calm: set[Pair]
) -> list[Correction]:
    found: list[Correction] = []
    for parent, report in exits:
        kind = report.exit_kind
        if kind is None or not protection.is_resting(report) or not parent.filled_quantity:
            continue
        position = ledger.positions.get(report.pair)
        is_stale = position is None or position.trade_id != parent.trade_id
        if is_stale and report.pair in calm:
            found.append(CancelStaleExit(report=report))
        elif not is_stale and protection.noted_id(parent, kind) != report.venue_order_id:
            found.append(NoteVenueExit(parent_id=parent.client_order_id, report=report))
    return found


def _missing_stops(
    ledger: Ledger,
    family: Sequence[Order],
    theirs: Sequence[VenueOrder],
    calm: set[Pair],
    dust: Mapping[Pair, Decimal],
) -> list[Correction]:
    found: list[Correction] = []
    for pair, position in sorted(ledger.positions.items()):
        mine = [order for order in family if order.trade_id == position.trade_id]
        stop_price = protection.stop_price_of(position, mine)
        if pair not in calm or stop_price is None:
            continue
        quantity = protection.uncovered(position, mine, theirs)
        if quantity and quantity >= dust.get(pair, ZERO):
            found.append(
                RestoreStop(
                    pair=pair,
                    trade_id=position.trade_id,
                    side=Side.of(-position.quantity),
                    quantity=quantity,
                    stop_price=stop_price,
                    is_through=protection.is_through(
                        position, stop_price, books.price_of(ledger, pair)
                    ),
                )
            )
    return found


def _of_order(order: Order, wall_ms: int, *, is_seen: bool) -> list[Correction]:
    if is_seen:
        return []
    found: list[Correction] = []
    if order.state in _IN_DOUBT or order.state in _RESTING:
        found.append(LookUpOrder(client_order_id=order.client_order_id))
    if orders.is_overdue(order, wall_ms=wall_ms):
        found.append(QuarantineOrder(client_order_id=order.client_order_id, pair=order.pair))
    return found


def _is_open(report: VenueOrder) -> bool:
    return report.status in (orders.VenueOrderStatus.OPEN, orders.VenueOrderStatus.PARTIAL)


def _pairs_in_doubt(ours: Sequence[Order], corrections: Sequence[Correction]) -> set[Pair]:
    unresolved = {order.pair for order in ours if order.state in _IN_DOUBT}
    unbooked = {item.report.pair for item in corrections if isinstance(item, BookMissingFills)}
    return unresolved | unbooked


def _drift(
    ledger: Ledger,
    pair: Pair,
    position: VenuePosition | None,
    dust: Decimal,
    pause_above_quote: Decimal,
) -> list[Correction]:
    ours = books.held_quantity(ledger, pair)
    theirs = position.quantity if position else ZERO
    difference = theirs - ours
    if difference == 0 or abs(difference) < dust:
        return []
    price = ledger.marks.get(pair) or (
        position.average_price if position else books.price_of(ledger, pair)
    )
    return [
        AdjustPosition(
            # The count makes a second, equal drift another one; marks and fills of other pairs,
            # which come every few seconds, must not: two passes have to see the same drift.
            adjustment_id=ids.request_id(
                "adjust", ledger.account, pair, f"{ours:f}", f"{theirs:f}", ledger.adjustments
            ),
            pair=pair,
            quantity=difference,
            price=price,
            ours=ours,
            theirs=theirs,
            pauses=abs(difference) * price > pause_above_quote,
        )
    ]
