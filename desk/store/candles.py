"""One series of candles over two places: the hot window in the store and the history in files."""

import numpy as np

from desk.ids import Pair
from desk.market.candles import Candles, sorted_unique
from desk.market.interval import Interval, interval_ms
from desk.store.candle_cache import CandleCache
from desk.store.history import History
from desk.store.layout import chunk_ms
from desk.store.port import CandleStore

_ALL_TIME = (0, 2**53)
HOT_MINUTES = 30 * 24 * 60
"""1m candles that stay in the store: 30 days."""
HOT_CANDLES = 2_000
"""Candles of every higher interval that stay in the store."""


class CandleArchive:
    """Reads both places as one; where both know an open time, the store's candle wins.

    With a `cache` the history is read from its mapped pages instead of being decoded.
    """

    def __init__(
        self, store: CandleStore, history: History, cache: CandleCache | None = None
    ) -> None:
        self._store = store
        self._history = history
        self._old = cache or history

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Candles with `start_ms <= open_ms < end_ms`, oldest first."""
        old = self._old.read(pair, interval, start_ms, end_ms)
        hot = self._store.read_candles(pair, interval, start_ms, end_ms)
        if not len(hot):
            return old
        return sorted_unique(Candles.concat([old, hot]))

    def last(self, pair: Pair, interval: Interval, count: int) -> Candles:
        """The newest `count` candles, oldest first."""
        bounds = self.bounds(pair, interval)
        if bounds is None or count <= 0:
            return Candles.empty()
        earliest_ms, latest_ms, _ = bounds
        end_ms, span = latest_ms + interval_ms(interval), count * interval_ms(interval)
        while True:
            found = self.read(pair, interval, end_ms - span, end_ms)
            if len(found) >= count or end_ms - span <= earliest_ms:
                return found.take(slice(-count, None))
            span *= 2

    def bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None:
        """(earliest open_ms, latest open_ms, count of distinct open times), or None when empty."""
        old = self._history.bounds(pair, interval)
        hot = self._store.candle_bounds(pair, interval)
        if old is None or hot is None:
            return old or hot
        return (
            min(old[0], hot[0]),
            max(old[1], hot[1]),
            old[2] + hot[2] - self._in_both(pair, interval, hot[0], hot[1] + 1),
        )

    def flush(self, pair: Pair, interval: Interval, source: str = "store") -> int:
        """Copy hot candles to the history, then drop those older than the hot window.

        Returns how many rows of the history that changed. Idempotent, and safe to be cut off
        anywhere: a candle leaves the store only after the files that hold it are on disk. Were old
        candles written meanwhile, by a backfill, all stay until the next flush.
        """
        hot = self._store.read_candles(pair, interval, *_ALL_TIME)
        if not len(hot):
            return 0
        changed = self._history.append(pair, interval, hot, source)
        length = chunk_ms(interval)
        before_ms = (int(hot.open_ms[-1]) - hot_window_ms(interval)) // length * length
        saved = int(np.searchsorted(hot.open_ms, before_ms))
        if saved:
            self._store.drop_candles(pair, interval, before_ms, expected=saved)
        return changed

    def _in_both(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> int:
        old = self._old.read(pair, interval, start_ms, end_ms)
        hot = self._store.read_candles(pair, interval, start_ms, end_ms)
        return int(np.count_nonzero(np.isin(old.open_ms, hot.open_ms, assume_unique=True)))


def hot_window_ms(interval: Interval) -> int:
    """Length of time for which candles stay in the store."""
    return (HOT_MINUTES if interval == "1m" else HOT_CANDLES) * interval_ms(interval)
