"""Two witnesses of one price: longer candles against their minutes, and candles against the mark."""

from dataclasses import dataclass

import numpy as np

from desk.market.candles import Candles, Ints
from desk.market.interval import Interval, interval_ms

PRICE_TOLERANCE = 1e-9
VOLUME_TOLERANCE = 1e-6
"""Relative. A venue sums the volume before it rounds it, we after."""
RECENT = 3
"""Newest candles whose range a price at a moment is compared with."""


def mismatches(parts: Candles, whole: Candles, part: Interval, interval: Interval) -> Ints:
    """Open times int64[M] of candles of `interval` that are not made of their candles of `part`.

    Both sorted and unique. Only candles all of whose parts are there are compared: open of the
    first, highest high, lowest low, close of the last, sum of the volumes.
    """
    made = aggregate_whole(parts, part, interval)
    _, at, of = np.intersect1d(made.open_ms, whole.open_ms, assume_unique=True, return_indices=True)
    differs = np.zeros(len(at), dtype=np.bool_)
    for name in ("open", "high", "low", "close"):
        ours, theirs = getattr(made, name)[at], getattr(whole, name)[of]
        differs |= np.abs(ours - theirs) > PRICE_TOLERANCE * np.abs(theirs)
    volume = whole.volume[of]
    differs |= np.abs(made.volume[at] - volume) > VOLUME_TOLERANCE * np.maximum(volume, 1.0)
    return whole.open_ms[of[differs]]


def aggregate_whole(parts: Candles, part: Interval, interval: Interval) -> Candles:
    """Candles of a longer interval of which every part is there; `parts` sorted and unique."""
    step, count = interval_ms(interval), interval_ms(interval) // interval_ms(part)
    if not len(parts) or interval_ms(interval) % interval_ms(part):
        return Candles.empty()
    opens = parts.open_ms - parts.open_ms % step
    starts = np.flatnonzero(np.diff(opens, prepend=opens[0] - step))
    lengths = np.diff(np.append(starts, len(opens)))
    ends = starts + lengths - 1
    made = Candles(
        open_ms=opens[starts],
        open=parts.open[starts],
        high=np.maximum.reduceat(parts.high, starts),
        low=np.minimum.reduceat(parts.low, starts),
        close=parts.close[ends],
        volume=np.add.reduceat(parts.volume, starts),
    )
    return made.take(lengths == count)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLevels:
    """From how many basis points on a difference between two sources warns, and blocks."""

    warn_bps: float = 30.0
    block_bps: float = 100.0


def drift_bps(
    window: Candles, interval: Interval, price: float, at_ms: int, *, tolerance_ms: int
) -> float | None:
    """How far a price at a moment, true to `tolerance_ms`, lies outside what our candles traded then.

    In bps of the nearer end of the range of those of the `RECENT` newest candles (window sorted)
    which that moment touches; 0 inside it. None when it touches none: it says nothing of them.
    """
    newest = window.take(slice(-RECENT, None))
    step = interval_ms(interval)
    touched = newest.take(
        (newest.open_ms + step > at_ms - tolerance_ms) & (newest.open_ms <= at_ms + tolerance_ms)
    )
    if not len(touched):
        return None
    low, high = float(np.min(touched.low)), float(np.max(touched.high))
    if price < low:
        return (low - price) / low * 1e4
    return max(price - high, 0.0) / high * 1e4
