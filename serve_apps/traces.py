"""One trace id's whole story, put together from the store: each hop, or why it is missing."""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from actors.replay import Origin, Replayer, decisions_on, origin_in_runs
from desk import ids
from desk.clock import DAY_MS
from desk.errors import NotFound
from desk.ids import Pair
from desk.market.interval import Interval, interval_ms, last_closed_open_ms
from desk.runs import DecisionRecord
from desk.store import kinds
from desk.trading.ledger import ZERO
from desk.trading.orders import Fill, Order
from serve_apps import lookups
from serve_apps.context import Context
from serve_apps.schemas import (
    AlertView,
    AuditView,
    CandleView,
    LedgerEffect,
    ReplayView,
    TraceView,
)
from serve_apps.trace_hops import hops_of
from serve_apps.views.agents import decision_view
from serve_apps.views.ops import alert_view, audit_view
from serve_apps.views.orders import fill_view, order_view
from serve_apps.views.provenance import replay_view
from serve_apps.views.text import money

SEARCHED_MS = 31 * DAY_MS
"""How far back the candles are whose trace ids are compared."""
SEARCHED_TRADES = 200
_TRACE_ID = re.compile(r"^tr[a-z2-7]{22}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What the store holds of one trace."""

    origin: Origin | None
    candle: CandleView | None
    decisions: Sequence[DecisionRecord]
    orders: Sequence[Order]
    fills: Mapping[str, Sequence[Fill]]
    """By client order id, oldest first."""
    alerts: Sequence[AlertView] = field(default_factory=list[AlertView])
    audit: Sequence[AuditView] = field(default_factory=list[AuditView])

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all carries the id."""
        return not (self.origin or self.orders or self.alerts or self.audit)


def tell(ctx: Context, trace_id: str) -> TraceView:
    """Collect everything that carries a trace id. Raises `NotFound` when nothing does."""
    story = _collect(ctx, trace_id)
    if story.is_empty:
        raise NotFound("trace", trace_id)
    return TraceView(
        trace_id=trace_id,
        replays=_replays(ctx, story.decisions),
        hops=hops_of(story.candle, story.decisions, story.orders, story.fills),
        candle=story.candle,
        decisions=[decision_view(decision) for decision in story.decisions],
        orders=[order_view(order) for order in story.orders],
        fills=[fill_view(fill) for rows in story.fills.values() for fill in rows],
        ledger=[
            _effect(order, story.fills[order.client_order_id])
            for order in story.orders
            if story.fills[order.client_order_id]
        ],
        alerts=list(story.alerts),
        audit=list(story.audit),
    )


def find_origin(ctx: Context, trace_id: str) -> Origin | None:
    """Find the candle by computing the ids of candles, newest first: each is a function of its candle.

    Older ones, and those of pairs that are no longer polled, are looked for where runs decided.
    """
    if not _TRACE_ID.match(trace_id):
        return None
    now_ms = ctx.clock.now_ms()
    series = [
        _origins(pair, interval, last_closed_open_ms(now_ms, interval))
        for pair in ctx.facts.pairs
        for interval in ctx.facts.intervals
    ]
    for origin in heapq.merge(*series, key=lambda origin: -origin.open_ms):
        if ids.trace_id("candle", origin.pair, origin.interval, origin.open_ms) == trace_id:
            return origin
    return origin_in_runs(ctx.store, trace_id)


def _origins(pair: Pair, interval: Interval, newest_ms: int) -> Iterator[Origin]:
    for open_ms in range(newest_ms, newest_ms - SEARCHED_MS, -interval_ms(interval)):
        yield Origin(pair, interval, open_ms)


def _collect(ctx: Context, trace_id: str) -> Story:
    origin = find_origin(ctx, trace_id)
    decisions = decisions_on(ctx.decisions, origin) if origin else []
    orders = _orders(ctx, trace_id, decisions)
    many = lookups.MANY
    alerts = ctx.store.list(kinds.ALERTS, limit=many)
    audit = [doc.value for doc in ctx.store.list(kinds.AUDIT, limit=many)]
    return Story(
        origin=origin,
        candle=_candle(ctx, origin) if origin else None,
        decisions=decisions,
        orders=orders,
        fills={
            order.client_order_id: ctx.store.fills_of_order(order.client_order_id)
            for order in orders
        },
        alerts=[alert_view(doc) for doc in alerts if doc.value.trace_id == trace_id],
        audit=[audit_view(event) for event in audit if event.trace_id == trace_id],
    )


def _candle(ctx: Context, origin: Origin) -> CandleView | None:
    rows = ctx.candles.read(origin.pair, origin.interval, origin.open_ms, origin.open_ms + 1)
    if not len(rows):
        return None
    found = rows.row(0)
    return CandleView(
        pair=origin.pair,
        interval=origin.interval,
        open_ms=found.open_ms,
        open=found.open,
        high=found.high,
        low=found.low,
        close=found.close,
        volume=found.volume,
    )


def _orders(ctx: Context, trace_id: str, decisions: Sequence[DecisionRecord]) -> list[Order]:
    """Orders of the decisions; without a decision (a manual exit) those that carry the id."""
    if decisions:
        keys = [key for decision in decisions for key in decision.client_order_ids]
        rows = (ctx.store.order(key) for key in keys)
        return [order for order in rows if order is not None]
    trades = ctx.store.trade_ids(limit=SEARCHED_TRADES)
    every = (order for trade in trades for order in ctx.store.orders_of_trade(trade))
    return [order for order in every if order.trace_id == trace_id]


def _replays(ctx: Context, decisions: Sequence[DecisionRecord]) -> list[ReplayView]:
    if ctx.home is None:
        return []
    replayer = Replayer(ctx.home, ctx.store, ctx.candles, archive=ctx.archive)
    return [replay_view(replayer.replay(decision)) for decision in decisions]


def _effect(order: Order, fills: Sequence[Fill]) -> LedgerEffect:
    moved = sum((fill.side.sign * fill.quantity for fill in fills), ZERO)
    fees = sum((fill.fee for fill in fills), ZERO)
    return LedgerEffect(
        client_order_id=order.client_order_id,
        account=order.account,
        position_delta=money(moved),
        realized_pnl=money(order.realized_pnl),
        fees=money(fees),
        cash_delta=money(order.realized_pnl - fees),
        at_ms=fills[-1].filled_ms,
    )
