"""The pulse of an actor: its work loop, what it counts, and the beat its supervisor asks for."""

import asyncio
import gc
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import structlog

from desk import meters
from desk.counting import Counts, counted
from desk.errors import DeskError, Fenced, IllegalTransition, LedgerMismatch
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

SLICE_S = 1.0
COUNTS_EVERY_S = 5.0
COLLECTED_AFTER = (50_000, 20, 50)
"""Objects made and not freed, collections of the young, of the middle-aged."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """What an actor process says of itself."""

    name: str
    pid: int
    node: str
    epoch: int
    started_wall_ms: int
    rss_bytes: int
    pss_bytes: int
    loop_age_s: float
    """Seconds since the work loop last turned."""
    counters: Mapping[str, int]
    counts: Counts | None = None
    """What the process has counted since it began (`desk.meters`), every few seconds."""


class Pulse:
    """Turns, counters and identity of one actor incarnation."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 0
        self.counters: Counter[str] = Counter()
        self._started_wall_ms = wall_ms()
        self._turned_s = monotonic_s()
        self._is_woken = False
        self._told_counts_s = float("-inf")

    @property
    def role(self) -> str:
        """The name without what it is one per."""
        return self.name.split(":", 1)[0]

    def turn(self) -> None:
        """The loop is alive."""
        self._turned_s = monotonic_s()

    def count(self, what: str, by: int = 1) -> None:
        """Add to a counter that the heartbeat carries."""
        self.counters[what] += by

    async def sleep(self, seconds: float) -> None:
        """Wait while still turning, or until woken."""
        until_s = monotonic_s() + seconds
        while (left_s := until_s - monotonic_s()) > 0 and not self._is_woken:
            self.turn()
            await asyncio.sleep(min(left_s, SLICE_S))
        self._is_woken = False
        self.turn()

    def wake(self) -> None:
        """End the wait under way within a slice, or the next one."""
        self._is_woken = True

    async def through[R](self, work: Awaitable[R]) -> R:
        """Wait for work that has a deadline of its own, longer than a loop may stand still."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=SLICE_S))[0]:
                self.turn()
        finally:
            task.cancel()
        self.turn()
        return task.result()

    def beat(self) -> Heartbeat:
        """The answer to the supervisor."""
        rss_bytes, pss_bytes = memory()
        return Heartbeat(
            name=self.name,
            pid=os.getpid(),
            node=os.uname().nodename,
            epoch=self.epoch,
            started_wall_ms=self._started_wall_ms,
            rss_bytes=rss_bytes,
            pss_bytes=pss_bytes,
            loop_age_s=monotonic_s() - self._turned_s,
            counters=dict(self.counters),
            counts=self._counts_due(),
        )

    def _counts_due(self) -> Counts | None:
        """They are more than a beat each second should carry."""
        if monotonic_s() - self._told_counts_s < COUNTS_EVERY_S:
            return None
        self._told_counts_s = monotonic_s()
        return counted()


def memory() -> tuple[int, int]:
    """Resident and proportional bytes of this process (the latter 0 where the system has none)."""
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text()
    except OSError:
        return resident, 0
    line = next((line for line in rollup.splitlines() if line.startswith("Pss:")), "Pss: 0")
    return resident, int(line.split()[1]) * 1024


def leave(why: str) -> NoReturn:
    """End this process at once; Ray starts the next incarnation, which rebuilds from the store.

    Never `sys.exit`: Ray takes that for a wish to stay dead.
    """
    log.error("process_left", why=why)
    os._exit(1)


def settle_collector() -> None:
    """Let the collector of cycles leave alone what is loaded by now, and come far less often.

    An actor keeps its modules for life, and what it handles has no cycles: with Python's defaults the
    collector came several times within one decision, with caches that were cold by then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


def begin(work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None] | None:
    """Start a loop from `__init__`, which Ray runs on the actor's own event loop.

    None outside an event loop: a shell test turns the loop itself.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    settle_collector()
    return loop.create_task(work())


async def keep_turning(
    turn: Callable[[], Awaitable[float]], pulse: Pulse, *, retry_s: float = 1.0
) -> None:
    """Run `turn` for ever; it returns the wall seconds to wait. Errors are counted and retried.

    `Fenced` ends the process: a newer owner is at work.
    """
    while True:
        pulse.turn()
        try:
            wait_s = await turn()
        except Fenced as newer:
            leave(str(newer))
        except (IllegalTransition, LedgerMismatch) as wrong:
            pulse.count("model_errors")
            meters.TURNS_FAILED.count(pulse.role, "model_error")
            log.exception("model_error", actor=pulse.name, error=str(wrong))
            wait_s = retry_s
        except DeskError as failed:
            pulse.count("turns_failed")
            meters.TURNS_FAILED.count(pulse.role, "failed")
            log.warning("turn_failed", actor=pulse.name, error=f"{type(failed).__name__}: {failed}")
            wait_s = retry_s
        except Exception as unforeseen:  # a loop must outlive what nobody foresaw
            pulse.count("turns_crashed")
            meters.TURNS_FAILED.count(pulse.role, "crashed")
            log.exception("turn_crashed", actor=pulse.name, error=repr(unforeseen))
            wait_s = retry_s
        await pulse.sleep(wait_s)
