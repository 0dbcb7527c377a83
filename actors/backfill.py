"""Fetching history: page by page from the newest to the oldest, with a cursor that survives the worker."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from actors.backfill_job import KIND, ask_of
from actors.candle_intake import CandleIntake
from actors.job_book import JobBook, JobCancelled
from actors.store_calls import stored
from desk.clock import Clock, from_iso, to_iso
from desk.errors import DeskError, VenueUnavailable
from desk.ids import Pair
from desk.market.interval import interval_ms, last_closed_open_ms
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import Store
from desk.venues import pager
from desk.venues.port import MarketData

log = structlog.stdlib.get_logger()

BINGX_BEGAN_MS = from_iso("2019-01-01")
"""No perpetual of the venue is older."""
RETRY_WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
MAX_ROWS_PER_S = 2_000
"""Faster ingestion would delay money calls at the store."""


@dataclass(slots=True, kw_only=True)
class _Progress:
    done: int = 0
    added: int = 0
    batches: int = 0


class Backfill:
    """The backfills of one pair, one after another."""

    def __init__(
        self,
        pair: Pair,
        store: Store,
        venue: MarketData,
        clock: Clock,
        intake: CandleIntake,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._pair, self._store, self._venue, self._clock = pair, store, venue, clock
        self._intake, self._pause = intake, pause
        self._turn = asyncio.Lock()

    async def unfinished(self) -> list[Job]:
        """Jobs of this pair that an earlier incarnation, or nobody yet, has worked on."""
        docs = await stored(lambda: self._store.list(kinds.JOBS))
        return [
            doc.value
            for doc in reversed(docs)
            if doc.value.kind == KIND
            and doc.value.status in (JobStatus.QUEUED, JobStatus.RUNNING)
            and doc.value.arguments.get("pair") == self._pair
        ]

    async def work_on(self, job_id: str) -> None:
        """Carry a job to its end. What goes wrong is written into its row."""
        async with self._turn:
            book = JobBook(self._store, job_id, self._clock)
            try:
                await self._persist(book)
            except JobCancelled:
                log.info("backfill_cancelled", job_id=job_id)
            except DeskError as failed:
                why = str(failed)
                log.warning("backfill_failed", job_id=job_id, error=why)
                await stored(lambda: book.fail(why))

    async def _persist(self, book: JobBook) -> None:
        """Go on from the cursor when the venue was away for a while."""
        for wait_s in RETRY_WAITS_S:
            job = await stored(lambda: book.job)
            try:
                return await self._fetch(job, book)
            except VenueUnavailable as away:
                log.info("backfill_waits", job_id=job.job_id, wait_s=wait_s, error=str(away))
                await self._pause(wait_s)
        return await self._fetch(await stored(lambda: book.job), book)

    async def _fetch(self, job: Job, book: JobBook) -> None:
        ask, step_ms = ask_of(job), interval_ms(ask_of(job).interval)
        # Without the newest: whether that one has closed is for the poller to prove.
        newest_ms = last_closed_open_ms(self._clock.now_ms(), ask.interval)
        end_ms = min(ask.end_ms or newest_ms, newest_ms)
        begin_ms = ask.start_ms if ask.start_ms is not None else BINGX_BEGAN_MS
        start_ms = await pager.find_earliest(self._venue, ask.pair, ask.interval, begin_ms, end_ms)
        if start_ms is None:
            await stored(lambda: book.finish({"candles": 0, "new": 0}))
            return
        total = max((end_ms - start_ms) // step_ms, 0)
        cursor_ms = await self._cursor(job.job_id)
        if cursor_ms is not None:
            end_ms = min(end_ms, cursor_ms)
        progress = _Progress(done=total - max((end_ms - start_ms) // step_ms, 0))
        async for page in pager.page(
            self._venue, ask.pair, ask.interval, start_ms, end_ms, newest_first=True
        ):
            taken = await self._intake.take(ask.interval, page)
            oldest_ms = int(page.open_ms[0])
            progress.batches += 1
            progress.added += taken.added
            progress.done = total - max((oldest_ms - start_ms) // step_ms, 0)
            detail = f"{ask.pair} {ask.interval}: back to {to_iso(oldest_ms)[:16]}"
            done = progress.done
            await stored(lambda: book.advance(done, total, "candles", detail))  # noqa: B023 - awaited here
            await self._keep_cursor(job.job_id, oldest_ms)
            if ask.max_batches is not None and progress.batches >= ask.max_batches:
                break
            await self._pause(len(page) / MAX_ROWS_PER_S)
        result = {"candles": progress.done, "new": progress.added, "batches": progress.batches}
        await stored(lambda: book.finish(result))

    async def _cursor(self, job_id: str) -> int | None:
        found = await stored(lambda: self._store.get(kinds.STATE, f"backfill:{job_id}"))
        return int(found.value["next_end_ms"]) if found else None

    async def _keep_cursor(self, job_id: str, next_end_ms: int) -> None:
        cursor = {"next_end_ms": next_end_ms}
        await stored(
            lambda: self._store.put(
                kinds.STATE, f"backfill:{job_id}", cursor, at_ms=self._clock.now_ms()
            )
        )
