"""The two clocks of the venue: the server clock (signatures) and the market clock (all else)."""

import time
from collections.abc import Callable
from typing import Any

from bingx_sim.errors import BadOption

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
FASTEST = 100_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class MarketClock:
    """Market time = anchor + (wall - anchor wall) x speed; it can be frozen, moved and persisted."""

    def __init__(
        self, *, speed: float, market_ms: int | None, wall: Callable[[], int] = wall_ms
    ) -> None:
        self._wall = wall
        self._anchor_wall_ms = wall()
        self._anchor_market_ms = self._anchor_wall_ms if market_ms is None else market_ms
        self._speed = _checked(speed)
        self._frozen = False
        self.server_offset_ms = 0
        self._pinned_server_ms: int | None = None
        self._drift_ppm = 0.0
        self._drift_from_ms = 0

    @property
    def speed(self) -> float:
        return self._speed

    @property
    def frozen(self) -> bool:
        return self._frozen

    def wall_ms(self) -> int:
        return self._wall()

    def server_ms(self) -> int:
        """The clock that judges timestamps: the wall's, plus an injected offset."""
        if self._pinned_server_ms is not None:
            return self._pinned_server_ms + self.server_offset_ms
        drifted_ms = (self._wall() - self._drift_from_ms) * self._drift_ppm / 1e6
        return self._wall() + self.server_offset_ms + int(drifted_ms)

    def drift(self, ppm: float) -> None:
        """Let the server clock gain so many microseconds a second; what it gained so far stays."""
        if self._pinned_server_ms is None:
            self.server_offset_ms = self.server_ms() - self._wall()
        self._drift_ppm, self._drift_from_ms = ppm, self._wall()

    def market_ms(self) -> int:
        if self._frozen:
            return self._anchor_market_ms
        elapsed = (self._wall() - self._anchor_wall_ms) * self._speed
        return self._anchor_market_ms + int(elapsed)

    def set_speed(self, speed: float) -> None:
        self._hold_here()
        self._speed = _checked(speed)

    def freeze(self) -> None:
        self._hold_here()
        self._frozen = True

    def resume(self) -> None:
        self._hold_here()
        self._frozen = False

    def advance(self, by_ms: int) -> None:
        if by_ms < 0:
            raise BadOption(f"advance_ms is {by_ms}; market time cannot run backwards")
        self._hold_here()
        self._anchor_market_ms += by_ms

    def jump(self, market_ms: int) -> None:
        """Move market time anywhere, backwards too: only for a venue without a past."""
        self._anchor_market_ms = market_ms
        self._anchor_wall_ms = self._wall()

    def pin_server(self, server_ms: int | None) -> None:
        """Stop the server clock at a time of its own, or let it follow the wall again."""
        self._pinned_server_ms = server_ms

    def _hold_here(self) -> None:
        self._anchor_market_ms = self.market_ms()
        self._anchor_wall_ms = self._wall()

    def as_row(self) -> dict[str, Any]:
        return {
            "market_ms": self.market_ms(),
            "wall_ms": self.wall_ms(),
            "server_ms": self.server_ms(),
            "speed": self._speed,
            "frozen": self._frozen,
            "server_offset_ms": self.server_offset_ms,
            "server_drift_ppm": self._drift_ppm,
        }


def _checked(speed: float) -> float:
    if not 0 < speed <= FASTEST:
        raise BadOption(f"speed is {speed:g}; it must be above 0 and at most {FASTEST}")
    return speed
