"""Operations beside trading: alerts, audit, actors, gaps, jobs."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query

from actors.audit import keep as keep_audit
from actors.events import alert_event
from actors.job_book import JobBook
from desk import ids
from desk.ids import parse_pair
from desk.market.gaps import GapEvent, GapStatus
from desk.runs import Alert, AuditEvent, Job, JobStatus
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import ByVersion, Caller, Context, Ctx
from serve_apps.paging import Paged, Windowed, page_of
from serve_apps.parameters import AlertId, JobId
from serve_apps.schemas import ActorView, AlertView, AuditView, GapHealth, JobView, Page
from serve_apps.tagged import TaggedRoute
from serve_apps.views import ops as views
from serve_apps.views.agents import job_view

router = APIRouter(tags=["operations"], route_class=TaggedRoute)

ALL_GAPS = 10_000
Text = Annotated[str | None, Query(max_length=120)]


@router.get("/ops/alerts")
def list_alerts(
    ctx: Ctx,
    page: Paged,
    status: Literal["open", "acknowledged", "resolved"] | None = None,
    category: Literal["slo", "drift", "ops", "risk", "data"] | None = None,
    severity: Literal["info", "warning", "critical"] | None = None,
) -> Page[AlertView]:
    """List alerts, newest first."""

    def keep(alert: Alert) -> bool:
        asked = (status, category, severity)
        found = (alert.status, alert.category, alert.severity)
        return all(want in {None, has} for want, has in zip(asked, found, strict=True))

    docs, following = page_of(ctx.store, kinds.ALERTS, page, keep=keep)
    others = lookups.unresolved_alerts(ctx.store)
    items = [views.alert_view(doc, others) for doc in docs]
    return Page(items=items, next_cursor=following)


@router.post("/ops/alerts/{alert_id}/ack")
def acknowledge_alert(ctx: Ctx, by: ByVersion, alert_id: AlertId) -> AlertView:
    """Acknowledge an open alert; one that is acknowledged or resolved stays as it is."""
    doc = lookups.need(ctx.store, kinds.ALERTS, alert_id, "alert")
    by.expect(f"alert {alert_id}", doc.version)
    if doc.value.status != "open":
        return views.alert_view(doc)
    now_ms = ctx.clock.now_ms()
    acknowledged = replace(doc.value, status="acknowledged", acknowledged_wall_ms=ctx.wall_ms())
    stored = ctx.store.put(
        kinds.ALERTS,
        alert_id,
        acknowledged,
        at_ms=doc.at_ms,
        expected_version=doc.version,
        event=alert_event(acknowledged, at_ms=now_ms),
    )
    _audit(ctx, by, "alert.acknowledge", f"alert/{alert_id}", ("open", "acknowledged"))
    return views.alert_view(stored)


@router.get("/ops/audit")
def list_audit(
    ctx: Ctx,
    page: Paged,
    window: Windowed,
    resource: Text = None,
    action: Text = None,
) -> Page[AuditView]:
    """List who changed what, newest first; `resource` and `action` match from their beginning."""

    def keep(event: AuditEvent) -> bool:
        return event.resource.startswith(resource or "") and event.action.startswith(action or "")

    docs, following = page_of(ctx.store, kinds.AUDIT, page, window=window, keep=keep)
    return Page(items=[views.audit_view(doc.value) for doc in docs], next_cursor=following)


@router.get("/ops/actors")
def list_actors(ctx: Ctx) -> Page[ActorView]:
    """List every actor process with its last heartbeat, restarts and memory, by name."""
    docs = ctx.store.list(kinds.ACTORS, limit=lookups.MANY)
    wall_ms = ctx.wall_ms()
    items = [views.actor_view(doc.value, wall_ms=wall_ms) for doc in docs]
    return Page(items=sorted(items, key=lambda actor: actor.name))


@router.get("/ops/gaps/health")
def read_gaps(
    ctx: Ctx,
    page: Paged,
    pair: Text = None,
    source_type: Text = None,
    status: Literal["open", "healing", "resolved", "absent_at_venue"] | None = None,
) -> GapHealth:
    """Count the gaps and list the newest ones."""
    wanted_pair = parse_pair(pair) if pair else None

    def in_scope(gap: GapEvent) -> bool:
        return wanted_pair in {None, gap.pair} and source_type in {None, gap.source_type}

    gaps = [doc.value for doc in ctx.store.list(kinds.GAPS, limit=ALL_GAPS) if in_scope(doc.value)]
    counts = {state: sum(gap.status is state for gap in gaps) for state in GapStatus}
    waiting = counts[GapStatus.OPEN] + counts[GapStatus.HEALING]
    scan = ctx.store.get(kinds.STATE, "gap_scan")
    docs, following = page_of(
        ctx.store,
        kinds.GAPS,
        page,
        keep=lambda gap: in_scope(gap) and status in {None, gap.status.value},
    )
    return GapHealth(
        status="gaps" if waiting else ("ok" if scan or gaps else "never_scanned"),
        open=counts[GapStatus.OPEN],
        healing=counts[GapStatus.HEALING],
        resolved=counts[GapStatus.RESOLVED],
        absent_at_venue=counts[GapStatus.ABSENT_AT_VENUE],
        missing_points=sum(
            gap.missing_points for gap in gaps if gap.status in {GapStatus.OPEN, GapStatus.HEALING}
        ),
        last_scan_ms=int(scan.value["at_ms"]) if scan else None,
        items=[views.gap_view(doc.value) for doc in docs],
        next_cursor=following,
    )


@router.get("/jobs/{job_id}")
def read_job(ctx: Ctx, job_id: JobId) -> JobView:
    """Show a job's progress."""
    return job_view(lookups.need(ctx.store, kinds.JOBS, job_id, "job").value)


@router.post("/jobs/{job_id}/cancel", status_code=202)
async def cancel_job(ctx: Ctx, by: ByVersion, job_id: JobId) -> JobView:
    """End a job; its worker stops at its next step. One that has ended stays as it is."""

    def cancel() -> tuple[Job, Job]:
        before, after = _turned(ctx, by, job_id, JobBook.cancel)
        _audit(ctx, by, "job.cancel", f"job/{job_id}", (before.status, after.status))
        return before, after

    before, after = await asyncio.to_thread(cancel)
    if before.status is JobStatus.PAUSED:
        await ctx.learning.put_away(after)
    return job_view(after)


@router.post("/jobs/{job_id}/pause", status_code=202)
def pause_job(ctx: Ctx, by: ByVersion, job_id: JobId) -> JobView:
    """Let a backfill or a training stop at its next step, until it is resumed."""
    before, after = _turned(ctx, by, job_id, JobBook.pause)
    _audit(ctx, by, "job.pause", f"job/{job_id}", (before.status, after.status))
    return job_view(after)


@router.post("/jobs/{job_id}/resume", status_code=202)
async def resume_job(ctx: Ctx, by: ByVersion, job_id: JobId) -> JobView:
    """Let a paused job go on where it stopped."""

    def resume() -> tuple[Job, Job]:
        before, after = _turned(ctx, by, job_id, JobBook.resume)
        _audit(ctx, by, "job.resume", f"job/{job_id}", (before.status, after.status))
        return before, after

    before, after = await asyncio.to_thread(resume)
    if before.status is JobStatus.PAUSED:
        await ctx.desk.take_up(after)
    return job_view(after)


def _turned(
    ctx: Context, by: Caller, job_id: str, turn: Callable[[JobBook], None]
) -> tuple[Job, Job]:
    """Turn a job from outside; returns it as it was and as it is."""
    before = lookups.need(ctx.store, kinds.JOBS, job_id, "job")
    by.expect(f"job {job_id}", before.version)
    turn(JobBook(ctx.store, job_id, ctx.clock))
    return before.value, lookups.need(ctx.store, kinds.JOBS, job_id, "job").value


def _audit(ctx: Context, by: Caller, action: str, resource: str, moved: tuple[str, str]) -> None:
    """Note a change of status that somebody asked for; the same request leaves one entry."""
    before, after = moved
    if before == after:
        return
    now_ms = ctx.clock.now_ms()
    event = AuditEvent(
        audit_id=ids.request_id("audit", by.trace_id, action, resource),
        actor=by.actor,
        action=action,
        resource=resource,
        at_ms=now_ms,
        before={"status": before},
        after={"status": after},
        trace_id=by.trace_id,
    )
    keep_audit(ctx.store, event)
