"""An event loop in virtual time: waiting costs nothing, and the same calls run in the same order."""

import asyncio
from collections.abc import Callable
from typing import Any


class Deadlock(RuntimeError):
    """Nothing is ready and nothing is due: whoever waits would wait for ever."""


class _Jump:
    """In place of a selector: time jumps to the next timer instead of passing."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Deadlock("no callback is ready and no timer is set")
        self._loop.now_s += timeout
        return []

    def close(self) -> None:
        """Nothing is open."""


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop of one thread whose clock is `now_s`, in seconds since its start.

    What `asyncio.to_thread` would run in a thread is handed to `thread`, which says when it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self._selector = _Jump(self)
        self._clock_resolution = 1e-9
        self.thread: Callable[[Callable[[], Any], asyncio.Future[Any]], None] = run_now

    def time(self) -> float:
        return self.now_s

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = self.create_future()
        self.thread(lambda: func(*args), answer)
        return answer

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no files to watch."""

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""


def run_now(work: Callable[[], Any], answer: "asyncio.Future[Any]") -> None:
    """Run at once."""
    answer.set_result(work())
