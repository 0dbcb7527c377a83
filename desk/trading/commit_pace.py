"""How long the store takes to have a change on its disk, and from when on that is too long to trade."""

import math
from collections import deque

WINDOW_S = 60.0
MOST_COMMITS = 500
MOST_P99_MS = 250.0
"""Entries wait while the p99 of the last minute is above it."""
LEAST_SLOW = 5
"""One commit that met a busy moment of the machine is no slow disk."""


class CommitPace:
    """The commits of one process over the last minute. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._commits: deque[tuple[float, float]] = deque(maxlen=MOST_COMMITS)

    def took(self, spent_ms: float, *, now_s: float) -> None:
        """Note a commit that the store has acknowledged."""
        self._commits.append((now_s, spent_ms))

    def slow_p99_ms(self, *, now_s: float) -> float | None:
        """The p99 in ms (nearest rank) where it is too long; None while the store keeps pace."""
        while self._commits and self._commits[0][0] < now_s - WINDOW_S:
            self._commits.popleft()
        spent = sorted(ms for _, ms in self._commits)
        if sum(ms > MOST_P99_MS for ms in spent) < LEAST_SLOW:
            return None
        p99_ms = spent[math.ceil(0.99 * len(spent)) - 1]
        return p99_ms if p99_ms > MOST_P99_MS else None
