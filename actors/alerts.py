"""Alerts: one row per cause, open or acknowledged while it lasts, counted up each time it is seen."""

from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from actors.events import alert_event
from actors.store_calls import stored
from desk import meters
from desk.alert_codes import is_worse
from desk.errors import StoreUnavailable, VersionConflict
from desk.runs import Alert
from desk.store import kinds
from desk.store.port import DocStore
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()

TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why an alert is raised; the same code about the same thing is the same alert."""

    code: str
    about: str
    category: str
    severity: str
    detail: str
    trace_id: str = ""
    metric: str = ""
    value: str = ""
    threshold: str = ""


async def raise_alert(store: DocStore, cause: Cause, *, at_ms: int) -> None:
    """Open an alert, or count up the one that is not resolved. A store that is away costs the alert, not the caller."""
    try:
        for _ in range(TRIES):
            if await _put(store, cause, at_ms):
                return
    except StoreUnavailable as away:
        log.warning("alert_lost", code=cause.code, about=cause.about, error=str(away))


def resolve_alert(
    store: DocStore, alert_id: str, *, at_ms: int, seen_version: int | None = None
) -> None:
    """Close an alert whose cause is gone. One that is absent or closed stays as it is, and so does one
    that was raised again meanwhile, or since `seen_version`."""
    found = store.get(kinds.ALERTS, alert_id)
    if found is None or found.value.status == "resolved":
        return
    after = replace(found.value, status="resolved")
    version = found.version if seen_version is None else seen_version
    with suppress(VersionConflict):
        store.put(
            kinds.ALERTS,
            alert_id,
            after,
            at_ms=found.at_ms,
            expected_version=version,
            event=alert_event(after, at_ms=at_ms),
        )


async def _put(store: DocStore, cause: Cause, at_ms: int) -> bool:
    alert_id = f"{cause.code}:{cause.about}"
    found = await stored(lambda: store.get(kinds.ALERTS, alert_id), within_s=2.0)
    before = found.value if found is not None and found.value.status != "resolved" else None
    fresh = Alert(
        alert_id=alert_id,
        category=cause.category,
        severity=cause.severity,
        code=cause.code,
        detail=cause.detail,
        created_ms=at_ms,
        trace_id=cause.trace_id,
        metric=cause.metric,
        value=cause.value,
        threshold=cause.threshold,
        raised_wall_ms=wall_ms(),
    )
    if before is not None:
        # Who has acknowledged it knows of it: only what has become worse is told anew.
        status = "open" if is_worse(cause.severity, before.severity) else before.status
        fresh = replace(
            fresh,
            count=before.count + 1,
            created_ms=before.created_ms,
            status=status,
            acknowledged_wall_ms=before.acknowledged_wall_ms,
        )
    try:
        await stored(
            lambda: store.put(
                kinds.ALERTS,
                alert_id,
                fresh,
                at_ms=at_ms,
                expected_version=found.version if found else 0,
                event=alert_event(fresh, at_ms=at_ms),
            ),
            within_s=2.0,
        )
    except VersionConflict:
        return False
    meters.ALERTS_RAISED.count(cause.code.split(":")[0], cause.severity)
    log.warning(
        "alert_raised",
        code=cause.code,
        about=cause.about,
        detail=cause.detail,
        trace_id=cause.trace_id,
    )
    return True
