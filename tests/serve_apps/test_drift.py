"""Drift alerts over HTTP: of the agent that was asked for, and of nobody else."""

from fastapi.testclient import TestClient

from desk.runs import Agent, Alert
from desk.store import kinds
from tests.serve_apps.scene import Scene, make_run


def keep_alert(scene: Scene, alert_id: str, category: str, at_ms: int) -> None:
    alert = Alert(
        alert_id=alert_id,
        category=category,
        severity="critical",
        code=alert_id.partition(":")[0],
        detail="mean confidence 0.950, expected 0.500 ± 0.3; back to ppo-1",
        created_ms=at_ms,
        metric="mean_confidence",
        value="0.95",
        threshold="0.3",
    )
    scene.store.put(kinds.ALERTS, alert_id, alert, at_ms=at_ms)


def test_an_agents_drift_alerts_are_those_of_its_runs_newest_first(
    scene: Scene, client: TestClient
) -> None:
    other = Agent(agent_id="other", name="Other", allowed_instruments=())
    scene.store.put(kinds.AGENTS, "other", other, at_ms=1)
    run = make_run("run-2", agent_id="other")
    scene.store.put(kinds.RUNS, "run-2", run, at_ms=run.started_ms)
    keep_alert(scene, "model_drift:run-1:ppo-1", "drift", 10)
    keep_alert(scene, "model_drift:run-1:ppo-2", "drift", 20)
    keep_alert(scene, "model_drift:run-2:ppo-1", "drift", 30)
    keep_alert(scene, "position_drift:run-1", "risk", 40)

    def found(agent_id: str) -> list[list[str]]:
        rows = client.get(f"/agents/{agent_id}/drift-alerts").json()["items"]
        return [row["alert_id"].rsplit(":", 2)[-2:] for row in rows]

    assert found("desk") == [["run-1", "ppo-2"], ["run-1", "ppo-1"]]
    assert found("other") == [["run-2", "ppo-1"]]
    assert client.get("/agents/nobody/drift-alerts").status_code == 404
