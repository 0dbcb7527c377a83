"""What a supervisor knows of one child, and what follows from it."""

from collections import deque
from typing import TYPE_CHECKING

from actors.heartbeat import Heartbeat
from desk.runs import ActorStatus
from desk.wallclock import wall_ms

if TYPE_CHECKING:
    from actors.supervisor import Child

MISSES = 3
START_PATIENCE_S = 120.0
"""Wall seconds for a process to come up. A dozen start at once: on a slow machine the last of them
waits for the others, and killing it would only send it to the end of the queue."""
MAX_RESTARTS, WINDOW_S = 5, 60.0
UNHEARD_KILLS = 2
"""Kills in a row without a beat in between: it never comes up, however slowly it is tried."""

UP, LATE, RESTARTING, QUARANTINED = "up", "late", "restarting", "quarantined"


class Watch:
    """Beats, misses and restarts of one child; `known` is its row from before our own restart."""

    def __init__(
        self, child: "Child", known: ActorStatus | None = None, *, stale_loop_s: float = 20.0
    ) -> None:
        self.child = child
        self.status = QUARANTINED if known and known.status == QUARANTINED else RESTARTING
        self._stale_loop_s = stale_loop_s
        self._beat: Heartbeat | None = None
        self._heard_wall_ms = known.last_heartbeat_wall_ms if known else 0
        self._pid = known.pid if known else 0
        self._restarts = known.restarts if known else 0
        self._recent: deque[float] = deque()
        self._starts = 0
        self._is_start_counted = False
        self._unheard_kills = 0
        self._misses = 0
        self._starting_s: float | None = None
        """Since when a process is awaited; None from its first beat on."""
        self._detail = ""
        self._written_s = float("-inf")
        self._written_as: tuple[str, int] = ("", 0)

    def heard(self, beat: Heartbeat, *, now_s: float) -> None:
        """The child answered; a standing loop counts as a miss all the same."""
        is_new = beat.pid != self._pid
        if self._pid and is_new and not self._is_start_counted:
            self._count_restart(now_s)
        self._is_start_counted, self._unheard_kills = False, 0
        self._pid, self._beat, self._heard_wall_ms = beat.pid, beat, wall_ms()
        self._starting_s = None
        if beat.loop_age_s > self._stale_loop_s:
            self._misses += 1
            self.status, self._detail = LATE, f"loop stood still for {beat.loop_age_s:.0f} s"
        else:
            self._misses = 0
            self.status, self._detail = UP, ""
        if is_new:
            self._misses = 0

    def started(self, *, now_s: float) -> None:
        """We start it because there was none; again and again where it dies in its `__init__`."""
        self._starts += 1
        self._starting_s = now_s
        if self._starts > 1:
            self._count_restart(now_s)
            self._is_start_counted = True

    def _count_restart(self, now_s: float) -> None:
        self._restarts += 1
        self._recent.append(now_s)

    def restarting(self, why: str, *, now_s: float) -> None:
        """Ray is starting its next incarnation."""
        if self._starting_s is None:
            self._starting_s = now_s
        self.missed(why, now_s=now_s)

    def missed(self, why: str, *, now_s: float) -> None:
        """The child did not answer: silent where it beat before, awaited where it did not yet."""
        if self._beat is None and self._starting_s is None:
            self._starting_s = now_s
        if self._starting_s is None:
            self._misses += 1
        self.status, self._detail = (RESTARTING if self._beat is None else LATE), why

    def killed(self, *, now_s: float) -> None:
        """We ended it; the next incarnation gets time to start."""
        self._unheard_kills += 1
        self._misses, self._starting_s = 0, now_s
        self.status = RESTARTING

    def quarantine(self) -> None:
        """It is not started again."""
        self.status = QUARANTINED

    def release(self, *, now_s: float) -> None:
        """An operator wants it tried again."""
        self._recent.clear()
        self._unheard_kills = 0
        self._misses, self._starting_s = 0, now_s
        self.status = RESTARTING

    @property
    def is_quarantined(self) -> bool:
        return self.status == QUARANTINED

    def is_hung(self, *, now_s: float) -> bool:
        """Whether it has been silent, standing still, or coming up, for too long."""
        if self._starting_s is not None:
            return now_s - self._starting_s >= START_PATIENCE_S
        return self._misses >= MISSES

    def is_looping(self, *, now_s: float) -> bool:
        """Whether it restarted too often within the window, or was killed without ever coming up."""
        while self._recent and self._recent[0] < now_s - WINDOW_S:
            self._recent.popleft()
        return len(self._recent) > MAX_RESTARTS or self._unheard_kills >= UNHEARD_KILLS

    def needs_writing(self, *, now_s: float, every_s: float) -> bool:
        """Whether the row is due: at once when it says something new."""
        return (self.status, self._pid) != self._written_as or now_s - self._written_s >= every_s

    def written(self, *, now_s: float) -> None:
        """The row is stored."""
        self._written_s, self._written_as = now_s, (self.status, self._pid)

    def row(self) -> ActorStatus:
        """What the pages show."""
        beat = self._beat
        return ActorStatus(
            name=self.child.name,
            role=self.child.role,
            node=beat.node if beat else "",
            pid=self._pid,
            epoch=beat.epoch if beat else 0,
            restarts=self._restarts,
            started_wall_ms=beat.started_wall_ms if beat else 0,
            last_heartbeat_wall_ms=self._heard_wall_ms,
            rss_bytes=beat.rss_bytes if beat else 0,
            status=self.status,
            detail=self._detail,
        )
