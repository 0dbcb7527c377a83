"""Many candle pollers on one event loop, without Ray: `python -m tests.crowd.pollers STORE VENUE 0@PAIR,…`.

Writes one JSON line when they are up, and one with its memory when its input is closed.
"""

# pyright: reportCallIssue=false, reportGeneralTypeIssues=false

import asyncio
import gc
import json
import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from functools import partial

from actors.candle_messages import CandleClosed
from actors.candle_poller import CandlePoller, PollerParts
from actors.heartbeat import memory
from actors.parts.foundation import market_clock
from actors.parts.venue import StoredBans
from desk.store.valkey import ValkeyStore
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig

INTERVALS = tuple(os.environ.get("RAYDESK_CROWD_INTERVALS", "1m").split(","))


class Nobody:
    """Listeners of a desk without money actors."""

    async def settle(self, pair: str, upto_open_ms: int) -> None: ...

    async def mark(self, prices: Mapping[str, Decimal], trace_id: str = "") -> None: ...

    async def tell(self, closed: CandleClosed) -> None: ...


def parts(store_url: str, venue_url: str, pair: str, index: int) -> PollerParts:
    """As `actors.parts.poller` builds them in a process of its own."""
    store = ValkeyStore(store_url)
    return PollerParts(
        pair=pair,
        intervals=INTERVALS,
        store=store,
        venue=BingxVenue(
            BingxConfig(base_url=venue_url, market_share=0.01), bans=StoredBans(store), turns=store
        ),
        clock=market_clock(store, is_first=True),
        listeners=Nobody(),
        index=index,
    )


async def run(store_url: str, venue_url: str, pairs: list[str]) -> None:
    """Poll until the standard input is closed."""
    before, _ = memory()
    placed = [(pair, int(index)) for index, pair in (entry.split("@") for entry in pairs)]
    pollers = [CandlePoller(partial(parts, store_url, venue_url, *place)) for place in placed]
    print(json.dumps({"pollers": len(pollers)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    gc.collect()
    after, _ = memory()
    beats = [await poller.heartbeat() for poller in pollers]
    counted = {
        name: sum(beat.counters.get(name, 0) for beat in beats)
        for name in ("candles", "venue_failures", "turns_failed", "turns_crashed", "work_failed")
    }
    print(json.dumps({"before": before, "after": after, **counted}), flush=True)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], sys.argv[3].split(",")))
