"""The features of one running series: what `FeatureSet.compute` gives for its newest candle, in microseconds."""

import numpy as np

from desk.market.anchors import Anchor, last_stretch
from desk.market.candles import Candles
from desk.market.features import Features, FeatureSet
from desk.market.recursive import Handles, load
from desk.market.signal_features import NO_SIGNALS, Signals


class FeatureStream:
    """Carries the series of one feature set on from window to window of one pair.

    What was seen before is compared with each new window: a candle that was put right, healed or
    comes from elsewhere, an epoch that ends and a hole too long to be filled all open the series
    anew from the window. So the bytes are those of history at any time, also after a restart.
    """

    def __init__(self, features: FeatureSet, step_ms: int) -> None:
        """`step_ms` is how long a candle lasts."""
        self._features, self._step_ms = features, step_ms
        self.feature_set_id = features.feature_set_id
        if features.anchor is not None:
            load()
        self._seen = Candles.empty()
        self._handles: Handles | None = None
        self.reopened = 0
        """How often the series was opened from a window."""

    def observe(self, window: Candles, signals: Signals = NO_SIGNALS) -> Features:
        """Return float32[F] of the window's newest candle.

        `window` has the newest `lookback` stored candles or more, oldest first. NaN where the newest
        has no features, or the window does not prove where its series begins. Raises `BadInput` for candles that are unsorted, off the
        grid or not finite; the next window opens the series anew.
        """
        features, anchor = self._features, self._features.anchor
        if anchor is None:
            return features.observe(window, signals)
        kept, self._handles = self._handles, None  # an error half way through leaves no handles
        if kept is not None and self._carry_on(kept, window, anchor):
            self._handles = kept
        elif (stretch := last_stretch(window, anchor, self._step_ms)) is not None:
            self._handles = Handles(features.features, stretch, features.clip)
            self.reopened += 1
        self._seen = window
        if self._handles is None:
            return np.full(features.size, np.nan, dtype=np.float32)
        row = self._handles.row()
        if not features.sources:
            return row
        beside = features.beside(signals, window.open_ms[-1:] + self._step_ms)[0]
        whole = np.concatenate([row, beside], dtype=np.float32)
        return np.full_like(whole, np.nan) if np.isnan(whole).any() else whole

    def _carry_on(self, handles: Handles, window: Candles, anchor: Anchor) -> bool:
        """Push what is new in the window; False, with nothing pushed, where that would be another series."""
        seen, step, every = self._seen, self._step_ms, anchor.every
        last_ms = int(seen.open_ms[-1])
        known = int(np.searchsorted(window.open_ms, last_ms, side="right"))
        if known == 0 or not _is_same(seen, window, known):
            return False
        slots = window.open_ms[known:] // step
        if not len(slots):
            return True
        holes = np.diff(slots, prepend=last_ms // step) - 1
        is_next = int(holes.min()) >= 0 and int(holes.max()) <= anchor.most_filled
        if not is_next or int(slots[-1]) // every != last_ms // step // every:
            return False
        fresh = window.take(slice(known, None))
        if not _is_sound(fresh, step):
            return False
        close = float(seen.close[-1])
        for number, hole in enumerate(holes.tolist()):
            for _ in range(hole):
                handles.fill(close, step)
            candle = fresh.row(number)
            handles.push(candle)
            close = candle.close
        return True


def _is_same(seen: Candles, window: Candles, known: int) -> bool:
    """Whether the first `known` candles of a window are the last ones that were seen."""
    if known > len(seen):
        return False
    return all(
        np.array_equal(getattr(seen, name)[len(seen) - known :], getattr(window, name)[:known])
        for name in ("open_ms", "open", "high", "low", "close", "volume")
    )


def _is_sound(candles: Candles, step_ms: int) -> bool:
    columns = (candles.open, candles.high, candles.low, candles.close, candles.volume)
    return not (candles.open_ms % step_ms).any() and all(np.isfinite(one).all() for one in columns)
