"""What the actors announce: one event of the streams per fact, as the pages and the audit read them."""

from typing import Any

from desk.market.candles import Candle
from desk.market.interval import Interval
from desk.runs import Alert, DecisionRecord, Job, Run, SourceStatus
from desk.store.port import Event, Stream
from desk.trading import ledger as books
from desk.trading.breaker import Breaker
from desk.trading.ledger import Ledger
from desk.trading.orders import Fill, Order


def order_event(order: Order, *, at_ms: int) -> Event:
    """An order row changed."""
    return Event(
        topic="order",
        key=order.client_order_id,
        data={
            "client_order_id": order.client_order_id,
            "trade_id": order.trade_id,
            "account": order.account,
            "run_id": order.run_id,
            "pair": order.pair,
            "leg": order.leg.value,
            "side": order.side.value,
            "state": order.state.value,
            "quantity": str(order.quantity),
            "filled_quantity": str(order.filled_quantity),
            "average_price": str(order.average_price),
            "reduce_only": order.reduce_only,
            "reason": order.reason,
            "attempts": order.attempts,
        },
        at_ms=at_ms,
        trace_id=order.trace_id,
        stream=Stream.ORDERS,
    )


def fill_event(fill: Fill, order: Order, *, at_ms: int) -> Event:
    """An execution was booked; `order` is the row after it."""
    return Event(
        topic="fill",
        key=order.trade_id,
        data={
            "fill_id": fill.fill_id,
            "client_order_id": order.client_order_id,
            "trade_id": order.trade_id,
            "account": order.account,
            "run_id": order.run_id,
            "pair": fill.pair,
            "side": fill.side.value,
            "leg": order.leg.value,
            "quantity": str(fill.quantity),
            "price": str(fill.price),
            "fee": str(fill.fee),
            "realized_pnl": str(order.realized_pnl),
            "order_state": order.state.value,
            "filled_ms": fill.filled_ms,
        },
        at_ms=at_ms,
        trace_id=order.trace_id,
        stream=Stream.ORDERS,
    )


def position_event(ledger: Ledger, pair: str, *, at_ms: int, trace_id: str = "") -> Event:
    """A position, or the cash, of an account changed."""
    held = ledger.positions.get(pair)
    return Event(
        topic="position",
        key=f"{ledger.account}:{pair}",
        data={
            "account": ledger.account,
            "pair": pair,
            "quantity": str(held.quantity) if held else "0",
            "average_price": str(held.average_price) if held else "0",
            "trade_id": held.trade_id if held else "",
            "run_id": held.run_id if held else "",
            "cash": str(ledger.cash),
            "realized_pnl": str(ledger.realized_pnl),
            "fees": str(ledger.fees),
            "funding": str(ledger.funding),
        },
        at_ms=at_ms,
        trace_id=trace_id,
        stream=Stream.RISK,
    )


def risk_event(ledger: Ledger, *, at_ms: int, breaker: Breaker | None = None) -> Event:
    """The books of an account were valued anew, or its breaker moved."""
    data: dict[str, Any] = {
        "account": ledger.account,
        "equity": str(books.equity(ledger)),
        "cash": str(ledger.cash),
        "unrealized": str(books.unrealized(ledger)),
        "drawdown": str(books.drawdown_fraction(ledger)),
        "daily_loss": str(books.daily_loss(ledger)),
        "exposure": str(books.exposure(ledger)),
    }
    if breaker is not None:
        data |= {
            "breaker": breaker.state.value,
            "cooldown_until_ms": breaker.cooldown_until_ms,
            "trigger_reason": breaker.trigger_reason,
        }
    return Event(topic="risk", key=ledger.account, data=data, at_ms=at_ms, stream=Stream.RISK)


def run_event(run: Run, *, at_ms: int, trace_id: str = "") -> Event:
    """A run changed its status."""
    return Event(
        topic="run",
        key=run.run_id,
        data={
            "run_id": run.run_id,
            "agent_id": run.agent_id,
            "account": run.account,
            "mode": run.mode.value,
            "pair": run.pair,
            "status": run.status.value,
            "pause_reason": run.pause_reason,
            "version_id": run.version_id,
        },
        at_ms=at_ms,
        trace_id=trace_id,
    )


def decision_event(record: DecisionRecord, *, at_ms: int) -> Event:
    """A candle was decided on."""
    return Event(
        topic="decision",
        key=record.run_id,
        data={
            "decision_id": record.decision_id,
            "run_id": record.run_id,
            "pair": record.pair,
            "interval": record.interval,
            "open_ms": record.open_ms,
            "action": record.action.value,
            "hold_reason": record.hold_reason,
            "target": record.target,
            "confidence": record.confidence,
            "version_id": record.version_id,
            "reference_price": record.reference_price,
            "client_order_ids": list(record.client_order_ids),
            "warnings": list(record.warnings),
            "latency_ms": dict(record.latency_ms),
        },
        at_ms=at_ms,
        trace_id=record.trace_id,
    )


def candle_event(
    pair: str, interval: Interval, candle: Candle, *, at_ms: int, trace_id: str
) -> Event:
    """A candle closed and is stored."""
    return Event(
        topic="candle",
        key=f"{pair}:{interval}",
        data={
            "t": candle.open_ms,
            "o": candle.open,
            "h": candle.high,
            "l": candle.low,
            "c": candle.close,
            "v": candle.volume,
            "closed": True,
        },
        at_ms=at_ms,
        trace_id=trace_id,
    )


def alert_event(alert: Alert, *, at_ms: int) -> Event:
    """Something an operator should know."""
    return Event(
        topic="alert",
        key=alert.alert_id,
        data={
            "alert_id": alert.alert_id,
            "category": alert.category,
            "severity": alert.severity,
            "code": alert.code,
            "detail": alert.detail,
            "status": alert.status,
            "count": alert.count,
            "created_ms": alert.created_ms,
            "metric": alert.metric,
            "value": alert.value,
            "threshold": alert.threshold,
        },
        at_ms=at_ms,
        trace_id=alert.trace_id,
    )


def job_event(job: Job, *, at_ms: int) -> Event:
    """A job moved on."""
    return Event(
        topic="job",
        key=job.job_id,
        data={
            "job_id": job.job_id,
            "kind": job.kind,
            "status": job.status.value,
            "done": job.done,
            "total": job.total,
            "unit": job.unit,
            "rate_per_s": job.rate_per_s,
            "detail": job.detail,
            "error": job.error,
            "figures": dict(job.figures),
        },
        at_ms=at_ms,
    )


def source_event(source: SourceStatus, *, at_ms: int) -> Event:
    """A data source became fresh, stale or unavailable."""
    return Event(
        topic="freshness",
        key=f"{source.source_type}:{source.source_id or source.pair}:{source.interval}",
        data={
            "source_type": source.source_type,
            "pair": source.pair,
            "interval": source.interval,
            "status": source.status,
            "last_event_ms": source.last_event_ms,
            "last_success_ms": source.last_success_ms,
            "detail": source.detail,
        },
        at_ms=at_ms,
    )


def ops_event(
    topic: str, key: str, data: dict[str, Any], *, at_ms: int, trace_id: str = ""
) -> Event:
    """Any other operational fact."""
    return Event(topic=topic, key=key, data=data, at_ms=at_ms, trace_id=trace_id)
