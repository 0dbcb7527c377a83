"""Trades, with their executions and the states they went through, as the API shows them."""

from collections.abc import Iterable, Mapping, Sequence

from desk.runs import Run
from desk.store.port import Doc, Event
from desk.trading.orders import Fill, Order
from desk.trading.trades import ExecutionKind, Trade
from serve_apps.schemas import ExecutionView, StateEventView, TradeView
from serve_apps.views.accounts import Baselines, mode_of
from serve_apps.views.orders import fill_view, order_fields
from serve_apps.views.text import money, money_or_none


def trade_view(
    trade: Trade, orders: Sequence[Order], run: Doc[Run] | None, baseline: Baselines
) -> TradeView:
    """One trade. Net PnL leaves funding out: the books keep it per account."""
    entry = next((row for row in orders if row.client_order_id == trade.client_order_id), orders[0])
    return TradeView(
        trade_id=trade.trade_id,
        account=trade.account,
        mode=mode_of(trade.account),
        run_id=trade.run_id,
        version_id=run.value.version_id if run else "",
        baseline=baseline.get(trade.run_id, False),
        pair=trade.instrument,
        side=trade.side.value,
        status=trade.status.value,
        quantity=money(trade.quantity),
        position_size=money(trade.position_size),
        client_order_id=trade.client_order_id,
        reference_price=money(entry.reference_price),
        average_fill_price=money_or_none(trade.average_fill_price),
        exit_price=money_or_none(trade.average_exit_price),
        realized_pnl=money(trade.realized_pnl),
        fees=money(trade.fees),
        net_pnl=money(trade.realized_pnl - trade.fees),
        funding=None,
        leverage=money(trade.leverage),
        is_open=bool(trade.position_size) or any(order.is_open for order in orders),
        reconciliation_status=trade.reconciliation.value,
        reason=trade.reason,
        opened_ms=trade.opened_ms,
        closed_at_ms=trade.closed_at_ms,
        trace_id=trade.trace_id,
    )


def execution_views(
    trade: Trade, orders: Sequence[Order], fills: Mapping[str, Sequence[Fill]]
) -> list[ExecutionView]:
    """Every request to the venue, oldest first; fills stand with the order, not with its cancel."""
    by_id = {order.client_order_id: order for order in orders}
    views: list[ExecutionView] = []
    for execution in trade.executions:
        order = by_id[execution.client_order_id]
        own = () if execution.kind is ExecutionKind.CANCEL else fills[order.client_order_id]
        views.append(
            ExecutionView.model_validate(
                order_fields(order)
                | {
                    "kind": execution.kind.value,
                    "idempotency_key": execution.idempotency_key,
                    "reconciliation_status": execution.reconciliation.value,
                    "fills": [fill_view(fill) for fill in own],
                }
            )
        )
    return views


def state_event_views(events: Iterable[Event]) -> list[StateEventView]:
    """Changes of state from the stored order events; repeats of one state are left out."""
    last: dict[str, str] = {}
    views: list[StateEventView] = []
    for event in events:
        order_id = str(event.data.get("client_order_id", event.key))
        state = str(event.data.get("state") or event.data.get("order_state") or "")
        if not state or state == last.get(order_id):
            continue
        views.append(
            StateEventView.model_validate(
                {
                    "event_id": event.event_id,
                    "client_order_id": order_id,
                    "topic": event.topic,
                    "from": last.get(order_id, ""),
                    "to": state,
                    "reason": str(event.data.get("reason", "")),
                    "at_ms": event.at_ms,
                    "trace_id": event.trace_id,
                }
            )
        )
        last[order_id] = state
    return views
