"""Which stores are good enough for live money."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from desk.errors import SettingsError, StoreUnavailable
from desk.store import server
from desk.store.connect import check_durability, open_store
from desk.store.memory import MemoryStore
from desk.store.port import Kind
from desk.store.valkey import ValkeyStore

NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])


@pytest.fixture
def loopback(home: Path) -> Iterator[server.RunningServer]:
    """A server with a password on a loopback port, as an external one would be."""
    running = server.start(home / ("x" * 120))
    yield running
    server.stop(running)


def test_the_embedded_store_of_a_home_is_durable(running: server.RunningServer, home: Path):
    store = open_store(None, home)

    check_durability(store)

    assert store.url == running.url
    store.close()


def test_opening_a_store_asks_nobody(home: Path):
    store = open_store("redis://127.0.0.1:1/0", home)

    with pytest.raises(StoreUnavailable):
        store.ping()
    with pytest.raises(StoreUnavailable, match="desk up"):
        open_store(None, home / ("x" * 120))
    store.close()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendfsync", "everysec"), ("appendonly", "no"), ("maxmemory-policy", "allkeys-lru")],
)
def test_a_store_that_may_lose_writes_is_refused(
    running: server.RunningServer, home: Path, setting: str, value: str
):
    store = open_store(running.url, home)
    store.connection.money.config_set(setting, value)

    with pytest.raises(SettingsError, match=f"{setting} was {value}"):
        check_durability(store)
    store.close()


def test_a_replica_is_refused(running: server.RunningServer, home: Path):
    store = open_store(running.url, home)
    store.connection.money.execute_command("REPLICAOF", "127.0.0.1", "1")

    with pytest.raises(SettingsError, match="role was slave"):
        check_durability(store)
    with pytest.raises(StoreUnavailable):
        store.put(NOTES, "k", {}, at_ms=1)
    store.close()


def test_a_url_of_something_else_is_refused_in_one_sentence(home: Path):
    with pytest.raises(SettingsError, match="REDIS_URL"):
        open_store("http://127.0.0.1", home)


def test_memory_is_refused():
    with pytest.raises(SettingsError, match="appendonly was no"):
        check_durability(MemoryStore())


def test_a_server_that_hides_its_settings_must_confirm_each_change(
    loopback: server.RunningServer, home: Path
):
    hidden = _without_config(loopback)
    store = open_store(hidden, home)
    with pytest.raises(SettingsError, match="wait_aof=yes"):
        check_durability(store)

    waiting = open_store(f"{hidden}?wait_aof=yes", home)

    check_durability(waiting)
    assert waiting.put(NOTES, "k", {"n": 1}, at_ms=1).version == 1
    for opened in (store, waiting):
        opened.close()


def test_a_change_that_never_reaches_the_disk_is_an_error(
    loopback: server.RunningServer, home: Path
):
    owner = ValkeyStore(loopback.url)
    owner.connection.money.config_set("appendonly", "no")
    waiting = open_store(f"{_without_config(loopback)}?wait_aof=yes", home)

    with pytest.raises(StoreUnavailable):
        waiting.put(NOTES, "k", {"n": 1}, at_ms=1)
    for opened in (owner, waiting):
        opened.close()


def _without_config(loopback: server.RunningServer) -> str:
    owner = ValkeyStore(loopback.url)
    owner.connection.money.execute_command(
        "ACL", "SETUSER", "hosted", "on", ">secret", "~*", "&*", "+@all", "-config"
    )
    owner.close()
    port = loopback.url.rpartition(":")[2]
    return f"redis://hosted:secret@127.0.0.1:{port}"
