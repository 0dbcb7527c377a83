"""The processes that `desk up` started: written down, so that they can be found and ended later."""

import contextlib
import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from desk.wallclock import monotonic_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """One process group. `birth` is the kernel's start time: a reused pid is never mistaken for ours."""

    name: str
    pid: int
    birth: int
    mark: str = ""
    """`NAME=value` in the environment of everything it starts, also of what leaves its group."""


class ProcessBook:
    """`DESK_HOME/run/processes.json`."""

    def __init__(self, home: Path) -> None:
        self._path = home / "run" / "processes.json"

    def write_down(self, name: str, pid: int, *, mark: str = "") -> None:
        """Remember a process under a name, replacing an older one of that name."""
        entries = [entry for entry in self.entries() if entry.name != name]
        fresh = Started(name=name, pid=pid, birth=birth_of(pid) or 0, mark=mark)
        self._save([*entries, fresh])

    def strike_out(self, name: str) -> None:
        """Forget a name; forgetting what is absent succeeds."""
        self._save([entry for entry in self.entries() if entry.name != name])

    def entries(self) -> list[Started]:
        """Everything written down, oldest first; an unreadable book counts as empty."""
        try:
            rows = json.loads(self._path.read_text())
            return [Started(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []

    def living(self) -> list[Started]:
        """Entries whose very process still runs."""
        return [entry for entry in self.entries() if is_alive(entry)]

    def end_all(self, patience_s: float = 5.0) -> list[str]:
        """End every living entry, newest first, with all that it started.

        The process itself hears SIGTERM and ends its own children in order; after the patience, or
        once it is gone, what is left of its group is killed.
        """
        ended = [entry.name for entry in reversed(self.living())]
        for entry in reversed(self.entries()):
            end(entry, patience_s)
        self._path.unlink(missing_ok=True)
        return ended

    def _save(self, entries: list[Started]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(entry) for entry in entries], indent=1))
        fresh.replace(self._path)


def birth_of(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, or None if there is none (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _birth_without_proc(pid)
    return None if fields[0] == "Z" else int(fields[19])


def is_alive(entry: Started) -> bool:
    """Whether the very process that was written down still runs."""
    return birth_of(entry.pid) == entry.birth


def end(entry: Started, patience_s: float = 5.0) -> None:
    """End one process and all that it started; ending what is gone ends what it left behind."""
    if is_alive(entry):
        with contextlib.suppress(ProcessLookupError):
            os.kill(entry.pid, signal.SIGTERM)
        wait_gone(entry, patience_s)
        # It leads a session of its own: its group's number is its pid, also after its end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(entry.pid, signal.SIGKILL)
        wait_gone(entry, 5.0)
    deadline = monotonic_s() + 10.0
    while entry.mark and (left := marked(entry.mark)) and monotonic_s() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def marked(mark: str) -> list[int]:
    """Living processes with this `NAME=value` in their environment (empty without /proc)."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = mark.encode() in (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if named and int(folder.name) != os.getpid() and birth_of(int(folder.name)) is not None:
            found.append(int(folder.name))
    return found


def title_of(pid: int) -> str:
    """How a process calls itself; empty once it is gone (and without /proc)."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode("utf-8", "replace")
    except OSError:
        return ""


def wait_gone(entry: Started, patience_s: float) -> bool:
    """Wait for a process to end; False when it outlived the patience."""
    deadline = monotonic_s() + patience_s
    while is_alive(entry):
        _reap(entry.pid)
        if monotonic_s() > deadline:
            return False
        time.sleep(0.05)
    return True


def _birth_without_proc(pid: int) -> int | None:
    # Systems without /proc (macOS): existence is all that can be known cheaply.
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
