"""One entry of the audit, for who writes it synchronously."""

from collections.abc import Mapping
from typing import Any

from desk import ids
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.port import DocStore


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
) -> None:
    """Store who did what; the same request leaves one entry."""
    event = AuditEvent(
        audit_id=ids.request_id("audit", trace_id, action, resource),
        actor=actor,
        action=action,
        resource=resource,
        at_ms=at_ms,
        before=dict(before or {}),
        after=dict(after or {}),
        trace_id=trace_id,
    )
    store.put(kinds.AUDIT, event.audit_id, event, at_ms=at_ms)
