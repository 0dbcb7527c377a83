"""The closes of bars that other feeds gave, by pair, as decisions compare them with our candles."""

from collections import defaultdict
from collections.abc import Iterable

from actors.market_time import MarketClock
from desk.ids import Pair
from desk.market import bar_closes
from desk.market.bar_closes import BarClose, PairCloses
from desk.market.signals import Signal
from desk.store import kinds
from desk.store.port import DocStore

MOST_PAIRS = 1_000


class CloseBook:
    """Written by one actor. To add a close twice changes nothing."""

    def __init__(self, store: DocStore, clock: MarketClock) -> None:
        self._store, self._clock = store, clock

    def add(self, signals: Iterable[Signal]) -> int:
        """Take the closes in these alerts; returns how many there were."""
        anchor, now_ms = self._clock.anchor, self._clock.now_ms()
        found: dict[Pair, list[BarClose]] = defaultdict(list)
        for signal in signals:
            fired_ms = anchor.market_at(signal.ts_event_ms)
            close = bar_closes.bar_close(signal, fired_ms=fired_ms, now_ms=now_ms)
            if close is not None and signal.symbol is not None:
                found[signal.symbol].append(close)
        for pair, fresh in found.items():
            doc = self._store.get(kinds.BAR_CLOSES, pair)
            before = doc.value.closes if doc else ()
            self._write(pair, bar_closes.merged(before, fresh))
        return sum(len(fresh) for fresh in found.values())

    def drop(self, source_id: str) -> None:
        """Forget what a source said: nobody is to be judged by a feed that an operator paused."""
        for doc in self._store.list(kinds.BAR_CLOSES, limit=MOST_PAIRS):
            left = tuple(each for each in doc.value.closes if each.source_id != source_id)
            if len(left) < len(doc.value.closes):
                self._write(doc.key, left)

    def _write(self, pair: Pair, closes: tuple[BarClose, ...]) -> None:
        row = PairCloses(pair=pair, closes=closes)
        self._store.put(kinds.BAR_CLOSES, pair, row, at_ms=self._clock.now_ms())
