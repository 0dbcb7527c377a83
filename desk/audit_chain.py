"""The audit as a chain of hashes: each row holds the hash of the one before.

A row's hash covers everything in it but the hash itself, its place and the hash before it included, so
that a row that was changed, removed, added or moved breaks the chain at its place. What the chain alone
cannot show is an end that was cut off together with the head: the copy in the history shows that.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from desk.runs import AuditEvent

GENESIS = "0" * 64
"""Stands where the first row would name the one before."""
AUDIT_CHAIN_BROKEN = "audit_chain_broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One place of the chain: `seq` from 1, 0 before the first row."""

    seq: int = 0
    sha256: str = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """The first place at which the chain does not hold."""

    seq: int
    problem: str

    def __str__(self) -> str:
        return f"row {self.seq} {self.problem}"


def row_sha256(row: AuditEvent) -> str:
    """SHA-256 of the row as JSON with sorted keys and no spaces, without its own hash.

    `before` and `after` must hold plain JSON values, as they come back from the store.
    """
    facts = asdict(row)
    del facts["sha256"]
    return hashlib.sha256(
        json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def sealed(row: AuditEvent, after: Link) -> AuditEvent:
    """The row as the one that follows `after`."""
    placed = replace(row, seq=after.seq + 1, previous_sha256=after.sha256, sha256="")
    return replace(placed, sha256=row_sha256(placed))


def link_of(row: AuditEvent) -> Link:
    """Where a row stands."""
    return Link(seq=row.seq, sha256=row.sha256)


def first_break(rows: Iterable[AuditEvent], *, start: Link, end: Link) -> Break | None:
    """The first place between `start` and `end` at which the rows are not the chain; None: they are.

    `rows` come in the order of their places; `start` is the last place before them, `end` the last one.
    """
    last = start
    for row in rows:
        broken = _break_at(row, last)
        if broken is not None:
            return broken
        last = link_of(row)
    if last.seq < end.seq:
        return Break(seq=last.seq + 1, problem="is missing")
    if last != end:
        return Break(seq=last.seq, problem=f"is not the end of the chain, which is row {end.seq}")
    return None


def _break_at(row: AuditEvent, last: Link) -> Break | None:
    expected = last.seq + 1
    if row.seq > expected:
        return Break(seq=expected, problem="is missing")
    if row.seq < expected:
        return Break(seq=row.seq, problem="stands there twice or out of order")
    if row.sha256 != row_sha256(row):
        return Break(seq=row.seq, problem="was changed: its hash is another")
    if row.previous_sha256 != last.sha256:
        return Break(seq=row.seq, problem="does not follow the row before it")
    return None
