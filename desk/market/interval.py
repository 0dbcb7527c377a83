"""The interval grid: which open times a series should have."""

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

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
"""Intervals whose open times are multiples of their length: what a run may decide on."""

CALENDAR_MS: dict[Interval, int] = {"3d": 3 * DAY_MS, "1w": 7 * DAY_MS, "1M": 30 * DAY_MS}
"""Intervals with anchors of their own, for market data only; a month counts as 30 days here.

The grid assumed for them (every third day since 1970, Mondays, first days of a month, UTC) says
when to ask. What the venue answers is taken on any midnight UTC.
"""

ALL_INTERVALS: tuple[Interval, ...] = (*INTERVAL_MS, *CALENDAR_MS)
"""Every interval of the venue, shortest first."""

_LENGTH_MS = INTERVAL_MS | CALENDAR_MS
_FIRST_MONDAY_MS = 4 * DAY_MS


def parse_interval(text: str) -> Interval:
    """Return the interval, or raise `BadInput` that lists the known ones."""
    if text not in _LENGTH_MS:
        raise BadInput("interval", f"was {text!r}, expected one of {' '.join(ALL_INTERVALS)}")
    return text


def interval_ms(interval: Interval) -> int:
    """Length in ms; of a month 30 days."""
    return _LENGTH_MS[interval]


def slot_ms(interval: Interval) -> int:
    """Distance of which all open times are multiples, wherever the venue anchors the interval."""
    return DAY_MS if interval in CALENDAR_MS else INTERVAL_MS[interval]


def is_aligned(open_ms: NDArray[np.int64], interval: Interval) -> NDArray[np.bool_]:
    """Which open times (ms[N]) the venue may send for this interval."""
    return open_ms % slot_ms(interval) == 0


def floor_ms(at_ms: int, interval: Interval) -> int:
    """Open time of the candle that contains `at_ms`."""
    if interval == "1M":
        return _month_ms(at_ms)
    anchor_ms = _FIRST_MONDAY_MS if interval == "1w" else 0
    return at_ms - (at_ms - anchor_ms) % _LENGTH_MS[interval]


def next_open_ms(at_ms: int, interval: Interval) -> int:
    """Open time of the first candle that begins after `at_ms`: when the one around it closes."""
    opened_ms = floor_ms(at_ms, interval)
    if interval == "1M":
        return _month_ms(opened_ms + 32 * DAY_MS)
    return opened_ms + _LENGTH_MS[interval]


def last_closed_open_ms(now_ms: int, interval: Interval) -> int:
    """Open time of the newest candle whose close time is not after `now_ms`."""
    return floor_ms(floor_ms(now_ms, interval) - 1, interval)


def close_ms(open_ms: NDArray[np.int64], interval: Interval) -> NDArray[np.int64]:
    """When candles that open at these times (ms[N]) close; a month ends with its last day."""
    if interval != "1M":
        return open_ms + _LENGTH_MS[interval]
    months = open_ms.astype("datetime64[ms]").astype("datetime64[M]")
    into_month_ms = open_ms - months.astype("datetime64[ms]").astype(np.int64)
    following = (months + np.timedelta64(1, "M")).astype("datetime64[ms]").astype(np.int64)
    return following + into_month_ms


def _month_ms(at_ms: int) -> int:
    day = datetime.fromtimestamp(at_ms / 1000, UTC)
    first = datetime(day.year, day.month, 1, tzinfo=UTC)
    return round(first.timestamp() * 1000)
