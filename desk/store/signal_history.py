"""What was heard from sources of signals over a range of market time, and lately."""

from collections.abc import Mapping
from itertools import islice

from desk.errors import BadInput
from desk.ids import Pair
from desk.market.features import FeatureSet
from desk.market.signal_features import (
    MOST_MESSAGES,
    Heard,
    SignalMarks,
    Signals,
    hear,
    in_order,
    marks_of,
)
from desk.market.signals import SignalReceipt
from desk.store import kinds
from desk.store.port import DocStore
from desk.store.signals import KEPT_MS, MAX_KEPT, Archive, newest_first

type HeardBySource = Mapping[str, tuple[Heard, ...]]

_PAGE = 1_000
_NEARLY_MOST = MOST_MESSAGES + 200
"""More than a moment's worth beyond what counts: received since the close, or in one millisecond."""


def signals_between(
    store: DocStore, source_id: str, start_ms: int, end_ms: int
) -> list[SignalReceipt]:
    """Receipts of a source, every revision, known from `[start_ms, end_ms)` on (market time)."""
    found: dict[str, SignalReceipt] = {}
    before_ms: int | None = None
    size = _PAGE
    while True:
        docs = store.list(kinds.signals_of(source_id), before_ms=before_ms, limit=size)
        fresh = [doc for doc in docs if doc.key not in found]
        found |= {doc.key: doc.value for doc in fresh}
        if len(docs) < size:
            break
        size = _PAGE if fresh else size * 2  # all of one millisecond: only a larger page gets past
        before_ms = docs[-1].at_ms + 1
    return [one for one in found.values() if start_ms <= one.known_ms < end_ms]


def heard_between(
    store: DocStore,
    features: FeatureSet,
    pair: Pair,
    *,
    start_ms: int,
    end_ms: int,
    now_ms: int,
) -> HeardBySource:
    """All that rows with closes of `[start_ms, end_ms]` may look at, of each of the set's sources.

    Raises `BadInput` for a range of which receipts may be dropped already: what is not there any
    more must not pass for silence.
    """
    heard: dict[str, tuple[Heard, ...]] = {}
    for columns in features.signals:
        first_ms = start_ms - columns.horizon_ms
        known_since_ms = _complete_since_ms(store, columns.source_id, now_ms)
        if first_ms < known_since_ms:
            raise BadInput(
                "start",
                f"{columns.source_id} is looked at from {first_ms}, its messages are kept from"
                f" {known_since_ms}: start later, or choose features without it",
            )
        receipts = signals_between(store, columns.source_id, first_ms, end_ms + 1)
        heard[columns.source_id] = tuple(in_order(hear(one, pair) for one in receipts))
    return heard


def last_heard(store: DocStore, features: FeatureSet, pair: Pair, close_ms: int) -> Signals:
    """What a live decision looks at: the last messages known at a close, of each source."""
    return {
        columns.source_id: marks_of(_last(store, columns.source_id, pair, close_ms))
        for columns in features.signals
    }


def heard_then(
    store: DocStore,
    source_id: str,
    pair: Pair,
    close_ms: int,
    count: int,
    *,
    archive: Archive | None = None,
) -> SignalMarks:
    """What `last_heard` gave when it looked at `count` receipts, whatever came and went since."""
    known = (
        receipt
        for receipt in newest_first(store, source_id, archive=archive)
        if receipt.known_ms <= close_ms
    )
    return marks_of(in_order(hear(one, pair) for one in islice(known, count)))


def marks_by_source(heard: HeardBySource) -> Signals:
    """What was heard, as features take it."""
    return {source_id: marks_of(rows) for source_id, rows in heard.items()}


def _last(store: DocStore, source_id: str, pair: Pair, close_ms: int) -> list[Heard]:
    size = _NEARLY_MOST
    while True:
        docs = store.list(kinds.signals_of(source_id), limit=size)
        known = [doc.value for doc in docs if doc.value.known_ms <= close_ms]
        if len(known) >= MOST_MESSAGES or len(docs) < size:
            return in_order(hear(one, pair) for one in known)
        size *= 2


def _complete_since_ms(store: DocStore, source_id: str, now_ms: int) -> int:
    """From when on nothing that was received has been dropped for its age or number."""
    aged_ms = now_ms - KEPT_MS
    if not store.keys_beyond(kinds.signals_of(source_id), MAX_KEPT - 1, limit=1):
        return aged_ms
    oldest_ms = min(one.known_ms for one in signals_between(store, source_id, 0, 1 << 62))
    return max(aged_ms, oldest_ms)
