"""Agents, runs, decisions and versions over HTTP."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import StoreUnavailable, VersionConflict
from desk.evaluation.promotion import NOT_EVALUATED
from desk.learning.versions import VersionStatus
from desk.runs import Action, RunStatus
from desk.store import decision_history, kinds
from desk.store.decision_archive import DecisionArchive
from desk.store.decision_history import keep_decisions
from tests.serve_apps.scene import BASELINE, HERE, OPEN_MS, PAIR, Scene, make_run, refuse_pair

START = {"mode": "paper", "pair": PAIR, "risk_limit_set_id": "default"}


def test_an_agent_shows_its_run_its_version_and_that_it_is_a_baseline(client: TestClient) -> None:
    agent = client.get("/agents/desk").json()

    assert agent["active_version_id"] == BASELINE
    assert agent["baseline"] is True
    assert agent["current_run"]["run_id"] == "run-1"
    assert agent["current_run"]["baseline"] is True
    assert agent["active_version"]["active"] is True
    assert agent["promotion_gate"]["min_trades"] == 20


def test_a_promotion_gate_without_an_evaluation_is_unknown(client: TestClient) -> None:
    agent = client.get("/agents/desk").json()

    assert agent["promotion_gate_status"] == "unknown"
    assert agent["promotion_gate_evaluation_id"] is None


def test_a_run_of_a_trained_version_is_not_called_a_baseline(
    scene: Scene, client: TestClient
) -> None:
    scene.version("ppo-1", algorithm="ppo")
    run = make_run("run-2", started_ms=OPEN_MS + 1, version_id="ppo-1")
    scene.store.put(kinds.RUNS, "run-2", run, at_ms=run.started_ms)

    rows = client.get("/agents/desk/runs").json()["items"]

    assert [(row["run_id"], row["baseline"]) for row in rows] == [("run-2", False), ("run-1", True)]


def test_a_stopped_run_is_no_current_run(scene: Scene, client: TestClient) -> None:
    scene.store.put(kinds.RUNS, "run-1", make_run("run-1", status=RunStatus.STOPPED), at_ms=OPEN_MS)

    assert client.get("/agents").json()["items"][0]["current_run"] is None


@pytest.mark.parametrize(
    "path",
    [
        "/agents/nobody",
        "/agents/nobody/runs",
        "/agents/nobody/versions",
        "/agents/desk/runs/nothing/decisions",
        "/agents/nobody/runs/run-1/decisions",
    ],
)
def test_what_does_not_exist_is_a_problem_with_404(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["trace_id"] == answer.headers["x-trace-id"]


def test_a_run_of_another_agent_is_not_found_under_this_one(
    scene: Scene, client: TestClient
) -> None:
    other = replace(make_run("run-9"), agent_id="other")
    scene.store.put(kinds.RUNS, "run-9", other, at_ms=OPEN_MS)

    assert client.get("/agents/desk/runs/run-9/decisions").status_code == 404


def test_decisions_come_newest_first_and_within_their_bounds(
    scene: Scene, client: TestClient
) -> None:
    for back in range(5):
        scene.decide(OPEN_MS - back * MINUTE_MS)

    path = "/agents/desk/runs/run-1/decisions"
    bounds = {"start_ms": OPEN_MS - 3 * MINUTE_MS, "end_ms": OPEN_MS}
    rows = client.get(path, params=bounds).json()["items"]

    assert [row["open_ms"] for row in rows] == [OPEN_MS - n * MINUTE_MS for n in (1, 2, 3)]


def test_decisions_that_left_the_store_are_listed_behind_those_it_has(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_history, "KEPT_ROWS", 2)
    scene.past_decisions = DecisionArchive(tmp_path)
    for back in range(7):
        scene.decide(OPEN_MS - back * MINUTE_MS)
    later_ms = OPEN_MS + 30 * DAY_MS
    assert keep_decisions(scene.store, scene.past_decisions, now_ms=later_ms, most=100) == 5
    client = TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 50_000))
    path = "/agents/desk/runs/run-1/decisions"
    seen: list[int] = []
    page: dict[str, Any] = {"limit": 3}

    while True:
        answer = client.get(path, params=page).json()
        seen += [row["open_ms"] for row in answer["items"]]
        if answer["next_cursor"] is None:
            break
        page["cursor"] = answer["next_cursor"]

    assert seen == [OPEN_MS - back * MINUTE_MS for back in range(7)]
    bounds = {"start_ms": OPEN_MS - 5 * MINUTE_MS, "end_ms": OPEN_MS - 3 * MINUTE_MS}
    rows = client.get(path, params=bounds).json()["items"]
    assert [row["open_ms"] for row in rows] == [OPEN_MS - back * MINUTE_MS for back in (4, 5)]


def test_a_decision_without_a_finite_confidence_shows_null(
    scene: Scene, client: TestClient
) -> None:
    scene.decide(action=Action.HOLD, hold_reason="features_not_finite", confidence=float("nan"))

    row = client.get("/agents/desk/runs/run-1/decisions").json()["items"][0]

    assert row["confidence"] is None
    assert row["hold_reason"] == "features_not_finite"


def test_a_start_reaches_the_desk_with_everything_that_was_asked(
    scene: Scene, client: TestClient
) -> None:
    body = START | {"decision_threshold": 0.5, "learning_enabled": True}

    answer = client.post("/agents/desk/start", json=body)

    assert answer.status_code == 201
    assert answer.json()["pair"] == PAIR
    command, said = scene.desk.heard[0]
    assert command == "start"
    assert said["ask"].decision_threshold == 0.5
    assert said["trace_id"] == answer.headers["x-trace-id"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"mode": "demo"}, "mode"),
        ({"pair": "btcusd"}, "pair"),
        ({"decision_threshold": 1.5}, "decision_threshold"),
        ({"risk_limit_set_id": ""}, "risk_limit_set_id"),
        ({"leverage": 50}, "leverage"),
        ({"risk_limit_set_id": None}, "risk_limit_set_id"),
    ],
)
def test_a_start_as_it_may_not_be_names_the_field_and_does_nothing(
    scene: Scene, client: TestClient, change: dict[str, object], field: str
) -> None:
    answer = client.post("/agents/desk/start", json=START | change)

    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert scene.desk.heard == []


def test_a_refusal_of_the_desk_is_answered_with_its_own_words(
    scene: Scene, client: TestClient
) -> None:
    scene.desk.refuse = refuse_pair()

    answer = client.post("/agents/desk/start", json=START)

    assert answer.status_code == 422
    assert answer.json()["detail"] == "was XRP-USDT, expected one of BTC-USDT"


def test_a_store_that_is_away_is_503_and_no_zeros(scene: Scene, client: TestClient) -> None:
    scene.desk.refuse = StoreUnavailable("no answer in 2 s")

    answer = client.post("/agents/desk/start", json=START)

    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"


def test_pause_resume_and_stop_answer_the_run_as_it_then_is(
    scene: Scene, client: TestClient
) -> None:
    paused = client.post("/agents/desk/pause", json={"reason": "lunch"}).json()
    resumed = client.post("/agents/desk/resume").json()
    stopped = client.post("/agents/desk/stop", json={"flatten": True}).json()

    assert (paused["status"], paused["pause_reason"]) == ("paused", "lunch")
    assert resumed["status"] == "running"
    assert stopped["status"] == "stopped"
    assert scene.desk.heard[-1][1]["flatten"] is True


def test_a_command_on_a_run_that_moved_on_is_412_and_does_nothing(
    scene: Scene, client: TestClient
) -> None:
    answer = client.post("/agents/desk/pause", headers={"If-Match": '"7"'})

    assert answer.status_code == 412
    assert scene.desk.heard == []


def test_a_command_with_the_version_that_was_seen_is_carried_out(
    scene: Scene, client: TestClient
) -> None:
    seen = client.get("/agents/desk").json()["current_run"]["row_version"]

    answer = client.post("/agents/desk/pause", headers={"If-Match": f'"{seen}"'})

    assert answer.status_code == 200


def test_a_conflict_the_caller_did_not_name_a_version_for_is_409(
    scene: Scene, client: TestClient
) -> None:
    scene.desk.refuse = VersionConflict("run run-1", 1, 2)

    assert client.post("/agents/desk/pause").status_code == 409


def test_a_version_without_an_evaluation_is_not_promoted(scene: Scene, client: TestClient) -> None:
    scene.version("ppo-1", status=VersionStatus.DRAFT)

    answer = client.post("/agents/desk/versions/ppo-1/promote")

    assert answer.status_code == 409
    assert NOT_EVALUATED in answer.json()["detail"]
    agent = scene.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    assert agent.value.active_version_id == BASELINE


def test_a_rollback_makes_an_earlier_promoted_version_active(
    scene: Scene, client: TestClient
) -> None:
    scene.version("ppo-1", status=VersionStatus.RETIRED, promoted_at_ms=5)

    answer = client.post("/agents/desk/versions/ppo-1/rollback")

    assert answer.json()["previous_version_id"] == BASELINE
    versions = client.get("/agents/desk/versions").json()["items"]
    assert [row["version_id"] for row in versions if row["active"]] == ["ppo-1"]


def test_a_version_of_another_agent_cannot_be_promoted_here(
    scene: Scene, client: TestClient
) -> None:
    scene.version("ppo-1", agent_id="other")

    assert client.post("/agents/desk/versions/ppo-1/promote").status_code == 404


def test_a_preflight_answers_with_gates_and_a_token_and_starts_nothing(
    scene: Scene, client: TestClient
) -> None:
    ask = {**START, "mode": "live", "stop_loss_fraction": "0.02"}

    answer = client.post("/ops/preflight", json=ask)

    assert answer.status_code == 200
    told = answer.json()
    assert (told["action"], told["allowed"], told["confirm_name"]) == (
        "start",
        True,
        f"desk/{PAIR}",
    )
    assert told["gates"][0] == {
        "gate": "kill_switch",
        "passed": True,
        "value": "off",
        "threshold": "off",
        "problem": "",
    }
    assert [command for command, _ in scene.desk.heard] == ["preflight"]


def test_a_start_hands_its_confirmation_to_the_desk(scene: Scene, client: TestClient) -> None:
    client.post("/agents/desk/start", json={**START, "confirm_token": "k.s", "confirm_name": "n"})

    asked = scene.desk.heard[-1][1]["ask"]
    assert (asked.confirm_token, asked.confirm_name) == ("k.s", "n")
