"""Before a dataset is frozen: what its range lacks at the ends is fetched, by backfills like any other."""

import asyncio
import secrets
from collections.abc import Callable

from actors.backfill import Backfill
from actors.backfill_job import KIND, cursor_key, job_of
from actors.candle_intake import CandleIntake
from actors.commands import BackfillAsk
from actors.heartbeat import Pulse
from actors.job_book import JobBook
from actors.market_time import MarketClock
from desk.market.gaps import find_gaps
from desk.market.interval import interval_ms
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.datasets import CandleReader, DatasetAsk, Datasets
from desk.store.port import DocStore, Store
from desk.venues.pager import CandleSource, Window

LOOK_S = 0.2
KNOWN_JOBS = 1_000


def windows_to_fetch(
    store: DocStore, datasets: Datasets, candles: CandleReader, ask: DatasetAsk
) -> list[BackfillAsk]:
    """The head and the tail that are not stored, and what a backfill of the range left undone.

    A backfill goes from the newest to the oldest, so one that was cut off leaves a hole behind it:
    that one is no hole of the venue.
    """
    windows = [*datasets.missing(ask), *_left_undone(store, candles, ask)]
    merged: list[Window] = []
    for start_ms, end_ms in sorted(windows):
        if merged and start_ms <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_ms))
        else:
            merged.append((start_ms, end_ms))
    return [
        BackfillAsk(pair=ask.pair, interval=ask.interval, start_ms=start_ms, end_ms=end_ms)
        for start_ms, end_ms in merged
    ]


async def fetch_here(
    store: Store,
    venue: CandleSource,
    clock: MarketClock,
    ask: BackfillAsk,
    *,
    progress: Callable[[Job], bool],
) -> Job:
    """Carry out a backfill in this process, for a desk that does not run; returns the ended job.

    `progress` is told of the row now and then, and ends it by returning True. What was stored stays.
    """
    job_id = f"job-{secrets.token_hex(10)}"
    book = JobBook.open(store, job_of(job_id, ask, now_ms=clock.now_ms()), clock)
    intake = CandleIntake(ask.pair, store, clock, Pulse("dataset"))
    work = asyncio.ensure_future(Backfill(ask.pair, store, venue, clock, intake).work_on(job_id))
    try:
        while not (await asyncio.wait({work}, timeout=LOOK_S))[0]:
            if progress(book.job):
                book.cancel()
                return book.job
        work.result()
        return book.job
    finally:
        work.cancel()
        await asyncio.wait({work})


def _left_undone(store: DocStore, candles: CandleReader, ask: DatasetAsk) -> list[Window]:
    windows: list[Window] = []
    for doc in store.list(kinds.JOBS, limit=KNOWN_JOBS):
        job = doc.value
        if job.kind != KIND or job.status is JobStatus.DONE:
            continue
        if (job.arguments.get("pair"), job.arguments.get("interval")) != (ask.pair, ask.interval):
            continue
        cursor = store.get(kinds.STATE, cursor_key(job.job_id))
        if cursor is None:
            continue
        start_ms = max(int(cursor.value["start_ms"]), ask.first_ms)
        end_ms = min(int(cursor.value["next_end_ms"]), ask.end_ms)
        if start_ms < end_ms:
            stored = candles.read(ask.pair, ask.interval, start_ms, end_ms)
            holes = find_gaps(stored.open_ms, ask.interval, start_ms=start_ms, end_ms=end_ms)
            if holes:
                windows.append((holes[0][0], holes[-1][1] + interval_ms(ask.interval)))
    return windows
