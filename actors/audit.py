"""Who changed what: one row per command of an operator."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from actors.events import ops_event
from actors.store_calls import stored
from desk import ids
from desk.clock import Clock
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.port import DocStore
from desk.wallclock import wall_ms


def note(
    store: DocStore,
    action: str,
    resource: str,
    *,
    actor: str,
    trace_id: str,
    at_ms: int,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    seen_ms: int = 0,
) -> None:
    """Store one row and its event; `actor` is who asked.

    The row's id is of the request and `seen_ms`, the wall time at which the command came, if it may
    come again under its trace.
    """
    row = AuditEvent(
        audit_id=ids.request_id("audit", action, resource, trace_id, seen_ms),
        actor=actor,
        action=action,
        resource=resource,
        at_ms=at_ms,
        before=dict(before or {}),
        after=dict(after or {}),
        trace_id=trace_id,
    )
    told = {"actor": actor, "action": action, "resource": resource}
    event = ops_event("audit", resource, told, at_ms=at_ms, trace_id=trace_id)
    store.put(kinds.AUDIT, row.audit_id, row, at_ms=at_ms, event=event)


class Audit:
    """Writes the audit trail of an actor."""

    def __init__(self, store: DocStore, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def note(
        self,
        action: str,
        resource: str,
        *,
        actor: str,
        trace_id: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """As the function of this name, now and without blocking; it waits for a store that is away."""
        write = partial(
            note, self._store, action, resource, actor=actor, trace_id=trace_id, seen_ms=wall_ms()
        )
        await stored(partial(write, before=before, after=after, at_ms=self._clock.now_ms()))
