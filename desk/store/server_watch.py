"""Keeping the embedded server up: restart it when it is gone, give up when it keeps ending."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import redis

from desk.errors import StoreUnavailable
from desk.store import server
from desk.store.server_address import ask, read_address
from desk.wallclock import monotonic_s


class ServerWatch:
    """Starts the server of a home folder again whenever `check` finds it gone."""

    def __init__(self, home: Path, *, max_restarts: int = 5, window_s: float = 60.0) -> None:
        self._home = home
        self._max_restarts = max_restarts
        self._window_s = window_s
        self._restarted_at_s: deque[float] = deque()
        self.running = server.start(home)

    @property
    def recent_restarts(self) -> int:
        """Restarts within the window."""
        return len(self._restarted_at_s)

    def check(self) -> bool:
        """Start the server again if it ended; returns whether it had.

        Raises `StoreCorrupt` as `start` does, and `StoreUnavailable` after more than
        `max_restarts` within the window: something keeps ending it, look at its log.
        """
        if self.running.is_alive():
            return False
        now_s = monotonic_s()
        while self._restarted_at_s and now_s - self._restarted_at_s[0] > self._window_s:
            self._restarted_at_s.popleft()
        if len(self._restarted_at_s) >= self._max_restarts:
            raise StoreUnavailable(
                f"the store server ended more than {self._max_restarts} times in"
                f" {self._window_s:.0f} s and is not started again: look at"
                f" {self._home / 'store' / 'server.log'}"
            )
        self._restarted_at_s.append(now_s)
        self.running = server.start(self._home)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """What the operator should know of the embedded server."""

    pid: int
    answers: bool
    last_write_ok: bool
    """Whether the last write of the append-only file succeeded."""
    rewrite_in_progress: bool
    used_memory_bytes: int
    maxmemory_bytes: int
    free_disk_bytes: int

    @property
    def disk_is_low(self) -> bool:
        """Entries pause and an alert is raised."""
        return self.free_disk_bytes < server.LOW_DISK_BYTES


def health(home: Path) -> ServerHealth:
    """Ask the server of a home folder how it is; one that does not answer is reported, not raised."""
    free = server.free_bytes(home)
    try:
        facts = ask(read_address(home), "everything")
    except (OSError, ValueError, redis.RedisError):
        return ServerHealth(
            pid=0,
            answers=False,
            last_write_ok=False,
            rewrite_in_progress=False,
            used_memory_bytes=0,
            maxmemory_bytes=0,
            free_disk_bytes=free,
        )
    return ServerHealth(
        pid=int(facts["process_id"]),
        answers=True,
        last_write_ok=facts["aof_last_write_status"] == "ok",
        rewrite_in_progress=bool(facts["aof_rewrite_in_progress"]),
        used_memory_bytes=int(facts["used_memory"]),
        maxmemory_bytes=int(facts["maxmemory"]),
        free_disk_bytes=free,
    )
