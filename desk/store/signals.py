"""Receipts of signals: appended once, in the store for 31 days within a number, then in the archive."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from desk import meters
from desk.clock import DAY_MS
from desk.errors import VersionConflict
from desk.market.channel_messages import read_signal
from desk.market.signals import Signal, SignalReceipt, matches, words_of
from desk.store.kinds import signals_of
from desk.store.market_stamp import in_market_time
from desk.store.port import DocStore
from desk.store.signal_archive import Row, key_of

KEPT_MS = 31 * DAY_MS
SCAN_BUDGET = 2_000
_PAGE = 200
MAX_KEPT = 5_000
"""Of one source: at 16 KiB each they take 80 MB, however many a holder of its token sends."""
_END_MS = 1 << 52
SLACK = 200
"""Receipts beyond `MAX_KEPT` that may wait for the archive, so that they go in batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of a search, newest first."""

    signals: list[Signal]
    scanned: int
    truncated: bool
    """Whether the scan budget or the limit ended the page: older rows were not looked at."""
    last: tuple[int, str] | None = None
    """Arrival and key (`{external_id}:{rev}`) of the last row looked at: where the next page goes on."""
    lost_days: tuple[str, ...] = ()
    """Days of the window (`2026-01-31`) whose archive is damaged: signals of them may be missing."""


class Archive(Protocol):
    """Where receipts go that leave the store; durable when `append` returns."""

    def append(self, series: str, rows: list[SignalReceipt]) -> None: ...

    def read(self, series: str, start_ms: int, before_ms: int) -> Iterator[Row]: ...

    def lost(self, series: str, start_ms: int, before_ms: int) -> list[str]: ...


def append(store: DocStore, receipt: SignalReceipt) -> bool:
    """Keep a receipt durably; False if it is known."""
    kind = signals_of(receipt.source_id)
    receipt = in_market_time(store, receipt)
    try:
        store.put(kind, key_of(receipt), receipt, at_ms=receipt.ts_received_ms, expected_version=0)
    except VersionConflict:
        meters.SIGNALS.count(receipt.source_kind, "repeated")
        return False
    meters.SIGNALS.count(receipt.source_kind, "kept")
    return True


def archive_and_trim(
    store: DocStore, archive: Archive, source_id: str, *, now_ms: int, limit: int = 200
) -> int:
    """Move receipts past 31 days or beyond the newest `MAX_KEPT` into the archive; returns how many,
    at most twice `limit`.

    They leave the store only once the archive has them for good. Safe to repeat and to run beside
    others: a receipt that was written and not yet dropped is written again, and found once.
    """
    kind = signals_of(source_id)
    aged = store.list(kind, before_ms=max(now_ms - KEPT_MS, 0), limit=limit)
    gone = {doc.key: doc.value for doc in aged}
    for key in store.keys_beyond(kind, MAX_KEPT, limit=limit):
        if key not in gone and (found := store.get(kind, key)) is not None:
            gone[key] = found.value
    archive.append(source_id, list(gone.values()))
    for key in gone:
        store.delete(kind, key)
    return len(gone)


def is_overdue(store: DocStore, source_id: str, *, now_ms: int) -> bool:
    """Whether so much waits for the archive that even a writer of receipts must see to it: more than
    `SLACK` beyond the number, or a day beyond the age. Whole batches, since each rewrites a file."""
    kind = signals_of(source_id)
    aged_ms = max(now_ms - KEPT_MS - DAY_MS, 0)
    return bool(
        store.keys_beyond(kind, MAX_KEPT + SLACK, limit=1)
        or store.list(kind, before_ms=aged_ms, limit=1)
    )


def search(
    store: DocStore,
    source_id: str,
    *,
    start_ms: int,
    end_ms: int,
    query: str = "",
    limit: int = 50,
    after: tuple[int, str] | None = None,
    archive: Archive | None = None,
) -> Found:
    """Signals received in `[start_ms, end_ms)` whose words include all of `query`, newest first.

    `after` is the arrival time and key of the last row that the page before looked at. With an
    archive its receipts are looked at too, under the same budget; damaged days of it are named.
    """
    words = words_of(query)
    kept: list[Signal] = []
    scanned = 0
    bound = min(end_ms, after[0] + 1) if after else end_ms
    last, truncated = after, False
    streams = [_hot(store, source_id, start_ms, bound)]
    if archive is not None:
        streams.append(archive.read(source_id, start_ms, bound))
    for at_ms, key, receipt in heapq.merge(*streams, key=lambda row: row[:2], reverse=True):
        if last is not None and (at_ms, key) >= last:
            continue
        if len(kept) == limit or scanned == SCAN_BUDGET:
            truncated = True
            break
        scanned += 1
        signal = read_signal(receipt)
        last = (at_ms, key)
        if matches(signal, words):
            kept.append(signal)
    return Found(
        signals=kept,
        scanned=scanned,
        truncated=truncated,
        last=last,
        lost_days=tuple(archive.lost(source_id, start_ms, end_ms)) if archive else (),
    )


def newest_first(
    store: DocStore, source_id: str, *, archive: Archive | None = None
) -> Iterator[SignalReceipt]:
    """Every receipt of a source by arrival, each once: those of the store, then those that left it."""
    streams = [_hot(store, source_id, 0, _END_MS)]
    if archive is not None:
        streams.append(archive.read(source_id, 0, _END_MS))
    last: tuple[int, str] | None = None
    for at_ms, key, receipt in heapq.merge(*streams, key=lambda row: row[:2], reverse=True):
        if last != (at_ms, key):
            last = (at_ms, key)
            yield receipt


def _hot(store: DocStore, source_id: str, start_ms: int, before_ms: int) -> Iterator[Row]:
    """What the store has of that time, newest first."""
    size = _PAGE
    last: tuple[int, str] | None = None
    while True:
        docs = store.list(signals_of(source_id), start_ms=start_ms, before_ms=before_ms, limit=size)
        fresh = [doc for doc in docs if last is None or (doc.at_ms, doc.key) < last]
        for doc in fresh:
            last = (doc.at_ms, doc.key)
            yield doc.at_ms, doc.key, doc.value
        if len(docs) < size:
            return
        # All of one millisecond: only a larger page gets past them.
        size = _PAGE if fresh else size * 4
        before_ms = docs[-1].at_ms + 1
