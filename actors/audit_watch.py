"""The observer's part in the audit: rows of what actors did by themselves, and a look at the chain."""

import asyncio

import structlog

from actors.alerts import raise_alert
from actors.audit import keep, row_of
from actors.audit_keeper import broken_cause, check_store
from actors.store_calls import stored
from desk.clock import Clock
from desk.store.port import Event, Store
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

CHECK_EVERY_S = 60.0


class AuditWatch:
    """Writes the rows that events ask for, and looks through the chain now and then."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._checked_s = float("-inf")

    def hear(self, event: Event) -> None:
        """Make a row of an event that tells what an actor did; the same event leaves one row."""
        row = row_of(event)
        if row is not None:
            keep(self._store, row)

    async def look(self) -> bool:
        """Check the chain where that is due; False: it does not hold, and an alert says so."""
        if monotonic_s() - self._checked_s < CHECK_EVERY_S:
            return True
        self._checked_s = monotonic_s()
        found = await stored(lambda: check_store(self._store))
        if found.broken is None:
            return True
        log.error("audit_chain_broken", seq=found.broken.seq, problem=found.broken.problem)
        now_ms = await asyncio.to_thread(self._clock.now_ms)
        await raise_alert(self._store, broken_cause(found.broken), at_ms=now_ms)
        return False
