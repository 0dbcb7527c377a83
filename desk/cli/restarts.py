"""How often the launcher starts a part of the desk again before it gives up."""

from collections import deque
from collections.abc import Callable

from desk.errors import DeskError
from desk.wallclock import monotonic_s

DEATHS, WINDOW_S = 5, 60.0
TRIES = 3


class StartFailed(DeskError):
    """A part did not start; the text names its log."""


class Restarts:
    """Deaths of each part; `say` tells the operator what is started again."""

    def __init__(
        self, say: Callable[[str], None], now_s: Callable[[], float] = monotonic_s
    ) -> None:
        self._say, self._now_s = say, now_s
        self._deaths: dict[str, deque[float]] = {}

    def again(self, name: str, start: Callable[[], None], log: object) -> None:
        """Start a dead part; a start that fails is tried `TRIES` times, for what killed the part may
        still be at work.

        Raises `StartFailed` for the last failed try, and for more than `DEATHS` deaths within
        `WINDOW_S`: it dies of itself then. `log` is what the texts name.
        """
        deaths = self._deaths.setdefault(name, deque())
        deaths.append(self._now_s())
        while deaths[0] < self._now_s() - WINDOW_S:
            deaths.popleft()
        if len(deaths) > DEATHS:
            raise StartFailed(f"{name} died {len(deaths)} times within a minute: read {log}")
        self._say(f"{name} ended and is started again")
        for tried in range(1, TRIES + 1):
            try:
                start()
            except StartFailed as failed:
                if tried == TRIES:
                    raise
                self._say(f"{name} did not come up (try {tried} of {TRIES}), once more: {failed}")
            else:
                return
