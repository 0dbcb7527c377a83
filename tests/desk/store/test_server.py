"""The embedded server: one per home, found again, restarted, never repaired by itself."""

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from desk.errors import StoreCorrupt, StoreUnavailable
from desk.store import server
from desk.store.port import Kind
from desk.store.server_address import read_address
from desk.store.server_watch import ServerWatch, health
from desk.store.valkey import ValkeyStore
from tests.listeners import listeners

NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])


def _kill(running: server.RunningServer) -> None:
    os.kill(running.pid, signal.SIGKILL)
    running.wait()


def _aof(home: Path) -> Path:
    """The newest file that commands are appended to."""
    return sorted((home / "store" / "appendonlydir").glob("*.incr.aof"))[-1]


def _fill(running: server.RunningServer, count: int = 200) -> None:
    store = ValkeyStore(running.url)
    for n in range(count):
        store.put(NOTES, str(n), {"n": n}, at_ms=n)
    store.close()


def _count(running: server.RunningServer) -> int:
    store = ValkeyStore(running.url)
    found = len(store.list(NOTES, limit=10_000))
    store.close()
    return found


@pytest.mark.catalogue("S14")
def test_a_server_listens_on_a_private_socket_only(running: server.RunningServer, home: Path):
    address = read_address(home)
    path = Path(address.socket)

    assert running.url == f"unix://{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "store").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "store" / "server.json").stat().st_mode) == 0o600
    with redis.Redis(unix_socket_path=str(path), decode_responses=True) as client:
        settings = client.config_get("port", "protected-mode")
    assert settings == {"port": "0", "protected-mode": "yes"}
    assert listeners([running.pid]) == []


@pytest.mark.catalogue("S14")
def test_a_home_too_deep_for_a_socket_gets_loopback_and_a_password(home: Path):
    deep = home / ("x" * 120)
    running = server.start(deep)

    address = read_address(deep)
    once = Retry(NoBackoff(), 0)
    with (
        redis.Redis(port=address.port, retry=once) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    assert _count(running) == 0
    listening = [one for one in listeners([running.pid]) if one.port == address.port]
    assert [str(one.address) for one in listening] == ["127.0.0.1"]
    assert len(address.password) >= 32
    assert address.password not in listening[0].title, "what `ps` shows"
    _kill(running)
    again = server.start(deep)
    assert again.url == running.url
    server.stop(again)


def test_the_settings_are_the_durable_ones(running: server.RunningServer):
    store = ValkeyStore(running.url)

    assert store.durability() == {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "role": "master",
        "version": "9.1.2",
        "wait_aof": "no",
    }
    store.close()


def test_a_running_server_is_adopted(running: server.RunningServer, home: Path):
    assert server.start(home) == running
    assert server.find(home) == running


def test_of_many_starts_at_once_one_server_comes_up(home: Path):
    found: list[server.RunningServer] = []
    starters = [threading.Thread(target=lambda: found.append(server.start(home))) for _ in range(6)]
    for starter in starters:
        starter.start()
    for starter in starters:
        starter.join()

    assert len({running.pid for running in found}) == 1


def test_a_server_outlives_the_process_that_started_it(home: Path):
    script = (
        "import sys, pathlib; from desk.store import server;"
        "print(server.start(pathlib.Path(sys.argv[1])).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home)], capture_output=True, text=True, check=True
    )

    found = server.find(home)
    assert found is not None
    assert str(found.pid) in done.stdout
    assert os.getsid(found.pid) == found.pid


def test_stopping_frees_the_files_and_keeps_the_data(running: server.RunningServer, home: Path):
    _fill(running, 20)

    server.stop(running)

    assert not running.is_alive()
    assert server.find(home) is None
    assert _count(server.start(home)) == 20


def test_a_hung_server_is_never_doubled(running: server.RunningServer, home: Path):
    os.kill(running.pid, signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            server.start(home, deadline_s=0.1)
    finally:
        os.kill(running.pid, signal.SIGCONT)

    assert server.start(home).pid == running.pid


def test_a_hung_server_is_killed_when_it_must_stop(running: server.RunningServer, home: Path):
    os.kill(running.pid, signal.SIGSTOP)

    server.stop(running, deadline_s=0.1)

    assert not running.is_alive()
    assert server.find(home) is None


@pytest.mark.catalogue("I09")
def test_a_server_killed_while_it_rewrites_its_files_is_back_at_once(
    running: server.RunningServer, home: Path
):
    _fill(running)
    client = ValkeyStore(running.url)
    money = client.connection.money
    money.config_set("rdb-key-save-delay", 20_000)
    money.bgrewriteaof()
    while not money.info("persistence")["current_save_keys_total"]:
        pass  # it looks for its server when it begins, and then not for another 1,024 keys
    client.close()
    _kill(running)

    back = server.start(home, deadline_s=3)

    assert _count(back) == 200
    assert list((home / "store").glob("temp-*")) == []


@pytest.mark.catalogue("I11")
def test_a_torn_tail_is_dropped_at_start(running: server.RunningServer, home: Path):
    _fill(running)
    _kill(running)
    aof = _aof(home)
    os.truncate(aof, aof.stat().st_size - 7)

    assert _count(server.start(home)) == 199


@pytest.mark.catalogue("I12")
@pytest.mark.parametrize("damage", ["length", "command", "zero_tail"])
def test_a_corrupt_file_keeps_the_server_down_until_it_is_repaired(
    running: server.RunningServer, home: Path, damage: str
):
    _fill(running)
    _kill(running)
    aof = _aof(home)
    content = aof.read_bytes()
    begins = content.index(b"*1\r\n$5\r\nMULTI", len(content) // 2)
    at, junk = {
        "length": (begins + 5, b"\xff" * 64),
        "command": (begins + 8, b"\xff" * 64),
        "zero_tail": (len(content), b"\0" * 4096),
    }[damage]
    damaged = content[:at] + junk + content[at + len(junk) :]
    aof.write_bytes(damaged)

    with pytest.raises(StoreCorrupt):
        server.start(home)
    with pytest.raises(StoreCorrupt) as corrupt:
        server.start(home)
    assert aof.read_bytes() == damaged

    command = str(corrupt.value).split("`")[1]
    assert f"{aof.name}" in command
    subprocess.run(command, shell=True, check=True, input=b"y\n", capture_output=True)
    assert 0 < _count(server.start(home)) <= 200


def test_a_server_that_cannot_start_says_why(home: Path):
    folder = home / "store"
    folder.mkdir()
    (folder / "appendonlydir").write_text("in the way")

    with pytest.raises(StoreUnavailable, match="code 1"):
        server.start(home)


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        (None, server.LOW_DISK_BYTES),
        ("", server.LOW_DISK_BYTES),
        ("much", server.LOW_DISK_BYTES),
        ("-5", server.LOW_DISK_BYTES),
        (str(server.LOW_DISK_BYTES - 1), server.LOW_DISK_BYTES),
        (f"{5 << 30}\n", 5 << 30),
    ],
)
def test_a_reserve_can_ask_for_more_free_space_and_never_for_less(
    tmp_path: Path, asked: str | None, kept: int
) -> None:
    reserve = tmp_path.joinpath(*server.DISK_RESERVE)
    reserve.parent.mkdir()
    if asked is not None:
        reserve.write_text(asked)

    assert server.least_free_bytes(tmp_path) == kept


@pytest.mark.catalogue("I13")
def test_a_full_disk_ends_the_server_and_loses_nothing_acknowledged(
    running: server.RunningServer, home: Path, monkeypatch: pytest.MonkeyPatch
):
    _fill(running, 50)
    limit = _aof(home).stat().st_size + 20_000
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (limit, limit))
    store, acknowledged = ValkeyStore(running.url), 50

    def fill_up() -> None:
        nonlocal acknowledged
        for n in range(50, 1_000):
            store.put(NOTES, str(n), {"n": n}, at_ms=n)
            acknowledged += 1

    with pytest.raises(StoreUnavailable):
        fill_up()
    store.close()
    running.wait()

    with monkeypatch.context() as full:
        usage = shutil.disk_usage(home)._replace(free=1 << 20)
        full.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(StoreUnavailable, match="free some space"):
            server.start(home)
        assert health(home).disk_is_low
    assert _count(server.start(home)) in {acknowledged, acknowledged + 1}


@pytest.mark.catalogue("I14")
def test_a_full_memory_refuses_writes_and_keeps_reading(running: server.RunningServer):
    store = ValkeyStore(running.url)
    store.put(NOTES, "k", {"n": 1}, at_ms=1)
    store.connection.money.config_set("maxmemory", "1")

    with pytest.raises(StoreUnavailable, match="OutOfMemory"):
        store.put(NOTES, "k", {"n": 2}, at_ms=1)

    found = store.get(NOTES, "k")
    assert found is not None
    assert found.value == {"n": 1}
    store.close()


def test_the_watch_starts_a_killed_server_again(home: Path):
    watch = ServerWatch(home)
    _fill(watch.running, 10)
    assert not watch.check()

    _kill(watch.running)

    assert watch.check()
    assert _count(watch.running) == 10
    assert watch.recent_restarts == 1


def test_the_watch_gives_up_on_a_server_that_keeps_ending(home: Path):
    watch = ServerWatch(home, max_restarts=2)
    for _ in range(2):
        _kill(watch.running)
        assert watch.check()
    _kill(watch.running)

    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="more than 2 times"):
            watch.check()
    assert server.find(home) is None


def test_the_watch_forgets_restarts_of_long_ago(home: Path):
    watch = ServerWatch(home, max_restarts=1, window_s=0.0)

    for _ in range(3):
        _kill(watch.running)
        assert watch.check()


def test_health_tells_of_a_server_and_of_its_absence(running: server.RunningServer, home: Path):
    well = health(home)
    assert (well.pid, well.answers, well.last_write_ok) == (running.pid, True, True)
    assert 0 < well.used_memory_bytes < well.maxmemory_bytes

    _kill(running)

    assert not health(home).answers
