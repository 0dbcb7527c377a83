"""The retry queue: failed ingestion jobs, tried again a few times, ever later, then left to an operator.

Times are wall time: what failed was a network or a process, and those know no market time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from desk.clock import MINUTE_MS, SECOND_MS
from desk.errors import IllegalTransition

MAX_ATTEMPTS = 5
FIRST_WAIT_MS = 30 * SECOND_MS
LONGEST_WAIT_MS = 30 * MINUTE_MS
JITTER = 0.25
"""Fraction of a wait by which it may be shorter or longer, so that what failed together does not
come back together."""
CLAIM_MS = 2 * MINUTE_MS
"""How long a claim holds without a word of its worker; then anybody may take the item again."""
MAX_ERROR = 300
MAX_ITEMS = 500


class RetryStatus(StrEnum):
    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    DEAD = "dead"
    """Tried often enough: an operator decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryItem:
    """One failed job. There is one item per `dedupe_key`, however often the job fails."""

    item_id: str
    job_type: str
    payload: Mapping[str, Any]
    dedupe_key: str
    created_ms: int
    updated_ms: int
    next_attempt_at_ms: int
    """0: none is planned."""
    status: RetryStatus = RetryStatus.WAITING
    attempts: int = 0
    max_attempts: int = MAX_ATTEMPTS
    last_error: str = ""
    claimed_until_ms: int = 0
    progress: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the attempt in flight is known by: the id of its job, for one."""


def wait_ms(attempts: int, jitter: float) -> int:
    """Wait before the attempt after `attempts` failed ones: it doubles, up to `LONGEST_WAIT_MS`.

    `jitter` is a random number, 0 included to 1 excluded.
    """
    whole_ms = min(FIRST_WAIT_MS * 2 ** min(attempts, 20), LONGEST_WAIT_MS)
    return round(whole_ms * (1 + JITTER * (2 * jitter - 1)))


def entered(
    known: RetryItem | None,
    *,
    item_id: str,
    job_type: str,
    payload: Mapping[str, Any],
    dedupe_key: str,
    error: str,
    now_ms: int,
    jitter: float,
) -> RetryItem:
    """The item of a job that failed. One that is known keeps its attempts, its time and its state:
    failing again outside of the queue neither hurries it nor brings a dead one back."""
    if known is not None:
        return replace(known, last_error=error[:MAX_ERROR], updated_ms=now_ms)
    return RetryItem(
        item_id=item_id,
        job_type=job_type,
        payload=dict(payload),
        dedupe_key=dedupe_key,
        created_ms=now_ms,
        updated_ms=now_ms,
        next_attempt_at_ms=now_ms + wait_ms(0, jitter),
        last_error=error[:MAX_ERROR],
    )


def is_due(item: RetryItem, *, now_ms: int) -> bool:
    """Whether somebody may claim it now: its time has come, or its claim ran out."""
    match item.status:
        case RetryStatus.WAITING:
            return item.next_attempt_at_ms <= now_ms
        case RetryStatus.IN_FLIGHT:
            return item.claimed_until_ms <= now_ms
        case RetryStatus.DEAD:
            return False


def claimed(item: RetryItem, *, now_ms: int, progress: Mapping[str, Any]) -> RetryItem:
    """An attempt begins. It counts from here on: one that a crash cut off was one as well.

    A claim that ran out is taken over as the same attempt, under the same progress.
    """
    if not is_due(item, now_ms=now_ms):
        raise IllegalTransition(item.status.value, "claim")
    is_taken_over = item.status is RetryStatus.IN_FLIGHT
    return replace(
        item,
        status=RetryStatus.IN_FLIGHT,
        attempts=item.attempts + (not is_taken_over),
        claimed_until_ms=now_ms + CLAIM_MS,
        updated_ms=now_ms,
        progress=item.progress if is_taken_over else dict(progress),
    )


def failed(item: RetryItem, error: str, *, now_ms: int, jitter: float) -> RetryItem:
    """The attempt in flight failed: wait, or give up after the last one."""
    if item.status is not RetryStatus.IN_FLIGHT:
        raise IllegalTransition(item.status.value, "fail")
    is_last = item.attempts >= item.max_attempts
    return replace(
        item,
        status=RetryStatus.DEAD if is_last else RetryStatus.WAITING,
        next_attempt_at_ms=0 if is_last else now_ms + wait_ms(item.attempts, jitter),
        claimed_until_ms=0,
        last_error=error[:MAX_ERROR],
        updated_ms=now_ms,
        progress={},
    )


def revived(item: RetryItem, *, now_ms: int) -> RetryItem:
    """An operator wants it tried now, with all its attempts again. One in flight is left alone."""
    if item.status is RetryStatus.IN_FLIGHT:
        raise IllegalTransition(item.status.value, "retry")
    return replace(
        item, status=RetryStatus.WAITING, attempts=0, next_attempt_at_ms=now_ms, updated_ms=now_ms
    )
