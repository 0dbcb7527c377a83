"""Who changed what: one row per command of an operator."""

from collections.abc import Mapping
from typing import Any

from actors.events import ops_event
from actors.store_calls import stored
from desk import ids
from desk.clock import Clock
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.port import Store
from desk.wallclock import wall_ms


class Audit:
    """Writes the audit trail."""

    def __init__(self, store: Store, clock: Clock) -> None:
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
        """Store one event; `actor` is who asked."""
        at_ms = self._clock.now_ms()
        row = AuditEvent(
            audit_id=ids.request_id("audit", action, resource, trace_id, wall_ms()),
            actor=actor,
            action=action,
            resource=resource,
            at_ms=at_ms,
            before=dict(before or {}),
            after=dict(after or {}),
            trace_id=trace_id,
        )
        event = ops_event(
            "audit",
            resource,
            {"actor": actor, "action": action, "resource": resource},
            at_ms=at_ms,
            trace_id=trace_id,
        )
        await stored(
            lambda: self._store.put(kinds.AUDIT, row.audit_id, row, at_ms=at_ms, event=event)
        )
