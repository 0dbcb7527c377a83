"""The executions of one order at BingX: its trades if they add up, else its growing total.

Both ways must book the same quantity once. Trades carry ids of their own; the total is booked as
the difference to what is booked already, under the id `orderId:executedQty`. Once an order was
booked by its total it stays so, because its trades would count that part again.
"""

from collections.abc import Sequence
from decimal import Decimal

from desk.errors import ProtocolError
from desk.trading.orders import Fill, VenueOrder
from desk.venues.bingx_answers import Row


def from_trades(rows: Sequence[Row], order: VenueOrder) -> list[Fill] | None:
    """Return the fills of the trade rows, oldest first; None unless they add up to the order.

    The documents do not agree on which field holds coins, so it is the one whose sum is the
    order's filled quantity. Trade times are 8 hours off: the order's own time stands instead.
    """
    if not all(row.has("tradeId") for row in rows):
        return None
    unique = {row.text("tradeId"): row for row in rows}
    ordered = [row for _, row in sorted(unique.items(), key=lambda item: _age(item[0]))]
    for field in ("volume", "qty"):
        if not all(row.has(field) for row in ordered):
            continue
        quantities = [row.decimal(field) for row in ordered]
        if sum(quantities, Decimal(0)) == order.filled_quantity:
            return [
                _fill(row, order, quantity)
                for row, quantity in zip(ordered, quantities, strict=True)
            ]
    return None


def _age(trade_id: str) -> tuple[int, str]:
    return (len(trade_id), trade_id)


def _fill(row: Row, order: VenueOrder, quantity: Decimal) -> Fill:
    return Fill(
        fill_id=row.text("tradeId"),
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        pair=order.pair,
        side=order.side,
        quantity=quantity,
        price=_positive(row, "price"),
        fee=-row.decimal("commission", Decimal(0)),
        is_maker=row.has("role") and row.text("role").lower() == "maker",
        filled_ms=order.updated_ms,
    )


def _positive(row: Row, key: str) -> Decimal:
    value = row.decimal(key)
    if value <= 0:
        raise row.wrong(key, "a price above 0")
    return value


def from_total(order: VenueOrder, booked: Sequence[Fill]) -> list[Fill]:
    """Return what is booked and, if the order's total is ahead of it, one fill of the difference.

    Raises `ProtocolError` for a total without a price.
    """
    quantity = order.filled_quantity - sum((fill.quantity for fill in booked), Decimal(0))
    if quantity <= 0:
        return list(booked)
    if order.average_price <= 0:
        reason = f"avgPrice was {order.average_price} with {order.filled_quantity} filled"
        raise ProtocolError("swapV2PrivateGetTradeOrder", reason)
    paid = sum((fill.quantity * fill.price for fill in booked), Decimal(0))
    total = order.filled_quantity * order.average_price
    difference = Fill(
        fill_id=f"{order.venue_order_id}:{order.filled_quantity.normalize():f}",
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        pair=order.pair,
        side=order.side,
        quantity=quantity,
        price=(total - paid) / quantity,
        fee=order.fees - sum((fill.fee for fill in booked), Decimal(0)),
        is_maker=False,
        filled_ms=order.updated_ms,
    )
    return [*booked, difference]


def is_booked_by_total(booked: Sequence[Fill]) -> bool:
    """Whether a part of the order was booked by its total."""
    return any(fill.fill_id.startswith(f"{fill.venue_order_id}:") for fill in booked)
