"""No acknowledged write is lost: the server is killed while clients write, or loses its power.

Thirty kills in the suite and 250 every night, in three ways: as it is, while it rewrites its files,
and with everything gone that had not reached the disk.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from desk.store import server
from desk.store.server_watch import ServerWatch
from desk.store.valkey import ValkeyStore
from tests.desk.store.killing import Writer, check

WRITERS = 3
WATCH_EVERY_S = 0.5
"""As often as `desk up` looks after the server."""
P99_S = 3.0
BEGUN_COMMAND = b"*3\r\n$3\r\nSET\r\n$9\r\nunfin"
"""What the power took away in the middle of a write."""


def rounds(nightly: int) -> pytest.MarkDecorator:
    """How often to kill: ten times in the suite, more every night."""
    many = pytest.param(nightly, marks=[pytest.mark.nightly, pytest.mark.timeout(3_600)])
    return pytest.mark.parametrize(
        "kills", [pytest.param(10, marks=pytest.mark.timeout(300)), many]
    )


@contextmanager
def watched(home: Path) -> Iterator[ServerWatch]:
    """A server that is started again whenever it ends, as often as `desk up` looks."""
    watch, over = ServerWatch(home, max_restarts=1_000_000), threading.Event()

    def look() -> None:
        while not over.wait(WATCH_EVERY_S):
            watch.check()

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield watch
    finally:
        over.set()
        looking.join()


def write_until(
    url: str, name: str, end: Callable[[], None], rng: random.Random, *, insists: bool = False
) -> list[Writer]:
    """Let writers work, do `end` at some moment, and wait until each has met the end."""
    writers = [Writer(url, f"{name}w{n}", insists=insists and n == 0) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        assert writer.busy.wait(60), writer.failure
    threading.Event().wait(rng.uniform(0, 0.15))
    end()
    for writer in writers:
        writer.ended()
    return writers


def check_and_settle(url: str, writers: list[Writer]) -> None:
    """Check what is there, let every call in doubt be repeated, and check again."""
    store = ValkeyStore(url)
    check(store, writers)
    for writer in writers:
        writer.settle()
    check(store, writers)
    store.close()


def kill_again_and_again(
    home: Path, kills: int, before: Callable[[ValkeyStore, random.Random], None], seed: int
) -> list[float]:
    """Kill a watched server under its writers; returns seconds from each kill to the next commit."""
    rng, all_writers, waited_s = random.Random(seed), list[Writer](), list[float]()
    with watched(home) as watch:
        client = ValkeyStore(watch.running.url)
        for number in range(kills):
            killed_s = list[float]()

            def kill(killed_s: list[float] = killed_s) -> None:
                before(client, rng)
                killed_s.append(time.monotonic())
                os.kill(watch.running.pid, signal.SIGKILL)

            writers = write_until(watch.running.url, f"r{number}", kill, rng, insists=True)
            waited_s.append(writers[0].again_s - killed_s[0])
            check_and_settle(watch.running.url, writers)
            all_writers += writers
        check(client, all_writers)
        client.close()
    return waited_s


def report(what: str, waited_s: list[float], capsys: pytest.CaptureFixture[str]) -> float:
    """Print how long the next commit took; returns the 99th percentile in seconds."""
    ordered = sorted(waited_s)
    p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
    with capsys.disabled():
        print(
            f"\n{what}: {len(ordered)} kills, 0 acknowledged writes lost; first commit again"
            f" p50 {p50:.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s"
        )
    return p99


@pytest.mark.catalogue("I08")
@pytest.mark.catalogue("R06")
@rounds(84)
def test_a_killed_server_loses_no_acknowledged_write(
    home: Path, kills: int, capsys: pytest.CaptureFixture[str]
):
    waited_s = kill_again_and_again(home, kills, lambda client, rng: None, seed=7)

    if kills > 10:
        assert report("store killed", waited_s, capsys) <= P99_S


@pytest.mark.catalogue("I09")
@rounds(83)
def test_a_server_killed_while_it_rewrites_its_files_loses_no_acknowledged_write(
    home: Path, kills: int, capsys: pytest.CaptureFixture[str]
):
    rewriting = list[bool]()

    def rewrite(client: ValkeyStore, rng: random.Random) -> None:
        """Most rewrites are slowed down so that they cannot end before the kill."""
        money = client.connection.money
        money.config_set("rdb-key-save-delay", rng.choice((0, 500, 5_000)))
        money.bgrewriteaof()
        threading.Event().wait(rng.uniform(0, 0.1))
        rewriting.append(bool(money.info("persistence")["aof_rewrite_in_progress"]))

    waited_s = kill_again_and_again(home, kills, rewrite, seed=8)

    assert sum(rewriting) >= kills / 2
    assert list((home / "store").glob("temp-*")) == []
    if kills > 10:
        name = f"store killed, {sum(rewriting)} times while rewriting"
        assert report(name, waited_s, capsys) <= P99_S


@pytest.mark.catalogue("I10")
@rounds(83)
def test_a_power_loss_loses_no_acknowledged_write(
    home: Path,
    kills: int,
    shim: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    torn = lose_power_again_and_again(home, kills, shim, monkeypatch, "always")

    assert torn >= kills // 2
    if kills > 10:
        with capsys.disabled():
            print(f"\npower lost: {kills} times, 0 acknowledged writes lost")


def test_a_store_that_does_not_wait_for_the_disk_is_caught_losing_writes(
    home: Path, shim: Path, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(AssertionError):
        lose_power_again_and_again(home, 1, shim, monkeypatch, "no")


def lose_power_again_and_again(
    home: Path, kills: int, shim: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> int:
    """Kill, take away what had not reached the disk, start; returns how often a torn end was left."""
    rng, all_writers, log, torn = random.Random(11), list[Writer](), home / "durable.log", 0
    for number in range(kills):
        log.unlink(missing_ok=True)
        durable = sizes(home)
        with monkeypatch.context() as shimmed:
            shimmed.setenv("LD_PRELOAD", str(shim))
            shimmed.setenv("DURLOG", str(log))
            running = server.start(home)
        client = ValkeyStore(running.url)
        client.connection.money.config_set("appendfsync", policy)
        if number % 3 == 2:
            client.connection.money.bgrewriteaof()
        client.close()
        pid = running.pid

        def kill(pid: int = pid) -> None:
            os.kill(pid, signal.SIGKILL)

        writers = write_until(running.url, f"r{number}", kill, rng)
        running.wait()
        torn += lose_power(home, durable | logged(log), rng, tear=number % 2 == 1)
        running = server.start(home)
        check_and_settle(running.url, writers)
        all_writers += writers
        if number == kills - 1:
            store = ValkeyStore(running.url)
            check(store, all_writers)
            store.close()
        server.stop(running)
    return torn


def sizes(home: Path) -> dict[int, int]:
    """What is on the disk while no server runs: inode → size."""
    files = (home / "store" / "appendonlydir").glob("*")
    return {file.stat().st_ino: file.stat().st_size for file in files}


def logged(log: Path) -> dict[int, int]:
    """What reached the disk since: inode → size."""
    lines = (line.split() for line in log.read_text().splitlines())
    return {int(inode): int(size) for inode, size in lines}


def lose_power(home: Path, durable: dict[int, int], rng: random.Random, *, tear: bool) -> int:
    """Cut each file of the store to what had reached the disk, sometimes with a torn rest of it.

    With `tear` the newest log of commands ends torn: with a part of what had not reached the disk,
    or, on a disk so fast that it had all been written, with the beginning of a command that nobody
    was told of. Older logs end whole, as each is on the disk before the next begins. Returns how
    many files end torn.
    """
    torn = 0
    files = list((home / "store" / "appendonlydir").glob("*"))
    assert files
    newest = max(files, key=_log_number)
    for file in files:
        found = file.stat()
        kept = min(durable.get(found.st_ino, 0), found.st_size)
        unwritten = found.st_size - kept
        must_tear = tear and file == newest
        tears = unwritten > 0 and (must_tear or rng.random() < 0.5)
        rest = rng.randint(1, unwritten) if tears else 0
        os.truncate(file, kept + rest)
        if must_tear and not rest:
            with file.open("ab") as log:
                rest = log.write(BEGUN_COMMAND[: rng.randint(1, len(BEGUN_COMMAND))])
        torn += rest > 0
    return torn


def _log_number(file: Path) -> int:
    """The number in `appendonly.aof.3.incr.aof`; 0 for a base or the manifest."""
    parts = file.name.split(".")
    return int(parts[-3]) if parts[-2:] == ["incr", "aof"] else 0
