"""The whole OpenAPI driven by Schemathesis over real HTTP, and an operator who keeps the desk at work."""

import contextlib
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import ray
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from actors.job_book import LEARNING
from actors.parts.control import control
from actors.parts.foundation import market_clock
from actors.seed import AGENT_ID
from desk.settings import load_settings
from desk.store.evaluation_files import EvaluationFiles
from desk.store.history import History
from serve_apps.api import ApiOptions, build_api
from serve_apps.context import ApiFacts
from serve_apps.ingestion_settings import ingestion_settings
from serve_apps.learning import RayLearning
from serve_apps.sse import StreamTimes
from serve_apps.stored_candles import StoredCandles
from serve_apps.ui.assets import Assets
from tests.cluster.desk_on_ray import BUSY_VERSION, PAIRS, RunningDesk
from tests.serving import served

TOKEN = "driven-by-schemathesis"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
RULES = Path(__file__).with_name("schemathesis.toml")
SHORT_STREAM_S = 0.05
"""Event streams end by themselves after ten minutes; a driven one must end while it is waited for."""


@dataclass
class Counted:
    """What the application answered, by status; Schemathesis's own count is not asked."""

    app: ASGIApp
    statuses: Counter[int] = field(default_factory=Counter[int])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.statuses[message["status"]] += 1
            await send(message)

        await self.app(scope, receive, send_counted)

    @property
    def requests(self) -> int:
        return self.statuses.total()


@dataclass(frozen=True)
class Served:
    url: str
    counted: Counted
    client: httpx2.Client
    """With the token."""


@contextlib.contextmanager
def served_api(desk: RunningDesk) -> Generator[Served]:
    """The real application over a running desk, with a token, behind the HTTP server of Serve."""
    clock = market_clock(desk.store)
    app = build_api(
        control(desk.wiring, desk.store),
        desk.store,
        clock,
        learning=RayLearning(desk.wiring, desk.store, clock),
        candles=StoredCandles(desk.store, History(desk.wiring.home / "history")),
        home=desk.wiring.home,
        reports=EvaluationFiles(desk.wiring.home / "evaluations"),
        facts=ApiFacts(
            venue="simulator",
            api_token_set=True,
            pairs=PAIRS,
            intervals=("1m",),
            accounts=desk.wiring.accounts,
            ingestion=ingestion_settings(load_settings({})),
        ),
        assets=Assets(folder=desk.wiring.home, import_map="{}", script_urls={}),
        api_token=TOKEN,
        options=ApiOptions(stream_times=StreamTimes(end_s=SHORT_STREAM_S)),
    )
    counted = Counted(app)
    with served(counted) as url, httpx2.Client(base_url=url, headers=BEARER, timeout=60) as client:
        yield Served(url, counted, client)


def drive(
    url: str, folder: Path, *, max_examples: int, seed: int, within_s: float
) -> subprocess.CompletedProcess[str]:
    """All four phases over every operation; the process's status is 0 when no check found anything.

    Every check of Schemathesis is on, but for the one that `schemathesis.toml` gives the reason for.
    """
    program = Path(sys.executable).with_name("schemathesis")
    return subprocess.run(
        [
            *(program, "--config-file", RULES, "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: {BEARER['Authorization']}"),
            *("--phases", "examples,coverage,fuzzing,stateful"),
            *("--max-examples", str(max_examples), "--seed", str(seed)),
            *("--generation-database", "none", "--suppress-health-check", "all"),
            *("--request-timeout", "60", "--warnings", "off"),
            *("--continue-on-failure", "--no-color"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )


class Operator(threading.Thread):
    """Puts right what the drive stopped, by the API itself, so that the run goes on deciding.

    A drive presses every button: it kills, pauses, stops, tightens limits, switches sources off. That
    is what those routes are for. An operator beside it undoes each within seconds.
    """

    def __init__(self, client: httpx2.Client, *, every_s: float = 2.0) -> None:
        super().__init__(daemon=True)
        self._every_s = every_s
        self._ended = threading.Event()
        self._client = client
        self.policy: dict[str, str] = self._account()["policy"]
        self.limits = self._get("/risk-limits")["items"][-1]
        self.run_ids: set[str] = set()
        self.failed: list[str] = []

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            self._try_once()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop watching; `running` puts everything right a last time."""
        self._ended.set()
        self.join(60)

    def _try_once(self) -> None:
        try:
            self.put_right()
        except httpx2.TransportError as away:
            self.failed.append(repr(away))

    def put_right(self) -> None:
        """One look at everything that a button may have stopped."""
        agent = self._get(f"/agents/{AGENT_ID}")
        for path in ("/ops/trading/kill", f"/agents/{AGENT_ID}/kill-switch"):
            self._send("POST", path, {"on": False, "reason": "put right"})
        config = {"allowed_instruments": list(PAIRS), "min_confidence": 0.0}
        self._send("PATCH", f"/agents/{AGENT_ID}/config", config)
        policies = self._get(f"/agents/{AGENT_ID}/source-policies")["policies"]
        needed = dict.fromkeys(set(policies) - {"bingx_candles"}, "as_needed")
        self._send("PATCH", f"/agents/{AGENT_ID}/source-policies", {"policies": needed})
        self._send("PUT", "/ops/ingestion/config", {"settings": {}})
        self._send("POST", "/ops/ingestion/bingx/resume", {})
        for row in self._get("/data-sources/status")["items"]:
            if row["source_type"] == "bingx_candles":
                candles = {name: row[name] for name in ("source_type", "pair", "interval")}
                self._send(
                    "PATCH", "/data-sources/config", candles | {"freshness_threshold_s": 120}
                )
        self._loosen()
        run = agent["current_run"]
        if run is None or run["pair"] != PAIRS[0]:
            start = {"mode": "paper", "pair": PAIRS[0], "risk_limit_set_id": "default"}
            start |= {"version_id": BUSY_VERSION, "decision_threshold": 0.0}
            self._send("POST", f"/agents/{AGENT_ID}/start", start)
        elif run["status"] == "paused":
            self._send("POST", f"/agents/{AGENT_ID}/resume", {"reason": "put right"})
        if run is not None:
            self.run_ids.add(run["run_id"])

    def running(self) -> str | None:
        """The id of the run, once it runs; put right on the way."""
        self.put_right()
        run = self._get(f"/agents/{AGENT_ID}")["current_run"]
        return run["run_id"] if run and run["status"] == "running" else None

    def _loosen(self) -> None:
        """Give the limits that were tightened their room again: that takes a preflight's token."""
        numbers = ("max_position_size", "leverage_cap", "max_daily_loss", "max_drawdown")
        wanted = {name: self.limits[name] for name in numbers}
        wanted["max_open_positions"] = self.limits["max_open_positions"]
        self._confirmed("/risk-limits/default", "risk-limits.edit", {"set_id": "default"}, wanted)
        whole = {"max_open_positions", "cooldown_minutes"}
        policy: dict[str, Any] = {
            name: int(value) if name in whole else value
            for name, value in self.policy.items()
            if name != "flatten_on_drawdown"
        }
        self._confirmed(
            "/ops/trading/risk", "risk-policy.edit", {"account": "paper"}, policy, in_body=True
        )
        self._send(
            "POST",
            "/ops/trading/circuit-breaker/reset",
            {"account": "paper", "reason": "put right"},
        )

    def _confirmed(
        self,
        path: str,
        action: str,
        about: dict[str, Any],
        wanted: dict[str, Any],
        *,
        in_body: bool = False,
    ) -> None:
        ask = self._send("POST", "/ops/preflight", {"action": action, **about, **wanted})
        token = ask.json().get("confirm_token") if ask.is_success else None
        body = wanted | (about if in_body else {})
        self._send("PATCH", path, body | ({"confirm_token": token} if token else {}))

    def _account(self) -> dict[str, Any]:
        accounts = self._get("/ops/trading/risk")["accounts"]
        return next(row for row in accounts if row["account"] == "paper")

    def _get(self, path: str) -> Any:
        answer = self._client.get(path)
        answer.raise_for_status()
        return answer.json()

    def _send(self, method: str, path: str, body: dict[str, Any]) -> httpx2.Response:
        """A refusal is no failure here: the next look tries again."""
        answer = self._client.request(method, path, json=body)
        if answer.status_code >= 500:
            self.failed.append(f"{method} {path}: {answer.text}")
        return answer


@contextlib.contextmanager
def full_learning_plane(namespace: str) -> Generator[None]:
    """No CPU is left for trainings and evaluations: they queue, as on a busy cluster, and end unrun."""

    class Sitter:
        def is_here(self) -> bool:
            return True

    cpus = int(ray.cluster_resources()["CPU"])
    sitter: Any = ray.remote(Sitter).options(num_cpus=cpus).remote()
    assert ray.get(sitter.is_here.remote(), timeout=60)
    yield
    named: Any = ray.util.list_named_actors(all_namespaces=True)
    for actor in named:
        if actor["namespace"] == namespace and actor["name"].startswith(LEARNING):
            ray.kill(ray.get_actor(actor["name"], namespace=namespace), no_restart=True)
    ray.kill(sitter)
