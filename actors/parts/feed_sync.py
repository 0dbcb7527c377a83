"""The feed sync's parts."""

from actors.feed_sync import FeedSyncParts
from actors.parts.foundation import market_clock, open_store
from actors.wiring import Wiring
from desk.clock import MINUTE_MS
from desk.sources.tradingview import FeedRoute
from desk.store.places import shared_folder
from desk.store.signal_archive import SignalArchive
from desk.wallclock import monotonic_s, wall_ms


def feed_sync_parts(wiring: Wiring) -> FeedSyncParts:
    """Build in the sync's process."""
    store = open_store(wiring)
    return FeedSyncParts(
        store=store,
        archive=SignalArchive(shared_folder(wiring.place, "history", store)),
        route=FeedRoute(wiring.api_url, wiring.tradingview_secret, monotonic_s=monotonic_s),
        feeds=wiring.tradingview_feeds,
        clock=market_clock(store),
        now_ms=wall_ms,
        every_s=wiring.tradingview_sync_interval_min * MINUTE_MS // 1000,
    )
