"""How often the launcher starts a part of the desk again before it gives up."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from desk.errors import DeskError
from desk.wallclock import monotonic_s

DEATHS, WINDOW_S = 5, 60.0
GIVE_UP_S = 900.0
"""Since the first of several starts in a row that failed: what kills a part may last, or wait for an
operator, and positions are better off with a desk that comes back late than with none."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


class StartFailed(DeskError):
    """A part did not start; the text names its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failing:
    since_s: float
    due_s: float
    pause_s: float
    tries: int


class Restarts:
    """Deaths of each part; `say` tells the operator what is started again."""

    def __init__(
        self, say: Callable[[str], None], now_s: Callable[[], float] = monotonic_s
    ) -> None:
        self._say, self._now_s = say, now_s
        self._deaths: dict[str, deque[float]] = {}
        self._failing: dict[str, _Failing] = {}

    def is_due(self, name: str) -> bool:
        """Whether a start of this part failed, and its pause is over."""
        failing = self._failing.get(name)
        return failing is not None and self._now_s() >= failing.due_s

    def again(self, name: str, start: Callable[[], None], log: object) -> None:
        """Start a dead part, or do nothing while the pause after its last failed start lasts.

        A start that fails is to be tried again when `is_due`; the pauses grow. Raises `StartFailed`
        for one that fails `GIVE_UP_S` after the first of its row, and for more than `DEATHS` deaths
        within `WINDOW_S`: it dies of itself then. `log` is what the texts name.
        """
        if name in self._failing:
            if not self.is_due(name):
                return
        else:
            self._count_death(name, log)
            self._say(f"{name} ended and is started again")
        try:
            start()
        except StartFailed as failed:
            self._wait(name, failed)
        else:
            self._failing.pop(name, None)

    def _count_death(self, name: str, log: object) -> None:
        deaths = self._deaths.setdefault(name, deque())
        deaths.append(self._now_s())
        while deaths[0] < self._now_s() - WINDOW_S:
            deaths.popleft()
        if len(deaths) > DEATHS:
            raise StartFailed(f"{name} died {len(deaths)} times within a minute: read {log}")

    def _wait(self, name: str, failed: StartFailed) -> None:
        now_s, before = self._now_s(), self._failing.get(name)
        since_s = now_s if before is None else before.since_s
        if now_s - since_s >= GIVE_UP_S:
            raise failed
        pause_s = min(2 * before.pause_s, LONGEST_PAUSE_S) if before else FIRST_PAUSE_S
        tries = before.tries + 1 if before else 1
        self._failing[name] = _Failing(
            since_s=since_s, due_s=now_s + pause_s, pause_s=pause_s, tries=tries
        )
        self._say(f"{name} did not come up (try {tries}), once more in {pause_s:g} s: {failed}")
