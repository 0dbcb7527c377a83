"""The deployments on a real Ray Serve: pages stay alive beside open streams, the policy answers."""

import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from actors.seed import seed
from actors.wiring import Wiring
from desk.cli.processes import marked
from desk.learning.baseline import BASELINE_VERSION_ID
from desk.learning.policy import PolicyAnswer
from desk.market.features import FEATURES_V1
from desk.settings import load_settings
from desk.store import kinds
from desk.store.port import Event
from desk.store.server import RunningServer
from desk.store.valkey import ValkeyStore
from desk.venues.connect import bingx_config
from desk.wallclock import monotonic_s, wall_ms

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

STREAMS = 12


@dataclass(frozen=True)
class Deployed:
    url: str
    store: ValkeyStore


@pytest.fixture(scope="module")
def deployed(
    ray_session: None, valkey_server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployed]:
    from ray import serve

    from serve_apps.operator_api import deploy

    home: Path = tmp_path_factory.mktemp("home")
    store = ValkeyStore(valkey_server.url)
    store.connection.money.flushall()
    store.load_functions()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = load_settings({"DESK_HOME": str(home), "PORT": str(port)})
    venue = bingx_config(settings, "http://127.0.0.1:9")
    wiring = Wiring.of(settings, store_url=valkey_server.url, venue=venue)
    seed(store, home, settings.market_data_pairs)

    def start_actors(_: Wiring) -> None:
        now_ms = wall_ms()
        anchor = {"market_ms": now_ms, "wall_ms": now_ms, "speed": 1.0}
        store.put(kinds.STATE, "clock", anchor, at_ms=now_ms)

    try:
        deploy(settings, wiring, venue_name="simulator 30x", start_actors=start_actors)
        yield Deployed(url=f"http://127.0.0.1:{port}", store=store)
    finally:
        serve.shutdown()
        store.close()


def test_open_streams_do_not_freeze_the_pages(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=10) as client, ExitStack() as open_streams:
        for _ in range(STREAMS):
            open_streams.enter_context(client.stream("GET", "/events"))

        health = client.get("/healthz")
        summary = client.get("/ops/trading/summary")

    assert health.json()["status"] in {"ok", "degraded"}
    assert summary.json()["venue"] == "simulator 30x"


def test_a_closed_stream_gives_its_place_back(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=10) as client:
        for _ in range(40):
            with client.stream("GET", "/events") as answer:
                assert next(answer.iter_lines()) == "retry: 2000"
        deadline_s = monotonic_s() + 10
        while (status := client.get("/metrics").text).find("desk_event_streams 0.0") < 0:
            assert monotonic_s() < deadline_s, status


def test_an_event_reaches_an_open_stream(deployed: Deployed) -> None:
    with (
        httpx2.Client(base_url=deployed.url, timeout=20) as client,
        client.stream("GET", "/events", params={"topics": "smoke"}) as answer,
    ):
        lines = answer.iter_lines()
        assert "event: hello" in [next(lines) for _ in range(5)]
        event = Event(topic="smoke", key="k", data={"n": 1}, at_ms=1)
        deployed.store.emit(event)

        heard = next(line for line in lines if line.startswith("data: ") and '"n":1' in line)

    assert '"key":"k"' in heard


def test_a_page_elsewhere_is_refused_through_serve_too(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=10) as client:
        foreign = client.get("/agents", headers={"Host": "evil.example"})
        cross = client.post("/ops/trading/kill", headers={"Sec-Fetch-Site": "cross-site"})

    assert (foreign.status_code, cross.status_code) == (421, 403)


@pytest.mark.catalogue("S09")
def test_slow_and_endless_clients_take_neither_memory_nor_the_pages(deployed: Deployed) -> None:
    before_kb = {pid: rss_kb(pid) for pid in serving_processes()}
    assert len(before_kb) == 2
    with ExitStack() as opened, httpx2.Client(base_url=deployed.url, timeout=5) as client:
        slow = [opened.enter_context(connected(deployed)) for _ in range(200)]
        for number, one in enumerate(slow):
            one.sendall(SLOW_BODY if number % 10 == 0 else b"GET /agents HTTP/1.1\r\nHost: x")
        grown_kb, seconds = 0, []
        for flood in (declared_flood, chunked_flood, packed_flood):
            flood(deployed)
            began_s = monotonic_s()
            assert client.get("/healthz").status_code in {200, 503}
            seconds.append(monotonic_s() - began_s)
            grown_kb = max(grown_kb, *(rss_kb(pid) - was for pid, was in before_kb.items()))
        closed = [closing_status(one) for one in slow]

    assert set(closed) == {408}
    assert grown_kb < 50 << 10, f"{grown_kb >> 10} MiB"
    assert max(seconds) < 2, seconds


def test_serve_itself_answers_nobody_and_takes_no_orders(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=10) as client:
        hidden = [client.get(path).status_code for path in ("/-/routes", "/-/healthz")]
        hurried = client.get("/agents", headers={"X-Request-Timeout-Seconds": "0.000001"})

    assert hidden == [404, 404]
    assert hurried.status_code == 200
    assert hurried.headers["x-content-type-options"] == "nosniff"


SLOW_BODY = b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\np"
FLOOD_MB = 100


def connected(deployed: Deployed) -> socket.socket:
    host, _, port = deployed.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=25)


def closing_status(client: socket.socket) -> int:
    """Status of the answer before the server closed; 0 where it said nothing."""
    said = b""
    while part := client.recv(65_536):
        said += part
    return int(said.split(b" ", 2)[1]) if said else 0


def declared_flood(deployed: Deployed) -> None:
    length = f"Content-Length: {FLOOD_MB << 20}\r\n\r\n".encode()
    flood(deployed, length, [b"x" * (1 << 20)] * FLOOD_MB)


def chunked_flood(deployed: Deployed) -> None:
    chunk = b"%x\r\n" % (1 << 20) + b"x" * (1 << 20) + b"\r\n"
    flood(deployed, b"Transfer-Encoding: chunked\r\n\r\n", [chunk] * FLOOD_MB)


def packed_flood(deployed: Deployed) -> None:
    """A gigabyte of zeros in a megabyte: nothing of ours unpacks a body."""
    bomb = zlib.compress(bytes(1 << 30 >> 1), 9)
    head = b"Content-Encoding: gzip\r\nContent-Type: application/json\r\n"
    answer = flood(deployed, head + b"Content-Length: %d\r\n\r\n" % len(bomb), [bomb])
    assert answer == 422


def flood(deployed: Deployed, head: bytes, parts: list[bytes]) -> int:
    """Post to a writing route as fast as it takes; returns the status, 0 where the line was cut."""
    start = b"POST /ops/trading/kill HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    with connected(deployed) as client:
        try:
            client.sendall(start + head)
            for part in parts:
                client.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            return 0
        answer = client.recv(65_536)
    status = int(answer.split(b" ", 2)[1])
    assert status in {413, 422}
    return status


def serving_processes() -> list[int]:
    """The proxy and the replica of this Ray."""
    names = (b"ray::ProxyActor", b"ray::ServeReplica:operator:OperatorApi")
    ours = marked(f"RAY_TMPDIR={os.environ['RAY_TMPDIR']}")
    return [pid for pid in ours if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(names)]


def rss_kb(pid: int) -> int:
    rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("VmRSS"))


class Asker:
    """As a decision loop asks: from the event loop of an actor, which the handle lives on."""

    async def ask(self, *asked: Any) -> PolicyAnswer:
        from ray import serve

        return await serve.get_deployment_handle("Policy", "policy").decide.remote(*asked)


def test_the_policy_application_answers_by_handle(deployed: Deployed) -> None:
    import ray

    values = [0.0] * (FEATURES_V1.size + 1)
    values[FEATURES_V1.index("trend_60_240")] = 2.0
    asker: Any = ray.remote(num_cpus=0)(Asker).remote()

    answer: Any = ray.get(asker.ask.remote(BASELINE_VERSION_ID, values, 0.35), timeout=60)
    ray.kill(asker)

    assert (answer.target, answer.held) == (1.0, False)
    assert answer.version_id == BASELINE_VERSION_ID


def test_a_command_without_its_actor_is_503_and_not_a_hang(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=30) as client:
        answer = client.post("/ops/trading/reconcile")

    assert answer.status_code == 503
    assert "reconciler" in answer.json()["detail"]
