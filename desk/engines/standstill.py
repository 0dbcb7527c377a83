"""Learning stands still while a decision is under way: on this machine, for a fraction of a second.

However little of a CPU a learner takes, on the one beside it a decision is slower: the two share caches, and
often one core. So whoever decides stops them for that long (`SIGSTOP`) and lets them go on (`SIGCONT`).

A learner is known by a file in a folder of this machine and user. Whoever decides holds a shared lock
there, which the kernel takes back when it dies: learners go on as soon as nobody holds it, by whoever
decided last, or by the next look of a trading process (`resume`).
"""

import contextlib
import fcntl
import os
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import structlog

log = structlog.stdlib.get_logger()

MOST_S = 0.25
"""A decision that takes longer waits for something else."""
LOCK = "lock"


def folder() -> Path:
    """Where the learners of this machine and user are listed."""
    return Path(tempfile.gettempdir()) / f"raydesk-learners-{os.getuid()}"


def enlist() -> None:
    """Have this process stand still for decisions from now on. Idempotent."""
    began = _began(os.getpid())
    if began is None:
        return  # no Linux: nothing tells one process from the next of its number
    try:
        folder().mkdir(mode=0o700, exist_ok=True)
        if _is_ours():
            list(_learners())  # where nobody decides nobody else takes away what the dead have left
            (folder() / str(os.getpid())).write_text(began)
    except OSError as refused:
        log.warning("learner_not_listed", why=str(refused))


class Standstill:
    """One decision's hold on the learners."""

    def __init__(self) -> None:
        self._held: int | None = None

    def begin(self) -> None:
        """Stop the learners there are. Never raises: a decision is made beside them, too."""
        pids = list(_learners())
        if not pids or self._held is not None:
            return
        with contextlib.suppress(OSError):  # somebody is letting them go on in this very moment
            self._held = _locked(fcntl.LOCK_SH)
            _signal(pids, signal.SIGSTOP)

    def end(self) -> None:
        """Let them go on unless somebody else decides. Idempotent."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held)
            resume()


def resume() -> None:
    """Let every learner go on unless somebody decides. Does nothing to one that runs."""
    pids = list(_learners())
    if not pids:
        return
    try:
        held = _locked(fcntl.LOCK_EX)
    except OSError:  # whoever holds it does the same when it has decided
        return
    _signal(pids, signal.SIGCONT)
    os.close(held)


def _locked(kind: int) -> int:
    """A descriptor that holds the lock, without waiting for it. Raises `OSError`."""
    held = os.open(folder() / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(held, kind | fcntl.LOCK_NB)
    except OSError:
        os.close(held)
        raise
    return held


def _learners() -> Iterator[int]:
    """Processes that are listed and live; what the dead have left is taken away."""
    try:
        names = os.listdir(folder())
        if not names or not _is_ours():
            return
    except OSError:
        return
    for name in names:
        if not name.isdigit():
            continue
        file = folder() / name
        with contextlib.suppress(OSError):
            if file.read_text() == _began(int(name)):
                yield int(name)
            else:
                file.unlink()


def _is_ours() -> bool:
    """Nobody else may say in a folder that all may write to whom we stop."""
    found = folder().lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _began(pid: int) -> str | None:
    """When a process began, in the kernel's ticks: with its number it is told from every other."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, number)
