"""Candles as the API reads them: from the store alone where it can, with the history where it must."""

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.port import CandleStore

type Bounds = tuple[int, int, int]
"""Earliest open_ms, latest open_ms, count."""


class StoredCandles:
    """A chart of the last weeks never opens a file, and counting what lies in both places is
    repeated only after the history has changed."""

    def __init__(self, store: CandleStore, history: History) -> None:
        self._store = store
        self._history = history
        self._archive = CandleArchive(store, history)
        self._in_both: dict[tuple[Pair, Interval, Bounds, int], int] = {}

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Candles with `start_ms <= open_ms < end_ms`, oldest first."""
        hot = self._store.candle_bounds(pair, interval)
        if hot is not None and start_ms >= hot[0]:
            return self._store.read_candles(pair, interval, start_ms, end_ms)
        return self._archive.read(pair, interval, start_ms, end_ms)

    def bounds(self, pair: Pair, interval: Interval) -> Bounds | None:
        """Where the series begins and ends in both places together, and how many candles it has."""
        old = self._history.bounds(pair, interval)
        hot = self._store.candle_bounds(pair, interval)
        if old is None or hot is None:
            return old or hot
        key = (pair, interval, old, hot[0])
        if key not in self._in_both:
            both = self._archive.bounds(pair, interval)
            assert both is not None, "it has candles in both places"
            self._in_both = {
                known: count for known, count in self._in_both.items() if known[:2] != key[:2]
            }
            self._in_both[key] = old[2] + hot[2] - both[2]
        count = old[2] + hot[2] - self._in_both[key]
        return min(old[0], hot[0]), max(old[1], hot[1]), count
