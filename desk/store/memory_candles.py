"""Hot candles in memory."""

from desk.ids import Pair
from desk.market.candles import Candle, Candles
from desk.market.interval import Interval
from desk.store.layout import READ_CHUNKS, chunk_ms, storable
from desk.store.memory_state import MemoryState, SeriesChanges
from desk.store.port import CandlesAfter


class MemoryCandles:
    """Candles by open time."""

    _state: MemoryState

    def write_candles(self, pair: Pair, interval: Interval, candles: Candles) -> int:
        given = storable(candles)
        with self._state.lock:
            rows = self._state.candles[pair, interval]
            before, latest_ms = len(rows), max(rows, default=0)
            changes = self._changes(pair, interval)
            changes.revision += 1
            for index in range(len(given)):
                open_ms, *values = given.row(index)
                if open_ms <= latest_ms and rows.get(open_ms) != tuple(values):
                    changes.altered[open_ms // chunk_ms(interval)] = changes.revision
                rows[open_ms] = tuple(values)
            return len(rows) - before

    def candles_after(
        self, pair: Pair, interval: Interval, first_ms: int, last_ms: int
    ) -> CandlesAfter | None:
        with self._state.lock:
            rows = self._state.candles[pair, interval]
            if not rows:
                return None
            changes, length = self._changes(pair, interval), chunk_ms(interval)
            end_ms = (last_ms // length + READ_CHUNKS) * length
            held = range(first_ms // length, last_ms // length + 1)
            return CandlesAfter(
                origin=changes.origin,
                revision=changes.revision,
                earliest_ms=min(rows),
                latest_ms=max(rows),
                altered_revision=max((changes.altered.get(chunk, 0) for chunk in held), default=0),
                candles=self._all(pair, interval).between(last_ms, end_ms),
            )

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
            if not rows:
                self._state.changes.pop((pair, interval), None)
            elif old:
                self._changes(pair, interval).revision += 1
            return len(old)

    def _changes(self, pair: Pair, interval: Interval) -> SeriesChanges:
        found = self._state.changes.get((pair, interval))
        if found is None:
            self._state.series_begun += 1
            found = SeriesChanges(origin=str(self._state.series_begun))
            self._state.changes[pair, interval] = found
        return found

    def _all(self, pair: Pair, interval: Interval) -> Candles:
        with self._state.lock:
            rows = sorted(self._state.candles[pair, interval].items())
        return Candles.of([Candle(open_ms, *values) for open_ms, values in rows])
