"""`desk drill`: what it refuses before it touches anything, and what it prints."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from actors.run_file import RunFile
from desk.cli import client, drills
from desk.cli.application import app
from desk.drills import plan
from desk.drills.hands import DrillRefused
from desk.drills.incidents import INCIDENTS
from desk.drills.plan import Drill
from desk.drills.runner import Outcome, Runner
from desk.errors import BadInput
from desk.runs import RunStatus
from desk.store import kinds
from tests.desk.drills.desk_double import SUBJECT
from tests.serve_apps.scene import HERE, Scene, make_scene

LOCAL = ("127.0.0.1", 40_000)
URL = "http://127.0.0.1:1"


class SilentSimulator:
    """A control plane that nothing is asked of but to forget what a killed drill left."""

    def __init__(self, _control_url: str) -> None:
        self.closed = False

    def remove_rules(self) -> None:
        return

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def scene() -> Scene:
    """With the rules of a second pair, which no run trades."""
    scene = make_scene()
    [known] = scene.store.list(kinds.INSTRUMENTS)
    second = replace(known.value, pair="ETH-USDT")
    scene.store.put(kinds.INSTRUMENTS, second.pair, second, at_ms=0)
    return scene


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESK_HOME", str(tmp_path))
    for name in ("BINGX_BASE_URL", "API_TOKEN", "REDIS_URL", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def running(home: Path, venue_url: str = URL) -> None:
    RunFile(
        pid=1,
        api_url=HERE,
        venue_url=venue_url,
        venue_name="simulator 60x",
        store_url="",
        ray_address="",
        ray_dashboard_url="",
        started_wall_ms=0,
    ).write(home)
    ready = {"url": URL, "control_url": "http://127.0.0.1:2"}
    (home / "run" / "simulator.json").write_text(json.dumps(ready))


@pytest.fixture
def desk(scene: Scene, home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    (home / "run").mkdir()
    operator = TestClient(scene.app(), base_url=HERE, client=LOCAL)
    monkeypatch.setattr(client.httpx2, "Client", lambda **_: operator)
    monkeypatch.setattr(drills, "Simulator", SilentSimulator)
    return lambda *words: CliRunner().invoke(app, ["drill", *words])


def test_every_drill_is_listed(desk: Callable[..., Result]) -> None:
    shown, asked = desk("--list"), desk("--list", "--json")

    assert [row["name"] for row in json.loads(asked.stdout)] == plan.names()
    assert all(name in shown.stdout for name in plan.names())


def test_a_drill_that_there_is_not_is_met_with_those_there_are(
    desk: Callable[..., Result],
) -> None:
    refused = desk("stale").exception

    assert isinstance(refused, BadInput)
    assert "stale-data" in str(refused)


def test_without_a_running_desk_there_is_no_drill(desk: Callable[..., Result]) -> None:
    refused = desk("all").exception

    assert isinstance(refused, DrillRefused)
    assert "desk up" in str(refused)


@pytest.mark.parametrize(
    ("base_url", "venue_url"),
    [("live", URL), ("vst", URL), (URL, URL), (None, "https://open-api.bingx.com")],
)
def test_on_any_exchange_but_the_bundled_simulator_there_is_no_drill(
    desk: Callable[..., Result],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    base_url: str | None,
    venue_url: str,
) -> None:
    running(home, venue_url)
    if base_url is not None:
        monkeypatch.setenv("BINGX_BASE_URL", base_url)

    refused = desk("all").exception

    assert isinstance(refused, DrillRefused)
    assert "bundled simulator only" in str(refused)


def test_a_run_that_does_not_decide_is_refused_with_its_reason(
    desk: Callable[..., Result], home: Path, scene: Scene
) -> None:
    running(home)
    for doc in scene.store.list(kinds.RUNS):
        paused = replace(doc.value, status=RunStatus.PAUSED, pause_reason="lunch")
        scene.store.put(kinds.RUNS, doc.key, paused, at_ms=doc.at_ms)

    refused = desk("stale-data").exception

    assert isinstance(refused, DrillRefused)
    assert "desk resume" in str(refused)


@pytest.mark.parametrize("late", [None, "lost-store"])
def test_all_are_held_in_order_and_one_that_failed_is_the_exit_status(
    desk: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch, late: str | None
) -> None:
    running(home)
    held: list[str] = []

    def hold(_runner: Runner, drill: Drill) -> Outcome:
        name, bounds = drill.incident.name, drill.incident.bounds(SUBJECT)
        held.append(name)
        failure = "detected not within 3 s" if name == late else ""
        return Outcome(name=name, bounds=bounds, detected_s=1.0, failure=failure)

    monkeypatch.setattr(Runner, "hold", hold)
    monkeypatch.setattr(plan, "home_file", lambda home, *parts: home.joinpath(*parts))

    answer = desk("all", "--json")

    rows: list[dict[str, Any]] = json.loads(answer.stdout)
    assert held == plan.names()
    assert [row["name"] for row in rows if not row["passed"]] == ([late] if late else [])
    assert answer.exit_code == (1 if late else 0)


def test_an_interrupt_prints_what_was_held_and_ends_with_130(
    desk: Callable[..., Result], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running(home)

    def hold(_runner: Runner, drill: Drill) -> Outcome:
        if drill.incident is INCIDENTS[2]:
            raise KeyboardInterrupt
        return Outcome(name=drill.incident.name, bounds=drill.incident.bounds(SUBJECT))

    monkeypatch.setattr(Runner, "hold", hold)

    answer = desk("all", "--json")

    assert [row["name"] for row in json.loads(answer.stdout)] == plan.names()[:2]
    assert answer.exit_code == 130
