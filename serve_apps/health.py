"""What `GET /healthz` checks; it is open to anybody, so it tells states and no figures."""

from desk.errors import DeskError
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import Context
from serve_apps.schemas import CheckView, HealthView

LATE_HEARTBEAT_MS = 15_000
OLD_CLOCK_MS = 60_000


def check(ctx: Context) -> HealthView:
    """Down without the store; degraded while an actor, the venue's clock or the pages are missing."""
    try:
        ctx.store.ping()
        checks = [_passed("store"), _actors(ctx), _clock(ctx), _pages(ctx)]
    except DeskError as failed:
        reason = type(failed).__name__
        return HealthView(status="down", checks=[CheckView(name="store", ok=False, detail=reason)])
    fine = all(one.ok for one in checks)
    return HealthView(status="ok" if fine else "degraded", checks=checks)


def _passed(name: str) -> CheckView:
    return CheckView(name=name, ok=True, detail="")


def _actors(ctx: Context) -> CheckView:
    now_ms = ctx.wall_ms()
    actors = [doc.value for doc in ctx.store.list(kinds.ACTORS, limit=lookups.MANY)]
    late = sorted(
        actor.name
        for actor in actors
        if actor.status != "stopped"
        and (actor.status != "up" or now_ms - actor.last_heartbeat_wall_ms > LATE_HEARTBEAT_MS)
    )
    if not actors:
        return CheckView(name="actors", ok=False, detail="none has reported yet")
    return CheckView(name="actors", ok=not late, detail=f"late: {' '.join(late)}" if late else "")


def _clock(ctx: Context) -> CheckView:
    anchor = ctx.anchor()
    if anchor is None:
        return CheckView(name="venue_clock", ok=False, detail="never read")
    old = ctx.wall_ms() - anchor.wall_ms > OLD_CLOCK_MS
    return CheckView(name="venue_clock", ok=not old, detail="not read lately" if old else "")


def _pages(ctx: Context) -> CheckView:
    return CheckView(name="pages", ok=not ctx.ui_problem, detail=ctx.ui_problem)
