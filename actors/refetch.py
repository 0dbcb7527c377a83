"""Months that the history lost are fetched again, as backfills like any other."""

from actors.backfill_job import job_of
from actors.commands import BackfillAsk
from actors.events import job_event
from desk import ids
from desk.errors import VersionConflict
from desk.ids import Pair
from desk.market.interval import Interval, interval_ms
from desk.store import kinds
from desk.store.history import History
from desk.store.port import DocStore


def refetch_lost(
    store: DocStore, history: History, pair: Pair, interval: Interval, *, now_ms: int
) -> list[str]:
    """Check every file of a series and queue a backfill for each month that is lost.

    Returns the ids of the jobs that are new: a damaged file is fetched again once. What the venue no
    longer has stays in `Manifest.lost`.
    """
    queued: list[str] = []
    for entry in history.verify(pair, interval).values():
        ask = BackfillAsk(
            pair=pair,
            interval=interval,
            start_ms=entry.min_open_ms,
            end_ms=entry.max_open_ms + interval_ms(interval),
        )
        job_id = "job" + ids.trace_id("refetch", pair, interval, entry.file, entry.revision)[2:14]
        job = job_of(job_id, ask, now_ms=now_ms)
        try:
            store.put(
                kinds.JOBS,
                job_id,
                job,
                at_ms=now_ms,
                expected_version=0,
                event=job_event(job, at_ms=now_ms),
            )
        except VersionConflict:
            continue
        queued.append(job_id)
    return queued
