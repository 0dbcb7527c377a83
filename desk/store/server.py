"""The embedded store server: started in its own session, kept by a lock, found again by its socket.

The server holds the lock of its folder for as long as it lives (it inherits the locked file), so
two servers can never write the same files, and a killed one frees them at once. One that is killed
while it rewrites its files leaves the process that writes them, with the lock and with every
client's connection open: that one is ended by the next start.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import redis
import structlog

from desk.errors import StoreUnavailable
from desk.store.server_address import (
    Address,
    ask,
    choose_address,
    read_address,
    store_folder,
    write_private,
)
from desk.store.server_diagnosis import server_binary, why_it_ended
from desk.wallclock import monotonic_s

START_DEADLINE_S = 30.0
"""Loading 200 MB of state takes a few seconds; beyond this something is wrong."""
STOP_DEADLINE_S = 20.0
LOW_DISK_BYTES = 1 << 30
"""Below this the operator is alerted and entries pause."""
DISK_RESERVE = ("run", "disk_reserve")
"""File under the home in which an operator may ask for more than that, as a number of bytes."""
MIN_FREE_BYTES = 64 << 20
"""Below this the server is not started: it would exit on its first failed write."""
MAXMEMORY_BYTES = 2 << 30
"""Ten times the expected size; writes are refused beyond it, nothing is evicted."""
_LOG_BYTES = 8 << 20
_POLL_S = 0.01
_log = structlog.get_logger(__name__)
_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""Servers this process started, by pid: a server outlives every value that names it, and only its
parent can collect its exit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that answered. `url` is for `ValkeyStore`."""

    url: str
    pid: int
    home: Path

    def is_alive(self) -> bool:
        """Whether it still holds its files (it may be loading or hung: `find` asks with a PING)."""
        child = _children.get(self.pid)
        if child is not None:
            return child.poll() is None
        return _exists(self.pid) and not _is_free(self.home)

    def wait(self) -> None:
        """Return when the process has ended."""
        while self.is_alive():
            time.sleep(_POLL_S)


def start(home: Path, *, deadline_s: float = START_DEADLINE_S) -> RunningServer:
    """Start the server of a home folder, or adopt the one that runs.

    Returns once it answers. Raises `StoreCorrupt` when it refuses its files (nothing is repaired),
    `StoreUnavailable` when the disk is full or it does not answer within `deadline_s`.
    """
    folder = store_folder(home)
    give_up_s = monotonic_s() + deadline_s
    while True:
        lock = _lock(folder)
        if lock is not None:
            with os.fdopen(lock, "rb") as held:
                return _launch(home, held.fileno(), give_up_s)
        running = find(home)
        if running is not None:
            return running
        _end_orphans(folder)
        if monotonic_s() > give_up_s:
            raise StoreUnavailable(
                f"a store server holds {folder / 'lock'} but did not answer for {deadline_s:.0f} s:"
                " look at its server.log"
            )
        time.sleep(_POLL_S)


def find(home: Path) -> RunningServer | None:
    """The server of this home if one answers now; starts nothing."""
    try:
        address = read_address(home)
        pid = int(ask(address, "server")["process_id"])
    except (OSError, ValueError, redis.RedisError):
        return None
    return RunningServer(url=address.url, pid=pid, home=home)


def stop(server: RunningServer, *, deadline_s: float = STOP_DEADLINE_S) -> None:
    """End a server and wait until its files are free. A server that hangs is killed at the deadline."""
    give_up_s = monotonic_s() + deadline_s
    _signal(server.pid, signal.SIGTERM)
    while not _is_free(server.home):
        if not server.is_alive():
            _end_orphans(store_folder(server.home))
        if monotonic_s() > give_up_s:
            _log.warning("store_server_killed", pid=server.pid, reason="did not stop in time")
            _signal(server.pid, signal.SIGKILL)
            give_up_s = monotonic_s() + deadline_s
        time.sleep(_POLL_S)
    server.wait()


def free_bytes(home: Path) -> int:
    """Free space on the disk that holds the store."""
    return shutil.disk_usage(store_folder(home)).free


def least_free_bytes(home: Path) -> int:
    """How much must stay free: what the operator's file asks for, never less than `LOW_DISK_BYTES`."""
    try:
        asked = int(home.joinpath(*DISK_RESERVE).read_text("utf-8"))
    except (OSError, ValueError):
        return LOW_DISK_BYTES
    return max(asked, LOW_DISK_BYTES)


# --- starting ---------------------------------------------------------------------------------


def _launch(home: Path, lock: int, give_up_s: float) -> RunningServer:
    folder = store_folder(home)
    if free_bytes(home) < MIN_FREE_BYTES:
        raise StoreUnavailable(
            f"{folder} has {free_bytes(home) >> 20} MiB free, expected at least"
            f" {MIN_FREE_BYTES >> 20} MiB: free some space and start again"
        )
    for unfinished in (*folder.glob("temp-*.aof"), *folder.glob("temp-*.rdb")):
        unfinished.unlink()
    address = choose_address(home)
    write_private(folder / "server.conf", _config(folder, address))
    write_private(folder / "server.json", json.dumps(asdict(address)))
    log = folder / "server.log"
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(folder / "server.log.1")
    log_start = log.stat().st_size if log.exists() else 0
    process = subprocess.Popen(
        [str(server_binary()), str(folder / "server.conf")],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=(lock,),
    )
    _children[process.pid] = process
    while True:
        if process.poll() is not None:
            raise why_it_ended(home, process.returncode, _log_after(log, log_start))
        try:
            ask(address, "server")
        except (OSError, redis.RedisError) as not_yet:
            if monotonic_s() > give_up_s:
                process.kill()
                process.wait()
                raise StoreUnavailable(f"the store server did not answer: {not_yet}") from not_yet
            time.sleep(_POLL_S)
            continue
        write_private(folder / "server.pid", str(process.pid))
        _log.info("store_server_started", pid=process.pid, folder=str(folder))
        return RunningServer(url=address.url, pid=process.pid, home=home)


def _config(folder: Path, address: Address) -> str:
    listen = (
        f"port 0\nunixsocket {_quoted(address.socket)}\nunixsocketperm 700\n"
        if address.socket
        else f"bind 127.0.0.1\nport {address.port}\nrequirepass {address.password}\n"
    )
    return f"""{listen}dir {_quoted(folder)}
logfile {_quoted(folder / "server.log")}
daemonize no
protected-mode yes
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
aof-load-truncated yes
save ""
maxmemory {MAXMEMORY_BYTES}
maxmemory-policy noeviction
hash-max-listpack-entries 512
hash-max-listpack-value 64
busy-reply-threshold 2000
timeout 0
"""


def _quoted(path: Path | str) -> str:
    return '"' + str(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _log_after(log: Path, start: int) -> str:
    with log.open("rb") as text:
        text.seek(start)
        return text.read().decode("utf-8", "replace")


# --- finding ----------------------------------------------------------------------------------


def _lock(folder: Path) -> int | None:
    """The locked file, or None while a server lives or another start is under way."""
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _is_free(home: Path) -> bool:
    lock = _lock(store_folder(home))
    if lock is None:
        return False
    os.close(lock)
    return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end_orphans(folder: Path) -> None:
    """Kill what a server that is gone left behind.

    A server leads a process group of its own. While the group lives its number is nobody else's,
    so a group without its leader is the remains of that server.
    """
    try:
        pid = int((folder / "server.pid").read_text("utf-8"))
    except (OSError, ValueError):
        return
    if pid in _children:
        _children[pid].poll()  # collects the exit: until then the leader seems to exist
    if _exists(pid):
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    _log.warning("store_orphan_killed", group=pid, reason="its server is gone")


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        _log.info("store_server_was_gone", pid=pid)
