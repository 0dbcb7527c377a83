"""Two witnesses of one price: longer candles against their minutes, and one source against another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from desk.errors import BadInput
from desk.ids import Pair
from desk.market.candles import Candles, Ints
from desk.market.interval import Interval, interval_ms

PRICE_TOLERANCE = 1e-9
VOLUME_TOLERANCE = 1e-6
"""Relative. A venue sums the volume before it rounds it, we after."""
MAX_BLOCK_BPS = 1_000.0
"""No level may be so wide that it never blocks: ten per cent between two sources is no market."""


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


# --- one source against another ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What another source says of the price.

    With `open_ms` it is about the close of that candle (a TradingView bar); without, about the
    price at `at_ms` (a mark price), true to `tolerance_ms`.
    """

    source: str
    price: float
    at_ms: int
    open_ms: int | None = None
    tolerance_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLevels:
    """From how many basis points on a difference between two sources warns, and blocks."""

    warn_bps: float = 30.0
    block_bps: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """The largest difference between our candles and another source, in bps."""

    source: str
    bps: float
    levels: DriftLevels

    @property
    def warns(self) -> bool:
        return self.bps >= self.levels.warn_bps

    @property
    def blocks(self) -> bool:
        return self.bps >= self.levels.block_bps


def checked_levels(pair: Pair, warn_bps: float, block_bps: float) -> DriftLevels:
    """Levels of a pair. Raises `BadInput`: they must let the gate warn before it blocks, and block."""
    if not 0.0 < warn_bps < block_bps:
        raise BadInput(
            "warn_bps", f"was {warn_bps:g} for {pair}, expected above 0 and below block_bps"
        )
    if not block_bps <= MAX_BLOCK_BPS:
        raise BadInput(
            "block_bps", f"was {block_bps:g} for {pair}, expected at most {MAX_BLOCK_BPS:g}"
        )
    return DriftLevels(warn_bps=warn_bps, block_bps=block_bps)


def worst_drift(
    window: Candles, interval: Interval, opinions: Iterable[Opinion], levels: DriftLevels
) -> Drift | None:
    """Compare a window (sorted) with every opinion that is about one of its `RECENT` newest candles.

    A close is compared with the close. A price at a moment is compared with the range of the
    candles of that moment: inside it there is no difference. None when no opinion applies.
    """
    drifts = [
        Drift(source=opinion.source, bps=bps, levels=levels)
        for opinion in opinions
        if (bps := _bps(window, interval, opinion)) is not None
    ]
    return max(drifts, key=lambda drift: drift.bps, default=None)


def confirms(window: Candles, opinions: Sequence[Opinion], levels: DriftLevels) -> bool:
    """Whether another source's close of the newest candle agrees with ours (below the warning)."""
    if not len(window):
        return False
    newest_ms, close = int(window.open_ms[-1]), float(window.close[-1])
    return any(
        opinion.open_ms == newest_ms and _distance(opinion.price, close, close) < levels.warn_bps
        for opinion in opinions
    )


RECENT = 3


def _bps(window: Candles, interval: Interval, opinion: Opinion) -> float | None:
    newest = window.take(slice(-RECENT, None))
    if opinion.open_ms is not None:
        at = np.flatnonzero(newest.open_ms == opinion.open_ms)
        if not len(at):
            return None
        close = float(newest.close[at[0]])
        return _distance(opinion.price, close, close)
    step = interval_ms(interval)
    first_ms, last_ms = opinion.at_ms - opinion.tolerance_ms, opinion.at_ms + opinion.tolerance_ms
    touched = newest.take((newest.open_ms + step > first_ms) & (newest.open_ms <= last_ms))
    if not len(touched):
        return None
    return _distance(opinion.price, float(np.min(touched.low)), float(np.max(touched.high)))


def _distance(price: float, low: float, high: float) -> float:
    """How far a price is outside a range, in bps of the nearer end."""
    if price < low:
        return (low - price) / low * 1e4
    return max(price - high, 0.0) / high * 1e4
