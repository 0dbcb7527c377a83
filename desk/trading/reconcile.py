"""Our orders and positions against the venue's: what has to be put right, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from desk import ids
from desk.ids import Pair
from desk.trading import ledger as books
from desk.trading import orders
from desk.trading.ledger import ZERO, Ledger
from desk.trading.orders import (
    Order,
    OrderState,
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


type Correction = (
    AdoptVenueState
    | BookMissingFills
    | LookUpOrder
    | QuarantineOrder
    | ReportForeignOrder
    | ReportOrphanOrder
    | AdjustPosition
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
) -> list[Correction]:
    """Return what to put right, orders before positions; empty when both sides agree.

    `ours` are all active orders and those that ended within the time `theirs` covers; `theirs` are
    the venue's open orders and its order history of that time. `dust` is the lot by pair: a smaller
    drift is rounding. A drift worth more than `pause_above_quote` USDT pauses the pair. The position
    of a pair is not judged while one of its orders is unresolved or lacks fills. Applying the
    corrections and comparing again is safe: each is idempotent by its id.
    """
    by_id = {order.client_order_id: order for order in ours}
    corrections: list[Correction] = []
    for report in sorted(theirs, key=lambda seen: (seen.pair, seen.venue_order_id)):
        corrections.extend(_of_report(by_id, report, now_ms))
    seen = {report.client_order_id for report in theirs}
    for order in ours:
        corrections.extend(_of_order(order, wall_ms, is_seen=order.client_order_id in seen))
    in_doubt = _pairs_in_doubt(ours, corrections)
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
