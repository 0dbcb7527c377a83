"""No acknowledged write is lost: the server is killed while clients write, or loses its power.

`RAYDESK_STORE_KILLS` sets the rounds of each test (4; 250 and more before a release).
"""

import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from desk.errors import StoreUnavailable
from desk.store import server
from desk.store.port import Event, Kind, Stream
from desk.store.valkey import ValkeyStore

ROUNDS = int(os.environ.get("RAYDESK_STORE_KILLS", "4"))
WRITERS = 3
NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* Writes "inode size" for each file that reached the disk: what a power loss cannot take. */
static void note(int fd) {
    const char *path = getenv("DURLOG");
    struct stat info;
    char line[64];
    if (!path || fstat(fd, &info)) return;
    snprintf(line, sizeof line, "%llu %lld\n", (unsigned long long)info.st_ino, (long long)info.st_size);
    int log = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    if (log < 0) return;
    if (write(log, line, strlen(line)) < 0) abort();
    close(log);
}
#define SHIM(name) \
    int name(int fd) { \
        static int (*real)(int); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        int answer = real(fd); \
        if (!answer) note(fd); \
        return answer; \
    }
SHIM(fsync)
SHIM(fdatasync)
"""


class Writer(threading.Thread):
    """Writes documents with an event each, until the store is gone; keeps what was acknowledged."""

    def __init__(self, url: str, name: str) -> None:
        super().__init__()
        self.store = ValkeyStore(url)
        self.name = name
        self.acknowledged: list[str] = []
        self.unclear = ""
        self.busy = threading.Event()

    def run(self) -> None:
        for n in range(1_000_000):
            key = f"{self.name}-{n}"
            event = Event(topic="note", key=key, data={"n": n}, at_ms=n, stream=Stream.ORDERS)
            try:
                self.store.put(NOTES, key, {"n": n}, at_ms=n, event=event, request_id=key)
            except StoreUnavailable:
                self.unclear = key
                break
            self.acknowledged.append(key)
            if n == 20:
                self.busy.set()
        self.store.close()


def _write_until(url: str, name: str, end: Callable[[], None], rng: random.Random) -> list[Writer]:
    writers = [Writer(url, f"{name}-{n}") for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        assert writer.busy.wait(30)
    threading.Event().wait(rng.uniform(0, 0.15))
    end()
    for writer in writers:
        writer.join()
    return writers


def _check(url: str, writers: list[Writer]) -> None:
    """Every acknowledged write is there with its event; an unclear one is there wholly or not at all."""
    store = ValkeyStore(url)
    stored = {doc.key for doc in store.list(NOTES, limit=1_000_000)}
    told = [event.key for event in store.read_events({Stream.ORDERS: "0-0"}, limit=1_000_000)]
    store.close()
    acknowledged = {key for writer in writers for key in writer.acknowledged}
    assert acknowledged <= stored
    assert stored - acknowledged <= {writer.unclear for writer in writers}
    assert len(told) == len(set(told))
    assert set(told) == stored


@pytest.mark.catalogue("I08")
@pytest.mark.catalogue("I09")
def test_a_killed_server_loses_no_acknowledged_write(home: Path):
    rng, running, writers = random.Random(7), server.start(home), list[Writer]()
    for round_ in range(ROUNDS):
        if round_ % 2:
            client = ValkeyStore(running.url)
            client.connection.money.bgrewriteaof()
            client.close()
        pid = running.pid

        writers += _write_until(
            running.url, str(round_), lambda pid=pid: os.kill(pid, signal.SIGKILL), rng
        )

        running.wait()
        running = server.start(home)
        _check(running.url, writers)
    server.stop(running)


@pytest.mark.catalogue("I10")
def test_a_power_loss_loses_no_acknowledged_write(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    if shutil.which("cc") is None:
        pytest.skip("no C compiler to build the fsync log with")
    shim, log = tmp_path / "shim.so", tmp_path / "durable.log"
    (tmp_path / "shim.c").write_text(SHIM)
    build = ["cc", "-shared", "-fPIC", "-O1", "-o", str(shim), str(tmp_path / "shim.c"), "-ldl"]
    subprocess.run(build, check=True)
    rng, writers = random.Random(11), list[Writer]()
    for round_ in range(ROUNDS):
        with monkeypatch.context() as shimmed:
            shimmed.setenv("LD_PRELOAD", str(shim))
            shimmed.setenv("DURLOG", str(log))
            running = server.start(home)
        _check(running.url, writers)
        pid = running.pid

        writers += _write_until(
            running.url, str(round_), lambda pid=pid: os.kill(pid, signal.SIGKILL), rng
        )
        running.wait()
        _lose_power(home, log, rng)
    running = server.start(home)
    _check(running.url, writers)
    server.stop(running)


def _lose_power(home: Path, log: Path, rng: random.Random) -> None:
    """Cut each append-only file to what had reached the disk, sometimes with a torn rest."""
    durable = dict[int, int]()
    for line in log.read_text().splitlines():
        inode, size = line.split()
        durable[int(inode)] = int(size)
    files = list((home / "store" / "appendonlydir").glob("*.incr.aof"))
    assert files
    for file in files:
        found = file.stat()
        kept = min(durable.get(found.st_ino, 0), found.st_size)
        torn = rng.randint(0, found.st_size - kept) if rng.random() < 0.5 else 0
        os.truncate(file, kept + torn)
