"""A closed candle that the venue shows differently later: what it was, what it became."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from desk.ids import Pair
from desk.market.candles import Candle, Candles, Ints
from desk.market.interval import Interval

MAX_REVISIONS = 500
"""Kept of one pair and interval; the oldest are forgotten."""
REVISION_ALERT_FRACTION = 0.001
"""A close that moved by more than this fraction afterwards is worth an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleRevision:
    """One change of a stored candle. The row in the store has `after`; `before` is only here."""

    revision_id: str
    pair: Pair
    interval: Interval
    open_ms: int
    before: tuple[float, float, float, float, float]
    """Open, high, low, close, volume as they were stored, and as decisions may have seen them."""
    after: tuple[float, float, float, float, float]
    move_fraction: float
    """Of the close, absolute."""
    first_seen_ms: int
    last_seen_ms: int
    count: int = 1
    """A venue that flips between two versions makes two revisions, counted up."""


def revision(
    pair: Pair, interval: Interval, before: Candle, after: Candle, *, now_ms: int
) -> CandleRevision:
    """The change from one version of a candle to another. Its id is made of both: seen again after
    a crash it is the same revision."""
    values = np.array([*before[1:], *after[1:]], dtype="<f8").tobytes()
    digest = hashlib.sha256(values).hexdigest()[:12]
    return CandleRevision(
        revision_id=f"{before.open_ms}:{digest}",
        pair=pair,
        interval=interval,
        open_ms=before.open_ms,
        before=before[1:],
        after=after[1:],
        move_fraction=abs(after.close / before.close - 1.0),
        first_seen_ms=now_ms,
        last_seen_ms=now_ms,
    )


def seen_again(before: CandleRevision, now: CandleRevision) -> CandleRevision:
    """Count a change up that happened before."""
    return replace(now, first_seen_ms=before.first_seen_ms, count=before.count + 1)


def revised_rows(known: Candles, fresh: Candles) -> list[tuple[Candle, Candle]]:
    """Rows of both (each sorted and unique) with one open time and different values: before, after."""
    _, at, of = np.intersect1d(
        known.open_ms, fresh.open_ms, assume_unique=True, return_indices=True
    )
    differs = ~_same(known, fresh, at, of)
    return [
        (known.row(int(i)), fresh.row(int(j)))
        for i, j in zip(at[differs], of[differs], strict=True)
    ]


def _same(known: Candles, fresh: Candles, at: Ints, of: Ints) -> NDArray[np.bool_]:
    same = np.ones(len(at), dtype=np.bool_)
    for name in ("open", "high", "low", "close", "volume"):
        same &= getattr(known, name)[at] == getattr(fresh, name)[of]
    return same
