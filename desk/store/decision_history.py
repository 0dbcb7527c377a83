"""A run's decisions: the newest in the store, what is older in the history, read as one."""

from collections.abc import Iterator
from itertools import batched
from typing import Protocol

from desk.clock import DAY_MS
from desk.runs import DecisionRecord
from desk.store import kinds
from desk.store.day_archive import Placed
from desk.store.port import LIST_LIMIT, Doc, DocStore

KEPT_MS = 7 * DAY_MS
"""Market time after which a decision is in the history alone."""
KEPT_ROWS = 2_000
"""Of each run, however old they are: drift and continuous learning look at the newest."""
_PAGE = 500
_MOST_KEYS = 2_000_000
"""Of a run, looked through at once for the oldest: four years of minutes."""
_FIRST_MS, _END_MS = 0, 1 << 52
COMPLETED = 2
"""Version of a decision's row from which on it is at its end; before, it is a claim."""


class Archive(Protocol):
    """Where decisions go that leave the store; durable when `append` returns."""

    def append(self, series: str, rows: list[DecisionRecord]) -> None: ...

    def read(
        self, series: str, start_ms: int, before_ms: int
    ) -> Iterator[Placed[DecisionRecord]]: ...

    def rows(self, series: str) -> int: ...


class DecisionHistory:
    """Reads both. Without an archive only the store is read."""

    def __init__(self, store: DocStore, archive: Archive | None = None) -> None:
        self.store, self._archive = store, archive

    def find(self, run_id: str, decision_id: str, open_ms: int) -> DecisionRecord | None:
        """One decision, on the candle that opened then."""
        doc = self.store.get(kinds.decisions_of_run(run_id), decision_id)
        doc = doc or self.store.get(kinds.DECISIONS, decision_id)
        if doc is not None:
            return doc.value
        found = self._archived(run_id, open_ms, open_ms + 1)
        return next((one for one in found if one.decision_id == decision_id), None)

    def newest_first(
        self, run_id: str, *, start_ms: int | None = None, before_ms: int | None = None
    ) -> Iterator[DecisionRecord]:
        """Decisions on candles with `start_ms <= open_ms < before_ms`, each once, read as they are
        asked for."""
        kind, last_ms = kinds.decisions_of_run(run_id), before_ms
        while docs := self.store.list(kind, start_ms=start_ms, before_ms=last_ms, limit=_PAGE):
            yield from (doc.value for doc in docs)
            last_ms = docs[-1].at_ms
        # What is there and there, after a death between the two, has been given already.
        first_ms = _FIRST_MS if start_ms is None else start_ms
        yield from self._archived(run_id, first_ms, _END_MS if last_ms is None else last_ms)

    def docs(
        self, run_id: str, *, start_ms: int | None, before_ms: int | None, limit: int = LIST_LIMIT
    ) -> list[Doc[DecisionRecord]]:
        """As `DocStore.list` gives them; those of the history as versions that are at their end."""
        kind = kinds.decisions_of_run(run_id)
        docs = self.store.list(kind, start_ms=start_ms, before_ms=before_ms, limit=limit)
        if len(docs) >= limit or self._archive is None:
            return docs
        last_ms = docs[-1].at_ms if docs else before_ms
        first_ms = _FIRST_MS if start_ms is None else start_ms
        older = self._archived(run_id, first_ms, _END_MS if last_ms is None else last_ms)
        for record in older:
            if len(docs) == limit:
                break
            docs.append(
                Doc(
                    key=record.decision_id,
                    value=record,
                    version=COMPLETED,
                    at_ms=record.open_ms,
                )
            )
        return docs

    def count(self, run_id: str, *, most: int) -> int:
        """How many decisions a run has, `most` at most."""
        held = len(self.store.keys_beyond(kinds.decisions_of_run(run_id), 0, limit=most))
        return min(most, held + (self._archive.rows(run_id) if self._archive else 0))

    def _archived(self, run_id: str, start_ms: int, before_ms: int) -> Iterator[DecisionRecord]:
        if self._archive is None:
            return
        for _, _, record in self._archive.read(run_id, start_ms, before_ms):
            yield record


def keep_decisions(store: DocStore, archive: Archive, *, now_ms: int, most: int) -> int:
    """`keep_run` for every run, the newest first; returns how many decisions moved, `most` at most."""
    moved, before_ms, seen = 0, None, set[str]()
    while docs := store.list(kinds.RUNS, before_ms=before_ms, limit=_PAGE):
        for doc in docs:
            if doc.key not in seen and moved < most:
                moved += keep_run(store, archive, doc.key, now_ms=now_ms, most=most - moved)
        fresh = {doc.key for doc in docs} - seen
        if not fresh:
            break
        seen |= fresh
        before_ms = docs[-1].at_ms + 1
    return moved


def keep_run(store: DocStore, archive: Archive, run_id: str, *, now_ms: int, most: int) -> int:
    """Move a run's decisions that are older than `KEPT_MS`, and not among its newest `KEPT_ROWS`, to the
    history; returns how many, `most` at most. Idempotent: what died in between is moved again.

    A claim that never came to its end is moved as it stands. The oldest goes first: whenever this
    ends, what is left in the store is newer than all that went.
    """
    kind, moved = kinds.decisions_of_run(run_id), 0
    for keys in batched(reversed(store.keys_beyond(kind, KEPT_ROWS, limit=_MOST_KEYS)), _PAGE):
        found = [store.get(kind, key) for key in keys[: most - moved]]
        docs = [doc for doc in found if doc is not None and doc.at_ms < now_ms - KEPT_MS]
        if not docs:
            break
        archive.append(run_id, [doc.value for doc in docs])
        for doc in docs:
            if store.get(kinds.DECISIONS, doc.key) is not None:  # written by earlier releases
                store.delete(kinds.DECISIONS, doc.key)
            store.delete(kind, doc.key)
        moved += len(docs)
        if len(docs) < len(keys):
            break
    return moved
