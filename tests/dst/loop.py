"""An event loop in virtual time: waiting costs nothing, and the same calls run in the same order."""

import asyncio
import heapq
from typing import Any


class Deadlock(RuntimeError):
    """Nothing is ready and nothing is due: whoever waits would wait for ever."""


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop of one thread whose clock is `now_s`, in seconds since its start.

    Instead of waiting for the next timer it jumps there. There are no threads and no files.
    """

    _ready: Any
    _scheduled: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        """The base's turn without its selector: what is ready runs, else the next timer is now."""
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Deadlock("no callback is ready and no timer is set")
            self.now_s = max(self.now_s, scheduled[0]._when)
            due_s = self.now_s + self._clock_resolution
            while scheduled and scheduled[0]._when < due_s:
                timer = heapq.heappop(scheduled)
                timer._scheduled = False
                ready.append(timer)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""
