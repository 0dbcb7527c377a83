"""The rows of runs: every change is a move of `desk.runs`, stored with its event."""

from collections.abc import Callable
from dataclasses import replace

from actors.alerts import Cause, raise_alert
from actors.events import run_event
from actors.store_calls import retried, stored
from desk import runs
from desk.clock import Clock
from desk.errors import NotFound
from desk.ids import Pair
from desk.runs import Run, RunStatus
from desk.store import kinds
from desk.store.port import Store

ACTIVE = (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSED)
"""A run that has not ended holds its pair on its account."""
DECIDING = (RunStatus.STARTING, RunStatus.RUNNING)
PAGE = 500


class RunBook:
    """Reads and moves runs; safe for several writers."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

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
                    event=run_event(after, at_ms=now_ms, trace_id=trace_id) if loud else None,
                )
            )
            return after

        return await retried(attempt)

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


def _paused(run: Run, reason: str) -> Run:
    return runs.pause(run, reason) if run.status in DECIDING else run
