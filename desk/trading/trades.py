"""Trades as operators see them: a projection of the orders that share a trade id."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from desk.ids import Pair
from desk.trading.ledger import ZERO, Position
from desk.trading.orders import Leg, Order, OrderState, Side


class TradeStatus(StrEnum):
    PROPOSED = "proposed"
    PLACED = "placed"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class Reconciliation(StrEnum):
    """Whether the venue confirms what we hold of an order."""

    PENDING = "pending"
    OK = "ok"
    MISMATCH = "mismatch"
    ERROR = "error"


class ExecutionKind(StrEnum):
    ENTRY = "entry"
    EXIT = "exit"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """One request to the venue. `idempotency_key` is the client order id; a cancel's adds `:cancel`."""

    kind: ExecutionKind
    idempotency_key: str
    client_order_id: str
    venue_order_id: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    average_price: Decimal
    reference_price: Decimal
    fees: Decimal
    realized_pnl: Decimal
    status: TradeStatus
    reconciliation: Reconciliation
    attempts: int
    reason: str
    created_ms: int
    updated_ms: int
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One position episode: from the entry that opened it to the exit that ended it.

    `quantity` is what the entries asked for, `position_size` the signed quantity still held. Money
    in USDT; `realized_pnl` before fees, `funding` negative when paid.
    """

    trade_id: str
    instrument: Pair
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    status: TradeStatus
    mode: str
    account: str
    run_id: str
    client_order_id: str
    average_fill_price: Decimal
    average_exit_price: Decimal
    position_size: Decimal
    realized_pnl: Decimal
    fees: Decimal
    funding: Decimal
    leverage: Decimal
    opened_ms: int
    closed_at_ms: int | None
    reason: str
    trace_id: str
    reconciliation: Reconciliation
    executions: tuple[Execution, ...]


def project(
    orders: Sequence[Order],
    position: Position | None,
    *,
    mode: str,
    leverage: Decimal,
    funding: Decimal = ZERO,
) -> Trade:
    """Return the trade that these orders (one or more, all of one trade id) make.

    `position` is what the account holds in the pair now; it counts only if this trade opened it.
    The reason is the venue's exit where one ended the trade. Side, status, id and trace are those of the first entry.
    """
    ordered = sorted(orders, key=lambda order: (order.created_ms, order.leg != Leg.ENTRY))
    entries = [order for order in ordered if order.leg is Leg.ENTRY]
    exits = [order for order in ordered if order.leg is Leg.EXIT]
    first = (entries or ordered)[0]
    held = position if position and position.trade_id == first.trade_id else None
    return Trade(
        trade_id=first.trade_id,
        instrument=first.pair,
        side=first.side if entries else Side.of(-first.side.sign),
        quantity=sum((order.quantity for order in entries), ZERO),
        filled_quantity=_filled(entries),
        status=status_of(first),
        mode=mode,
        account=first.account,
        run_id=first.run_id,
        client_order_id=first.client_order_id,
        average_fill_price=_average_price(entries),
        average_exit_price=_average_price(exits),
        position_size=held.quantity if held else ZERO,
        realized_pnl=sum((order.realized_pnl for order in ordered), ZERO),
        fees=sum((order.fees for order in ordered), ZERO),
        funding=funding,
        leverage=leverage,
        opened_ms=held.opened_ms if held else first.created_ms,
        closed_at_ms=None if held else _closed_ms(ordered, exits),
        reason=first.reason if held else _end_reason(exits) or first.reason,
        trace_id=first.trace_id,
        reconciliation=_worst(reconciliation_of(order) for order in ordered),
        executions=tuple(item for order in ordered for item in _executions(order)),
    )


_STATUS = {
    OrderState.INTENT: TradeStatus.PROPOSED,
    OrderState.SENDING: TradeStatus.PROPOSED,
    OrderState.OPEN: TradeStatus.PLACED,
    OrderState.PARTIAL: TradeStatus.PARTIAL,
    OrderState.FILLED: TradeStatus.FILLED,
    OrderState.CANCELLED: TradeStatus.CANCELLED,
    OrderState.EXPIRED: TradeStatus.CANCELLED,
    OrderState.REJECTED: TradeStatus.REJECTED,
    OrderState.NOT_PLACED: TradeStatus.REJECTED,
}


def status_of(order: Order) -> TradeStatus:
    """Return what operators see of an order; in doubt, the last status that was proved."""
    return _STATUS.get(order.state) or _last_proved(order)


def reconciliation_of(order: Order) -> Reconciliation:
    """Return whether the venue confirms the order as we hold it."""
    if order.state is OrderState.QUARANTINED:
        return Reconciliation.ERROR
    if order.filled_quantity > order.quantity:
        return Reconciliation.MISMATCH
    if order.state in (OrderState.SENDING, OrderState.UNKNOWN, OrderState.CANCELLING):
        return Reconciliation.PENDING
    return Reconciliation.OK


def _last_proved(order: Order) -> TradeStatus:
    if order.filled_quantity >= order.quantity:
        return TradeStatus.FILLED
    if order.filled_quantity:
        return TradeStatus.PARTIAL
    return TradeStatus.PLACED if order.venue_order_id else TradeStatus.PROPOSED


def _filled(orders: Iterable[Order]) -> Decimal:
    return sum((order.filled_quantity for order in orders), ZERO)


def _average_price(orders: Sequence[Order]) -> Decimal:
    filled = _filled(orders)
    value = sum((order.filled_quantity * order.average_price for order in orders), ZERO)
    return value / filled if filled else ZERO


def _closed_ms(ordered: Sequence[Order], exits: Sequence[Order]) -> int | None:
    """When a trade that holds nothing ended: its last filled exit, else the end of its last order."""
    if any(order.is_open for order in ordered):
        return None
    ended = [order for order in exits if order.filled_quantity] or ordered
    return max(order.updated_ms for order in ended)


def _end_reason(exits: Sequence[Order]) -> str:
    """What ended the trade if the venue did it: `stop_loss` or `take_profit`."""
    filled = [order for order in exits if order.filled_quantity]
    last = max(filled, key=lambda order: order.updated_ms, default=None)
    return last.exit_kind or "" if last else ""


_BY_CONCERN = (
    Reconciliation.ERROR,
    Reconciliation.MISMATCH,
    Reconciliation.PENDING,
    Reconciliation.OK,
)


def _worst(found: Iterable[Reconciliation]) -> Reconciliation:
    return min(found, key=_BY_CONCERN.index)


def _executions(order: Order) -> list[Execution]:
    kind = ExecutionKind.ENTRY if order.leg is Leg.ENTRY else ExecutionKind.EXIT
    sent = _execution(order, kind, order.client_order_id)
    if not _was_cancelled_by_us(order):
        return [sent]
    return [sent, _execution(order, ExecutionKind.CANCEL, f"{order.client_order_id}:cancel")]


def _was_cancelled_by_us(order: Order) -> bool:
    if order.state is OrderState.CANCELLING:
        return True
    return order.state is OrderState.CANCELLED and not order.reason.startswith("venue_")


def _execution(order: Order, kind: ExecutionKind, idempotency_key: str) -> Execution:
    return Execution(
        kind=kind,
        idempotency_key=idempotency_key,
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        side=order.side,
        quantity=order.quantity,
        filled_quantity=order.filled_quantity,
        average_price=order.average_price,
        reference_price=order.reference_price,
        fees=order.fees,
        realized_pnl=order.realized_pnl,
        status=status_of(order),
        reconciliation=reconciliation_of(order),
        attempts=order.attempts,
        reason=order.reason,
        created_ms=order.created_ms,
        updated_ms=order.updated_ms,
        trace_id=order.trace_id,
    )
