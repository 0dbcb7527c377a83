"""Ingestion runs: what was read from a source, when, and what came of it."""

from dataclasses import dataclass, replace
from enum import StrEnum

from desk.clock import HOUR_MS, MINUTE_MS
from desk.ids import Pair

BINGX = "bingx"
MAX_ERROR = 300
"""Characters of an error summary; the rest is in the logs."""


class IngestionKind(StrEnum):
    """Why the source was read."""

    POLL = "poll"
    """A session: the polls of one series within a wall hour."""
    SYNC = "sync"
    """The same of a source of signals."""
    BACKFILL = "backfill"
    HEAL = "heal"


class IngestionStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionRun:
    """One run. Times are market time; wall time where `source_id` is set.

    `from_ms … to_ms` is the range of event times that was read, the end exclusive; None: nothing.
    """

    run_id: str
    source: str
    """bingx, tradingview or telegram."""
    source_type: str
    """bingx_candles, funding, telegram, …"""
    kind: IngestionKind
    pair: Pair = ""
    interval: str = ""
    source_id: str = ""
    """Feed or channel, for sources of signals."""
    job_id: str = ""
    status: IngestionStatus = IngestionStatus.RUNNING
    started_ms: int
    updated_ms: int
    finished_ms: int | None = None
    answers: int = 0
    """Requests that were answered."""
    new: int = 0
    updated: int = 0
    """Rows that were known and differ now."""
    errors: int = 0
    """Requests without an answer, and rows that were refused."""
    manual: int = 0
    """Polls that an operator asked for."""
    cursor: str = ""
    """How far it came: an open time, a message id."""
    error: str = ""
    """The newest error."""
    from_ms: int | None = None
    to_ms: int | None = None
    hour_wall_ms: int | None = None
    """Wall time at which the hour of a session begins; None: it is no session."""
    new_by_minute: tuple[int, ...] = ()
    """Of `new`, what each wall minute of that hour brought, up to the newest that brought anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one request brought; `error` is set where it brought nothing or not everything."""

    answers: int = 1
    new: int = 0
    updated: int = 0
    errors: int = 0
    manual: int = 0
    cursor: str = ""
    error: str = ""
    from_ms: int | None = None
    to_ms: int | None = None


def counted(run: IngestionRun, reading: Reading, *, now_ms: int) -> IngestionRun:
    """The run with one more reading in its counts; its range grows, never shrinks."""
    starts = [at for at in (run.from_ms, reading.from_ms) if at is not None]
    ends = [at for at in (run.to_ms, reading.to_ms) if at is not None]
    return replace(
        run,
        status=IngestionStatus.RUNNING,
        finished_ms=None,
        updated_ms=max(now_ms, run.updated_ms),
        answers=run.answers + reading.answers,
        new=run.new + reading.new,
        updated=run.updated + reading.updated,
        errors=run.errors + reading.errors,
        manual=run.manual + reading.manual,
        cursor=reading.cursor or run.cursor,
        error=(reading.error or run.error)[:MAX_ERROR],
        from_ms=min(starts, default=None),
        to_ms=max(ends, default=None),
    )


def counted_in_minute(run: IngestionRun, new: int, *, wall_ms: int) -> IngestionRun:
    """The session with rows in the wall minute that brought them; outside of its hour none are noted."""
    if not new or run.hour_wall_ms is None or wall_ms // HOUR_MS != run.hour_wall_ms // HOUR_MS:
        return run
    minute = wall_ms % HOUR_MS // MINUTE_MS
    counts = [*run.new_by_minute, *[0] * (minute + 1 - len(run.new_by_minute))]
    counts[minute] += new
    return replace(run, new_by_minute=tuple(counts))


def ended(
    run: IngestionRun, status: IngestionStatus | None = None, *, now_ms: int, error: str = ""
) -> IngestionRun:
    """The run as it ended; without a status it failed exactly if nothing was ever answered."""
    if status is None:
        failed = run.errors and not run.answers
        status = IngestionStatus.FAILED if failed else IngestionStatus.DONE
    at_ms = max(now_ms, run.started_ms)
    return replace(
        run,
        status=status,
        updated_ms=at_ms,
        finished_ms=at_ms,
        error=(error or run.error)[:MAX_ERROR],
    )


def has_read(run: IngestionRun, start_ms: int, end_ms: int) -> bool:
    """Whether anything of `[start_ms, end_ms)` was in what it read."""
    if run.from_ms is None or run.to_ms is None:
        return False
    return run.from_ms < end_ms and run.to_ms > start_ms
