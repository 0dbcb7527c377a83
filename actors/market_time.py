"""Market time as the actors live by it, and what its speed means for processes that live by the wall."""

from typing import Protocol

from desk.clock import Clock, ClockAnchor

PROCESS_GRACE_S = 10.0
"""Wall seconds within which a killed process is back."""


class MarketClock(Clock, Protocol):
    """Market time, and how fast it runs."""

    @property
    def anchor(self) -> ClockAnchor: ...


def clock_fact(read: ClockAnchor) -> dict[str, int | float]:
    """A reading of the venue's clock as it is stored for every process."""
    return {
        "market_ms": read.market_ms,
        "wall_ms": read.wall_ms,
        "speed": read.speed,
        "offset_ms": read.offset_ms,
        "round_trip_ms": read.round_trip_ms,
    }


def acceleration_grace_ms(speed: float) -> int:
    """Market time by which an accelerated market may run ahead of us; 0 at the speed of the wall.

    A request, or the restart of a killed process, takes its wall seconds however fast the
    simulator's market runs meanwhile.
    """
    return round(PROCESS_GRACE_S * 1000 * max(speed - 1.0, 0.0))
