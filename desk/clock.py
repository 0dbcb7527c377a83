"""Time as integer milliseconds UTC, and the clock that everything else is given.

The desk lives on the venue's market clock. Against BingX that is UTC; against the simulator it may
run faster than the wall (`ClockAnchor.speed`). Nothing in the pure packages reads a clock itself.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

SECOND_MS = 1_000
MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
CLOCK_ERROR_MS = 2_000
"""Wall ms by which a reading of a venue's clock may always be wrong."""


class Clock(Protocol):
    """Market time in ms UTC."""

    def now_ms(self) -> int: ...


class ManualClock:
    """A clock that tests move by hand."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def advance(self, by_ms: int) -> None:
        self._now_ms += by_ms

    def set(self, now_ms: int) -> None:
        self._now_ms = now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAnchor:
    """One reading of the venue's clock: market time was `market_ms` when the wall said `wall_ms`.

    `speed` is market ms per wall ms (1.0 against a real exchange), `offset_ms` how far the clock that
    the venue judges our stamps by is ahead of ours, `round_trip_ms` how long the reading took.
    """

    market_ms: int
    wall_ms: int
    speed: float = 1.0
    offset_ms: int = 0
    round_trip_ms: int = 0

    @property
    def error_ms(self) -> int:
        """Market ms by which the reading may be wrong: `CLOCK_ERROR_MS`, or half of a longer round trip.

        Within a round trip nobody knows when the venue read its clock: it may have waited first.
        """
        return round(max(CLOCK_ERROR_MS, self.round_trip_ms / 2) * self.speed)

    def market_at(self, wall_ms: int) -> int:
        """Market time at a wall time."""
        return self.market_ms + round((wall_ms - self.wall_ms) * self.speed)

    def wall_seconds(self, market_span_ms: int) -> float:
        """Wall seconds that a span of market time lasts."""
        return market_span_ms / self.speed / 1000.0


def to_iso(ms: int) -> str:
    """`2026-01-31T12:00:00.000Z`."""
    stamp = datetime.fromtimestamp(ms / 1000, UTC)
    return stamp.strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


def from_iso(text: str) -> int:
    """Parse an ISO date or date-time; without an offset it is UTC. Raises ValueError."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=UTC)
    return round(stamp.timestamp() * 1000)
