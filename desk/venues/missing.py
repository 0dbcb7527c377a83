"""Fetching what is missing of a range at its ends, checked like everything that comes from a venue."""

from collections.abc import AsyncIterator, Sequence

from desk.ids import Pair
from desk.market import integrity
from desk.market.candles import Candles
from desk.market.interval import Interval
from desk.venues import pager
from desk.venues.pager import CandleSource, Window


async def fetch_windows(
    market_data: CandleSource,
    pair: Pair,
    interval: Interval,
    windows: Sequence[Window],
    *,
    now_ms: int,
) -> AsyncIterator[Candles]:
    """Yield the sound, closed candles of half-open windows, page by page, oldest first.

    What `desk.market.integrity` rejects is left out: it is a hole, as it would be in the store.
    Raises `VenueUnavailable`; pages yielded before stay good, and the rest is asked for again.
    """
    for start_ms, end_ms in windows:
        async for page in pager.page(market_data, pair, interval, start_ms, end_ms):
            sound = integrity.inspect(page, interval, now_ms=now_ms).candles
            if len(sound):
                yield sound
