"""The retry queue in the store: who failed enters it, the gap monitor works it off, an operator decides.

The gap monitor works it: it is the one actor of the whole desk that mends data, it has the doors to
every poller, and a turn of it that stands still holds up no trading.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.events import ops_event
from actors.store_calls import stored
from desk import ids, meters
from desk.errors import DeskError, IllegalTransition, NotFound, VersionConflict
from desk.market import retries
from desk.market.retries import RetryItem, RetryStatus
from desk.store import kinds
from desk.store.port import Doc, Event, Store

log = structlog.stdlib.get_logger()

AT_ONCE = 3
"""Attempts that begin in one turn: a venue that has just come back is not overrun."""
CHANGES = 10
TOLD_ELSEWHERE = frozenset({"gap_heal"})
"""Of a gap its own alert tells."""
FAILED, EXHAUSTED, FULL = "ingestion_job_failed", "retries_exhausted", "retry_queue_full"


class Attempt(Protocol):
    """How one type of job is tried again. Both must be repeatable: a crash repeats them."""

    def progress_of(self, item: RetryItem) -> Mapping[str, Any]:
        """What the next attempt will be known by; a function of the item and its attempts."""
        ...

    async def begin(self, item: RetryItem) -> None:
        """Have it tried. Raises `DeskError` when it could not even begin."""
        ...

    async def outcome(self, item: RetryItem) -> str | None:
        """Empty: done with, also if it was cancelled; a text: why it failed; None: still at it."""
        ...


async def enter(
    store: Store,
    job_type: str,
    payload: Mapping[str, Any],
    *,
    dedupe: Sequence[str | int],
    error: str,
    now_ms: int,
    jitter: float,
) -> None:
    """Note a failed job. One item per `dedupe`; a full queue refuses it, with an alert.

    A store that is away costs the item: the caller's own failure is what counts.
    """
    key = ":".join([job_type, *(str(part) for part in dedupe)])
    item_id = "rty" + ids.request_id("retry", key)[2:20]

    def change() -> str:
        found = store.get(kinds.RETRIES, item_id)
        if found is None and len(store.list(kinds.RETRIES, limit=retries.MAX_ITEMS)) >= (
            retries.MAX_ITEMS
        ):
            return "full"
        item = retries.entered(
            found.value if found else None,
            item_id=item_id,
            job_type=job_type,
            payload=payload,
            dedupe_key=key,
            error=error,
            now_ms=now_ms,
            jitter=jitter,
        )
        put(store, item, expected_version=found.version if found else 0, tell=found is None)
        return "known" if found else "new"

    try:
        how = await stored(lambda: _again(change), within_s=2.0)
    except DeskError as away:
        log.warning("retry_not_entered", dedupe_key=key, error=str(away))
        return
    log.info("retry_entered", dedupe_key=key, how=how, error=error)
    if how == "new" and job_type not in TOLD_ELSEWHERE:
        detail = f"{key}: {error}; it is tried again by itself"
        await _warn(store, FAILED, item_id, detail, now_ms)
    if how == "full":
        detail = f"{retries.MAX_ITEMS} failed jobs wait: {key} was not added"
        await _warn(store, FULL, "all", detail, now_ms)


class RetryQueue:
    """Works the queue off. At most one attempt of an item is in flight, whoever else works it."""

    def __init__(
        self,
        store: Store,
        attempts: Mapping[str, Attempt],
        now_ms: Callable[[], int],
        jitter: Callable[[], float],
    ) -> None:
        self._store, self._attempts, self._now_ms, self._jitter = store, attempts, now_ms, jitter

    async def turn(self) -> int:
        """Judge what is in flight, begin what is due; returns how many attempts began."""
        docs = await stored(lambda: self._store.list(kinds.RETRIES, limit=retries.MAX_ITEMS))
        for doc in docs:
            if doc.value.status is RetryStatus.IN_FLIGHT:
                await self._judge(doc)
        began = 0
        for doc in reversed(docs):
            if began < AT_ONCE and doc.value.status is not RetryStatus.DEAD:
                began += await self._try(doc.key)
        return began

    async def _judge(self, doc: Doc[RetryItem]) -> None:
        attempt = self._attempts.get(doc.value.job_type)
        error = await attempt.outcome(doc.value) if attempt else "nobody knows this type of job"
        await self._conclude(doc, error)

    async def _conclude(self, doc: Doc[RetryItem], error: str | None) -> None:
        item, now_ms = doc.value, self._now_ms()
        if error is None:
            return  # a claim that runs out meanwhile is taken over: to begin again is harmless
        if not error:
            await stored(lambda: self._store.delete(kinds.RETRIES, doc.key))
            await stored(lambda: _well(self._store, doc.key, now_ms))
            done = retry_changed(item, "done", at_ms=now_ms)
            await stored(lambda: self._store.emit(done))
            meters.RETRIES.count(item.job_type, "done")
            log.info("retry_done", dedupe_key=item.dedupe_key, attempts=item.attempts)
        else:
            after = retries.failed(item, error, now_ms=now_ms, jitter=self._jitter())
            await self._put(after, doc.version)
            meters.RETRIES.count(item.job_type, after.status.value)
            if after.status is RetryStatus.DEAD:
                detail = f"{after.dedupe_key}: {after.attempts} attempts, the last: {error}"
                await stored(lambda: _well(self._store, after.item_id, now_ms))
                await _warn(self._store, EXHAUSTED, after.item_id, detail, now_ms)

    async def _try(self, key: str) -> bool:
        """Claim an item and have it tried; returns whether an attempt began."""
        doc = await stored(lambda: self._store.get(kinds.RETRIES, key))
        if doc is None or not retries.is_due(doc.value, now_ms=self._now_ms()):
            return False
        attempt = self._attempts.get(doc.value.job_type)
        progress: Mapping[str, Any] = attempt.progress_of(doc.value) if attempt else {}
        claim = retries.claimed(doc.value, now_ms=self._now_ms(), progress=progress)
        mine = await self._put(claim, doc.version)
        if mine is None or attempt is None:
            return False
        try:
            await attempt.begin(mine.value)
            error = await attempt.outcome(mine.value)
        except DeskError as away:
            error = str(away)
        await self._conclude(mine, error)
        return True

    async def _put(
        self, item: RetryItem, expected_version: int, *, tell: bool = True
    ) -> Doc[RetryItem] | None:
        """Store a move; None when somebody else moved the item first."""
        try:
            return await stored(
                lambda: put(self._store, item, expected_version=expected_version, tell=tell)
            )
        except VersionConflict:
            return None


# --- what an operator does ----------------------------------------------------------------------


def retry_now(store: Store, item_id: str, *, now_ms: int) -> tuple[RetryItem, RetryItem]:
    """Have an item tried in the next turn; before and after. Raises `NotFound`, `IllegalTransition`."""

    def change() -> tuple[RetryItem, RetryItem]:
        found = _need(store, item_id)
        after = retries.revived(found.value, now_ms=now_ms)
        put(store, after, expected_version=found.version)
        resolve_alert(store, f"{EXHAUSTED}:{item_id}", at_ms=now_ms)
        return found.value, after

    return _again(change)


def discard(store: Store, item_id: str, *, now_ms: int) -> RetryItem:
    """Take an item out of the queue. Raises `NotFound`; `IllegalTransition` while it is in flight."""

    def stop() -> RetryItem:
        """First out of reach of a claim: who claims at the same time conflicts."""
        found = _need(store, item_id)
        if found.value.status is RetryStatus.IN_FLIGHT:
            raise IllegalTransition(found.value.status.value, "discard")
        dead = replace(found.value, status=RetryStatus.DEAD)
        put(store, dead, expected_version=found.version, tell=False)
        return found.value

    item = _again(stop)
    store.delete(kinds.RETRIES, item_id)
    resolve_alert(store, f"{EXHAUSTED}:{item_id}", at_ms=now_ms)
    _well(store, item_id, now_ms)
    store.emit(retry_changed(item, "discarded", at_ms=now_ms))
    return item


def put(
    store: Store, item: RetryItem, *, expected_version: int | None, tell: bool = True
) -> Doc[RetryItem]:
    """Store an item with its event."""
    return store.put(
        kinds.RETRIES,
        item.item_id,
        item,
        at_ms=item.created_ms,
        expected_version=expected_version,
        event=retry_changed(item, item.status.value, at_ms=item.updated_ms) if tell else None,
    )


def retry_changed(item: RetryItem, how: str, *, at_ms: int) -> Event:
    """An item entered the queue, moved or left it."""
    return ops_event(
        "retry",
        item.item_id,
        {
            "item_id": item.item_id,
            "job_type": item.job_type,
            "dedupe_key": item.dedupe_key,
            "status": how,
            "attempts": item.attempts,
            "next_attempt_at_ms": item.next_attempt_at_ms,
            "last_error": item.last_error,
        },
        at_ms=at_ms,
    )


def _need(store: Store, item_id: str) -> Doc[RetryItem]:
    found = store.get(kinds.RETRIES, item_id)
    if found is None:
        raise NotFound("retry item", item_id)
    return found


def _again[R](change: Callable[[], R]) -> R:
    for _ in range(CHANGES - 1):
        try:
            return change()
        except VersionConflict:
            continue
    return change()


def _well(store: Store, item_id: str, now_ms: int) -> None:
    """It waits no more for being tried again."""
    resolve_alert(store, f"{FAILED}:{item_id}", at_ms=now_ms)


async def _warn(store: Store, code: str, about: str, detail: str, at_ms: int) -> None:
    cause = Cause(code=code, about=about, category="data", severity="warning", detail=detail)
    await raise_alert(store, cause, at_ms=at_ms)
