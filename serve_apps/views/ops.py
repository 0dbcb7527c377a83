"""Alerts, audit, actors, gaps, sources and limit sets as the API shows them."""

from collections.abc import Iterable

from actors.market_time import acceleration_grace_ms
from actors.source_book import judged
from desk.alert_codes import explained_by
from desk.market.gaps import GapEvent
from desk.market.interval import INTERVAL_MS
from desk.runs import ActorStatus, Alert, AuditEvent, SourceStatus
from desk.store.port import Doc
from desk.trading.risk import RiskLimitSet
from serve_apps import schemas
from serve_apps.schemas import (
    ActorView,
    AlertView,
    AuditView,
    Freshness,
    GapView,
    RiskLimitView,
    SourceView,
)
from serve_apps.views.text import json_object, money

FRESHNESS_ORDER: tuple[Freshness, ...] = ("stale", "never", "late", "ok", "disabled")
"""Worst first."""
LATE_AT_CADENCES = 1.5
"""Age, in candles, at which a candle source is called late before it is stale."""


def alert_view(doc: Doc[Alert], alerts: Iterable[Alert] = ()) -> AlertView:
    """One alert, and which of `alerts` it only follows from."""
    cause = explained_by(doc.value, alerts) if doc.value.status != "resolved" else None
    return AlertView.model_validate(
        {
            "alert_id": doc.value.alert_id,
            "category": doc.value.category,
            "severity": doc.value.severity,
            "code": doc.value.code,
            "detail": doc.value.detail,
            "status": doc.value.status,
            "created_ms": doc.value.created_ms,
            "count": doc.value.count,
            "metric": doc.value.metric,
            "value": doc.value.value,
            "threshold": doc.value.threshold,
            "trace_id": doc.value.trace_id,
            "explained_by": cause.alert_id if cause else "",
            "row_version": doc.version,
        }
    )


def audit_view(event: AuditEvent) -> AuditView:
    """One entry of the audit."""
    return AuditView(
        audit_id=event.audit_id,
        actor=event.actor,
        action=event.action,
        resource=event.resource,
        at_ms=event.at_ms,
        before=json_object(event.before),
        after=json_object(event.after),
        trace_id=event.trace_id,
        seq=event.seq,
        previous_sha256=event.previous_sha256,
        sha256=event.sha256,
    )


def actor_view(actor: ActorStatus, *, wall_ms: int) -> ActorView:
    """One actor process with the age of its heartbeat now."""
    return ActorView.model_validate(
        {
            "name": actor.name,
            "role": actor.role,
            "node": actor.node,
            "pid": actor.pid,
            "epoch": actor.epoch,
            "restarts": actor.restarts,
            "started_wall_ms": actor.started_wall_ms,
            "last_heartbeat_wall_ms": actor.last_heartbeat_wall_ms,
            "heartbeat_age_ms": max(wall_ms - actor.last_heartbeat_wall_ms, 0),
            "rss_bytes": actor.rss_bytes,
            "status": actor.status,
            "detail": actor.detail,
        }
    )


def gap_view(gap: GapEvent) -> GapView:
    """One gap."""
    return GapView(
        gap_id=gap.gap_id,
        pair=gap.pair,
        interval=gap.interval,
        source_type=gap.source_type,
        start_ms=gap.start_ms,
        end_ms=gap.end_ms,
        missing_points=gap.missing_points,
        status=gap.status.value,
        detected_ms=gap.detected_ms,
        attempts=gap.attempts,
        last_attempt_ms=gap.last_attempt_ms,
    )


def source_view(source: SourceStatus, *, now_ms: int, speed: float) -> SourceView:
    """One source, judged now: a source whose poller stopped grows stale without another write."""
    age_ms = max(now_ms - source.last_event_ms, 0) if source.last_event_ms else None
    status = judged(source, now_ms=now_ms, speed=speed).status
    return SourceView.model_validate(
        {
            "source_type": source.source_type,
            "source_id": source.source_id,
            "pair": source.pair,
            "interval": source.interval,
            "enabled": source.enabled,
            "status": status,
            "badge": _badge(source, status, age_ms, speed),
            "freshness_threshold_seconds": source.freshness_threshold_s,
            "last_event_ms": source.last_event_ms,
            "last_success_ms": source.last_success_ms,
            "age_ms": age_ms,
            "detail": source.detail,
        }
    )


def signal_source_view(source: SourceStatus, *, now_ms: int) -> SourceView:
    """One source of signals as it was judged: silence is normal, the age is that of the last sync."""
    age_ms = max(now_ms - source.last_success_ms, 0) if source.last_success_ms else None
    badge = (
        "disabled"
        if not source.enabled
        else "never"
        if age_ms is None
        else "ok"
        if source.status == "ok"
        else "stale"
    )
    facts = {
        name: getattr(source, name)
        for name in (
            *("source_type", "source_id", "pair", "interval", "enabled", "status"),
            *("last_event_ms", "last_success_ms", "detail"),
        )
    }
    threshold = {"freshness_threshold_seconds": source.freshness_threshold_s}
    return SourceView.model_validate({**facts, **threshold, "badge": badge, "age_ms": age_ms})


def _badge(source: SourceStatus, status: str, age_ms: int | None, speed: float) -> Freshness:
    if not source.enabled:
        return "disabled"
    if age_ms is None:
        return "never"
    if status != "ok":
        return "stale"
    threshold_ms = source.freshness_threshold_s * 1000
    cadence_ms = INTERVAL_MS.get(source.interval, threshold_ms / 2)
    # Feeds beside candles are not asked for faster on an accelerated market.
    grace_ms = 0 if source.interval else acceleration_grace_ms(speed)
    is_late = age_ms > min(LATE_AT_CADENCES * cadence_ms, threshold_ms) + grace_ms
    return "late" if is_late else "ok"


def worst_source(sources: list[SourceView]) -> schemas.WorstFreshness:
    """The source that is in the worst state; `never` when there is none at all."""
    ranked = sorted(
        sources, key=lambda view: (FRESHNESS_ORDER.index(view.badge), -(view.age_ms or 0))
    )
    if not ranked:
        return schemas.WorstFreshness(status="never", source="", age_ms=None)
    worst = ranked[0]
    name = ":".join(part for part in (worst.source_type, worst.pair, worst.interval) if part)
    return schemas.WorstFreshness(status=worst.badge, source=name, age_ms=worst.age_ms)


def risk_limit_view(doc: Doc[RiskLimitSet]) -> RiskLimitView:
    """One set of run limits."""
    limits = doc.value
    return RiskLimitView(
        set_id=limits.set_id,
        name=limits.name,
        max_position_size=money(limits.max_position_size),
        leverage_cap=money(limits.leverage_cap),
        max_daily_loss=money(limits.max_daily_loss),
        max_drawdown=money(limits.max_drawdown),
        max_open_positions=limits.max_open_positions,
        effective_from_ms=limits.effective_from_ms,
        active=limits.active,
        row_version=doc.version,
    )
