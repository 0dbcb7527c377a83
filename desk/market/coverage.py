"""How much of a series is there, by spans of time: what a map of it is drawn from."""

from dataclasses import dataclass

import numpy as np

from desk.market.candles import Ints
from desk.market.gaps import Run
from desk.market.interval import Interval, interval_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Open times from `start_ms` to `end_ms` (exclusive), and how many of them have a candle."""

    start_ms: int
    end_ms: int
    expected: int
    """Without those before the series began, and those the venue is proven not to have."""
    present: int


def spans(
    open_ms: Ints,
    interval: Interval,
    *,
    start_ms: int,
    end_ms: int,
    count: int,
    begins_ms: int | None,
    absent: list[Run],
) -> list[Span]:
    """Cut `[start_ms, end_ms)` into at most `count` spans of whole candles, oldest first.

    `open_ms` is sorted; `begins_ms` is the first candle of the whole series (None: it has none);
    `absent` are runs of candles, both ends included, that nobody has. Spans are equally long but for
    the last one, and never shorter than a candle.
    """
    step = interval_ms(interval)
    first, stop = -(-start_ms // step) * step, -(-end_ms // step) * step
    slots = (stop - first) // step
    if slots <= 0 or count <= 0:
        return []
    length = -(-slots // count)
    edges = first + step * np.minimum(np.arange(0, slots + length, length), slots)
    edges = np.unique(edges)
    places = np.searchsorted(open_ms, edges)
    made: list[Span] = []
    for begin, end, low, high in zip(edges[:-1], edges[1:], places[:-1], places[1:], strict=True):
        known = stop if begins_ms is None else begins_ms
        expected = max(int(end) - max(int(begin), known), 0) // step
        for gone, last in absent:
            expected -= max(min(last + step, int(end)) - max(gone, int(begin)), 0) // step
        made.append(
            Span(
                start_ms=int(begin),
                end_ms=int(end),
                expected=max(expected, int(high - low)),
                present=int(high - low),
            )
        )
    return made
