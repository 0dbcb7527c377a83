"""The candle poller's parts."""

from actors.candle_poller import PollerParts
from actors.doors import CandleListeners
from actors.parts.foundation import market_clock, open_store
from actors.parts.venue import market_data
from actors.wiring import PAPER, Wiring
from desk.ids import Pair
from desk.store.port import Store


def poller_parts(wiring: Wiring, pair: Pair) -> PollerParts:
    """Build in the poller's process."""
    return _parts(wiring, pair, open_store(wiring))


def group_parts(wiring: Wiring, pairs: tuple[Pair, ...]) -> dict[Pair, PollerParts]:
    """Build in the process of several pollers, which share their connections to the store."""
    store = open_store(wiring)
    return {pair: _parts(wiring, pair, store) for pair in pairs}


def _parts(wiring: Wiring, pair: Pair, store: Store) -> PollerParts:
    return PollerParts(
        pair=pair,
        intervals=wiring.intervals,
        store=store,
        venue=market_data(wiring, store),
        clock=market_clock(store, is_first=True),
        listeners=CandleListeners(wiring.accounts, PAPER, store, namespace=wiring.namespace),
        index=wiring.pairs.index(pair),
        is_backfilling=wiring.market_data_backfill,
        backfill_max_batches=wiring.backfill_max_batches,
    )
