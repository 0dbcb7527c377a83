"""The one reader of the wall clock, and the market clock derived from it."""

import threading
import time
from collections.abc import Callable

from desk.clock import ClockAnchor


def wall_ms() -> int:
    """Wall time, ms UTC: signatures, leases, process heartbeats."""
    return time.time_ns() // 1_000_000


def monotonic_s() -> float:
    """Seconds for measuring latencies and deadlines."""
    return time.monotonic()


class SystemClock:
    """Market time when the venue's clock is the wall's."""

    def now_ms(self) -> int:
        return wall_ms()


class VenueClock:
    """Market time from the venue's last clock reading; never runs backwards in one process.

    `read_anchor` returns the newest reading (from the store) and is called at most once per
    `refresh_s`; a failing read keeps the last anchor.
    """

    def __init__(
        self, read_anchor: Callable[[], ClockAnchor | None], refresh_s: float = 2.0
    ) -> None:
        self._read_anchor = read_anchor
        self._refresh_s = refresh_s
        self._lock = threading.Lock()
        self._anchor = ClockAnchor(market_ms=wall_ms(), wall_ms=wall_ms())
        self._read_at_s = float("-inf")
        self._highest_ms = 0

    @property
    def anchor(self) -> ClockAnchor:
        """The reading in use."""
        self.now_ms()
        return self._anchor

    def now_ms(self) -> int:
        with self._lock:
            if monotonic_s() - self._read_at_s >= self._refresh_s:
                self._read_at_s = monotonic_s()
                fresh = self._read_anchor()
                if fresh is not None:
                    self._anchor = fresh
            self._highest_ms = max(self._highest_ms, self._anchor.market_at(wall_ms()))
            return self._highest_ms
