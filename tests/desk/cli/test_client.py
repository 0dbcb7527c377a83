"""The terminal's client: broken connections are repeated under the same key, silence is an answer."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from desk.cli.client import Api, ApiUnreachable
from desk.cli.launch import Beside
from desk.settings import load_settings


class Flaky(ThreadingHTTPServer):
    """Closes the first `drops` connections after reading the request, then answers."""

    drops = 0

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.keys: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Flaky)
        server.keys.append(self.headers["Idempotency-Key"])
        if len(server.keys) <= server.drops:
            self.close_connection = True
            return
        body = json.dumps({"done": True}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def flaky() -> Iterator[Flaky]:
    server = Flaky()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


def api_at(port: int, home: Path) -> Api:
    return Api(load_settings({"DESK_HOME": str(home), "PORT": str(port)}))


def test_a_write_whose_connection_broke_is_repeated_under_its_key(
    flaky: Flaky, tmp_path: Path
) -> None:
    flaky.drops = 2

    answer = api_at(flaky.server_address[1], tmp_path).post("/agents/desk/pause", {"reason": "x"})

    assert answer == {"done": True}
    assert len(flaky.keys) == 3
    assert len(set(flaky.keys)) == 1
    assert flaky.keys[0]


def test_a_read_whose_connection_broke_is_repeated(flaky: Flaky, tmp_path: Path) -> None:
    flaky.drops = 1

    assert api_at(flaky.server_address[1], tmp_path).get("/healthz") == {"done": True}
    assert flaky.keys == [None, None]


def test_where_nobody_listens_the_answer_comes_at_once_and_names_the_remedy(
    flaky: Flaky, tmp_path: Path
) -> None:
    port = flaky.server_address[1]
    flaky.shutdown()
    flaky.server_close()

    with pytest.raises(ApiUnreachable, match="start it with `desk up`"):
        api_at(port, tmp_path).get("/healthz")


def test_while_a_desk_starts_nobody_listening_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    api = Api(load_settings({"DESK_HOME": str(tmp_path), "PORT": str(port)}), awaits_start=True)
    late = threading.Timer(0.6, lambda: servers.append(listening(port)))
    servers: list[Flaky] = []
    late.start()

    assert api.get("/healthz") == {"done": True}
    late.join(5)
    servers[0].shutdown()
    servers[0].server_close()


def test_work_beside_the_watch_raises_where_it_is_asked_for() -> None:
    def fails() -> None:
        raise ApiUnreachable("nobody")

    beside = Beside(fails)
    beside.check()
    beside.start()
    beside.join(5)

    with pytest.raises(ApiUnreachable, match="nobody"):
        beside.check()


def listening(port: int) -> Flaky:
    server = Flaky(port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
