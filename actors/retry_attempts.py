"""How each type of failed ingestion job is tried again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog

from actors.backfill_job import cursor_key, job_of
from actors.candle_messages import Fetched
from actors.commands import BackfillAsk
from actors.events import job_event
from actors.signal_status import status_key, wish_key
from actors.store_calls import stored
from desk import ids
from desk.clock import Clock
from desk.errors import DeskError, VersionConflict
from desk.market.channel_messages import TELEGRAM
from desk.market.retries import RetryItem
from desk.runs import JobStatus
from desk.store import kinds
from desk.store.port import Store

log = structlog.stdlib.get_logger()

BACKFILL, HEAL, TELEGRAM_SYNC = "backfill", "gap_heal", "telegram_sync"

PATIENCE_MS = 30_000
"""Within which a sync that was asked for has happened."""

type Fetch = Callable[[str, str, int, int], Awaitable[Fetched]]
type Start = Callable[[str, BackfillAsk], Awaitable[None]]


class BackfillAttempt:
    """A new job for every attempt, which goes on where the one before stopped."""

    def __init__(self, store: Store, clock: Clock, start: Start) -> None:
        self._store, self._clock, self._start = store, clock, start

    def progress_of(self, item: RetryItem) -> Mapping[str, Any]:
        """The id of the attempt's job: the same for a repeat of the same attempt."""
        number = item.attempts + 1
        parts = ("retry", item.item_id, item.created_ms, item.next_attempt_at_ms, number)
        return {"job_id": "job" + ids.trace_id(*parts)[2:14]}

    async def begin(self, item: RetryItem) -> None:
        """Store the job once, with the cursor of the failed one, and hand it to its poller."""
        job_id, ask = str(item.progress["job_id"]), ask_of_payload(item.payload)
        if await stored(lambda: self._store.get(kinds.JOBS, job_id)) is None:
            await self._take_over_cursor(str(item.payload.get("job_id", "")), job_id)
            now_ms = self._clock.now_ms()
            job = job_of(job_id, ask, now_ms=now_ms)

            def create() -> None:
                try:
                    self._store.put(
                        kinds.JOBS,
                        job_id,
                        job,
                        at_ms=now_ms,
                        expected_version=0,
                        event=job_event(job, at_ms=now_ms),
                    )
                except VersionConflict:
                    return  # another incarnation came first

            await stored(create)
        try:
            await self._start(job_id, ask)
        except DeskError as away:
            # It is stored: its poller takes it on when it is back, or is told again.
            log.info("retry_waits_for_its_poller", job_id=job_id, error=str(away))

    async def outcome(self, item: RetryItem) -> str | None:
        """As the job's row says; one that was cancelled is done with."""
        job_id = str(item.progress["job_id"])
        doc = await stored(lambda: self._store.get(kinds.JOBS, job_id))
        if doc is None:
            return None
        match doc.value.status:
            case JobStatus.DONE | JobStatus.CANCELLED:
                return ""
            case JobStatus.FAILED:
                return doc.value.error or "it failed without a word"
            case JobStatus.QUEUED | JobStatus.RUNNING | JobStatus.PAUSED:
                return None

    async def _take_over_cursor(self, from_id: str, to_id: str) -> None:
        found = await stored(lambda: self._store.get(kinds.STATE, cursor_key(from_id)))
        if found is not None:
            fact, at_ms = found.value, self._clock.now_ms()
            await stored(lambda: self._store.put(kinds.STATE, cursor_key(to_id), fact, at_ms=at_ms))


class HealAttempt:
    """The range is fetched once more; whether that closed the gap the next scan judges."""

    def __init__(self, fetch: Fetch, judge_soon: Callable[[], None]) -> None:
        self._fetch, self._judge_soon = fetch, judge_soon
        self._outcomes: dict[str, str] = {}

    def progress_of(self, item: RetryItem) -> Mapping[str, Any]:
        """Nothing: it is over within its turn, and may be repeated."""
        return {"attempt": item.attempts + 1}

    async def begin(self, item: RetryItem) -> None:
        """Fetch; an answer is a success even if it lacks the candles: that is the gap's to count."""
        given = item.payload
        fetched = await self._fetch(
            str(given["pair"]), str(given["interval"]), int(given["start_ms"]), int(given["end_ms"])
        )
        self._outcomes[item.item_id] = "" if fetched.is_answered else "the venue did not answer"
        if fetched.is_answered:
            self._judge_soon()

    async def outcome(self, item: RetryItem) -> str | None:
        """What this process saw of it; after a crash nobody knows, and it is fetched again."""
        return self._outcomes.pop(item.item_id, None)


class TelegramAttempt:
    """All channels are polled; the channel's own status row says whether it was read."""

    def __init__(self, store: Store, now_ms: Callable[[], int]) -> None:
        self._store, self._now_ms = store, now_ms

    def progress_of(self, item: RetryItem) -> Mapping[str, Any]:
        """When it was asked for: a sync after that is its success."""
        return {"asked_ms": self._now_ms()}

    async def begin(self, item: RetryItem) -> None:
        """Ask the poller to run."""
        fact = {"at_ms": self._now_ms()}
        key = wish_key(TELEGRAM)
        await stored(lambda: self._store.put(kinds.STATE, key, fact, at_ms=self._now_ms()))

    async def outcome(self, item: RetryItem) -> str | None:
        """Success by a newer sync; failure once half a minute passed without one."""
        asked_ms = int(item.progress["asked_ms"])
        key = status_key(TELEGRAM, str(item.payload["source_id"]))
        doc = await stored(lambda: self._store.get(kinds.SOURCES, key))
        if doc is not None and doc.value.last_success_ms >= asked_ms:
            return ""
        if self._now_ms() - asked_ms < PATIENCE_MS:
            return None
        return (doc.value.detail if doc else "") or "the channel was not read"


def ask_of_payload(payload: Mapping[str, Any]) -> BackfillAsk:
    """What a failed backfill was asked for."""
    return BackfillAsk(
        pair=str(payload["pair"]),
        interval=str(payload["interval"]),
        start_ms=payload.get("start_ms"),
        end_ms=payload.get("end_ms"),
        max_batches=payload.get("max_batches"),
    )
