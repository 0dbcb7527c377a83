"""Exits that rest at the venue: whose they are, what one that fired is to our books, which are missing."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from desk import ids
from desk.trading.ledger import ZERO, Position
from desk.trading.orders import ExitKind, Leg, Order, OrderState, Side, VenueOrder, VenueOrderStatus


def parent_of(report: VenueOrder, orders: Iterable[Order]) -> Order | None:
    """Return the order of ours that an exit at the venue came with, or None if it is not ours.

    By the id of its parent where the venue gives one; else by kind, side and trigger price, of
    several the newest. An exit under somebody's client order id is never one of these.
    """
    if report.exit_kind is None or report.client_order_id:
        return None
    found = [order for order in orders if _is_parent(order, report)]
    return max(found, key=lambda order: (order.created_ms, order.client_order_id), default=None)


def _is_parent(order: Order, report: VenueOrder) -> bool:
    price = price_of(order, report.exit_kind)
    if price is None or order.pair != report.pair:
        return False
    if report.parent_order_id:
        return report.parent_order_id == order.venue_order_id
    held = order.side if order.leg is Leg.ENTRY else Side.of(-order.side.sign)
    return price == report.trigger_price and held is not report.side


def price_of(order: Order, kind: ExitKind | None) -> Decimal | None:
    """Trigger price of an exit that an order brings; None when it brings none."""
    return order.take_profit_price if kind is ExitKind.TAKE_PROFIT else order.stop_loss_price


def noted_id(order: Order, kind: ExitKind) -> str:
    """The venue's id of an order's exit as far as it was seen."""
    return order.take_order_id if kind is ExitKind.TAKE_PROFIT else order.stop_order_id


def exit_id(parent: Order, report: VenueOrder) -> str:
    """Return the id under which an exit of the venue's stands in our books: one per venue order."""
    leg = f"{report.exit_kind}:{report.venue_order_id}"
    return ids.client_order_id(parent.account, parent.run_id, parent.decision_id, leg)


def exit_row(parent: Order, report: VenueOrder, *, now_ms: int, wall_ms: int) -> Order:
    """Return the row of an exit that fired: of the parent's trade and run, in state INTENT.

    It never goes on the wire. `wall_ms` stands for the time of sending, from which doubts are aged.
    """
    return Order(
        client_order_id=exit_id(parent, report),
        account=parent.account,
        run_id=parent.run_id,
        decision_id=parent.decision_id,
        trade_id=parent.trade_id,
        pair=parent.pair,
        leg=Leg.EXIT,
        side=report.side,
        quantity=report.quantity,
        reduce_only=True,
        reference_price=report.trigger_price or parent.reference_price,
        decided_open_ms=parent.decided_open_ms,
        created_ms=now_ms,
        trace_id=parent.trace_id,
        exit_kind=report.exit_kind,
        venue_order_id=report.venue_order_id,
        sent_wall_ms=wall_ms,
        updated_ms=now_ms,
    )


def uncovered(
    position: Position, orders: Sequence[Order], resting: Iterable[VenueOrder]
) -> Decimal:
    """Coins of a position that ought to have a protective stop and have none.

    `orders` are those of its trade, `resting` the venue's open orders. 0 where no order of the
    trade asked for a stop. A stop for more than is held counts for what is held: it is reduce-only.
    """
    if stop_price_of(position, orders) is None:
        return ZERO
    side = Side.of(-position.quantity)
    covered = sum(
        (
            report.quantity - report.filled_quantity
            for report in resting
            if report.exit_kind is ExitKind.STOP_LOSS
            and report.side is side
            and is_resting(report)
            and parent_of(report, orders) is not None
        ),
        ZERO,
    )
    return max(abs(position.quantity) - covered, ZERO)


def stop_price_of(position: Position, orders: Iterable[Order]) -> Decimal | None:
    """Trigger of the newest filled order of the position's trade that asked for a stop."""
    asked = [
        order
        for order in orders
        if order.trade_id == position.trade_id
        and order.stop_loss_price is not None
        and order.filled_quantity
    ]
    newest = max(asked, key=lambda order: order.created_ms, default=None)
    return newest.stop_loss_price if newest else None


def is_through(position: Position, stop_price: Decimal, mark: Decimal) -> bool:
    """Whether the market already stands at or beyond a stop: it must close now, not wait."""
    return mark <= stop_price if position.quantity > 0 else mark >= stop_price


def is_resting(report: VenueOrder) -> bool:
    """Whether the venue's order may still do something."""
    return report.status in (VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL)


def is_settled(row: Order | None, report: VenueOrder) -> bool:
    """Whether our row of an exit says already what the venue says of it."""
    if row is None:
        return not report.filled_quantity
    if report.filled_quantity > row.filled_quantity:
        return False
    return row.state in (OrderState.FILLED, OrderState.CANCELLED) or is_resting(report)
