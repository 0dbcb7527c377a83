"""Copying hot candles, the audit and old decisions to the history, in a process of its own: the trading plane loads no Parquet."""

import asyncio
import importlib
from collections.abc import Callable
from typing import Any

import ray
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.audit_keeper import broken_cause, keep_audit
from actors.backfill_job import ask_of
from actors.candle_messages import StartBackfill
from actors.doors import poller_door
from actors.parts.foundation import market_clock, open_store
from actors.wiring import Wiring
from desk.errors import DeskError, FilesUnavailable
from desk.logs import configure_logs
from desk.store import kinds
from desk.store.decision_history import keep_decisions
from desk.store.places import shared_folder
from desk.store.port import Store

log = structlog.stdlib.get_logger()
POLLER_ANSWERS_S = 10.0
FILES_UNAVAILABLE = "files_unavailable"
DECISIONS_OF_ROUND = 20_000
"""Moved at once: each is a change of the store, which trades meanwhile."""


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def archive_candles(wiring: Wiring) -> int:
    """Flush every series of the desk, check its files and have lost months fetched again.

    Returns how many rows of the history changed. Its process ends with the call: what it loaded
    would else stay resident.
    """
    configure_logs()
    store = open_store(wiring)
    return copy_or_tell(wiring, store, now_ms=market_clock(store).now_ms)


def copy_or_tell(wiring: Wiring, store: Store, *, now_ms: Callable[[], int]) -> int:
    """Copy everything, or tell that the files cannot be written: then all stays where it is."""
    try:
        changed = copy_all(wiring, store)
    except (FilesUnavailable, OSError) as failed:
        log.warning("candles_not_archived", error=str(failed))
        asyncio.run(raise_alert(store, unavailable_cause(failed), at_ms=now_ms()))
        return 0
    resolve_alert(store, f"{FILES_UNAVAILABLE}:history", at_ms=now_ms())
    return changed


def unavailable_cause(failed: Exception) -> Cause:
    """The alert about files that cannot be written: candles and audit stay in the store meanwhile."""
    return Cause(
        code=FILES_UNAVAILABLE,
        about="history",
        category="ops",
        severity="warning",
        detail=f"{failed}; candles and audit stay in the store until it can",
    )


def copy_all(wiring: Wiring, store: Store) -> int:
    """The whole round; returns how many rows of the history changed."""
    candles: Any = importlib.import_module("desk.store.candles")
    history: Any = importlib.import_module("desk.store.history")
    refetch: Any = importlib.import_module("actors.refetch")
    files = history.History(shared_folder(wiring.place, "history", store))
    archive, clock, changed = candles.CandleArchive(store, files), market_clock(store), 0
    for pair in wiring.pairs:
        for interval in wiring.intervals:
            changed += archive.flush(pair, interval)
            for job_id in refetch.refetch_lost(store, files, pair, interval, now_ms=clock.now_ms()):
                asyncio.run(_begin(wiring, store, pair, job_id))
    log.info("candles_archived", rows=changed)
    asyncio.run(_keep_audit(store, wiring, now_ms=clock.now_ms()))
    moved = _keep_decisions(store, wiring, now_ms=clock.now_ms())
    log.info("decisions_archived", rows=moved)
    return changed


def _keep_decisions(store: Store, wiring: Wiring, *, now_ms: int) -> int:
    """Move old decisions to the history."""
    archived: Any = importlib.import_module("desk.store.decision_archive")
    archive = archived.DecisionArchive(shared_folder(wiring.place, "history", store))
    return keep_decisions(store, archive, now_ms=now_ms, most=DECISIONS_OF_ROUND)


async def _keep_audit(store: Store, wiring: Wiring, *, now_ms: int) -> None:
    """Copy the audit to the history; a chain that does not hold is an alert."""
    archived: Any = importlib.import_module("desk.store.audit_archive")
    archive = archived.AuditArchive(shared_folder(wiring.place, "history", store))
    found = await asyncio.to_thread(lambda: keep_audit(store, archive, now_ms=now_ms))
    if found.broken is not None:
        await raise_alert(store, broken_cause(found.broken), at_ms=now_ms)


async def _begin(wiring: Wiring, store: Store, pair: str, job_id: str) -> None:
    doc = store.get(kinds.JOBS, job_id)
    if doc is None:
        return
    door = poller_door(wiring, pair)
    start = StartBackfill(job_id=job_id, ask=ask_of(doc.value))
    try:
        await door.ask(lambda actor: actor.backfill.remote(start), within_s=POLLER_ANSWERS_S)
    except DeskError as away:
        log.warning("backfill_waits_for_its_poller", job_id=job_id, error=str(away))
