"""Serve's applications are deployed anew while a run decides: no candle and no request goes unanswered."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from actors.run_file import RunFile
from actors.wiring import PolicyMode
from desk.clock import MINUTE_MS
from desk.runs import DecisionRecord, RunStatus
from desk.wallclock import monotonic_s
from tests.cluster.conftest import CALM_SPEED, running_desk
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.processes import processes_named

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.nightly,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

CONFIG = Path(__file__).parents[2] / "serve_config.yaml"
REPLICAS = ("ray::ServeReplica:policy", "ray::ServeReplica:operator")
ALL = 4
"""Replicas while a release is replaced: two of the policy, two of the API."""
ROUNDS = 4
PATIENCE_S = 10.0
"""What the pages and commands wait for an answer."""


@dataclass
class Asked:
    """What came of requests that one client after the other sends without a pause."""

    url: str
    slowest_s: float = 0.0
    answered: int = 0
    failed: list[str] = field(default_factory=list[str])
    over: threading.Event = field(default_factory=threading.Event)

    def ask_on(self) -> None:
        """Until it is over; a fresh connection each time, as a new page makes one."""
        while not self.over.is_set():
            began_s = monotonic_s()
            try:
                answer = httpx2.get(f"{self.url}/ops/trading/summary", timeout=PATIENCE_S)
            except httpx2.HTTPError as broken:
                self.failed.append(repr(broken))
                continue
            self.slowest_s = max(self.slowest_s, monotonic_s() - began_s)
            if answer.status_code == 200:
                self.answered += 1
            else:
                self.failed.append(f"{answer.status_code}: {answer.text[:200]}")


@dataclass(frozen=True)
class Served:
    """A desk with both of its applications on Serve."""

    desk: RunningDesk
    url: str

    def deploy(self, release: int) -> None:
        """As `serve deploy serve_config.yaml` does when the file names another release in `args`."""
        context: Any = import_module("ray.serve.context")
        schema: Any = import_module("ray.serve.schema")
        settings = {"DESK_HOME": str(self.desk.wiring.home), "PORT": self.url.rsplit(":")[-1]}
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
        for described in config["applications"]:
            described["args"] = {"release": f"0.{release}"}
            described["runtime_env"] = {"env_vars": settings}
            # As the page on upgrades says: the API has a second replica meanwhile.
            described["deployments"][0]["num_replicas"] = 2
        client = context._get_global_client()
        client.deploy_apps(schema.ServeDeploySchema.model_validate(config), _blocking=True)


@pytest.fixture(scope="module")
def served(ray_session: None, launch: Callable[..., Any]) -> Iterator[Served]:
    from ray import serve

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    with running_desk(launch(speed=CALM_SPEED, seed=11), PolicyMode.SERVE) as desk:
        found = Served(desk=desk, url=f"http://127.0.0.1:{port}")
        (desk.wiring.home / "run").mkdir(exist_ok=True)
        RunFile(
            pid=1,
            api_url=found.url,
            venue_url=desk.wiring.venue_url,
            venue_name="simulator",
            store_url=desk.wiring.store_url,
            ray_address="",
            ray_dashboard_url="",
            started_wall_ms=1,
        ).write(desk.wiring.home)
        found.deploy(0)
        eventually(lambda: len(replicas()) == ALL, within_s=120, what="every replica")
        yield found


def replicas() -> set[int]:
    return {pid for name in REPLICAS for pid in processes_named(name)}


def test_no_decision_and_no_request_is_dropped_while_every_replica_is_replaced(
    served: Served,
) -> None:
    desk, asked = served.desk, Asked(served.url)

    def answered() -> list[DecisionRecord]:
        return [one for one in desk.decisions() if "policy" in one.latency_ms]

    first = eventually(answered, within_s=120, what="an answer of the policy")[0]
    asking = threading.Thread(target=asked.ask_on)
    asking.start()
    try:
        for number in range(1, ROUNDS + 1):
            before = replicas()
            served.deploy(number)
            eventually(
                lambda before=before: not before & replicas() and len(replicas()) == ALL,
                within_s=120,
                what="others in place of the replicas of before",
            )
        newest = desk.decisions()[0].open_ms
        eventually(lambda: desk.decisions()[0].open_ms >= newest + 3 * MINUTE_MS, what="and on")
    finally:
        asked.over.set()
        asking.join(2 * PATIENCE_S)

    made = [one for one in reversed(desk.decisions()) if one.open_ms >= first.open_ms]
    assert len(made) >= 2 * ROUNDS
    assert [after.open_ms - one.open_ms for one, after in pairwise(made)] == [MINUTE_MS] * (
        len(made) - 1
    )
    unanswered = [one for one in made if one.hold_reason == "policy_unavailable"]
    assert [(one.open_ms, one.latency_ms) for one in unanswered] == []
    assert desk.run_row().status is RunStatus.RUNNING
    assert asked.failed == [], f"{asked.answered} answered, the slowest in {asked.slowest_s:.1f} s"
    assert asked.answered > 10 * ROUNDS
