"""Ingestion runs in the store: one writer per row, written seldom, and never in anybody's way."""

from collections.abc import Callable

import structlog

from actors.events import ops_event
from actors.store_calls import stored
from desk import ids
from desk.errors import DeskError
from desk.market import ingestion
from desk.market.ingestion import IngestionRun, IngestionStatus, Reading
from desk.store import kinds
from desk.store.port import Event, Store
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

KEPT = 10_000
"""Runs on record; the oldest go."""
TRIM = 50
"""Of them at every new one."""
WRITE_EVERY_S = 60.0
PATIENCE_S = 2.0
"""A store that is slow costs a row its newest counts; it keeps nobody from polling."""


class OpenRun:
    """One run that goes on. Counts are kept here and written once a minute, and at its end."""

    def __init__(
        self,
        store: Store,
        run: IngestionRun,
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        self._store, self.run, self._now_ms, self._now_s = store, run, now_ms, now_s
        self._written_s = float("-inf")
        """The first reading is evidence at once."""

    async def add(self, reading: Reading, *, wall_ms: int | None = None) -> None:
        """Count a reading, in a session also in its wall minute; stored now, or with a later one."""
        self.run = ingestion.counted(self.run, reading, now_ms=self._now_ms())
        if wall_ms is not None:
            self.run = ingestion.counted_in_minute(self.run, reading.new, wall_ms=wall_ms)
        if self._now_s() - self._written_s >= WRITE_EVERY_S:
            self._written_s = self._now_s()
            await keep(self._store, self.run)

    async def end(self, status: IngestionStatus | None = None, *, error: str = "") -> None:
        """Close it; without a status by what it counted."""
        self.run = ingestion.ended(self.run, status, now_ms=self._now_ms(), error=error)
        self._written_s = self._now_s()
        await keep(self._store, self.run, event=run_changed(self.run))


class IngestionLog:
    """Opens runs. `now_ms` is the clock of the source: the market's, or the wall for signals."""

    def __init__(
        self, store: Store, now_ms: Callable[[], int], *, now_s: Callable[[], float] = monotonic_s
    ) -> None:
        self._store, self._now_ms, self._now_s = store, now_ms, now_s

    async def begin(self, fresh: IngestionRun) -> OpenRun:
        """Open a run, or go on with the row of that id: a restarted worker counts on."""
        known = await find(self._store, fresh.run_id)
        run = (
            ingestion.counted(known, Reading(answers=0), now_ms=self._now_ms()) if known else fresh
        )
        await keep(self._store, run, event=run_changed(run) if known is None else None)
        if known is None:
            await self._trim()
        return OpenRun(self._store, run, self._now_ms, self._now_s)

    async def _trim(self) -> None:
        try:
            old = await stored(
                lambda: self._store.keys_beyond(kinds.INGESTION, KEPT, limit=TRIM),
                within_s=PATIENCE_S,
            )
            for key in old:
                await stored(
                    lambda key=key: self._store.delete(kinds.INGESTION, key), within_s=PATIENCE_S
                )
        except DeskError as away:
            log.warning("ingestion_runs_not_trimmed", error=str(away))


def ingestion_id(*parts: str | int) -> str:
    """Id of a run: a function of what is read, so that a restart finds its row again."""
    return "ing" + ids.request_id("ingestion", *parts)[2:20]


async def find(store: Store, run_id: str) -> IngestionRun | None:
    """The row of a run; None where there is none or the store is away."""
    try:
        found = await stored(lambda: store.get(kinds.INGESTION, run_id), within_s=PATIENCE_S)
    except DeskError as away:
        log.warning("ingestion_run_not_read", run_id=run_id, error=str(away))
        return None
    return found.value if found else None


async def keep(store: Store, run: IngestionRun, *, event: Event | None = None) -> None:
    """Write a row; a lost write is a row that is a little older."""
    try:
        await stored(
            lambda: store.put(kinds.INGESTION, run.run_id, run, at_ms=run.started_ms, event=event),
            within_s=PATIENCE_S,
        )
    except DeskError as away:
        log.warning("ingestion_run_not_written", run_id=run.run_id, error=str(away))


def run_changed(run: IngestionRun) -> Event:
    """A run began or ended."""
    return ops_event(
        "ingestion",
        run.run_id,
        {
            "source": run.source,
            "source_type": run.source_type,
            "kind": run.kind.value,
            "pair": run.pair,
            "interval": run.interval,
            "status": run.status.value,
            "new": run.new,
            "errors": run.errors,
        },
        at_ms=run.updated_ms,
    )
