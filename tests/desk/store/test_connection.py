"""What clients see of a store that loses replies, is gone, comes back, or is of another version."""

import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from desk.errors import SettingsError, StoreUnavailable
from desk.store import connection, server
from desk.store.library import library
from desk.store.port import Event, Kind, Sample, Stream
from desk.store.valkey import ValkeyStore
from desk.trading.ledger import Ledger

NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])
EVENT = Event(topic="t", key="k", data={}, at_ms=1)


class LossyProxy:
    """Stands before a server's socket; swallows the next replies and breaks the connection."""

    def __init__(self, target: str, path: str) -> None:
        self.target = target
        self.url = f"unix://{path}"
        self.lose = 0
        self.lost = 0
        self.asked: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            upstream = socket.socket(socket.AF_UNIX)
            upstream.connect(self.target)
            self._sockets += [client, upstream]
            for source, sink, is_reply in ((client, upstream, False), (upstream, client, True)):
                pump = threading.Thread(target=self._pump, args=(source, sink, is_reply))
                pump.start()
                self._threads.append(pump)

    def _pump(self, source: socket.socket, sink: socket.socket, is_reply: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if is_reply and self.lose > 0:
                    self.lose -= 1
                    self.lost += 1
                    break
                if not is_reply:
                    self.asked.append(data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def proxy(valkey_server: server.RunningServer, store: ValkeyStore) -> Iterator[LossyProxy]:
    with tempfile.TemporaryDirectory(prefix="rd-") as folder:
        standing = LossyProxy(valkey_server.url.removeprefix("unix://"), f"{folder}/p.sock")
        yield standing
        standing.close()


@pytest.fixture
def lossy(proxy: LossyProxy) -> Iterator[ValkeyStore]:
    """A store whose connections are open and about to fail."""
    opened = ValkeyStore(proxy.url)
    opened.load_functions()
    yield opened
    opened.close()


CHANGES: dict[str, Callable[[ValkeyStore], object]] = {
    "emit": lambda store: store.emit(EVENT),
    "put": lambda store: store.put(NOTES, "k", {}, at_ms=1, expected_version=0, event=EVENT),
    "lease": lambda store: store.acquire_lease("role", "me", 1_000),
    "record": lambda store: store.record(
        [Sample(name="m", value=1.0, unit="s", recorded_at_ms=1, tags={})]
    ),
    "kill": lambda store: store.set_kill("all", on=True, reason="r", event=EVENT),
}


def calls_of(store: ValkeyStore, command: str) -> int:
    """How often the server was asked for a command by a client."""
    facts = store.connection.money.info("commandstats").get(f"cmdstat_{command}")
    return facts["calls"] if facts else 0


def test_the_client_sends_a_write_once_even_when_its_reply_is_lost(
    lossy: ValkeyStore, proxy: LossyProxy, store: ValkeyStore
):
    common = ["q1", 60, "", "", "ev:ops", "t", "k", "{}", 1, ""]
    before = calls_of(store, "fcall")
    proxy.lose = 3

    with pytest.raises(redis.ConnectionError):
        lossy.connection.money.fcall("emit", 0, *common)

    assert proxy.lost == 1
    assert calls_of(store, "fcall") == before + 1
    assert len(store.read_events({Stream.OPS: "0-0"})) == 1
    proxy.lose = 0
    lossy.connection.money.fcall("emit", 0, *common)
    assert len(store.read_events({Stream.OPS: "0-0"})) == 1


def test_the_clients_own_defaults_would_have_doubled_it(proxy: LossyProxy, store: ValkeyStore):
    """Why every client here is told not to repeat: this is what redis-py does unasked."""
    with redis.Redis(unix_socket_path=proxy.url.removeprefix("unix://")) as eager:
        eager.ping()
        proxy.lose = 1

        assert eager.incr("counter") == 2

    assert proxy.lost == 1


@pytest.mark.parametrize("client", ["money", "bulk", "blocking"])
def test_no_client_has_a_retry_of_its_own(store: ValkeyStore, client: str):
    settings = getattr(store.connection, client).connection_pool.connection_kwargs

    assert settings["retry"].get_retries() == 0
    assert not settings.get("retry_on_timeout")
    assert not settings.get("retry_on_error")
    assert settings["socket_timeout"] > 0
    assert settings["socket_connect_timeout"] > 0


@pytest.mark.parametrize("lost", [0, 1])
def test_a_change_is_one_call_and_after_a_lost_reply_the_same_one_again(
    lossy: ValkeyStore, proxy: LossyProxy, store: ValkeyStore, lost: int
):
    lossy.put(NOTES, "k", {}, at_ms=1)
    proxy.asked.clear()
    before = calls_of(store, "fcall")
    proxy.lose = lost

    lossy.put(NOTES, "k", {"n": 1}, at_ms=1, event=EVENT, request_id="q1")

    sent = [data for data in proxy.asked if b"FCALL" in data]
    assert len(sent) == calls_of(store, "fcall") - before == 1 + lost
    assert len(set(sent)) == 1
    assert [doc.version for doc in store.list(NOTES)] == [2]
    assert len(store.read_events({Stream.OPS: "0-0"})) == 1


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_reply_was_lost_happens_once(
    lossy: ValkeyStore, proxy: LossyProxy, store: ValkeyStore, change: str
):
    proxy.lose = 1

    CHANGES[change](lossy)

    assert proxy.lost == 1
    effects = {
        "events": len(store.read_events({Stream.OPS: "0-0"})),
        "versions": sum(doc.version for doc in store.list(NOTES)),
        "epochs": store.acquire_lease("role", "me", 1).epoch - 1,
        "samples": len(store.samples("m", start_ms=0, end_ms=9)),
        "kills": int(store.kill_reason("paper") is not None),
    }
    expected = {
        "emit": {"events": 1},
        "put": {"events": 1, "versions": 1},
        "lease": {"epochs": 1},
        "record": {"samples": 1},
        "kill": {"events": 1, "kills": 1},
    }[change]
    assert effects == {name: expected.get(name, 0) for name in effects}


def test_a_money_call_that_stays_unclear_is_repeated_by_its_request_id(
    lossy: ValkeyStore, proxy: LossyProxy, store: ValkeyStore
):
    fence = store.acquire_lease("risk", "me", 1_000)
    books = Ledger(account="paper", starting_cash=Decimal(1), cash=Decimal(1))
    before = store.create_ledger(books, fence=fence, event=EVENT)

    def move(on: ValkeyStore) -> Ledger:
        after = replace(before, cash=Decimal(2))
        return on.move_ledger(before, after, fence=fence, request_id="q1", event=EVENT)

    proxy.lose = 2
    with pytest.raises(StoreUnavailable, match="unknown"):
        move(lossy)

    moved = move(lossy)
    assert (moved.version, moved.cash) == (2, Decimal(2))
    assert store.ledger("paper") == moved
    assert len(store.read_events({Stream.OPS: "0-0"})) == 2


def test_a_read_whose_reply_was_lost_is_read_again(
    lossy: ValkeyStore, proxy: LossyProxy, store: ValkeyStore
):
    store.put(NOTES, "k", {"n": 1}, at_ms=1)
    lossy.get(NOTES, "k")
    proxy.lose = 1

    found = lossy.get(NOTES, "k")

    assert found is not None
    assert proxy.lost == 1


def test_a_store_that_is_gone_is_unavailable_and_found_again_when_it_is_back(
    running: server.RunningServer, home: Path
):
    store = ValkeyStore(running.url)
    store.put(NOTES, "k", {}, at_ms=1)
    server.stop(running)

    for attempt in (
        store.ping,
        lambda: store.put(NOTES, "k", {}, at_ms=1),
        lambda: store.get(NOTES, "k"),
        lambda: store.emit(EVENT),
        lambda: store.read_events({Stream.OPS: "0-0"}, block_ms=10_000),
        lambda: store.last_candles("BTC-USDT", "1m", 5),
        lambda: store.acquire_lease("role", "me", 1),
    ):
        with pytest.raises(StoreUnavailable):
            attempt()

    server.start(home)
    assert store.put(NOTES, "k", {}, at_ms=1).version == 2
    store.close()


def test_samples_for_a_store_that_is_gone_are_dropped_and_logged(tmp_path: Path):
    store = ValkeyStore(f"unix://{tmp_path}/absent.sock")
    sample = Sample(name="m", value=1.0, unit="s", recorded_at_ms=1, tags={})

    with structlog.testing.capture_logs() as logs:
        store.record([sample, sample])

    [line] = logs
    assert (line["event"], line["count"]) == ("metric_samples_dropped", 2)
    store.close()


def test_a_server_that_hangs_is_unavailable_after_the_deadline(
    running: server.RunningServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(connection, "MONEY_TIMEOUT_S", 0.1)
    store = ValkeyStore(running.url)
    store.put(NOTES, "k", {}, at_ms=1)
    store.connection.money.config_set("busy-reply-threshold", 10)
    endless = ValkeyStore(running.url)
    stuck = threading.Thread(target=_run_for_ever, args=(endless,))
    stuck.start()

    with pytest.raises(StoreUnavailable, match=r"BUSY|TimeoutError"):
        _read_for_ever(store)

    with redis.Redis(unix_socket_path=running.url.removeprefix("unix://")) as breaker:
        breaker.script_kill()
    stuck.join()
    assert store.put(NOTES, "k", {}, at_ms=1).version == 2
    for opened in (store, endless):
        opened.close()


def _read_for_ever(store: ValkeyStore) -> None:
    while True:
        store.get(NOTES, "k")


def _run_for_ever(store: ValkeyStore) -> None:
    with suppress(redis.RedisError):
        store.connection.bulk.eval("while true do end", 0)


def test_a_store_can_be_pickled_also_while_it_is_connected(store: ValkeyStore):
    store.put(NOTES, "k", {"n": 1}, at_ms=1)

    copy = pickle.loads(pickle.dumps(store))

    assert copy.url == store.url
    assert copy.get(NOTES, "k") == store.get(NOTES, "k")
    copy.close()


def test_functions_that_vanished_are_loaded_again(store: ValkeyStore):
    store.emit(EVENT)
    store.connection.money.function_flush()

    store.emit(EVENT)

    assert len(store.read_events({Stream.OPS: "0-0"})) == 2


def test_functions_of_another_build_are_replaced_and_older_ones_too(store: ValkeyStore):
    for version, digest in ((library().version, "another"), (library().version - 1, "older")):
        _load_library(store, version, digest)
        fresh = ValkeyStore(store.url)

        fresh.emit(EVENT)

        assert store.connection.money.fcall_ro("desk_version", 0)[1] == library().digest.encode()
        fresh.close()


def test_functions_of_a_newer_program_are_never_downgraded(store: ValkeyStore):
    newer = library().version + 1
    _load_library(store, newer, "newer")
    fresh = ValkeyStore(store.url)

    with pytest.raises(SettingsError, match=f"version {newer}"):
        fresh.emit(EVENT)

    assert store.connection.money.fcall_ro("desk_version", 0)[1] == b"newer"
    store.connection.money.function_load(library().source, replace=True)
    fresh.close()


def _load_library(store: ValkeyStore, version: int, digest: str) -> None:
    mine = f"return {{ '{library().version}', '{library().digest}' }}"
    assert mine in library().source
    other = library().source.replace(mine, f"return {{ '{version}', '{digest}' }}")
    store.connection.money.function_load(other, replace=True)
