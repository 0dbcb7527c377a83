"""Trades: position episodes projected from the orders, and the manual ways out."""

import asyncio
from pathlib import Path

from fastapi import APIRouter
from pydantic import JsonValue

from actors.explain import Explainer
from desk import ids
from desk.errors import BadInput, NotFound
from desk.ids import parse_pair
from desk.trading.orders import Leg, Order
from desk.trading.trades import Trade, project
from serve_apps import lookups
from serve_apps.context import By, Context, Ctx
from serve_apps.order_events import events_of
from serve_apps.paging import Paged, Place, Windowed, page_rows
from serve_apps.parameters import AnyPair, TradeId
from serve_apps.requests import CloseBody, ReasonBody
from serve_apps.schemas import (
    CancelAccepted,
    ModeName,
    OrderAccepted,
    Page,
    SideName,
    TradeDetail,
    TradeStatusName,
    TradeView,
)
from serve_apps.views.accounts import Baselines, baselines
from serve_apps.views.provenance import explanation_view
from serve_apps.views.trades import execution_views, state_event_views, trade_view

router = APIRouter(tags=["trades"])


@router.get("/trades")
def list_trades(
    ctx: Ctx,
    page: Paged,
    window: Windowed,
    *,
    status: TradeStatusName | None = None,
    mode: ModeName | None = None,
    pair: AnyPair = None,
    side: SideName | None = None,
) -> Page[TradeView]:
    """List trades by the time of their first order, newest first."""
    wanted = parse_pair(pair) if pair else None

    def read(before_ms: int | None, count: int) -> list[list[Order]]:
        found = ctx.store.trade_ids(account=mode, before_ms=before_ms, limit=count)
        rows = (ctx.store.orders_of_trade(trade_id) for trade_id in found)
        return [orders for orders in rows if orders]

    def keep(orders: list[Order]) -> bool:
        trade = _project(ctx, orders)
        return (
            status in {None, trade.status.value}
            and wanted in {None, trade.instrument}
            and side in {None, trade.side.value}
        )

    rows, following = page_rows(
        read,
        place_of=lambda orders: Place(orders[0].created_ms, orders[0].trade_id),
        keep=keep,
        asked=page,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
    )
    shown = baselines(lookups.runs(ctx.store), lookups.versions(ctx.store))
    return Page(items=[_view(ctx, orders, shown) for orders in rows], next_cursor=following)


@router.get("/trades/{trade_id}")
def read_trade(ctx: Ctx, trade_id: TradeId) -> TradeDetail:
    """Show a trade with its executions, their fills, and every change of state."""
    orders = _orders(ctx, trade_id)
    trade = _project(ctx, orders)
    shown = baselines(lookups.runs(ctx.store), lookups.versions(ctx.store))
    fills = {
        order.client_order_id: ctx.store.fills_of_order(order.client_order_id) for order in orders
    }
    events = events_of(ctx.store, orders, ctx.anchor())
    return TradeDetail(
        **_view(ctx, orders, shown).model_dump(),
        executions=execution_views(trade, orders, fills),
        state_events=state_event_views(events),
    )


@router.get("/trades/{trade_id}/explanation")
def explain_trade(ctx: Ctx, trade_id: TradeId) -> dict[str, JsonValue]:
    """Tell why a trade was made and what came of it, in words and numbers."""
    home = ctx.home or Path("/nonexistent")
    explainer = Explainer(
        home, ctx.store, ctx.candles, archive=ctx.archive, decisions=ctx.decisions
    )
    return explanation_view(explainer.explain(trade_id))


@router.post("/trades/{trade_id}/close", status_code=202)
async def close_trade(
    ctx: Ctx, by: By, trade_id: TradeId, body: CloseBody | None = None
) -> OrderAccepted:
    """Close a trade's position, or a part of it, by a reduce-only market order."""
    ask = body or CloseBody()
    name = ask.client_order_id or ""
    orders = await asyncio.to_thread(_orders, ctx, trade_id)
    if name in {order.client_order_id for order in orders if order.leg is Leg.ENTRY}:
        name = ""
    elif ids.is_ours(name) and name not in {order.client_order_id for order in orders}:
        raise BadInput("client_order_id", f"was {name}, no order of this trade")
    order_id = await ctx.desk.close_trade(
        trade_id, ask.quantity, ask.reason, name=name, actor=by.actor, trace_id=by.trace_id
    )
    return OrderAccepted(trade_id=trade_id, client_order_id=order_id, trace_id=by.trace_id)


@router.post("/trades/{trade_id}/cancel", status_code=202)
async def cancel_trade(
    ctx: Ctx, by: By, trade_id: TradeId, body: ReasonBody | None = None
) -> CancelAccepted:
    """Ask for the end of a trade's entries that are not filled; what was filled stays held."""
    reason = body.reason if body else ""
    await asyncio.to_thread(_orders, ctx, trade_id)
    asked = await ctx.desk.cancel_trade(trade_id, reason, actor=by.actor, trace_id=by.trace_id)
    return CancelAccepted(trade_id=trade_id, client_order_ids=asked, trace_id=by.trace_id)


def _orders(ctx: Context, trade_id: str) -> list[Order]:
    orders = ctx.store.orders_of_trade(trade_id)
    if not orders:
        raise NotFound("trade", trade_id)
    return orders


def _project(ctx: Context, orders: list[Order]) -> Trade:
    ledger = ctx.store.ledger(orders[0].account)
    position = ledger.positions.get(orders[0].pair) if ledger else None
    return project(orders, position, mode=orders[0].account, leverage=ctx.facts.leverage)


def _view(ctx: Context, orders: list[Order], shown: Baselines) -> TradeView:
    trade = _project(ctx, orders)
    return trade_view(trade, orders, lookups.run_or_none(ctx.store, trade.run_id), shown)
