"""What is still to be told of alerts, to one receiver: a bounded queue that is stored as it stands.

A notice is told at least once: it leaves the queue after the receiver took it, so that a process that
dies in between tells it again, under the same id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from desk.alert_codes import SEVERITIES
from desk.runs import Alert

MOST_WAITING = 200
"""Beyond this the mildest, then oldest, notice is given up."""
IDS_KEPT = 1_000
TRIES = 12
"""With these waits a receiver that is away for more than three hours misses nothing."""
WAITS_S = (5, 15, 60, 300, 900, 1800)
"""After each failed try; the last one is repeated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing to tell: an alert was opened, or is over."""

    notice_id: str
    """The same whenever the same thing is told: receivers drop what they know."""
    alert_id: str
    code: str
    category: str
    severity: str
    status: str
    """open or resolved."""
    detail: str
    created_ms: int
    at_ms: int
    """Market time of what is told."""
    trace_id: str = ""
    metric: str = ""
    value: str = ""
    threshold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A notice that the receiver has not taken yet."""

    notice: Notice
    tries: int = 0
    not_before_wall_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbox:
    """Everything that is known about one receiver."""

    waiting: tuple[Waiting, ...] = ()
    """Oldest first."""
    told_ids: tuple[str, ...] = ()
    """Of the newest `IDS_KEPT` notices that came in, whatever became of them."""
    delivered: int = 0
    given_up: int = 0
    failures: int = 0
    """In a row."""
    last_error: str = ""


def notice_of(alert: Alert, *, at_ms: int) -> Notice:
    """What is told of an alert as it stands."""
    # One that becomes worse is told again; one that is counted up is not.
    grade = alert.severity if alert.status != "resolved" else ""
    named = f"{alert.alert_id}|{alert.created_ms}|{alert.status}|{grade}"
    return Notice(
        notice_id=hashlib.sha256(named.encode()).hexdigest()[:32],
        alert_id=alert.alert_id,
        code=alert.code,
        category=alert.category,
        severity=alert.severity,
        status=alert.status,
        detail=alert.detail,
        created_ms=alert.created_ms,
        at_ms=at_ms,
        trace_id=alert.trace_id,
        metric=alert.metric,
        value=alert.value,
        threshold=alert.threshold,
    )


def offered(box: Outbox, notice: Notice) -> Outbox:
    """Take a notice in. One that was taken in before changes nothing; an end is told only of what was
    told before. A full queue gives up its mildest, then oldest, notice."""
    if notice.notice_id in box.told_ids or notice.status not in {"open", "resolved"}:
        return box
    if notice.status == "resolved" and not _is_known(box, notice):
        return box
    waiting = [*box.waiting, Waiting(notice=notice)]
    given_up = box.given_up
    if len(waiting) > MOST_WAITING:
        waiting.remove(min(waiting, key=_weight))
        given_up += 1
    told = (*box.told_ids, notice.notice_id)[-IDS_KEPT:]
    return replace(box, waiting=tuple(waiting), told_ids=told, given_up=given_up)


def next_due(box: Outbox, *, wall_ms: int) -> Waiting | None:
    """The oldest notice whose time has come."""
    return next((one for one in box.waiting if one.not_before_wall_ms <= wall_ms), None)


def taken(box: Outbox, notice_id: str) -> Outbox:
    """The receiver has it."""
    left = tuple(one for one in box.waiting if one.notice.notice_id != notice_id)
    gone = len(box.waiting) - len(left)
    return replace(box, waiting=left, delivered=box.delivered + gone, failures=0, last_error="")


def refused(box: Outbox, notice_id: str, error: str, *, wall_ms: int) -> Outbox:
    """The receiver did not take it: once more later, or given up after `TRIES`."""
    left: list[Waiting] = []
    given_up = box.given_up
    for one in box.waiting:
        if one.notice.notice_id != notice_id:
            left.append(one)
        elif one.tries + 1 >= TRIES:
            given_up += 1
        else:
            wait_ms = 1000 * WAITS_S[min(one.tries, len(WAITS_S) - 1)]
            left.append(replace(one, tries=one.tries + 1, not_before_wall_ms=wall_ms + wait_ms))
    return replace(
        box,
        waiting=tuple(left),
        given_up=given_up,
        failures=box.failures + 1,
        last_error=error[:300],
    )


def body_of(notice: Notice) -> Mapping[str, Any]:
    """A notice as receivers get it."""
    return {
        "id": notice.notice_id,
        "alert_id": notice.alert_id,
        "code": notice.code,
        "category": notice.category,
        "severity": notice.severity,
        "status": notice.status,
        "detail": notice.detail,
        "created_ms": notice.created_ms,
        "at_ms": notice.at_ms,
        "metric": notice.metric,
        "value": notice.value,
        "threshold": notice.threshold,
        "trace_id": notice.trace_id,
    }


def text_of(notice: Notice) -> str:
    """A notice as one message for people."""
    begin = "over" if notice.status == "resolved" else notice.severity
    figures = (
        f" ({notice.metric} {notice.value}, limit {notice.threshold})" if notice.threshold else ""
    )
    return f"[{begin}] {notice.code}: {notice.detail}{figures}"[:1_000]


def _is_known(box: Outbox, notice: Notice) -> bool:
    """Whether the beginning of what has ended was taken in."""
    named = [f"{notice.alert_id}|{notice.created_ms}|open|{grade}" for grade in SEVERITIES]
    ids = {hashlib.sha256(name.encode()).hexdigest()[:32] for name in named}
    return not ids.isdisjoint(box.told_ids)


def _weight(one: Waiting) -> tuple[bool, int]:
    return one.notice.status != "resolved", SEVERITIES.index(one.notice.severity)
