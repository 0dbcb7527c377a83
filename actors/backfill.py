"""Fetching history: page by page from the newest to the oldest, with a cursor that survives the worker."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from actors import retry_queue
from actors.backfill_job import KIND, ask_of, cursor_key, is_scheduled
from actors.candle_intake import CandleIntake
from actors.commands import BackfillAsk
from actors.ingestion_log import IngestionLog, OpenRun, ingestion_id
from actors.job_book import JobBook, JobCancelled, JobPaused
from actors.series_claim import claim_from
from actors.source_book import CANDLES
from actors.store_calls import stored
from desk.clock import Clock, from_iso, to_iso
from desk.errors import DeskError, VenueUnavailable
from desk.ids import Pair
from desk.market.ingestion import BINGX, IngestionKind, IngestionRun, IngestionStatus, Reading
from desk.market.interval import Interval, interval_ms, last_closed_open_ms
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import Store
from desk.venues import pager
from desk.venues.bingx import CANDLES_PER_CALL
from desk.venues.turns import Urgency, urgency
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

BINGX_BEGAN_MS = from_iso("2019-01-01")
"""No perpetual of the venue is older."""
RETRY_WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0)
MAX_ROWS_PER_S = 2_000
"""Faster ingestion would delay money calls at the store."""
AT_ONCE = 3
"""Backfills of one pair that run at the same time; one waits for the venue while another is stored."""
KNOWN_JOBS = 1_000


@dataclass(slots=True, kw_only=True)
class _Progress:
    """How far a backfill is; kept with its cursor, so that a restarted one counts on."""

    start_ms: int
    """Where it ends: the oldest open time asked for, or the venue's earliest as it was found."""
    next_end_ms: int
    total: int
    is_beginning: bool
    """Whether the venue has nothing before `start_ms`."""
    batches: int = 0
    added: int = 0

    def done(self, step_ms: int) -> int:
        """Grid times worked through."""
        return self.total - max((self.next_end_ms - self.start_ms) // step_ms, 0)

    def fact(self) -> dict[str, int | bool]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Backfill:
    """The backfills of one pair, a few at a time."""

    def __init__(
        self,
        pair: Pair,
        store: Store,
        venue: pager.CandleSource,
        clock: Clock,
        intake: CandleIntake,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now_wall_ms: Callable[[], int] = wall_ms,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._pair, self._store, self._venue, self._clock = pair, store, venue, clock
        self._intake, self._pause = intake, pause
        self._places = asyncio.Semaphore(AT_ONCE)
        self._log = IngestionLog(store, clock.now_ms)
        self._wall_ms, self._jitter = now_wall_ms, jitter
        self._at_work: set[str] = set()
        self._asked_again: set[str] = set()

    async def unfinished(self) -> list[Job]:
        """Jobs of this pair that an earlier incarnation, or nobody yet, has worked on."""
        docs = await stored(lambda: self._store.list(kinds.JOBS, limit=KNOWN_JOBS))
        return [
            doc.value
            for doc in reversed(docs)
            if doc.value.kind == KIND
            and doc.value.status in (JobStatus.QUEUED, JobStatus.RUNNING)
            and doc.value.arguments.get("pair") == self._pair
        ]

    async def work_on(self, job_id: str, *, page_pause_s: float = 0.0) -> None:
        """Carry a job to its end. What goes wrong is written into its row.

        Idempotent: a job that is at work already is left to that.
        """
        if job_id in self._at_work:
            self._asked_again.add(job_id)
            return
        self._at_work.add(job_id)
        try:
            while await self._was_paused(job_id, page_pause_s) and job_id in self._asked_again:
                self._asked_again.discard(job_id)  # resumed while it was still stopping
        finally:
            self._at_work.discard(job_id)
            self._asked_again.discard(job_id)

    async def _was_paused(self, job_id: str, page_pause_s: float) -> bool:
        """Work on a job to its end, or until somebody pauses it."""
        async with self._places:
            book = JobBook(self._store, job_id, self._clock)
            job = await stored(lambda: book.job)
            if job.status is JobStatus.PAUSED:
                return True
            run = await self._log.begin(run_of(job, now_ms=self._clock.now_ms()))
            try:
                with urgency(Urgency.BACKFILL):
                    await self._persist(book, run, page_pause_s)
                await run.end(IngestionStatus.DONE)
            except JobPaused:
                log.info("backfill_paused", job_id=job_id)
                await run.end(IngestionStatus.CANCELLED, error="paused by an operator")
                return True
            except JobCancelled:
                log.info("backfill_cancelled", job_id=job_id)
                await run.end(IngestionStatus.CANCELLED)
            except DeskError as failed:
                why = str(failed)
                log.warning("backfill_failed", job_id=job_id, error=why)
                await run.end(IngestionStatus.FAILED, error=why)
                await stored(lambda: book.fail(why))
                await self._leave_to_the_monitor(job_id)
                if isinstance(failed, VenueUnavailable):
                    await self._enter_queue(await stored(lambda: book.job), why)
            return False

    async def _enter_queue(self, job: Job, why: str) -> None:
        """Let it be tried again later; not one that was cancelled meanwhile, nor a scheduled one,
        which its schedule goes on with."""
        if job.status is not JobStatus.FAILED or is_scheduled(job):
            return
        given = job.arguments
        names = ("pair", "interval", "start_ms", "end_ms", "max_batches")
        await retry_queue.enter(
            self._store,
            KIND,
            {**{name: given[name] for name in names if name in given}, "job_id": job.job_id},
            dedupe=[str(given.get(name, "")) for name in names],
            error=why,
            now_ms=self._wall_ms(),
            jitter=self._jitter(),
        )

    async def _persist(self, book: JobBook, run: OpenRun, page_pause_s: float) -> None:
        """Go on from the cursor when the venue was away; give up only if that brings nothing new."""
        failures, reached_ms = 0, -1
        while True:
            job = await stored(lambda: book.job)
            try:
                return await self._fetch(job, book, run, page_pause_s)
            except VenueUnavailable as away:
                known = await self._known(job.job_id)
                now_at_ms = known.next_end_ms if known else 0
                failures = failures + 1 if now_at_ms == reached_ms else 1
                reached_ms = now_at_ms
                if failures > len(RETRY_WAITS_S):
                    raise
                wait_s = RETRY_WAITS_S[failures - 1]
                await run.add(Reading(answers=0, errors=1, error=str(away)))
                log.info("backfill_waits", job_id=job.job_id, wait_s=wait_s, error=str(away))
                await self._pause(wait_s)

    async def _fetch(self, job: Job, book: JobBook, run: OpenRun, page_pause_s: float) -> None:
        ask, step_ms = ask_of(job), interval_ms(ask_of(job).interval)
        progress = await self._known(job.job_id) or await self._begin(ask, step_ms)
        if progress is None:
            is_earliest = ask.start_ms is None
            await stored(lambda: book.finish({"candles": 0, "new": 0, "is_earliest": is_earliest}))
            return
        began_s, done_before = monotonic_s(), progress.done(step_ms)
        is_cut_short = ask.max_batches is not None and progress.batches >= ask.max_batches
        pages = pager.page(
            self._venue,
            ask.pair,
            ask.interval,
            progress.start_ms,
            progress.next_end_ms,
            newest_first=True,
        )
        async for page in pages:
            if is_cut_short:
                break
            taken = await self._intake.take(ask.interval, page)
            progress.next_end_ms = int(page.open_ms[0])
            progress.batches += 1
            progress.added += taken.added
            # Its cursor is where it goes on: the oldest open time that was read.
            reading = replace(taken.reading(step_ms), cursor=str(progress.next_end_ms))
            await run.add(reading)
            rate_per_s = (progress.done(step_ms) - done_before) / max(monotonic_s() - began_s, 1e-3)
            await self._advance(book, ask, progress, rate_per_s)
            is_cut_short = ask.max_batches is not None and progress.batches >= ask.max_batches
            await self._pause(max(len(page) / MAX_ROWS_PER_S, page_pause_s))
        if not is_cut_short:
            progress.next_end_ms = min(progress.next_end_ms, progress.start_ms)
        await self._claim(ask.interval, progress.next_end_ms)
        result = {
            "candles": progress.done(step_ms),
            "new": progress.added,
            "batches": progress.batches,
            "earliest_ms": progress.next_end_ms,
            "is_earliest": progress.is_beginning
            and (not is_cut_short or progress.next_end_ms <= progress.start_ms),
        }
        await stored(lambda: book.finish(result))

    async def _begin(self, ask: BackfillAsk, step_ms: int) -> _Progress | None:
        """Where to start and where to end; None if the venue has nothing in the range.

        The beginning of the venue's history moves on with time: it is looked for once, and pages
        that have left it meanwhile come back empty, which ends the backfill without an error.
        """
        # Without the newest: whether that one has closed is for the poller to prove.
        newest_ms = last_closed_open_ms(self._clock.now_ms(), ask.interval)
        end_ms = min(ask.end_ms or newest_ms, newest_ms)
        begin_ms = first_ms = ask.start_ms if ask.start_ms is not None else BINGX_BEGAN_MS
        if ask.max_batches is not None:
            first_ms = max(begin_ms, end_ms - ask.max_batches * CANDLES_PER_CALL * step_ms)
        start_ms = await self._earliest(ask, first_ms, end_ms)
        if start_ms is None and first_ms > begin_ms:
            # A hole as long as all these pages: what lies before it is the next backfill's.
            start_ms = first_ms if await self._earliest(ask, begin_ms, first_ms) else None
        if start_ms is None:
            return None
        return _Progress(
            start_ms=start_ms,
            next_end_ms=end_ms,
            total=max((end_ms - start_ms) // step_ms, 0),
            is_beginning=ask.start_ms is None
            and (first_ms == begin_ms or start_ms > first_ms + step_ms),
        )

    async def _earliest(self, ask: BackfillAsk, start_ms: int, end_ms: int) -> int | None:
        return await pager.find_earliest(self._venue, ask.pair, ask.interval, start_ms, end_ms)

    async def _advance(
        self, book: JobBook, ask: BackfillAsk, progress: _Progress, rate_per_s: float
    ) -> None:
        done = progress.done(interval_ms(ask.interval))
        detail = f"{ask.pair} {ask.interval}: back to {to_iso(progress.next_end_ms)[:16]}"
        await stored(
            lambda: book.advance(done, progress.total, "candles", detail, rate_per_s=rate_per_s)
        )
        # After the row: a killed worker reads a page again rather than leave one out.
        key, fact = cursor_key(book.job_id), progress.fact()
        await stored(lambda: self._store.put(kinds.STATE, key, fact, at_ms=self._clock.now_ms()))

    async def _leave_to_the_monitor(self, job_id: str) -> None:
        """What a backfill that gave up did not bring is a gap from now on.

        Not before: while it runs, what it has not reached yet would be reported and fetched twice.
        """
        job = await stored(lambda: self._store.get(kinds.JOBS, job_id))
        progress = await self._known(job_id)
        if job is not None and progress is not None:
            await self._claim(ask_of(job.value).interval, progress.start_ms)

    async def _claim(self, interval: Interval, from_ms: int) -> None:
        now_ms = self._clock.now_ms()
        await claim_from(self._store, self._pair, interval, from_ms, at_ms=now_ms)

    async def _known(self, job_id: str) -> _Progress | None:
        found = await stored(lambda: self._store.get(kinds.STATE, cursor_key(job_id)))
        # An older release kept less: then it begins again, and stores the same candles once more.
        is_whole = found is not None and set(found.value) == set(_Progress.__dataclass_fields__)
        return _Progress(**found.value) if found and is_whole else None


def run_of(job: Job, *, now_ms: int) -> IngestionRun:
    """The ingestion run of a backfill that begins."""
    ask = ask_of(job)
    return IngestionRun(
        run_id=ingestion_id("backfill", job.job_id),
        source=BINGX,
        source_type=CANDLES,
        kind=IngestionKind.BACKFILL,
        pair=ask.pair,
        interval=ask.interval,
        job_id=job.job_id,
        started_ms=now_ms,
        updated_ms=now_ms,
    )
