"""What every learning process does first: it stands behind trading, and bounds its memory."""

import ctypes
import os
import platform
import struct
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from desk.engines import standstill
from desk.engines.memory_budget import limit_memory

log = structlog.stdlib.get_logger()

NICENESS = 19
"""The kernel's least share."""
AUTOGROUP = Path("/proc/self/autogroup")
"""Linux shares a CPU between sessions first, and only within one by niceness: sched(7)."""
TRIES, PAUSE_S = 20, 0.1
"""The kernel takes one change of a group in 0.1 s from whoever is not its administrator."""
TURN_NS = 100_000
"""The shortest that the kernel allows: for so long whoever wakes up waits for a learner's turn to end."""
_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Number of the system call, which Python has no name for."""
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr` of sched_setattr(2), as its first version had it."""


def become_learner(shares: int = 1) -> int:
    """Let this process stand behind trading, and be refused memory as `limit_memory` says.

    For a process that does nothing else any more: it cannot be taken back.
    """
    give_way()
    standstill.enlist()
    return limit_memory(shares)


def as_learner[R](build: Callable[[], R]) -> R:
    """Build in a process that is a learner from now on."""
    become_learner()
    return build()


def give_way() -> None:
    """Take the least share of a CPU that others want, in the shortest turns, and in a session of its
    own. Idempotent.

    Within Ray's session a learner's niceness counts only against Ray's other processes: against the
    store's server and the kernel's own threads the whole session weighs as much as any, and held them
    up for a tenth of a second. Where the kernel has no such groups niceness alone does.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < NICENESS:
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    _take_short_turns()
    try:
        _begin_session()
    except OSError as refused:  # the group of somebody else's session is not ours to put behind
        log.warning("session_not_behind_trading", why=str(refused))
    else:
        _put_session_behind()


def _begin_session() -> None:
    if os.getsid(0) == os.getpid():
        return
    if os.getpgrp() == os.getpid():  # the head of a group of processes may begin no session
        os.setpgid(0, os.getpgid(os.getppid()))
    os.setsid()


def _put_session_behind() -> None:
    if not AUTOGROUP.exists():
        return
    for _ in range(TRIES):
        try:
            AUTOGROUP.write_text(str(NICENESS))
        except BlockingIOError:
            time.sleep(PAUSE_S)
        except OSError as refused:
            log.warning("session_not_behind_trading", why=str(refused))
            return
        else:
            return
    log.warning("session_not_behind_trading", why=f"busy for {TRIES * PAUSE_S:g} s")


def _take_short_turns() -> None:
    """Let each thread there is, and with it each to come, run for a short while before others are
    looked at. Kernels before 6.12 know no such wish of an ordinary thread, and ignore it."""
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None:
        return
    call = ctypes.CDLL(None, use_errno=True).syscall
    wish = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_OTHER, 0, NICENESS, 0, TURN_NS, 0, 0)
    for thread in Path("/proc/self/task").iterdir():
        if call(number, int(thread.name), wish, 0) != 0:
            why = os.strerror(ctypes.get_errno())
            log.warning("turns_not_short", thread=thread.name, why=why)
