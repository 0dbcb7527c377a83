"""Hot candles in memory."""

from desk.ids import Pair
from desk.market.candles import Candle, Candles
from desk.market.interval import Interval
from desk.store.layout import chunk_ms, storable
from desk.store.memory_state import MemoryState


class MemoryCandles:
    """Candles by open time."""

    _state: MemoryState

    def write_candles(self, pair: Pair, interval: Interval, candles: Candles) -> int:
        given = storable(candles)
        with self._state.lock:
            rows = self._state.candles[pair, interval]
            before = len(rows)
            for index in range(len(given)):
                open_ms, *values = given.row(index)
                rows[open_ms] = tuple(values)
            return len(rows) - before

    def read_candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        return self._all(pair, interval).between(start_ms, end_ms)

    def last_candles(self, pair: Pair, interval: Interval, count: int) -> Candles:
        if count <= 0:
            return Candles.empty()
        return self._all(pair, interval).take(slice(-count, None))

    def candle_bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None:
        with self._state.lock:
            rows = self._state.candles[pair, interval]
            return (min(rows), max(rows), len(rows)) if rows else None

    def drop_candles(
        self, pair: Pair, interval: Interval, before_ms: int, *, expected: int | None = None
    ) -> int:
        first_kept_ms = before_ms // chunk_ms(interval) * chunk_ms(interval)
        with self._state.lock:
            rows = self._state.candles[pair, interval]
            old = [open_ms for open_ms in rows if open_ms < first_kept_ms]
            if expected not in {None, len(old)}:
                return 0
            for open_ms in old:
                del rows[open_ms]
            return len(old)

    def _all(self, pair: Pair, interval: Interval) -> Candles:
        with self._state.lock:
            rows = sorted(self._state.candles[pair, interval].items())
        return Candles.of([Candle(open_ms, *values) for open_ms, values in rows])
