"""The deployments on a real Ray Serve: pages stay alive beside open streams, the policy answers."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from actors.seed import seed
from actors.wiring import Wiring
from desk.learning.baseline import BASELINE_VERSION_ID
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

    deploy(settings, wiring, venue_name="simulator 30x", start_actors=start_actors)
    yield Deployed(url=f"http://127.0.0.1:{port}", store=store)
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


def test_the_policy_application_answers_by_handle(deployed: Deployed) -> None:
    from ray import serve

    values = [0.0] * (FEATURES_V1.size + 1)
    values[FEATURES_V1.index("trend_60_240")] = 2.0
    handle: Any = serve.get_deployment_handle("Policy", "policy")

    answer = handle.decide.remote(BASELINE_VERSION_ID, values, 0.35).result(timeout_s=20)

    assert (answer.target, answer.held) == (1.0, False)
    assert answer.version_id == BASELINE_VERSION_ID


def test_a_command_without_its_actor_is_503_and_not_a_hang(deployed: Deployed) -> None:
    with httpx2.Client(base_url=deployed.url, timeout=30) as client:
        answer = client.post("/ops/trading/reconcile")

    assert answer.status_code == 503
    assert "reconciler" in answer.json()["detail"]
