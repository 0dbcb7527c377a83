"""The newest candles of one series, carried on from reading to reading: what is held is not read again."""

import threading

from desk.ids import Pair
from desk.market.candles import Candle, Candles
from desk.market.interval import Interval, interval_ms
from desk.store.layout import chunk_ms
from desk.store.port import CandlesAfter, CandleStore, Held

_MOST_CHUNKS = 256
"""Held ones that one question to the store names; a series with more holes is read whole."""
_FAR_MS = 1 << 52
"""Behind every candle: nothing is held."""


class CandleWindow:
    """Answers what `last_candles` of the store answers, at the price of what is new.

    The store counts the changes of a series, and those that did more than append by chunk. As long as
    no candle that is held was put right, filled in, or dropped, only newer ones are read.
    """

    def __init__(self, store: CandleStore, pair: Pair, interval: Interval) -> None:
        self._store, self._pair, self._interval = store, pair, interval
        self._held = Candles.empty()
        self._count = 0
        self._origin, self._revision = "", 0
        self._lock = threading.Lock()
        self.read_whole = 0
        """How often everything was read."""

    @property
    def held(self) -> Held:
        """What the next reading will ask about, so that it can be read ahead."""
        first_ms, last_ms = self._bounds() if self._is_asked_for() else (_FAR_MS, _FAR_MS)
        return Held(pair=self._pair, interval=self._interval, first_ms=first_ms, last_ms=last_ms)

    def newest(self, count: int, *, ahead: CandleStore | None = None) -> Candles:
        """The newest `count` stored candles, oldest first; `ahead` is the store, read ahead."""
        with self._lock:
            seen = self._look(ahead or self._store)
            fresh = self._fresh(seen, count)
            if seen is None or fresh is None:
                return self._read(seen, count)
            if len(fresh):
                self._held = Candles.concat([self._held, fresh]).take(slice(-count, None))
            self._revision = seen.revision
            return self._held

    def followed_by(self, candle: Candle) -> Candles | None:
        """What `newest` would answer if just this candle had been stored since; None where that cannot
        be told. It is not kept: whether it is so, the store says."""
        with self._lock:
            held = self._held
            if not len(held) or len(held) != self._count:
                return None
            if candle.open_ms != int(held.open_ms[-1]) + interval_ms(self._interval):
                return None
            return Candles.concat([held, Candles.of([candle])]).take(slice(-self._count, None))

    def _look(self, store: CandleStore) -> CandlesAfter | None:
        """How the series stands; asked before it is read, so that what comes between is seen later."""
        held = self.held
        return store.candles_after(held.pair, held.interval, held.first_ms, held.last_ms)

    def _bounds(self) -> tuple[int, int]:
        return int(self._held.open_ms[0]), int(self._held.open_ms[-1])

    def _is_asked_for(self) -> bool:
        """Whether there is something to carry on, in few enough chunks."""
        if not len(self._held):
            return False
        first_ms, last_ms = self._bounds()
        return (last_ms - first_ms) // chunk_ms(self._interval) < _MOST_CHUNKS

    def _fresh(self, seen: CandlesAfter | None, count: int) -> Candles | None:
        """What is newer than the held candles; None where those may not be as they were."""
        held = self._held
        if seen is None or count != self._count or not self._is_asked_for():
            return None
        first_ms, _ = self._bounds()
        is_same = (
            seen.origin == self._origin != ""
            and seen.revision >= self._revision >= seen.altered_revision
        )
        # One that is held and short holds all there was: an older candle would belong to it.
        is_all_there = seen.earliest_ms == first_ms or (
            seen.earliest_ms < first_ms and len(held) == count
        )
        after = seen.candles
        if not is_same or not is_all_there or not len(after):
            return None
        is_joined = after.row(0) == held.row(len(held) - 1)
        reaches_end = int(after.open_ms[-1]) == seen.latest_ms
        return after.take(slice(1, None)) if is_joined and reaches_end else None

    def _read(self, seen: CandlesAfter | None, count: int) -> Candles:
        self._held = self._store.last_candles(self._pair, self._interval, count)
        self._count = count
        self._origin, self._revision = (seen.origin, seen.revision) if seen else ("", 0)
        self.read_whole += 1
        return self._held
