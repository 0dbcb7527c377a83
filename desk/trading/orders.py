"""The life of an order: its row, the events that move it, the effects it asks for."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any, assert_never

from desk.errors import IllegalTransition
from desk.ids import Pair


class Side(StrEnum):
    """Side of an order or a fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell."""
        return 1 if self is Side.BUY else -1

    @classmethod
    def of(cls, signed: int | Decimal) -> "Side":
        """The side that moves a position by a signed quantity."""
        return cls.BUY if signed > 0 else cls.SELL


class OrderState(StrEnum):
    """Where an order stands; see `advance` for the legal moves."""

    INTENT = "intent"
    SENDING = "sending"
    UNKNOWN = "unknown"
    QUARANTINED = "quarantined"
    OPEN = "open"
    PARTIAL = "partial"
    CANCELLING = "cancelling"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    NOT_PLACED = "not_placed"

    @property
    def is_terminal(self) -> bool:
        """Whether only the reconciler, with venue evidence, may re-open it."""
        return self in TERMINAL


TERMINAL = frozenset(
    {
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.REJECTED,
        OrderState.EXPIRED,
        OrderState.NOT_PLACED,
    }
)


_VENUE_EVIDENCE = frozenset(
    {
        OrderState.OPEN,
        OrderState.PARTIAL,
        OrderState.FILLED,
        OrderState.CANCELLED,
        OrderState.EXPIRED,
        OrderState.REJECTED,
    }
)
_NEVER_ARRIVED = frozenset({OrderState.INTENT, OrderState.NOT_PLACED})

TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = {
    OrderState.INTENT: frozenset(
        # UNKNOWN: evidence that an earlier attempt did arrive, which cancels the pending resend.
        {OrderState.SENDING, OrderState.NOT_PLACED, OrderState.UNKNOWN}
    ),
    OrderState.SENDING: frozenset(
        {
            OrderState.SENDING,
            OrderState.OPEN,
            OrderState.PARTIAL,
            OrderState.FILLED,
            OrderState.REJECTED,
            OrderState.UNKNOWN,
        }
    ),
    OrderState.UNKNOWN: _VENUE_EVIDENCE
    | _NEVER_ARRIVED
    | {OrderState.UNKNOWN, OrderState.QUARANTINED},
    OrderState.QUARANTINED: _VENUE_EVIDENCE | _NEVER_ARRIVED | {OrderState.QUARANTINED},
    OrderState.OPEN: frozenset(
        {
            OrderState.OPEN,
            OrderState.PARTIAL,
            OrderState.FILLED,
            OrderState.CANCELLING,
            OrderState.CANCELLED,
            OrderState.EXPIRED,
        }
    ),
    OrderState.PARTIAL: frozenset(
        {
            OrderState.PARTIAL,
            OrderState.FILLED,
            OrderState.CANCELLING,
            OrderState.CANCELLED,
            OrderState.EXPIRED,
        }
    ),
    OrderState.CANCELLING: frozenset(
        {
            OrderState.CANCELLING,
            OrderState.OPEN,
            OrderState.PARTIAL,
            OrderState.FILLED,
            OrderState.CANCELLED,
        }
    ),
    OrderState.FILLED: frozenset({OrderState.FILLED, OrderState.UNKNOWN}),
    OrderState.CANCELLED: frozenset({OrderState.UNKNOWN}),
    OrderState.REJECTED: frozenset({OrderState.UNKNOWN}),
    OrderState.EXPIRED: frozenset({OrderState.UNKNOWN}),
    OrderState.NOT_PLACED: frozenset({OrderState.UNKNOWN}),
}
"""Every stored move of an order row, from → to; the store refuses any other.

A state that lists itself may be refreshed in place (a vote, a fill, the venue's id, the wish to
cancel). A terminal state is left only for UNKNOWN and only on venue evidence.
"""


class Leg(StrEnum):
    """What an order does to the position of its decision."""

    ENTRY = "entry"
    EXIT = "exit"


class ExitKind(StrEnum):
    """An exit that rests at the venue and came with the order that it covers."""

    STOP_LOSS = "stop_loss"
    TAKE_PROFIT = "take_profit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One order row. Money is Decimal; `*_ms` are market time except `sent_wall_ms` (wire clock)."""

    client_order_id: str
    account: str
    run_id: str
    decision_id: str
    trade_id: str
    """The trade (position episode) it belongs to: the client order id of the entry that opened it."""
    pair: Pair
    leg: Leg
    side: Side
    quantity: Decimal
    reduce_only: bool
    reference_price: Decimal
    """Price the decision was made on (close of the decided candle); slippage is measured from it."""
    decided_open_ms: int
    """Open time of the decided candle."""
    created_ms: int
    trace_id: str
    limit_price: Decimal | None = None
    """None: a market order."""
    stop_loss_price: Decimal | None = None
    """Trigger of the protective stop that goes to the venue with it; None: none was asked for."""
    take_profit_price: Decimal | None = None
    exit_kind: ExitKind | None = None
    """Set on the row of an exit that the venue itself made from an order of ours: it has fired, no
    request of ours sent it, and the venue knows it by `venue_order_id` only."""
    stop_order_id: str = ""
    """The venue's id of the protective stop that came with this order, once it was seen."""
    take_order_id: str = ""
    cancel_reason: str = ""
    """Why it is to be cancelled as soon as the venue has said what there is; empty: it is not."""
    state: OrderState = OrderState.INTENT
    reserved_quote: Decimal = Decimal(0)
    """Exposure reserved in the ledger until the order is terminal."""
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)
    realized_pnl: Decimal = Decimal(0)
    """Realised by this order's fills, before fees."""
    venue_order_id: str = ""
    sent_wall_ms: int = 0
    attempts: int = 0
    not_found_votes: int = 0
    last_vote_wall_ms: int = 0
    reason: str = ""
    updated_ms: int = 0
    version: int = 0
    """Moves by +1 with every stored change; 0 before the first commit."""

    @property
    def remaining_quantity(self) -> Decimal:
        """Not yet filled, never negative."""
        return max(self.quantity - self.filled_quantity, Decimal(0))

    @property
    def is_open(self) -> bool:
        """Whether it may still change the position."""
        return not self.state.is_terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution. `fee` is positive when paid; `fill_id` is unique per venue and applied once."""

    fill_id: str
    client_order_id: str
    venue_order_id: str
    pair: Pair
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    is_maker: bool
    filled_ms: int


class VenueOrderStatus(StrEnum):
    """Status as the venue reports it, normalised."""

    OPEN = "open"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueOrder:
    """What the venue says of one order."""

    client_order_id: str
    """Lower-cased; empty for orders placed without one."""
    venue_order_id: str
    pair: Pair
    side: Side
    status: VenueOrderStatus
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal
    fees: Decimal
    """Cumulative, positive when paid."""
    reduce_only: bool
    updated_ms: int
    raw_status: str = ""
    exit_kind: ExitKind | None = None
    """What it is if it waits for, or was made by, a trigger that closes a position."""
    trigger_price: Decimal | None = None
    parent_order_id: str = ""
    """The venue's id of the order that it came with; empty where the venue does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePosition:
    """One non-flat position at the venue: signed quantity in coins."""

    pair: Pair
    quantity: Decimal
    average_price: Decimal
    leverage: int
    unrealized_pnl: Decimal
    liquidation_price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueBalance:
    """Account totals in the collateral asset."""

    asset: str
    balance: Decimal
    """Wallet balance: cash, without unrealised PnL."""
    equity: Decimal
    available: Decimal


# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStarted:
    """About to go on the wire; stored before it does. `sent_wall_ms` is the signed timestamp's clock."""

    sent_wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendAccepted:
    """The venue acknowledged with its id (no status, no fill: those are fetched)."""

    venue_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendUnanswered:
    """No clear answer: timeout, dropped socket, 5xx, unreadable body, unknown code, a restart."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SendRefused:
    """A definite refusal (allow-listed code)."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueReported:
    """Evidence: the venue's own state of this order. Fills are booked apart, by `FillBooked`."""

    order: VenueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class FillBooked:
    """One execution, already known to be new (dedupe by `fill_id` happens at the store)."""

    fill: Fill
    realized_pnl: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundVoted:
    """A look-up by client order id found nothing at this wall time. A vote, never proof alone."""

    wall_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFoundProved:
    """Votes, time bound and a second source agree: it never reached the venue."""

    resend: bool
    """True: back to INTENT for the same client order id; False: NOT_PLACED."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """The operator or a rule wants it gone."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitSeen:
    """The venue lists an exit that came with this order."""

    kind: ExitKind
    venue_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """Never sent: the decision is too old, the run stopped, the kill switch is on."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """Unresolved for too long; polling goes on.

    The order keeps its reason: what made it unknown is evidence (an id in use is never absent, a
    likely refusal is never sent again), and the state says that it took too long.
    """


type OrderEvent = (
    SendStarted
    | SendAccepted
    | SendUnanswered
    | SendRefused
    | VenueReported
    | FillBooked
    | NotFoundVoted
    | NotFoundProved
    | CancelRequested
    | ExitSeen
    | Abandoned
    | Quarantined
)


# --- effects ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """Send it, once."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """Ask the venue by client order id."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFills:
    """The venue reports more filled than we have booked."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAtVenue:
    """Ask the venue to cancel it."""

    client_order_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseAlert:
    """Tell the operator."""

    code: str
    detail: str = field(default="")


type OrderEffect = Submit | LookUp | FetchFills | CancelAtVenue | RaiseAlert


# --- the machine ------------------------------------------------------------------------------

MAX_ATTEMPTS = 3
"""Sends per decision; after the last final not-found the order is not placed."""
RECV_WINDOW_MS = 5_000
"""The venue refuses a signed request that is older than this."""
VISIBILITY_LAG_MS = 2_000
"""How long a new order may stay invisible to look-ups."""
CLOCK_SKEW_MS = 1_000
"""How far our wall clock and the venue's may differ."""
FINAL_AFTER_MS = RECV_WINDOW_MS + VISIBILITY_LAG_MS + CLOCK_SKEW_MS
MIN_VOTES = 3
VOTE_SPACING_MS = 1_000
UNEXPLAINED_AFTER_MS = 30_000
"""Wall ms since the last send after which an order that no source knows counts as absent although
the position is not what our fills explain; it is not sent again then."""
QUARANTINE_AFTER_MS = 600_000
"""Wall ms an order may stay unresolved before its pair is paused."""
CANCEL_PATIENCE_MS = 60_000
"""Market ms after which an order that the venue still reports open counts as not being cancelled."""

POSITION_IS_FLAT = "position_flat"
"""Reason of a reduce-only order that was refused because the venue holds nothing: the exit is done."""

_UNRESOLVED = frozenset({OrderState.UNKNOWN, OrderState.QUARANTINED})
_RESTING = frozenset({OrderState.OPEN, OrderState.PARTIAL})
_NOT_AT_VENUE = frozenset({OrderState.INTENT, OrderState.NOT_PLACED, OrderState.REJECTED})

type _Moved = tuple[Order, list[OrderEffect]]


def advance(  # noqa: PLR0912 - one arm per event
    order: Order, event: OrderEvent, *, now_ms: int
) -> tuple[Order, list[OrderEffect]]:
    """Apply one event and return the new row with the effects to perform once it is stored.

    The very same object comes back when the event changes nothing, so that nothing needs storing.
    `now_ms` is market time. Raises `IllegalTransition` when the event contradicts the row.
    Effects never lead back to themselves: whoever waits for the venue polls on a schedule.
    """
    moved: _Moved
    match event:
        case SendStarted():
            moved = _send_started(order, event)
        case SendAccepted():
            moved = _send_accepted(order, event)
        case SendUnanswered():
            moved = _send_unanswered(order, event)
        case SendRefused():
            moved = _send_refused(order, event)
        case VenueReported():
            moved = _venue_reported(order, event, now_ms)
        case FillBooked():
            moved = _fill_booked(order, event)
        case NotFoundVoted():
            moved = _not_found_voted(order, event)
        case NotFoundProved():
            moved = _not_found_proved(order, event)
        case CancelRequested():
            moved = _cancel_requested(order, event)
        case ExitSeen():
            moved = _exit_seen(order, event)
        case Abandoned():
            moved = _abandoned(order, event)
        case Quarantined():
            moved = _quarantined(order, event)
        case _:
            assert_never(event)
    return _stamped(order, *moved, now_ms=now_ms)


def final_not_found(
    order: Order,
    *,
    wall_ms: int,
    absent_in_second_source: bool,
    is_position_explained: bool = True,
) -> bool:
    """Whether it is proved that the order never reached the venue.

    Needs all of: `MIN_VOTES` look-ups that found nothing, at least `VOTE_SPACING_MS` apart, the last
    one later than the last send + receive window + visibility lag + clock skew; a second source
    (open orders and order history since the send) without it. A position that our fills do not
    explain may be its fill: then nothing is concluded before `UNEXPLAINED_AFTER_MS`, since somebody
    else's trade must not keep the order unknown for ever. An order that the venue once acknowledged
    or filled is never proved absent.
    """
    is_patient = order.last_vote_wall_ms > order.sent_wall_ms + UNEXPLAINED_AFTER_MS
    return (
        order.state in _UNRESOLVED
        and absent_in_second_source
        and (is_position_explained or is_patient)
        and wall_ms >= order.last_vote_wall_ms
        and _is_voted_out(order)
    )


def is_overdue(order: Order, *, wall_ms: int) -> bool:
    """Whether an order has been unresolved for so long that it must be quarantined."""
    return order.state is OrderState.UNKNOWN and (
        wall_ms - order.sent_wall_ms > QUARANTINE_AFTER_MS
    )


def _admit(order: Order, event: OrderEvent, *states: OrderState) -> None:
    if order.state not in states:
        raise IllegalTransition(order.state.value, type(event).__name__)


def _stamped(before: Order, after: Order, effects: list[OrderEffect], *, now_ms: int) -> _Moved:
    if after is before or after == before:
        return before, effects
    return replace(after, updated_ms=now_ms), effects


def _look_up(order: Order) -> LookUp:
    return LookUp(client_order_id=order.client_order_id)


def _send_started(order: Order, event: SendStarted) -> _Moved:
    _admit(order, event, OrderState.INTENT)
    if order.exit_kind is not None:
        raise IllegalTransition(order.state.value, "SendStarted of an exit that the venue made")
    if order.attempts >= MAX_ATTEMPTS:
        raise IllegalTransition(order.state.value, f"SendStarted after {order.attempts} attempts")
    sending = replace(
        order,
        state=OrderState.SENDING,
        sent_wall_ms=event.sent_wall_ms,
        attempts=order.attempts + 1,
        not_found_votes=0,
        last_vote_wall_ms=0,
        reason="",
    )
    return sending, [Submit(client_order_id=order.client_order_id)]


def _send_accepted(order: Order, event: SendAccepted) -> _Moved:
    if order.state in _NOT_AT_VENUE:
        return _contradicted(order, venue_order_id=event.venue_order_id)
    state = order.state
    if state is OrderState.SENDING or state in _UNRESOLVED:
        state = _live_state(order)
    if order.state.is_terminal and order.state is not OrderState.FILLED:
        return order, []  # a late acknowledgement of an order whose end is already known
    known = replace(order, state=state, venue_order_id=order.venue_order_id or event.venue_order_id)
    return known, [] if known == order else [_look_up(order)]


def _send_unanswered(order: Order, event: SendUnanswered) -> _Moved:
    if order.state is OrderState.INTENT and order.attempts == 0:
        _admit(order, event, OrderState.SENDING)
    if order.state is not OrderState.SENDING:
        return order, []  # the venue's evidence was faster than our deadline
    unknown = replace(order, state=OrderState.UNKNOWN, reason=event.reason)
    return unknown, [_look_up(order)]


def _send_refused(order: Order, event: SendRefused) -> _Moved:
    """A refused exit is done only if nothing is held (`POSITION_IS_FLAT`); else somebody must look."""
    if order.state in _UNRESOLVED:
        return order, []  # somebody gave up waiting meanwhile: what is looked up decides
    _admit(order, event, OrderState.SENDING)
    refused = replace(order, state=OrderState.REJECTED, reason=event.reason)
    if not order.reduce_only or event.reason == POSITION_IS_FLAT:
        return refused, []
    return refused, [_alert(order, "exit_refused", f"{order.client_order_id}: {event.reason}")]


def _contradicted(order: Order, **changes: Any) -> _Moved:
    """The venue knows an order that we hold not to be there: ask before anything else happens."""
    unknown = replace(order, state=OrderState.UNKNOWN, reason="venue_evidence", **changes)
    if order.state.is_terminal:
        return _reopened(unknown, order, "reopened")
    if order.attempts == 0 and order.exit_kind is None:
        return unknown, [_look_up(order), _alert(order, "sent_without_record")]
    return unknown, [_look_up(order)]


def _reopened(unknown: Order, was: Order, code: str) -> _Moved:
    # The reservation was released when the row ended and is not taken again: exits must not wait
    # for room, and the fill moves the position itself.
    reopened = replace(unknown, state=OrderState.UNKNOWN, reason=code, reserved_quote=Decimal(0))
    return reopened, [_look_up(was), _alert(was, code)]


def _alert(order: Order, code: str, detail: str = "") -> RaiseAlert:
    return RaiseAlert(code=code, detail=detail or f"{order.client_order_id} was {order.state}")


def _live_state(order: Order) -> OrderState:
    return OrderState.PARTIAL if order.filled_quantity else OrderState.OPEN


# --- what the venue says ----------------------------------------------------------------------


def _venue_reported(order: Order, event: VenueReported, now_ms: int) -> _Moved:
    seen = event.order
    if seen.client_order_id not in ("", order.client_order_id) or seen.pair != order.pair:
        raise IllegalTransition(order.state.value, f"VenueReported of {seen.client_order_id}")
    if order.state in _NOT_AT_VENUE:
        return _reported_though_absent(order, seen)
    if order.state.is_terminal:
        return _reported_after_the_end(order, seen)
    known = replace(order, venue_order_id=order.venue_order_id or seen.venue_order_id)
    if seen.filled_quantity > order.filled_quantity:
        missing: list[OrderEffect] = [FetchFills(client_order_id=order.client_order_id)]
        return replace(known, state=_resting_state(order)), missing
    if seen.status in (VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL):
        return _reported_resting(order, known, now_ms)
    if seen.filled_quantity < order.filled_quantity:
        # An older answer that came late, or a venue that contradicts its own fills: no conclusion.
        return replace(known, state=_resting_state(order)), [_alert(order, "cum_mismatch")]
    return _reported_ended(known, seen)


def _resting_state(order: Order) -> OrderState:
    """Where an order stands that certainly is at the venue, while its end is not yet booked."""
    return order.state if order.state is OrderState.CANCELLING else _live_state(order)


def _reported_resting(order: Order, known: Order, now_ms: int) -> _Moved:
    if order.state is not OrderState.CANCELLING and order.cancel_reason:
        return _cancel_as_wished(order, known)
    if order.state is not OrderState.CANCELLING:
        return replace(known, state=_live_state(order), reason=""), []
    if now_ms - order.updated_ms <= CANCEL_PATIENCE_MS:
        return order, []  # cancellation takes a moment; the answer may be older than our request
    return replace(known, state=_live_state(order)), [_alert(order, "cancel_not_effective")]


def _cancel_as_wished(order: Order, known: Order) -> _Moved:
    """Its end was asked for before the venue had said that it is there."""
    cancel: list[OrderEffect] = [CancelAtVenue(client_order_id=order.client_order_id)]
    if order.state in _RESTING:
        reason = order.cancel_reason
        return replace(known, state=OrderState.CANCELLING, reason=reason), cancel
    return replace(known, state=_live_state(order), reason=""), cancel


def _reported_ended(order: Order, seen: VenueOrder) -> _Moved:
    """The venue says it is over, and everything it filled is booked."""
    status = seen.status
    if status is VenueOrderStatus.FILLED and not order.filled_quantity:
        return replace(order, state=_resting_state(order)), [_alert(order, "filled_without_fills")]
    if order.state is OrderState.SENDING and status in (
        VenueOrderStatus.CANCELLED,
        VenueOrderStatus.EXPIRED,
    ):
        return replace(order, state=OrderState.UNKNOWN, reason=seen.raw_status), [_look_up(order)]
    return replace(order, state=_end_state(order, status), reason=_end_reason(order, seen)), []


def _end_state(order: Order, status: VenueOrderStatus) -> OrderState:
    match status:
        case VenueOrderStatus.FILLED:
            return OrderState.FILLED
        case VenueOrderStatus.EXPIRED if order.state is not OrderState.CANCELLING:
            return OrderState.EXPIRED
        case VenueOrderStatus.REJECTED if not order.filled_quantity and (
            order.state is OrderState.SENDING or order.state in _UNRESOLVED
        ):
            return OrderState.REJECTED
        case _:
            return OrderState.CANCELLED  # also "rejected" after it rested or filled


def _end_reason(order: Order, seen: VenueOrder) -> str:
    if seen.status is VenueOrderStatus.FILLED:
        return order.exit_kind or ""
    asked_for = order.reason if order.state is OrderState.CANCELLING else order.cancel_reason
    return asked_for or f"venue_{seen.status}"


def _reported_though_absent(order: Order, seen: VenueOrder) -> _Moved:
    same = seen.status is VenueOrderStatus.REJECTED and not seen.filled_quantity
    if order.state is OrderState.REJECTED and same:
        return order, []
    return _contradicted(order, venue_order_id=order.venue_order_id or seen.venue_order_id)


def _reported_after_the_end(order: Order, seen: VenueOrder) -> _Moved:
    if seen.filled_quantity > order.filled_quantity:
        reopened, effects = _reopened(order, order, "late_fill")
        fetch: list[OrderEffect] = [FetchFills(client_order_id=order.client_order_id)]
        return reopened, [*fetch, *effects[1:]]
    is_live = seen.status in (VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL)
    if is_live and order.state is not OrderState.FILLED:
        return _reopened(order, order, "reopened")
    return order, []


# --- fills ------------------------------------------------------------------------------------


def _fill_booked(order: Order, event: FillBooked) -> _Moved:
    fill = event.fill
    if fill.client_order_id != order.client_order_id or fill.side is not order.side:
        raise IllegalTransition(order.state.value, f"FillBooked of {fill.client_order_id}")
    booked = _with_fill(order, event)
    if order.state in _NOT_AT_VENUE or (
        order.state.is_terminal and order.state is not OrderState.FILLED
    ):
        return _fill_out_of_place(order, booked)
    if booked.filled_quantity > order.quantity:
        detail = f"{booked.filled_quantity} of {order.quantity}, {order.client_order_id}"
        return replace(booked, state=OrderState.FILLED), [_alert(order, "overfill", detail)]
    if booked.filled_quantity == order.quantity:
        return replace(booked, state=OrderState.FILLED, reason=order.exit_kind or ""), []
    if order.state is OrderState.FILLED:
        return booked, []  # the venue ended it below its quantity and reports the rest later
    return replace(booked, state=_resting_state(booked)), []


def _with_fill(order: Order, event: FillBooked) -> Order:
    fill = event.fill
    total = order.filled_quantity + fill.quantity
    value = order.filled_quantity * order.average_price + fill.quantity * fill.price
    return replace(
        order,
        venue_order_id=order.venue_order_id or fill.venue_order_id,
        filled_quantity=total,
        average_price=value / total,
        fees=order.fees + fill.fee,
        realized_pnl=order.realized_pnl + event.realized_pnl,
    )


def _fill_out_of_place(order: Order, booked: Order) -> _Moved:
    if order.state.is_terminal:
        return _reopened(booked, order, "late_fill")
    return _contradicted(
        order,
        venue_order_id=booked.venue_order_id,
        filled_quantity=booked.filled_quantity,
        average_price=booked.average_price,
        fees=booked.fees,
        realized_pnl=booked.realized_pnl,
    )


# --- not found, cancel, give up ---------------------------------------------------------------


def _not_found_voted(order: Order, event: NotFoundVoted) -> _Moved:
    if order.state not in _UNRESOLVED:
        return order, []  # it was seen there before: a look-up that misses it proves nothing
    previous_ms = max(order.last_vote_wall_ms, order.sent_wall_ms)
    if event.wall_ms - previous_ms < VOTE_SPACING_MS:
        return order, []
    votes = order.not_found_votes + 1
    return replace(order, not_found_votes=votes, last_vote_wall_ms=event.wall_ms), []


def _is_voted_out(order: Order) -> bool:
    return (
        order.not_found_votes >= MIN_VOTES
        and order.last_vote_wall_ms > order.sent_wall_ms + FINAL_AFTER_MS
        and not order.filled_quantity
        and not order.venue_order_id
    )


def _not_found_proved(order: Order, event: NotFoundProved) -> _Moved:
    _admit(order, event, *_UNRESOLVED)
    if not _is_voted_out(order):
        raise IllegalTransition(order.state.value, "NotFoundProved without the votes")
    if event.resend and order.attempts < MAX_ATTEMPTS and not order.cancel_reason:
        return replace(order, state=OrderState.INTENT, reason=event.reason), []
    reason = order.cancel_reason or event.reason
    return replace(order, state=OrderState.NOT_PLACED, reason=reason), []


def _cancel_requested(order: Order, event: CancelRequested) -> _Moved:
    if order.state.is_terminal:
        return order, []
    if order.state is OrderState.INTENT:
        return replace(order, state=OrderState.NOT_PLACED, reason=event.reason), []
    cancel = CancelAtVenue(client_order_id=order.client_order_id)
    if order.state is OrderState.CANCELLING:
        return order, [cancel]
    if order.state in _RESTING:
        return replace(order, state=OrderState.CANCELLING, reason=event.reason), [cancel]
    # Nothing can be cancelled before the venue has said what there is: the wish waits on the row.
    return replace(order, cancel_reason=order.cancel_reason or event.reason), [_look_up(order)]


def _exit_seen(order: Order, event: ExitSeen) -> _Moved:
    """Note the venue's id of an exit on the row that it came with, where the row may still move."""
    if order.state not in TRANSITIONS[order.state]:
        return order, []
    if event.kind is ExitKind.STOP_LOSS:
        return replace(order, stop_order_id=event.venue_order_id), []
    return replace(order, take_order_id=event.venue_order_id), []


def _abandoned(order: Order, event: Abandoned) -> _Moved:
    if order.state is OrderState.NOT_PLACED:
        return order, []
    _admit(order, event, OrderState.INTENT)
    return replace(order, state=OrderState.NOT_PLACED, reason=event.reason), []


def _quarantined(order: Order, event: Quarantined) -> _Moved:
    _admit(order, event, *_UNRESOLVED)
    if order.state is OrderState.QUARANTINED:
        return order, []
    alert = _alert(order, "unresolved_client_order", f"{order.client_order_id}: {order.reason}")
    return replace(order, state=OrderState.QUARANTINED), [alert]
