"""The interval grid: which open times a series should have."""

from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS
from desk.errors import BadInput

type Interval = str
"""Bar length as BingX writes it: `1m` … `1M`."""

INTERVAL_MS: dict[Interval, int] = {
    "1m": MINUTE_MS,
    "3m": 3 * MINUTE_MS,
    "5m": 5 * MINUTE_MS,
    "15m": 15 * MINUTE_MS,
    "30m": 30 * MINUTE_MS,
    "1h": HOUR_MS,
    "2h": 2 * HOUR_MS,
    "4h": 4 * HOUR_MS,
    "6h": 6 * HOUR_MS,
    "8h": 8 * HOUR_MS,
    "12h": 12 * HOUR_MS,
    "1d": DAY_MS,
}
"""Intervals whose open times are multiples of their length. `3d`, `1w` and `1M` have anchors of
their own that must be learnt from the venue, so they are not offered yet."""


def parse_interval(text: str) -> Interval:
    """Return the interval, or raise `BadInput` that lists the known ones."""
    if text not in INTERVAL_MS:
        raise BadInput("interval", f"was {text!r}, expected one of {' '.join(INTERVAL_MS)}")
    return text


def interval_ms(interval: Interval) -> int:
    """Length in ms."""
    return INTERVAL_MS[interval]


def floor_ms(at_ms: int, interval: Interval) -> int:
    """Open time of the candle that contains `at_ms`."""
    step = INTERVAL_MS[interval]
    return at_ms - at_ms % step


def last_closed_open_ms(now_ms: int, interval: Interval) -> int:
    """Open time of the newest candle whose close time is not after `now_ms`."""
    return floor_ms(now_ms, interval) - INTERVAL_MS[interval]
