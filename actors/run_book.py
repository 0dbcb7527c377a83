"""The rows of runs: every change is a move of `desk.runs`, stored with its event."""

from collections.abc import Callable
from dataclasses import replace

from actors.alerts import Cause, raise_alert
from actors.audit import Did, with_audit
from actors.events import run_event
from actors.store_calls import retried, stored
from desk import runs
from desk.clock import Clock
from desk.errors import NotFound
from desk.ids import Pair
from desk.runs import Run, RunStatus
from desk.store import kinds
from desk.store.port import Event, Store

ACTIVE = (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSED)
"""A run that has not ended holds its pair on its account."""
DECIDING = (RunStatus.STARTING, RunStatus.RUNNING)
PAGE = 500
_MOVES = {
    RunStatus.STARTING: "run.starting",
    RunStatus.RUNNING: "run.running",
    RunStatus.PAUSED: "run.paused",
    RunStatus.STOPPED: "run.stopped",
    RunStatus.FAILED: "run.failed",
}
"""What the audit calls a change of status by an actor."""


class RunBook:
    """Reads and moves runs; safe for several writers.

    `actor` names who moves them by itself: each change of status then carries its row of the audit.
    Commands of an operator leave it out, they are audited as commands.
    """

    def __init__(self, store: Store, clock: Clock, *, actor: str = "") -> None:
        self._store, self._clock, self._actor = store, clock, actor

    async def get(self, run_id: str) -> Run:
        """The row as it stands. Raises `NotFound`."""
        found = await stored(lambda: self._store.get(kinds.RUNS, run_id))
        if found is None:
            raise NotFound("run", run_id)
        return found.value

    async def active(self) -> list[Run]:
        """Every run that has not ended, newest first."""
        docs = await stored(lambda: self._store.list(kinds.RUNS, limit=PAGE))
        return [doc.value for doc in docs if doc.value.status in ACTIVE]

    async def change(self, run_id: str, move: Callable[[Run], Run], *, trace_id: str = "") -> Run:
        """Apply a move of `desk.runs`; announced when the status or its reason changed."""

        async def attempt() -> Run:
            found = await stored(lambda: self._store.get(kinds.RUNS, run_id))
            if found is None:
                raise NotFound("run", run_id)
            before, after = found.value, move(found.value)
            if after == before:
                return after
            now_ms = self._clock.now_ms()
            loud = (before.status, before.pause_reason, before.version_id) != (
                after.status,
                after.pause_reason,
                after.version_id,
            )
            await stored(
                lambda: self._store.put(
                    kinds.RUNS,
                    run_id,
                    after,
                    at_ms=before.started_ms,
                    expected_version=found.version,
                    event=self._told(before, after, now_ms, trace_id) if loud else None,
                )
            )
            return after

        return await retried(attempt)

    def _told(self, before: Run, after: Run, now_ms: int, trace_id: str) -> Event:
        event = run_event(after, at_ms=now_ms, trace_id=trace_id)
        if not self._actor or after.status is before.status:
            return event
        did = Did(
            actor=self._actor,
            action=_MOVES[after.status],
            resource=f"run/{after.run_id}",
            before=_fact(before),
            after=_fact(after),
        )
        return with_audit(event, did)

    async def pause(
        self, run_id: str, reason: str, *, category: str, detail: str = "", trace_id: str = ""
    ) -> Run:
        """Pause a deciding run and tell the operator; any other run is left as it is."""
        before = await self.get(run_id)
        if before.status not in DECIDING:
            return before
        cause = Cause(
            code=reason,
            about=run_id,
            category=category,
            severity="critical" if category == "risk" else "warning",
            detail=f"run on {before.pair} paused: {reason}{f' ({detail})' if detail else ''}",
            trace_id=trace_id,
        )
        # The alert first: whoever dies in between pauses again, and no run pauses in silence.
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
        return await self.change(run_id, lambda run: _paused(run, reason), trace_id=trace_id)

    async def pause_pair(self, account: str, pair: Pair, reason: str, *, category: str) -> None:
        """Pause every deciding run of a pair on an account."""
        for run in await self.active():
            if (run.account, run.pair) == (account, pair):
                await self.pause(run.run_id, reason, category=category)

    async def decided(self, run_id: str, open_ms: int) -> Run:
        """Note the newest candle that a run has decided on; it never goes back."""
        return await self.change(
            run_id,
            lambda run: replace(run, last_decided_open_ms=max(run.last_decided_open_ms, open_ms)),
        )


def _fact(run: Run) -> dict[str, str]:
    return {"status": run.status.value, "pause_reason": run.pause_reason}


def _paused(run: Run, reason: str) -> Run:
    return runs.pause(run, reason) if run.status in DECIDING else run
