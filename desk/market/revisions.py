"""A closed candle that the venue shows differently later: what it was, what it became."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desk.ids import Pair
from desk.market.candles import Candle, Candles
from desk.market.interval import Interval

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


def news(known: Candles, fresh: Candles) -> Candles:
    """The rows of `fresh` that `known` (both sorted and unique) lacks or has with other values."""
    _, at, of = np.intersect1d(
        known.open_ms, fresh.open_ms, assume_unique=True, return_indices=True
    )
    is_news = np.ones(len(fresh), dtype=np.bool_)
    is_news[of[_same(known, fresh, at, of)]] = False
    return fresh.take(is_news)


def as_seen(stored: Candles, revisions: Sequence[CandleRevision], seen_ms: int) -> Candles:
    """The candles as they were at a market time: the changes after it taken back, newest first.

    With it a decision's candles can be rebuilt and compared with the hash it kept. A version that
    was counted more than once is taken back once: flips between two versions are not told apart.
    """
    rows = {candle.open_ms: candle for candle in (stored.row(i) for i in range(len(stored)))}
    for change in sorted(revisions, key=lambda change: change.first_seen_ms, reverse=True):
        if change.first_seen_ms > seen_ms and change.open_ms in rows:
            rows[change.open_ms] = Candle(change.open_ms, *change.before)
    return Candles.of([rows[open_ms] for open_ms in sorted(rows)])


def _same(known: Candles, fresh: Candles, at: np.ndarray, of: np.ndarray) -> np.ndarray:
    same = np.ones(len(at), dtype=np.bool_)
    for name in ("open", "high", "low", "close", "volume"):
        same &= getattr(known, name)[at] == getattr(fresh, name)[of]
    return same
