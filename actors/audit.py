"""Who changed what: one row per action of an operator and of an actor by itself, chained by hashes.

**When the store goes away between an action and its row.** An actor's own actions travel inside the
event that is stored in the same call as the action (`Did`): there is no between. The observer follows
the streams and appends the row within seconds; a restart of either side finds the event again. A command
of an operator is followed by its row before it is answered; a store that is away is waited for
(`store_calls.PATIENCE_S`), then the command is answered with an error although it may have been carried
out, and the same `Idempotency-Key` carries it out again, which changes nothing and writes the row. Only
a process that is killed just there, and whose caller never asks again, leaves an action of an operator
without a row; its event is in the streams all the same.
"""

import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from actors.events import ops_event
from actors.store_calls import CONFLICT_TRIES, stored
from desk import ids
from desk.audit_chain import GENESIS, Link, sealed
from desk.clock import Clock
from desk.errors import VersionConflict
from desk.runs import AuditEvent
from desk.store.codec import to_json
from desk.store.port import AuditStore, Event
from desk.venues.limiter import full_jitter_s
from desk.wallclock import wall_ms

FIRST_PAUSE_S, MOST_PAUSE_S = 0.0005, 0.02
_RNG = random.Random()

IN_EVENT = "audit"
"""The field of an event's data that holds what an actor did by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """What an actor did by itself, to be stored inside the event of the change."""

    actor: str
    action: str
    resource: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]


def with_audit(event: Event, did: Did) -> Event:
    """The event with what was done in it; the observer makes a row of it, once."""
    said = {
        "actor": did.actor,
        "action": did.action,
        "resource": did.resource,
        "before": dict(did.before),
        "after": dict(did.after),
    }
    return replace(event, data={**event.data, IN_EVENT: said})


def row_of(event: Event) -> AuditEvent | None:
    """The row that a stored event asks for; None: it tells of no action of an actor."""
    said = event.data.get(IN_EVENT)
    if not isinstance(said, dict):
        return None
    said = cast("dict[str, Any]", said)
    return AuditEvent(
        audit_id=ids.request_id("audit", event.stream.value, event.event_id),
        actor=said["actor"],
        action=said["action"],
        resource=said["resource"],
        at_ms=event.at_ms,
        before=said["before"],
        after=said["after"],
        trace_id=event.trace_id,
    )


def append_row(store: AuditStore, row: AuditEvent, *, event: Event | None = None) -> AuditEvent:
    """Put a row at the end of the chain. Idempotent by `audit_id`; safe for several writers: one that
    comes second seals its row anew. Raises `VersionConflict` when others came first all the time."""
    plain = replace(row, before=_plain(row.before), after=_plain(row.after))
    for tried in range(CONFLICT_TRIES):
        head = store.audit_head()
        end = Link(seq=head.seq, sha256=head.sha256 or GENESIS)
        try:
            return store.append_audit(sealed(plain, end), event=event)
        except VersionConflict:
            if tried == CONFLICT_TRIES - 1:
                raise
            # Writers that go on at the same pace would meet again and again.
            time.sleep(full_jitter_s(tried, _RNG, first_s=FIRST_PAUSE_S, most_s=MOST_PAUSE_S))
    raise AssertionError("the last try returns or raises")


def note(
    store: AuditStore,
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
    keep(store, row)


def keep(store: AuditStore, row: AuditEvent) -> None:
    """Append a row with the event that tells the pages of it. Idempotent by `audit_id`."""
    told = {"actor": row.actor, "action": row.action, "resource": row.resource}
    event = ops_event("audit", row.resource, told, at_ms=row.at_ms, trace_id=row.trace_id)
    append_row(store, row, event=event)


class Audit:
    """Writes the audit trail of an actor."""

    def __init__(self, store: AuditStore, clock: Clock) -> None:
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


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from the store: the hash is of that."""
    return json.loads(to_json(dict, dict(facts)))
