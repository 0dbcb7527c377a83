"""Closes of bars as another feed saw them, and how far they lie from our candles."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, close_ms
from desk.market.signals import ParseStatus, Signal

NEWEST = 5
"""Of so many of our newest candles a close of another feed is looked for."""
KEPT = 64
"""Closes kept of one pair and source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarClose:
    """What a source said the price was when a bar closed."""

    source_id: str
    interval: Interval
    close_ms: int
    """Market time at which the bar closed."""
    price: float
    received_ms: int
    """Arrival, wall: of two closes of one bar the later counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairCloses:
    """The newest closes that other feeds gave for one pair."""

    pair: Pair
    closes: tuple[BarClose, ...] = ()


def bar_close(signal: Signal, *, fired_ms: int, now_ms: int) -> BarClose | None:
    """The close of a bar in an alert; None where the alert gives none.

    `fired_ms` is when it fired and `now_ms` when it is read, both market time. An alert that fired
    before its bar closed gives the price of that moment and no close; neither does one whose bar is
    not over by our clock. Only `ok` alerts count: a stale one, or one without its own time, is none.
    """
    if signal.parse_status is not ParseStatus.OK:
        return None
    if signal.interval is None or signal.bar_open_ms is None or signal.price is None:
        return None
    ended_ms = int(close_ms(np.array([signal.bar_open_ms]), signal.interval)[0])
    if fired_ms < ended_ms or now_ms < ended_ms:
        return None
    return BarClose(
        source_id=signal.source_id,
        interval=signal.interval,
        close_ms=ended_ms,
        price=signal.price,
        received_ms=signal.ts_received_ms,
    )


def merged(before: Iterable[BarClose], fresh: Iterable[BarClose]) -> tuple[BarClose, ...]:
    """One close per source, interval and bar, the later received; the newest `KEPT` of each source.

    The order of what is given does not matter.
    """
    latest: dict[tuple[str, Interval, int], BarClose] = {}
    for close in sorted((*before, *fresh), key=lambda each: (each.received_ms, each.price)):
        latest[close.source_id, close.interval, close.close_ms] = close
    newest: dict[str, list[BarClose]] = {}
    for close in sorted(latest.values(), key=_age, reverse=True):
        newest.setdefault(close.source_id, []).append(close)
    return tuple(close for source_id in sorted(newest) for close in newest[source_id][:KEPT])


def drift_bps(window: Candles, interval: Interval, closes: Iterable[BarClose]) -> float | None:
    """How far the other feeds' closes lie from ours (window sorted), in bps; None: they say nothing.

    Of each source the newest close that falls together with the close of one of our `NEWEST` newest
    candles counts, whatever its own interval: all bars that end at one moment end at one price. The
    source that is furthest away decides: of two witnesses neither outvotes the other.
    """
    newest = window.take(slice(-NEWEST, None))
    ours = dict(
        zip(close_ms(newest.open_ms, interval).tolist(), newest.close.tolist(), strict=True)
    )
    said: dict[str, BarClose] = {}
    for close in sorted(closes, key=_age):
        if close.close_ms in ours:
            said[close.source_id] = close
    drifts = [abs(close.price / ours[close.close_ms] - 1.0) * 1e4 for close in said.values()]
    return max(drifts, default=None)


def _age(close: BarClose) -> tuple[int, int, Interval]:
    return close.close_ms, close.received_ms, close.interval
