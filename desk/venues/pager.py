"""Long ranges of candles, one venue call at a time, with every join of two pages checked.

ccxt's own paging fires ten calls at once and starts at a time of its choosing, so this is ours.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Protocol

from desk.ids import Pair
from desk.market.candles import Candles, sorted_unique
from desk.market.interval import Interval, interval_ms, parse_interval, slot_ms
from desk.venues.bingx import CANDLES_PER_CALL

_OVERLAP = 3
"""Candles asked for again on each side of a page's edge that looks torn."""

type Window = tuple[int, int]


class CandleSource(Protocol):
    """The one thing paging asks of `MarketData`."""

    async def candles(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> Candles: ...


async def page(
    market_data: CandleSource,
    pair: Pair,
    interval: Interval,
    start_ms: int,
    end_ms: int,
    *,
    newest_first: bool = False,
) -> AsyncIterator[Candles]:
    """Yield the candles with `start_ms <= open_ms < end_ms` in disjoint pages, each oldest first.

    Empty pages are not yielded. Newest first, the iteration ends early where the venue's history
    begins: at an empty page before which all probes were empty too. A hole left in or between the
    pages was asked for twice and is the venue's own.
    """
    series = _Series(market_data=market_data, pair=pair, interval=parse_interval(interval))
    windows = _windows(interval, start_ms, end_ms)
    while windows:
        window = windows.pop(-1 if newest_first else 0)
        candles = await series.whole(window)
        if len(candles):
            yield candles
        elif newest_first and await series.newest(windows) is None:
            return


async def find_earliest(
    market_data: CandleSource, pair: Pair, interval: Interval, start_ms: int, end_ms: int
) -> int | None:
    """Return the open time of the oldest candle in the range, or None if the venue has none.

    Pages are probed at growing distances from the end, then bisected. An empty page counts as
    "before listing" only if probes further back were empty too, as history may have holes; the
    horizon of a venue moves, so the answer holds for today.
    """
    series = _Series(market_data=market_data, pair=pair, interval=parse_interval(interval))
    windows = _windows(interval, start_ms, end_ms)
    earliest: int | None = None
    found = await series.newest(windows)
    while found is not None:
        index, earliest = await series.bisect(windows, *found)
        found = await series.newest(windows[:index])
    return earliest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """The candles of one pair and interval at the venue."""

    market_data: CandleSource
    pair: Pair
    interval: Interval

    async def ask(self, window: Window) -> Candles:
        return await self.market_data.candles(self.pair, self.interval, *window)

    async def whole(self, window: Window) -> Candles:
        """One page; an empty one is asked for again, and so is an edge without its candle.

        A lagging replica loses candles at the edges; asked for from both sides they appear.
        """
        candles = await self.ask(window)
        if not len(candles):
            return await self.ask(window)
        last_ms = window[1] - interval_ms(self.interval)
        parts = [candles]
        if int(candles.open_ms[0]) != window[0]:
            parts.append(await self._around(window[0]))
        if int(candles.open_ms[-1]) != last_ms:
            parts.append(await self._around(last_ms))
        return sorted_unique(Candles.concat(parts)).between(*window)

    async def _around(self, open_ms: int) -> Candles:
        reach_ms = _OVERLAP * interval_ms(self.interval)
        return await self.ask((max(open_ms - reach_ms, 0), open_ms + reach_ms))

    async def newest(self, windows: list[Window]) -> tuple[int, int] | None:
        """Probe backwards at doubling distances; index and first open time of the page found."""
        for index in _backwards(len(windows)):
            candles = await self.ask(windows[index])
            if len(candles):
                return index, int(candles.open_ms[0])
        return None

    async def bisect(self, windows: list[Window], index: int, open_ms: int) -> tuple[int, int]:
        """Narrow down to the first page with candles, as if those before it were all empty."""
        low = 0
        while low < index:
            middle = (low + index) // 2
            candles = await self.ask(windows[middle])
            if len(candles):
                index, open_ms = middle, int(candles.open_ms[0])
            else:
                low = middle + 1
        return index, open_ms


def _backwards(count: int) -> Iterator[int]:
    """Indexes at distance 1, 2, 4, … from the end, and at last the first."""
    back = 1
    while back < count:
        yield count - back
        back *= 2
    if count:
        yield 0


def _windows(interval: Interval, start_ms: int, end_ms: int) -> list[Window]:
    """Half-open windows of one call each, on the grid, oldest first."""
    slot = slot_ms(interval)
    first_ms, last_ms = (-(-at_ms // slot) * slot for at_ms in (start_ms, end_ms))
    size_ms = CANDLES_PER_CALL * interval_ms(interval)
    return [(at_ms, min(at_ms + size_ms, last_ms)) for at_ms in range(first_ms, last_ms, size_ms)]
