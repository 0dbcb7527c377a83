"""How often the venue may be asked: spaced calls, jittered retries, and a breaker over both.

BingX documents its limits per endpoint and address. Processes that share one address take turns
(`desk.venues.turns`); what is here paces one process alone.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from desk.errors import Throttled
from desk.wallclock import monotonic_s

type Sleep = Callable[[float], Awaitable[None]]
type Monotonic = Callable[[], float]


class Limiter:
    """Space calls evenly, in the order in which they ask; one per endpoint, for one event loop.

    After the venue complained, calls come at half the rate for a while.
    """

    def __init__(
        self,
        rate_per_s: float,
        *,
        slowed_s: float = 30.0,
        monotonic: Monotonic = monotonic_s,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rate_per_s = rate_per_s
        self._slowed_s = slowed_s
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at_s = float("-inf")
        self._slow_until_s = float("-inf")

    def set_rate(self, rate_per_s: float) -> None:
        """Change the rate of the calls to come."""
        self._rate_per_s = rate_per_s

    def slow_down(self) -> None:
        """Halve the rate for the next `slowed_s` seconds."""
        self._slow_until_s = self._monotonic() + self._slowed_s

    async def take(self) -> None:
        """Wait for the next free slot."""
        now_s = self._monotonic()
        slot_s = max(now_s, self._free_at_s)
        spacing_s = (2.0 if slot_s < self._slow_until_s else 1.0) / self._rate_per_s
        self._free_at_s = slot_s + spacing_s
        if slot_s > now_s:
            await self._sleep(slot_s - now_s)


class Breaker:
    """Stop asking for `pause_s` when over a fifth of the last 30 s of calls were throttled."""

    def __init__(
        self,
        *,
        window_s: float = 30.0,
        share: float = 0.2,
        least_calls: int = 10,
        pause_s: float = 60.0,
        monotonic: Monotonic = monotonic_s,
    ) -> None:
        self._window_s = window_s
        self._share = share
        self._least_calls = least_calls
        self._pause_s = pause_s
        self._monotonic = monotonic
        self._calls: deque[tuple[float, bool]] = deque()
        self._closed_at_s = float("-inf")

    def check(self, call: str) -> None:
        """Raise `Throttled` while calls are stopped."""
        left_s = self._closed_at_s - self._monotonic()
        if left_s > 0:
            raise Throttled(call, f"too many calls were throttled: none for another {left_s:.0f} s")

    def record(self, *, throttled: bool) -> None:
        """Note the outcome of a call."""
        now_s = self._monotonic()
        self._calls.append((now_s, throttled))
        while self._calls[0][0] < now_s - self._window_s:
            self._calls.popleft()
        refused = sum(was_throttled for _, was_throttled in self._calls)
        if len(self._calls) >= self._least_calls and refused > self._share * len(self._calls):
            self._closed_at_s = now_s + self._pause_s
            self._calls.clear()


def full_jitter_s(
    attempt: int, rng: random.Random, *, first_s: float = 0.1, most_s: float = 5.0
) -> float:
    """Return a wait drawn from 0 to min(`first_s` · 2^attempt, `most_s`)."""
    return rng.uniform(0.0, min(first_s * 2.0**attempt, most_s))


async def retry_throttled[T](
    read: Callable[[], Awaitable[T]],
    *,
    tries: int = 5,
    rng: random.Random | None = None,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Repeat a throttled read after jittered waits; the last `Throttled` goes to the caller.

    For reads only: a throttled write may have been carried out.
    """
    rng = random.Random() if rng is None else rng
    for attempt in range(1, tries):
        try:
            return await read()
        except Throttled:
            await sleep(full_jitter_s(attempt, rng))
    return await read()
