"""What a training or evaluation job works with, opened in the job's own process."""

from dataclasses import dataclass
from typing import Protocol

from actors.parts.foundation import market_clock, open_store
from actors.study_period import Rates
from actors.wiring import Wiring
from desk.clock import Clock
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.places import Home, shared_folder
from desk.store.port import DocStore, Store

MOST_RATES = 10_000
"""Nine years of settlements every eight hours."""


class CandleSource(Protocol):
    """Stored candles, wherever they lie."""

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobParts:
    """`home` holds the artifacts."""

    home: Home
    store: Store
    clock: Clock
    candles: CandleSource


def job_parts(wiring: Wiring) -> JobParts:
    """Build in the job's process."""
    store = open_store(wiring)
    history = History(shared_folder(wiring.place, "history", store))
    return JobParts(
        home=wiring.place,
        store=store,
        clock=market_clock(store),
        candles=CandleArchive(store, history, CandleCache(wiring.home / "cache", history)),
    )


def stored_rates(store: DocStore, pair: Pair, start_ms: int, end_ms: int) -> Rates:
    """Settlements of a pair with `start_ms <= due_ms < end_ms`, as the pollers stored them."""
    docs = store.list(
        kinds.funding_rates(pair), start_ms=start_ms, before_ms=end_ms, limit=MOST_RATES
    )
    return [(doc.value.due_ms, doc.value.rate) for doc in reversed(docs)]
