"""The market feed pollers' parts."""

from actors.doors import CandleListeners
from actors.market_feeds import FeedParts
from actors.parts.foundation import market_clock, open_store
from actors.parts.venue import market_data
from actors.wiring import PAPER, Wiring


def feed_parts(wiring: Wiring, group: str) -> FeedParts:
    """Build in the poller's process."""
    store = open_store(wiring)
    return FeedParts(
        group=group,
        pairs=wiring.pairs,
        store=store,
        venue=market_data(wiring, store),
        clock=market_clock(store),
        listeners=CandleListeners(wiring.accounts, PAPER, store, namespace=wiring.namespace),
    )
