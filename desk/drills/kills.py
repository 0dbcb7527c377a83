"""Injections by signals: processes of the desk that end, or stand still."""

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from desk.drills.hands import DrillRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Kill processes once; whoever watches them has to start the next ones."""

    what: str
    pids: Callable[[], Sequence[int]]

    def begin(self) -> None:
        found = self.pids()
        if not found:
            raise DrillRefused(f"found no process of {self.what} on this machine")
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def again(self) -> None:
        return

    def heal(self) -> None:
        return


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """Stop processes, and those that come in their place, until they may go on."""

    what: str
    pids: Callable[[], Sequence[int]]
    _stopped: set[int] = field(default_factory=set[int], init=False)

    def begin(self) -> None:
        self.again()
        if not self._stopped:
            raise DrillRefused(f"found no process of {self.what} on this machine")

    def again(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self._stopped.add(pid)

    def heal(self) -> None:
        while self._stopped:
            with suppress(ProcessLookupError):
                os.kill(self._stopped.pop(), signal.SIGCONT)
