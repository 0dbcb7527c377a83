"""Settled funding rates as features take them: over a range of market time, and lately."""

import numpy as np

from desk.errors import BadInput
from desk.ids import Pair
from desk.market.features import FeatureSet
from desk.market.funding_features import FUNDING_SOURCE, FundingMarks, Settlement, settled
from desk.market.signal_features import NO_SIGNALS, Signals
from desk.store import kinds
from desk.store.port import DocStore
from desk.venues.port import FundingRate

MOST_SETTLEMENTS = 100_000
_SLACK = 8
"""Settlements due before a close that may not have been known by then."""


def settlements_between(
    store: DocStore,
    features: FeatureSet,
    pair: Pair,
    *,
    start_ms: int,
    end_ms: int,
    step_ms: int,
) -> tuple[Settlement, ...]:
    """All that rows with closes of `[start_ms, end_ms]` may look at; none for a set without funding.

    Closes are `step_ms` apart. Raises `BadInput` where no row of the range has funding.
    """
    columns = features.funding
    if columns is None:
        return ()
    found = stored_settlements(store, pair, start_ms - columns.horizon_ms, end_ms)
    known = tuple(one for one in found if one.known_ms <= end_ms)
    closes = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
    marks = settled(known)
    if not np.isfinite(columns.compute(marks, closes)).all(axis=1).any():
        raise BadInput(
            "start",
            f"no candle of the range has the funding that {features.feature_set_id} looks at"
            f" ({columns.unknown(marks, end_ms)}): fetch it by `desk dataset build`, choose another"
            " range, or features without funding",
        )
    return known


def last_settled(store: DocStore, features: FeatureSet, pair: Pair, close_ms: int) -> Signals:
    """What a live decision looks at: the last settlements known at a close."""
    columns = features.funding
    if columns is None:
        return NO_SIGNALS
    size = columns.reach + _SLACK
    while True:
        found = stored_settlements(store, pair, None, close_ms, limit=size)
        marks = settled(one for one in found if one.known_ms <= close_ms)
        if len(marks.rate) >= columns.reach or len(found) < size:
            return {FUNDING_SOURCE: marks}
        size *= 2


def settled_then(store: DocStore, pair: Pair, close_ms: int, count: int) -> FundingMarks:
    """What `last_settled` gave when it looked at `count` settlements, whatever became known since."""
    size = count + _SLACK
    while True:
        found = stored_settlements(store, pair, None, close_ms, limit=size)
        known = [one for one in found if one.known_ms <= close_ms]
        due_ms = settled(known).said_ms
        if len(due_ms) >= count or len(found) < size:
            oldest_ms = int(due_ms[len(due_ms) - count]) if count else close_ms + 1
            looked_at = (one for one in known if one.due_ms >= oldest_ms)
            return settled(looked_at)
        size *= 2


def stored_settlements(
    store: DocStore,
    pair: Pair,
    start_ms: int | None,
    end_ms: int,
    *,
    limit: int = MOST_SETTLEMENTS,
) -> list[Settlement]:
    """Settlements due in `[start_ms, end_ms]`, the newest `limit` of them, newest first."""
    docs = store.list(
        kinds.funding_rates(pair), start_ms=start_ms, before_ms=end_ms + 1, limit=limit
    )
    return [_settlement(doc.value) for doc in docs]


def _settlement(row: FundingRate) -> Settlement:
    return Settlement(due_ms=row.due_ms, rate=row.rate, read_ms=row.read_ms)
