"""Pages of candles for charts and clients: which span to read, and longer bars out of shorter ones."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import CALENDAR_MS, INTERVAL_MS, Interval, interval_ms

MAX_SOURCE_ROWS = 600_000
"""Stored candles read for one answer; a page of long bars out of short ones is cut to it."""


class CandleReader(Protocol):
    """Stored candles, hot ones and history alike."""

    def read(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles: ...

    def bounds(self, pair: Pair, interval: Interval) -> tuple[int, int, int] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlePage:
    """Rows oldest first. `forming`: the last one is built from closed candles of an open span."""

    candles: Candles
    more: bool
    forming: bool


EMPTY = CandlePage(candles=Candles.empty(), more=False, forming=False)


def sources_of(interval: Interval) -> list[Interval]:
    """Intervals an interval can be answered from: itself, then shorter ones that divide it."""
    if interval in CALENDAR_MS:
        return [interval]  # anchored by the venue: none is built from shorter ones
    step = interval_ms(interval)
    fitting = [name for name, ms in INTERVAL_MS.items() if step % ms == 0]
    return sorted(fitting, key=interval_ms, reverse=True)


def aggregate(candles: Candles, interval: Interval) -> Candles:
    """Longer bars on the grid of `interval`; a bar with missing candles is made of those there are."""
    if len(candles) == 0 or interval in CALENDAR_MS:
        return candles
    step = interval_ms(interval)
    opens = candles.open_ms - candles.open_ms % step
    starts = np.flatnonzero(np.diff(opens, prepend=opens[0] - step))
    ends = np.append(starts[1:], len(candles)) - 1
    return Candles(
        open_ms=opens[starts],
        open=candles.open[starts],
        high=np.maximum.reduceat(candles.high, starts),
        low=np.minimum.reduceat(candles.low, starts),
        close=candles.close[ends],
        volume=np.add.reduceat(candles.volume, starts),
    )


def older_page(
    reader: CandleReader, pair: Pair, interval: Interval, *, before_ms: int | None, limit: int
) -> CandlePage:
    """The newest `limit` bars that open before `before_ms` (None: the newest of all)."""
    found = _source(reader, pair, interval, limit)
    if found is None:
        return EMPTY
    source, limit, earliest_ms, latest_ms = found
    step = interval_ms(interval)
    end_ms = latest_ms + interval_ms(source)
    if before_ms is not None:
        end_ms = min(end_ms, before_ms + (-before_ms) % step)
    span = limit * step
    bars = Candles.empty()
    start_ms = end_ms
    while len(bars) < limit and start_ms > earliest_ms:
        start_ms = max(end_ms - span, earliest_ms)
        start_ms -= start_ms % step
        bars = aggregate(reader.read(pair, source, start_ms, end_ms), interval)
        span *= 4  # a hole swallowed rows: look further back rather than answer an empty page
    more = start_ms > earliest_ms or len(bars) > limit
    bars = bars.take(slice(max(len(bars) - limit, 0), None))
    return _page(bars, interval, latest_ms + interval_ms(source), more=more)


def newer_page(
    reader: CandleReader,
    pair: Pair,
    interval: Interval,
    *,
    start_ms: int,
    end_ms: int | None,
    limit: int,
) -> CandlePage:
    """The oldest `limit` bars with `start_ms <= open_ms < end_ms`."""
    found = _source(reader, pair, interval, limit)
    if found is None:
        return EMPTY
    source, limit, earliest_ms, latest_ms = found
    step = interval_ms(interval)
    first_ms = max(start_ms + (-start_ms) % step, earliest_ms - earliest_ms % step)
    stored_end_ms = latest_ms + interval_ms(source)
    last_ms = min(stored_end_ms, end_ms + (-end_ms) % step if end_ms is not None else stored_end_ms)
    bars = Candles.empty()
    read_to_ms = first_ms
    span = limit * step
    while len(bars) < limit and read_to_ms < last_ms:
        read_to_ms = min(first_ms + span, last_ms)
        bars = aggregate(reader.read(pair, source, first_ms, read_to_ms), interval)
        span *= 4
    more = read_to_ms < last_ms or len(bars) > limit
    return _page(bars.take(slice(0, limit)), interval, stored_end_ms, more=more)


def _source(
    reader: CandleReader, pair: Pair, interval: Interval, limit: int
) -> tuple[Interval, int, int, int] | None:
    """(stored interval, rows to answer, earliest open_ms, latest open_ms)."""
    for source in sources_of(interval):
        bounds = reader.bounds(pair, source)
        if bounds is not None:
            ratio = interval_ms(interval) // interval_ms(source)
            return source, max(min(limit, MAX_SOURCE_ROWS // ratio), 1), bounds[0], bounds[1]
    return None


def _page(bars: Candles, interval: Interval, stored_end_ms: int, *, more: bool) -> CandlePage:
    forming = len(bars) > 0 and int(bars.open_ms[-1]) + interval_ms(interval) > stored_end_ms
    return CandlePage(candles=bars, more=more, forming=forming)
