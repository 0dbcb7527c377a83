"""Orders and fills as the API shows them."""

from desk.trading.orders import Fill, Order
from desk.trading.trades import status_of
from serve_apps.schemas import FillView, OrderView
from serve_apps.views.text import money, money_if_set, money_or_none


def slippage_bps(order: Order) -> float | None:
    """Average price against the reference, in basis points; positive is worse for us."""
    if not order.filled_quantity or not order.reference_price:
        return None
    drift = (order.average_price - order.reference_price) / order.reference_price
    return float(drift * order.side.sign * 10_000)


def order_fields(order: Order) -> dict[str, object]:
    """The fields of an `OrderView`; an execution has some more."""
    return {
        "client_order_id": order.client_order_id,
        "account": order.account,
        "run_id": order.run_id,
        "decision_id": order.decision_id,
        "trade_id": order.trade_id,
        "pair": order.pair,
        "leg": order.leg.value,
        "side": order.side.value,
        "state": order.state.value,
        "status": status_of(order).value,
        "quantity": money(order.quantity),
        "filled_quantity": money(order.filled_quantity),
        "reduce_only": order.reduce_only,
        "reference_price": money(order.reference_price),
        "limit_price": money_if_set(order.limit_price),
        "stop_loss_price": money_if_set(order.stop_loss_price),
        "take_profit_price": money_if_set(order.take_profit_price),
        "exit_kind": order.exit_kind,
        "average_price": money_or_none(order.average_price),
        "slippage_bps": slippage_bps(order),
        "fees": money(order.fees),
        "realized_pnl": money(order.realized_pnl),
        "reserved_quote": money(order.reserved_quote),
        "venue_order_id": order.venue_order_id,
        "attempts": order.attempts,
        "reason": order.reason,
        "decided_open_ms": order.decided_open_ms,
        "created_ms": order.created_ms,
        "updated_ms": order.updated_ms,
        "trace_id": order.trace_id,
        "row_version": order.version,
    }


def order_view(order: Order) -> OrderView:
    """One order row."""
    return OrderView.model_validate(order_fields(order))


def fill_view(fill: Fill) -> FillView:
    """One execution at the venue."""
    return FillView(
        fill_id=fill.fill_id,
        client_order_id=fill.client_order_id,
        venue_order_id=fill.venue_order_id,
        pair=fill.pair,
        side=fill.side.value,
        quantity=money(fill.quantity),
        price=money(fill.price),
        fee=money(fill.fee),
        is_maker=fill.is_maker,
        filled_ms=fill.filled_ms,
    )
