"""Backfills that nobody asked for: on and on, until the venue's earliest candle of every interval."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from actors.backfill import Backfill
from actors.backfill_job import SCHEDULED, job_of
from actors.commands import BackfillAsk
from actors.events import job_event
from actors.store_calls import stored
from desk import ids
from desk.clock import DAY_MS, Clock
from desk.ids import Pair
from desk.market.interval import Interval
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import Store

log = structlog.stdlib.get_logger()

BEGIN_AFTER_S = 20.0
"""What an operator sees first must not wait for history."""
PAGE_PAUSE_S = 1.0
AGAIN_S = 600.0
"""Wall seconds until a backfill that ended before the beginning goes on."""
HELD_MS = DAY_MS
"""Market time for which a scheduled backfill that an operator cancelled stays away."""


class BackfillSchedule:
    """The scheduled backfills of one pair, one interval after another: the longest, cheapest first."""

    def __init__(
        self,
        pair: Pair,
        intervals: tuple[Interval, ...],
        store: Store,
        clock: Clock,
        backfill: Backfill,
        *,
        max_batches: int | None = None,
        is_enabled: Callable[[Interval], Awaitable[bool]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pair, self._store, self._clock, self._backfill = pair, store, clock, backfill
        self._intervals, self._max_batches, self._sleep = intervals, max_batches, sleep
        self._is_enabled = is_enabled

    async def run(self) -> None:
        """Return once the earliest candle of every interval was reached."""
        waiting = list(reversed(self._intervals))
        if waiting:
            await self._sleep(BEGIN_AFTER_S)
        while waiting:
            waiting = [interval for interval in waiting if not await self.go_on(interval)]
            if waiting:
                await self._sleep(AGAIN_S)

    async def go_on(self, interval: Interval) -> bool:
        """Carry one interval's backfill on by one job; returns whether its beginning is reached."""
        key = f"backfilled:{self._pair}:{interval}"
        found = await stored(lambda: self._store.get(kinds.STATE, key))
        fact: dict[str, Any] = dict(found.value) if found else {}
        if fact.get("is_earliest"):
            return True
        if self._is_enabled is not None and not await self._is_enabled(interval):
            return False
        if fact.get("held_until_ms", 0) > self._clock.now_ms():
            return False
        job_id = fact.get("job_id") or await self._new_job(interval, fact.get("earliest_ms"))
        await self._note(key, fact | {"job_id": job_id})
        await self._backfill.work_on(job_id, page_pause_s=PAGE_PAUSE_S)
        doc = await stored(lambda: self._store.get(kinds.JOBS, job_id))
        after = fact | outcome(doc.value if doc else None, now_ms=self._clock.now_ms())
        await self._note(key, after)
        return bool(after.get("is_earliest"))

    async def _new_job(self, interval: Interval, end_ms: int | None) -> str:
        now_ms = self._clock.now_ms()
        ask = BackfillAsk(
            pair=self._pair, interval=interval, end_ms=end_ms, max_batches=self._max_batches
        )
        named = ("backfill", self._pair, interval, SCHEDULED, now_ms, end_ms or 0)
        job_id = "job" + ids.trace_id(*named)[2:14]
        job = job_of(job_id, ask, now_ms=now_ms, scheduled=True)
        await stored(
            lambda: self._store.put(
                kinds.JOBS, job_id, job, at_ms=now_ms, event=job_event(job, at_ms=now_ms)
            )
        )
        log.info("backfill_scheduled", job_id=job_id, pair=self._pair, interval=interval)
        return job_id

    async def _note(self, key: str, fact: dict[str, Any]) -> None:
        await stored(lambda: self._store.put(kinds.STATE, key, fact, at_ms=self._clock.now_ms()))


def outcome(job: Job | None, *, now_ms: int) -> dict[str, Any]:
    """What a scheduled backfill's end means for the next one; `job_id` empty: a new job."""
    if job is None or job.status is JobStatus.FAILED:
        return {"job_id": ""}
    if job.status is JobStatus.CANCELLED:
        return {"job_id": "", "held_until_ms": now_ms + HELD_MS}
    if job.status is not JobStatus.DONE:
        return {}
    reached = {name: job.result[name] for name in ("earliest_ms",) if name in job.result}
    return {"job_id": "", "is_earliest": bool(job.result.get("is_earliest")), **reached}
