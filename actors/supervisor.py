"""The supervisor: starts every child, hears their hearts, kills what hangs, gives up on crash loops."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import ray
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.audit import Did, with_audit
from actors.events import ops_event
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.job_book import JobWatch
from actors.names import ActorAway, ActorGone, ActorRestarting
from actors.run_book import RunBook
from actors.store_calls import measured, rebuilt, stored
from actors.tally_book import TallyBook
from actors.watch import QUARANTINED, Watch
from desk.clock import Clock
from desk.counting import counted
from desk.engines import standstill
from desk.errors import DeskError
from desk.ids import Pair
from desk.runs import ActorStatus, Job, Run
from desk.store import kinds
from desk.store.port import Sample, Store, Stream
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

STATUS_EVERY_S = 5.0
HOUSEKEEPING_EVERY_S = 30.0
JOBS_EVERY_S = 5.0
KEPT_EVENTS = {Stream.ORDERS: 100_000, Stream.RISK: 50_000, Stream.OPS: 50_000}
MONEY_ROLES = ("risk_ledger", "order_executor", "reconciler")
DISK_LOW = "disk_low"


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Try a quarantined child again."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run whose loop has to be there."""

    run: Run


# --- what it needs ------------------------------------------------------------------------------


class Child(Protocol):
    """One actor as its supervisor handles it."""

    name: str
    role: str
    pairs: tuple[Pair, ...]
    """Whose candles it polls."""

    async def start(self) -> None:
        """Start it, or find it living."""
        ...

    async def beat(self, within_s: float) -> Heartbeat:
        """Raises `ActorGone` when there is no such actor, `ActorAway` when it did not answer."""
        ...

    async def kill(self, *, for_good: bool) -> None:
        """End its process; Ray starts the next one unless `for_good`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorParts:
    """Collaborators and settings. `archive` copies candles to the history, outside this process.

    `free_disk_bytes` and `least_free_disk_bytes` are asked in a thread; with less than that free no
    run may go on.
    """

    store: Store
    clock: Clock
    children: Callable[[], list[Child]]
    loop_of: Callable[[Run], Child]
    archive: Callable[[], None]
    has_worker: Callable[[str], bool] = lambda _: True
    """Whether a learning job's actor of this name lives; asked in a thread."""
    take_up: Callable[[Job], bool] = lambda _: False
    """Starts a lost learning job's work again where it can; in a thread as well."""
    free_disk_bytes: Callable[[], int] = lambda: 1 << 62
    least_free_disk_bytes: Callable[[], int] = lambda: 1 << 30
    beat_every_s: float = 1.0
    beat_patience_s: float = 2.0
    stale_loop_s: float = 20.0
    archive_every_s: float = 300.0


# --- the shell ----------------------------------------------------------------------------------


class Supervisor:
    """Ray restarts a dead process for ever and a hung one never; this actor does the rest."""

    def __init__(self, build: Callable[[], SupervisorParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._store, self._clock = parts, parts.store, parts.clock
        self._runs = RunBook(parts.store, parts.clock, actor="supervisor")
        self._pulse = Pulse("supervisor")
        known = rebuilt(lambda: self._store.list(kinds.ACTORS, limit=500))
        self._known = {doc.key: doc.value for doc in known}
        self._watches = {child.name: self._watch(child) for child in parts.children()}
        self._standing = tuple(self._watches)
        self._housekept_s = self._archived_s = self._jobs_seen_s = monotonic_s()
        self._tallies, self._tallied_s = TallyBook(parts.store, parts.clock), monotonic_s()
        self._job_watch = JobWatch(parts.store, parts.clock, parts.has_worker, parts.take_up)
        self._met: set[str] = set()
        """Children of which this incarnation has written: after a planned start all are others."""
        self._is_stopping = False
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def states(self) -> dict[str, str]:
        """Every child that is watched, in the order of starting, with its status."""
        return {name: watch.status for name, watch in self._watches.items()}

    @ray.method(max_task_retries=0)
    async def watch(self, ask: Watched) -> None:
        """See to it now that a run's loop is there."""
        await self._see_to(self._loop_of(ask.run))

    @ray.method(max_task_retries=0)
    async def release(self, ask: Release) -> None:
        """Start a quarantined child again."""
        watch = self._watches.get(ask.name)
        if watch is not None:
            watch.release(now_s=monotonic_s())
            await watch.child.start()

    @ray.method(max_task_retries=0)
    async def stop(self) -> None:
        """End every child, in the reverse order of starting."""
        self._is_stopping = True
        for watch in reversed(list(self._watches.values())):
            await watch.child.kill(for_good=True)
            await self._write(watch, status="stopped")

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer whoever watches the supervisor."""
        return self._pulse.beat()

    # --- loop -----------------------------------------------------------------------------------

    async def turn(self) -> float:
        """Start what is missing, ask everybody for a beat, write down what is known."""
        if self._is_stopping:
            return self._parts.beat_every_s
        standstill.resume()  # a loop that was killed while it decided has left them standing
        await self._follow_runs()
        await asyncio.gather(*(self._see_to(watch) for watch in list(self._watches.values())))
        await self._write_own()
        if monotonic_s() - self._tallied_s >= STATUS_EVERY_S:
            self._tallied_s = monotonic_s()
            await self._tallies.write(counted())
        if monotonic_s() - self._jobs_seen_s >= JOBS_EVERY_S:
            self._jobs_seen_s = monotonic_s()
            await asyncio.to_thread(self._job_watch.look)
        if monotonic_s() - self._housekept_s >= HOUSEKEEPING_EVERY_S:
            self._housekept_s = monotonic_s()
            await self._keep_house()
        return self._parts.beat_every_s

    async def _follow_runs(self) -> None:
        """One loop for every run that has not ended, none for the others."""
        active = {run.run_id: run for run in await self._runs.active()}
        wanted = [self._loop_of(run).child.name for run in active.values()]
        for name in set(self._watches) - set(self._standing) - set(wanted):
            watch = self._watches.pop(name)
            self._tallies.forget(name)
            self._met.discard(name)
            await watch.child.kill(for_good=True)
            await stored(lambda name=name: self._store.delete(kinds.ACTORS, name))

    def _loop_of(self, run: Run) -> Watch:
        child = self._parts.loop_of(run)
        return self._watches.setdefault(child.name, self._watch(child))

    def _watch(self, child: Child) -> Watch:
        return Watch(child, self._known.get(child.name), stale_loop_s=self._parts.stale_loop_s)

    # --- one child ------------------------------------------------------------------------------

    async def _see_to(self, watch: Watch) -> None:
        if watch.is_quarantined:
            return
        try:
            beat = await watch.child.beat(self._parts.beat_patience_s)
            watch.heard(beat, now_s=monotonic_s())
            self._tallies.hear(watch.child.role, beat)
        except ActorGone:
            log.info("actor_started", name=watch.child.name)
            watch.missed("starting", now_s=monotonic_s())
            watch.started(now_s=monotonic_s())
            await watch.child.start()
        except ActorRestarting:
            watch.restarting("restarting", now_s=monotonic_s())
        except ActorAway as away:
            watch.missed(away.why, now_s=monotonic_s())
        if watch.is_hung(now_s=monotonic_s()):
            self._pulse.count("kills")
            log.warning("actor_hung", name=watch.child.name, status=watch.status)
            watch.killed(now_s=monotonic_s())
            await watch.child.kill(for_good=False)
        if watch.is_looping(now_s=monotonic_s()):
            await self._quarantine(watch)
        if watch.needs_writing(now_s=monotonic_s(), every_s=STATUS_EVERY_S):
            await self._write(watch)

    async def _quarantine(self, watch: Watch) -> None:
        """Stop restarting what keeps crashing, pause what rests on it, tell the operator."""
        watch.quarantine()
        await watch.child.kill(for_good=True)
        name = watch.child.name
        log.error("actor_quarantined", name=name)
        for run in await self._runs.active():
            if rests_on(run, watch.child):
                await self._runs.pause(run.run_id, f"quarantined:{name}", category="ops")
        cause = Cause(
            code="actor_quarantined",
            about=name,
            category="ops",
            severity="critical",
            detail=f"{name} restarted too often: read its log, then release it",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
        await self._write(watch)

    async def _write(self, watch: Watch, *, status: str | None = None) -> None:
        row = watch.row()
        row = row if status is None else replace(row, status=status)
        before = self._known.get(row.name)
        self._known[row.name] = row
        moved = before is None or (before.status, before.pid) != (row.status, row.pid)
        event = ops_event(
            "actor",
            row.name,
            {"name": row.name, "status": row.status, "pid": row.pid, "restarts": row.restarts},
            at_ms=self._clock.now_ms(),
        )
        was = "" if before is None else before.status
        if before is not None and row.restarts > before.restarts and row.name in self._met:
            await self._tell_of_restart(row)
        self._met.add(row.name)
        if row.status != was and QUARANTINED in (row.status, was):
            did = Did(
                actor="supervisor",
                action="actor.quarantined" if row.status == QUARANTINED else "actor.released",
                resource=f"actor/{row.name}",
                before={"status": was},
                after={"status": row.status, "restarts": row.restarts},
            )
            event = with_audit(event, did)
        await stored(
            lambda: self._store.put(
                kinds.ACTORS, row.name, row, at_ms=wall_ms(), event=event if moved else None
            )
        )
        watch.written(now_s=monotonic_s())

    async def _tell_of_restart(self, row: ActorStatus) -> None:
        cause = Cause(
            code="actor_restarted",
            about=row.name,
            category="ops",
            severity="warning",
            detail=f"{row.name} died and was started again, {row.restarts} times by now",
            metric="desk_actor_restarts",
            value=str(row.restarts),
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    async def _write_own(self) -> None:
        before = self._known.get("supervisor")
        beat = self._pulse.beat()
        if before is not None and before.pid == beat.pid:
            age_ms = wall_ms() - before.last_heartbeat_wall_ms
            if age_ms < STATUS_EVERY_S * 1000:
                return
        restarts = 0 if before is None else before.restarts + (before.pid != beat.pid)
        row = ActorStatus(
            name="supervisor",
            role="supervisor",
            node=beat.node,
            pid=beat.pid,
            epoch=0,
            restarts=restarts,
            started_wall_ms=beat.started_wall_ms,
            last_heartbeat_wall_ms=wall_ms(),
            rss_bytes=beat.rss_bytes,
            status="up",
        )
        self._known["supervisor"] = row
        await stored(lambda: self._store.put(kinds.ACTORS, row.name, row, at_ms=wall_ms()))

    # --- housekeeping ---------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Look at the disk, trim the streams, record memory, copy candles to the history now and then."""
        await self._look_at_the_disk()
        for stream, keep in KEPT_EVENTS.items():
            await stored(lambda stream=stream, keep=keep: self._store.trim_events(stream, keep))
        now_ms = self._clock.now_ms()
        samples = [
            Sample(
                name="actor_rss_bytes",
                value=float(row.rss_bytes),
                unit="bytes",
                recorded_at_ms=now_ms,
                tags={"actor": row.name},
            )
            for row in self._known.values()
            if row.name in self._watches
        ]
        await measured(self._store, samples)
        every_s = self._parts.archive_every_s
        if every_s and monotonic_s() - self._archived_s >= every_s:
            self._archived_s = monotonic_s()
            try:
                self._parts.archive()
            except DeskError as failed:
                log.warning("archive_not_started", error=str(failed))

    async def _look_at_the_disk(self) -> None:
        """A full disk ends the store at its next write: before that, every run is paused."""
        free = await asyncio.to_thread(self._parts.free_disk_bytes)
        least = await asyncio.to_thread(self._parts.least_free_disk_bytes)
        if free >= least:
            now_ms = self._clock.now_ms()
            await stored(lambda: resolve_alert(self._store, f"{DISK_LOW}:store", at_ms=now_ms))
            return
        for run in await self._runs.active():
            await self._runs.pause(run.run_id, DISK_LOW, category="ops")
        cause = Cause(
            code=DISK_LOW,
            about="store",
            category="ops",
            severity="critical",
            detail=f"{free >> 20} MiB are free beside the store, {least >> 20} are needed: free"
            " some space, then resume the runs",
            metric="free_disk_bytes",
            value=str(free),
            threshold=str(least),
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())


def rests_on(run: Run, child: Child) -> bool:
    """Whether a run must not go on without this child."""
    account = child.role in MONEY_ROLES and child.name.endswith(f":{run.account}")
    return account or run.pair in child.pairs or child.name.endswith(f":{run.run_id}")


SupervisorActor = ray.remote(Supervisor)
