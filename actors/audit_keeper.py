"""Keeping the audit: its chain checked, its rows copied to the history, old ones out of the store."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from actors.alerts import Cause
from actors.audit import append_row
from desk.audit_chain import AUDIT_CHAIN_BROKEN, GENESIS, Break, Link, first_break
from desk.clock import DAY_MS
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.audit_archive import AuditArchive
from desk.store.port import AuditHead, Store

PAGE = 500
KEPT_MS = 90 * DAY_MS
"""Market time after which a row is in the history alone."""
KEPT_ROWS = 20_000
"""Of the store, however young they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check of the chain found; `broken` None: every row is the one that was written."""

    rows: int
    broken: Break | None


def check_store(store: Store) -> Checked:
    """Look through the rows that the store holds. Rows appended meanwhile are left to the next check."""
    return _surely(lambda: _check_store(store))


def check_all(store: Store, archive: AuditArchive) -> Checked:
    """Look through every row from the first one on, history and store, and compare where both have it."""
    return _surely(lambda: _check_all(store, archive))


def keep_audit(store: Store, archive: AuditArchive, *, now_ms: int) -> Checked:
    """Take rows of earlier releases into the chain, check it, copy what is new to the history, and trim
    the store. Idempotent. Nothing leaves the store that is not in the history, and while the chain is
    broken nothing leaves it at all: what was found stays to be looked at."""
    _adopt(store)
    found = check_all(store, archive)
    if found.broken is not None:
        return found
    while rows := store.audit_rows(max(archive.last_seq(), store.audit_head().trimmed_seq), PAGE):
        archive.append(rows)
    head, copied = store.audit_head(), archive.last_seq()
    while rows := _old(store.audit_rows(head.trimmed_seq, PAGE), head, copied, now_ms):
        store.trim_audit(rows)
        head = store.audit_head()
    return found


def broken_cause(broken: Break) -> Cause:
    """The alert about a chain that does not hold."""
    return Cause(
        code=AUDIT_CHAIN_BROKEN,
        about="audit",
        category="ops",
        severity="critical",
        detail=f"the audit was tampered with or damaged: {broken}; see `desk audit verify`",
        metric="audit_first_bad_row",
        value=str(broken.seq),
    )


def _surely(check: Callable[[], Checked]) -> Checked:
    """Check again what does not hold: rows may have moved to the history in between."""
    found = check()
    return found if found.broken is None else check()


def _check_store(store: Store) -> Checked:
    head = store.audit_head()
    return Checked(rows=head.rows, broken=_break_of(store, head, _held(store, head), None))


def _check_all(store: Store, archive: AuditArchive) -> Checked:
    copied, head = archive.last_seq(), store.audit_head()
    for damaged in archive.damaged():
        problem = f"stands in {damaged.file}, which is damaged or gone: restore it from a backup"
        return Checked(rows=head.seq, broken=Break(seq=damaged.first_seq, problem=problem))
    if copied > head.seq:
        problem = "is in the history, but no longer in the store"
        return Checked(rows=copied, broken=Break(seq=head.seq + 1, problem=problem))
    held = _break_of(store, head, _held(store, head), None)
    if held is not None:
        return Checked(rows=head.seq, broken=held)
    older = (row for row in archive.read() if row.seq <= copied)
    newer = (row for row in _held(store, head) if row.seq > copied)
    broken = _break_of(store, head, chain(older, newer), Link())
    return Checked(rows=head.seq, broken=broken or _differing(store, head, archive))


def _break_of(
    store: Store, head: AuditHead, rows: Iterator[AuditEvent], start: Link | None
) -> Break | None:
    end = Link(seq=head.seq, sha256=head.sha256 or GENESIS)
    if start is None:
        first = next(rows, None)
        rows = rows if first is None else chain([first], rows)
        # What came before the oldest row here is in the history: its hash is taken as it is named.
        before = GENESIS if first is None or not head.trimmed_seq else first.previous_sha256
        start = Link(seq=head.trimmed_seq, sha256=before)
        if first is None and head.trimmed_seq == head.seq:
            start = end
    return first_break(rows, start=start, end=end) or _stray(store, head)


def _held(store: Store, head: AuditHead) -> Iterator[AuditEvent]:
    """Rows of the store up to this head, in the order of their places."""
    at = head.trimmed_seq
    while at < head.seq:
        yield from store.audit_rows(at, min(PAGE, head.seq - at))
        at += PAGE


def _stray(store: Store, head: AuditHead) -> Break | None:
    """A row that stands at no place of the chain."""
    expected = head.seq - head.trimmed_seq
    if head.rows == expected:
        return None
    return Break(
        seq=head.seq + 1,
        problem=f"is one of {head.rows - expected} rows that stand outside of the chain",
    )


def _differing(store: Store, head: AuditHead, archive: AuditArchive) -> Break | None:
    """The first row of the store that is not what was copied."""
    copies = {row.seq: row for row in archive.read() if row.seq > head.trimmed_seq}
    for row in _held(store, head):
        if copies.get(row.seq, row) != row:
            return Break(seq=row.seq, problem="is another one than its copy in the history")
    return None


def _old(rows: list[AuditEvent], head: AuditHead, copied: int, now_ms: int) -> list[AuditEvent]:
    """The first ones of the store that may leave it, in an unbroken row."""
    leaving: list[AuditEvent] = []
    for row in rows:
        is_old = row.at_ms < now_ms - KEPT_MS or row.seq <= head.seq - KEPT_ROWS
        if not is_old or row.seq > copied:
            break
        leaving.append(row)
    return leaving


def _adopt(store: Store) -> None:
    """Rows of releases before the chain, oldest first; one that a crash left is known by its id."""
    while old := store.list(kinds.UNCHAINED_AUDIT, limit=PAGE):
        for doc in reversed(old):
            append_row(store, doc.value)
            store.delete(kinds.UNCHAINED_AUDIT, doc.key)
