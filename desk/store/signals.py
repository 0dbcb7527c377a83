"""Receipts of signals in the store: appended once, kept for 31 days within a number, newest first."""

from dataclasses import dataclass

from desk.clock import DAY_MS
from desk.errors import VersionConflict
from desk.ids import Pair
from desk.market.channel_messages import read_signal
from desk.market.interval import Interval
from desk.market.signals import ParseStatus, Signal, SignalReceipt, matches, words_of
from desk.store.kinds import signals_of
from desk.store.market_stamp import in_market_time
from desk.store.port import DocStore

KEPT_MS = 31 * DAY_MS
SCAN_BUDGET = 2_000
_PAGE = 200
MAX_KEPT = 5_000
"""Of one source: at 16 KiB each they take 80 MB, however many a holder of its token sends."""
_TRIMMED_AT_ONCE = 20
"""More than come in by one append, so that what is too much always gets less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One page of a search, newest first."""

    signals: list[Signal]
    scanned: int
    truncated: bool
    """Whether the scan budget or the limit ended the page: older rows were not looked at."""
    last: tuple[int, str] | None = None
    """Arrival and key (`{external_id}:{rev}`) of the last row looked at: where the next page goes on."""


def append(store: DocStore, receipt: SignalReceipt) -> bool:
    """Keep a receipt durably; False if it is known. Drops some of what is too old or too many."""
    kind = signals_of(receipt.source_id)
    at_ms = receipt.ts_received_ms
    receipt = in_market_time(store, receipt)
    try:
        store.put(kind, key_of(receipt), receipt, at_ms=at_ms, expected_version=0)
    except VersionConflict:
        return False
    trim(store, receipt.source_id, now_ms=at_ms, limit=_TRIMMED_AT_ONCE)
    return True


def key_of(receipt: SignalReceipt) -> str:
    """Key of a receipt within its source."""
    return f"{receipt.external_id}:{receipt.rev}"


def trim(store: DocStore, source_id: str, *, now_ms: int, limit: int = 200) -> int:
    """Drop receipts past 31 days or beyond the newest `MAX_KEPT`; returns how many, at most twice
    `limit`. Safe to repeat and to run beside others."""
    kind = signals_of(source_id)
    aged = store.list(kind, before_ms=max(now_ms - KEPT_MS, 0), limit=limit)
    gone = {doc.key for doc in aged} | set(store.keys_beyond(kind, MAX_KEPT, limit=limit))
    for key in gone:
        store.delete(kind, key)
    return len(gone)


def search(
    store: DocStore,
    source_id: str,
    *,
    start_ms: int,
    end_ms: int,
    query: str = "",
    limit: int = 50,
    after: tuple[int, str] | None = None,
) -> Found:
    """Signals received in `[start_ms, end_ms)` whose words include all of `query`.

    `after` is the arrival time and key of the last row that the page before looked at.
    """
    words = words_of(query)
    kept: list[Signal] = []
    scanned = 0
    bound = min(end_ms, after[0] + 1) if after else end_ms
    size = _PAGE
    last = after
    while True:
        docs = store.list(signals_of(source_id), start_ms=start_ms, before_ms=bound, limit=size)
        fresh = [doc for doc in docs if last is None or (doc.at_ms, doc.key) < last]
        for doc in fresh:
            if len(kept) == limit or scanned == SCAN_BUDGET:
                return Found(signals=kept, scanned=scanned, truncated=True, last=last)
            scanned += 1
            signal = read_signal(doc.value)
            last = (doc.at_ms, doc.key)
            if matches(signal, words):
                kept.append(signal)
        if len(docs) < size:
            return Found(signals=kept, scanned=scanned, truncated=False, last=last)
        # All of one millisecond: only a larger page gets past them.
        size = _PAGE if fresh else size * 4
        bound = docs[-1].at_ms + 1


def bar_closes(
    store: DocStore, source_id: str, pair: Pair, interval: Interval, *, open_ms: int, now_ms: int
) -> list[float]:
    """Closes that the source's sound signals give for one bar, newest first; all of the last day."""
    found: list[Signal] = []
    after: tuple[int, str] | None = None
    while True:
        page = search(
            store,
            source_id,
            start_ms=max(now_ms - DAY_MS, 0),
            end_ms=now_ms + 1,
            limit=SCAN_BUDGET,
            after=after,
        )
        found += page.signals
        if not page.truncated:
            break
        after = page.last
    return [
        signal.price
        for signal in found
        if signal.parse_status is ParseStatus.OK
        and (signal.symbol, signal.interval, signal.bar_open_ms) == (pair, interval, open_ms)
        and signal.price is not None
    ]
