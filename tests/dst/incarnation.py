"""One life of an actor's process: it dies at named points, and a dead one touches nothing any more."""

import asyncio
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from typing import Any

CURRENT: ContextVar["Incarnation | None"] = ContextVar("incarnation", default=None)


class Halted(BaseException):
    """The process is dead: nothing after this runs."""


class Incarnation:
    """A process that runs one actor shell. `decide` says whether it dies at a point."""

    def __init__(
        self, role: str, number: int, decide: Callable[["Incarnation", str], bool]
    ) -> None:
        self.role, self.number, self._decide = role, number, decide
        self.is_alive = True
        self.is_starting = True
        self.epoch = 0
        self.shell: Any = None
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.context: Context = copy_context()
        self.context.run(CURRENT.set, self)

    def point(self, name: str, *, can_crash: bool = True) -> None:
        """Pass a named point, or die there. Raises `Halted` when dead."""
        if self.is_alive and can_crash and self._decide(self, name):
            self.die()
        if not self.is_alive:
            raise Halted(name)

    def die(self) -> None:
        """End now, as by kill -9."""
        self.is_alive = False
        if not self.died.done():
            self.died.set_result(None)


def exit_process(status: int) -> None:
    """In place of `os._exit`: the process that calls it ends."""
    incarnation = CURRENT.get()
    assert incarnation is not None, "a process that is none of ours ended"
    incarnation.die()
    raise Halted(f"exit {status}")
