"""What processes have counted, added up in the store: a process that dies takes a few seconds of it along.

Actors hand their counts to the supervisor with a heartbeat; it alone writes the sums of each role.
Replicas of the policy have no heartbeat: they add to one sum together.
"""

import asyncio
from dataclasses import dataclass

import structlog

from actors.heartbeat import Heartbeat
from actors.store_calls import METRIC_PATIENCE_S, stored
from desk.clock import Clock
from desk.counting import Counts, added, as_document, counted, from_document, since
from desk.errors import DeskError, VersionConflict
from desk.store import kinds
from desk.store.port import DocStore
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

MOST_ROLES = 100
TELL_EVERY_S = 5.0
TELL_WITHIN_S = 1.0
TELL_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """The newest reading of one process."""

    incarnation: tuple[int, int]
    counts: Counts


class TallyBook:
    """The sums of every role, written by the supervisor alone.

    Nothing is counted twice: of a process that lived before this supervisor only what it counts from
    now on is added, the rest was added by the supervisor before, but for its last seconds.
    """

    def __init__(self, store: DocStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._began_wall_ms = wall_ms()
        self._heard: dict[str, _Heard] = {}
        self._sums: dict[str, Counts] = {}
        self._fresh: dict[str, Counts] = {}

    def hear(self, role: str, beat: Heartbeat) -> None:
        """Take what a heartbeat carries."""
        if beat.counts is None:
            return
        incarnation = (beat.pid, beat.started_wall_ms)
        before = self._heard.get(beat.name)
        self._heard[beat.name] = _Heard(incarnation=incarnation, counts=beat.counts)
        if before is None and beat.started_wall_ms < self._began_wall_ms:
            return
        is_same = before is not None and before.incarnation == incarnation
        fresh = since(beat.counts, before.counts) if before and is_same else beat.counts
        self._fresh[role] = added(self._fresh.get(role, {}), fresh)

    def forget(self, name: str) -> None:
        """A process that will not be heard again."""
        self._heard.pop(name, None)

    async def write(self, own: Counts) -> None:
        """Store the sums that moved, and what this process has counted itself (`own`).

        A store that is away keeps nobody waiting: the next write carries everything."""
        own_before = self._heard.get("supervisor")
        self._heard["supervisor"] = _Heard(incarnation=(0, 0), counts=own)
        fresh = since(own, own_before.counts if own_before else {})
        self._fresh["supervisor"] = added(self._fresh.get("supervisor", {}), fresh)
        for role in [role for role, counts in self._fresh.items() if counts]:
            try:
                await self._write(role)
            except DeskError as away:
                log.warning("tally_not_written", role=role, error=str(away))
                return

    async def _write(self, role: str) -> None:
        if role not in self._sums:
            found = await stored(
                lambda: self._store.get(kinds.TALLIES, role), within_s=METRIC_PATIENCE_S
            )
            self._sums[role] = from_document(found.value) if found else {}
        fresh = self._fresh[role]
        total = added(self._sums[role], fresh)
        document, now_ms = as_document(total), self._clock.now_ms()
        # The whole sum: whether a write that was not answered happened makes no difference.
        await stored(
            lambda: self._store.put(kinds.TALLIES, role, document, at_ms=now_ms),
            within_s=METRIC_PATIENCE_S,
        )
        self._sums[role] = total
        self._fresh[role] = {}


class SharedTally:
    """One sum that several processes add to, each its own counts.

    What a store that is away did not confirm is left out: a figure may be lost, none counts twice.
    """

    def __init__(self, store: DocStore, name: str) -> None:
        self._store, self._name = store, name
        self._told: Counts = {}
        self._told_s = float("-inf")

    async def tell(self) -> None:
        """Add what is new, where that is due; within a second, and never an error to the caller."""
        if monotonic_s() - self._told_s < TELL_EVERY_S:
            return
        self._told_s = monotonic_s()
        now = counted()
        fresh, self._told = since(now, self._told), now
        if not fresh:
            return
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                await asyncio.to_thread(self._add, fresh)
        except (DeskError, TimeoutError) as lost:
            log.warning("tally_lost", name=self._name, error=str(lost))

    def _add(self, fresh: Counts) -> None:
        for _ in range(TELL_TRIES - 1):
            try:
                return self._try(fresh)
            except VersionConflict:
                continue
        return self._try(fresh)

    def _try(self, fresh: Counts) -> None:
        found = self._store.get(kinds.TALLIES, self._name)
        total = added(from_document(found.value) if found else {}, fresh)
        self._store.put(
            kinds.TALLIES,
            self._name,
            as_document(total),
            at_ms=wall_ms(),
            expected_version=found.version if found else 0,
        )


def sums(store: DocStore) -> Counts:
    """What every role has counted since the desk's store began."""
    total: Counts = {}
    for doc in store.list(kinds.TALLIES, limit=MOST_ROLES):
        total = added(total, from_document(doc.value))
    return total
