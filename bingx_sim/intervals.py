"""The candle intervals of the venue and where their candles begin."""

from collections.abc import Iterator
from datetime import UTC, datetime

from bingx_sim.clock import DAY_MS

MINUTES = {
    "1m": 1,
    "3m": 3,
    "5m": 5,
    "15m": 15,
    "30m": 30,
    "1h": 60,
    "2h": 120,
    "4h": 240,
    "6h": 360,
    "8h": 480,
    "12h": 720,
    "1d": 1440,
}
"""Intervals that divide a day: their candles begin on multiples of their length, UTC."""

LONGER = ("3d", "1w", "1M")


def spans_backwards(interval: str, day: int) -> Iterator[tuple[int, int]]:
    """Yield day ranges [first, last] of a longer interval, the one holding `day` first."""
    while True:
        first = _first_day(interval, day)
        yield first, _last_day(interval, first)
        day = first - 1


def _first_day(interval: str, day: int) -> int:
    if interval == "3d":
        return day - day % 3
    if interval == "1w":
        return day - (day + 3) % 7  # 1970-01-01 was a Thursday; weeks begin on Monday
    date = datetime.fromtimestamp(day * DAY_MS / 1000, tz=UTC)
    return day - (date.day - 1)


def _last_day(interval: str, first: int) -> int:
    if interval == "3d":
        return first + 2
    if interval == "1w":
        return first + 6
    date = datetime.fromtimestamp(first * DAY_MS / 1000, tz=UTC)
    following = date.replace(year=date.year + date.month // 12, month=date.month % 12 + 1)
    return int(following.timestamp() * 1000) // DAY_MS - 1
