"""An event loop in virtual time: waiting costs nothing, and the same calls run in the same order."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any


class Deadlock(RuntimeError):
    """Nothing is ready and nothing is due: whoever waits would wait for ever."""


class Turn:
    """A callback that is to run, or was called off; what `asyncio` knows as a handle."""

    __slots__ = ("args", "callback", "context", "is_cancelled")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None
    ) -> None:
        self.callback, self.args = callback, args
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop of one thread whose clock is `now_s`, in seconds since its start.

    Instead of waiting for the next timer it jumps there; timers of one moment run in the order in
    which they were set. There are no threads and no files. The base does the same with a bookkeeping
    that nobody here reads.
    """

    _ready: deque[Turn]

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._timers: list[tuple[float, int, Turn]] = []
        self._timers_set = 0

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        turn = Turn(callback, args, context)
        self._ready.append(turn)
        return turn

    def call_at(
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        turn = Turn(callback, args, context)
        self._timers_set += 1
        heapq.heappush(self._timers, (when, self._timers_set, turn))
        return turn

    def call_later(
        self, delay: float, callback: Any, *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """What is ready runs, else the next timer is now."""
        ready, timers = self._ready, self._timers
        if not ready:
            while timers and timers[0][2].is_cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Deadlock("no callback is ready and no timer is set")
            self.now_s = max(self.now_s, timers[0][0])
            while timers and timers[0][0] <= self.now_s:
                ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            turn = ready.popleft()
            if turn.is_cancelled:
                continue
            try:
                turn.context.run(turn.callback, *turn.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as failed:  # noqa: BLE001 - judged by the handler, as in the base
                self.call_exception_handler({"message": "a callback failed", "exception": failed})

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""
