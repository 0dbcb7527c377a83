"""Continuous learning over HTTP: what is shown of it, a cycle now, and its pause."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.learning.cycles import CycleStatus, ShadowDecision
from desk.runs import Job, JobStatus
from desk.store import kinds
from tests.serve_apps.scene import BASELINE, OPEN_MS, PAIR, Scene, make_run

RUN = "/ops/learning/run"


def learn(scene: Scene, **changes: Any) -> None:
    run = make_run("run-1", learning_enabled=True, **changes)
    scene.store.put(kinds.RUNS, "run-1", run, at_ms=run.started_ms)


def test_the_status_names_the_window_and_the_runs_that_learn(
    scene: Scene, client: TestClient
) -> None:
    learn(scene, learning_window_minutes=90)

    status = client.get("/ops/learning/status").json()

    assert (status["paused"], status["enabled_by_default"], status["cycles"]) == (False, False, [])
    assert status["window"]["train_window_min"] == 360
    assert status["window"]["rollout_mode"] == "shadow"
    [run] = status["runs"]
    assert (run["run_id"], run["window"]["train_window_min"]) == ("run-1", 90)
    assert run["next_cycle_ms"] == 0


def test_a_cycle_begins_at_once_for_the_agents_run_and_only_one(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(10)

    answer = client.post(RUN)
    again = client.post(RUN)

    cycle = answer.json()
    assert answer.status_code == 202
    assert (cycle["status"], cycle["pair"], cycle["run_id"]) == ("planned", PAIR, "run-1")
    assert cycle["champion_id"] == BASELINE
    assert cycle["train_end_ms"] < cycle["evaluation_start_ms"] < cycle["evaluation_end_ms"]
    assert again.status_code == 422
    assert "wait until it has ended" in again.json()["detail"]
    assert [row["cycle_id"] for row in client.get("/ops/learning/history").json()["items"]] == [
        cycle["cycle_id"]
    ]
    audit = client.get("/ops/audit", params={"action": "learning"}).json()["items"]
    assert [row["action"] for row in audit] == ["learning.run"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"pair": "x"}, 422),
        ({"pair": "ETH-USDT"}, 422),
        ({"agent_id": "nobody"}, 404),
        ({"rollout_mode": "full"}, 422),
    ],
)
def test_a_cycle_that_cannot_be_carried_out_is_not_begun(
    scene: Scene, client: TestClient, body: dict[str, str], status: int
) -> None:
    scene.candles(10)

    assert client.post(RUN, json=body).status_code == status
    assert scene.store.list(kinds.LEARNING_CYCLES) == []


def test_without_candles_it_says_what_to_do(client: TestClient) -> None:
    answer = client.post(RUN)

    assert answer.status_code == 422
    assert "backfill it first" in answer.json()["detail"]


def test_a_pause_is_kept_with_its_reason_until_it_is_lifted(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(10)

    paused = client.post("/ops/learning/pause", json={"reason": "audit week"}).json()
    refused = client.post(RUN)
    resumed = client.post("/ops/learning/resume").json()

    assert (paused["paused"], paused["pause_reason"]) == (True, "audit week")
    assert "audit week" in refused.json()["detail"]
    assert (resumed["paused"], resumed["pause_reason"]) == (False, "")
    assert client.post(RUN).status_code == 202


def test_a_shadow_shows_how_often_both_wanted_the_same(scene: Scene, client: TestClient) -> None:
    scene.candles(10)
    cycle_id = client.post(RUN).json()["cycle_id"]
    doc = scene.store.get(kinds.LEARNING_CYCLES, cycle_id)
    assert doc is not None
    shadow = replace(
        doc.value,
        status=CycleStatus.SHADOW,
        challenger_id="ppo-2",
        rollout_start_ms=OPEN_MS,
        rollout_end_ms=OPEN_MS + 1,
    )
    scene.store.put(kinds.LEARNING_CYCLES, cycle_id, shadow, at_ms=doc.at_ms)
    for number, target in enumerate((1.0, -1.0)):
        row = ShadowDecision(
            decision_id=f"d{number}",
            cycle_id=cycle_id,
            version_id="ppo-2",
            pair=PAIR,
            open_ms=OPEN_MS + number,
            target=target,
            confidence=0.5,
            held=False,
            reason="",
            champion_target=1.0,
            reference_price="40000.0",
        )
        scene.store.put(kinds.shadow_decisions(cycle_id), row.decision_id, row, at_ms=row.open_ms)

    [shown] = client.get("/ops/learning/status").json()["cycles"]

    assert (shown["shadow_decisions"], shown["shadow_agreement"]) == (2, 0.5)


def test_a_start_that_does_not_say_learns_as_the_settings_do(
    scene: Scene, client: TestClient
) -> None:
    body = {"mode": "paper", "pair": PAIR, "risk_limit_set_id": "default"}

    client.post("/agents/desk/start", json=body)
    client.post("/agents/desk/start", json=body | {"learning_enabled": False})

    asks = [heard[1]["ask"].learning_enabled for heard in scene.desk.heard]
    assert asks == [None, False]


def test_the_newest_sweeps_come_with_what_they_found(scene: Scene, client: TestClient) -> None:
    for number in range(5):
        job = Job(
            job_id=f"job-{number}",
            kind="backfill" if number == 4 else "sweep",
            status=JobStatus.RUNNING,
            created_ms=number,
            updated_ms=number,
            result={"leaderboard": [{"rank": 1}]},
        )
        scene.store.put(kinds.JOBS, job.job_id, job, at_ms=number)

    sweeps = client.get("/ops/learning/status").json()["sweeps"]

    assert [job["job_id"] for job in sweeps] == ["job-3", "job-2", "job-1"]
    assert sweeps[0]["result"] == {"leaderboard": [{"rank": 1}]}
