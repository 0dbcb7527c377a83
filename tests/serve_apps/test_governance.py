"""What an agent may do, over HTTP: versioned, audited, refused by field."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.runs import AuditEvent
from desk.store import kinds
from tests.serve_apps.scene import PAIR, Scene

GATES = "/agents/desk/promotion-gates"
POLICIES = "/agents/desk/source-policies"
CONFIG = "/agents/desk/config"
KILL = "/agents/desk/kill-switch"


def audited(scene: Scene) -> list[AuditEvent]:
    return [doc.value for doc in scene.store.list(kinds.AUDIT)]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CONFIG, {"allowed_instruments": [PAIR, "ETH-USDT"]}),
        (CONFIG, {"min_confidence": 0.6}),
        (CONFIG, {"data_pause_lift": "auto"}),
        (GATES, {"min_trades": 50}),
    ],
)
def test_a_change_is_answered_versioned_and_audited(
    scene: Scene,
    client: TestClient,
    path: str,
    body: dict[str, Any],
) -> None:
    before = client.get("/agents/desk").json()

    answer = client.patch(path, json=body)

    assert answer.status_code == 200, answer.text
    assert answer.json().items() >= body.items()
    assert answer.json()["row_version"] == before["row_version"] + 1
    [row] = audited(scene)
    assert row.resource == "agent/desk"
    assert row.before != row.after
    assert row.before.keys() == row.after.keys()


def test_a_change_that_changes_nothing_leaves_no_trace(scene: Scene, client: TestClient) -> None:
    answer = client.patch(CONFIG, json={"min_confidence": 0.0})

    assert answer.status_code == 200
    assert audited(scene) == []


def test_a_stale_version_is_refused_and_changes_nothing(scene: Scene, client: TestClient) -> None:
    version = client.get(POLICIES).json()["row_version"]
    client.patch(GATES, json={"min_trades": 50})

    late = client.patch(
        POLICIES,
        json={"policies": {"mark_price": "required"}},
        headers={"If-Match": f'"{version}"'},
    )

    assert late.status_code == 412
    assert client.get(POLICIES).json()["policies"]["mark_price"] == "as_needed"
    assert len(audited(scene)) == 1


def test_source_policies_show_every_type_and_take_changes(client: TestClient) -> None:
    shown = client.get(POLICIES).json()["policies"]
    assert shown["bingx_candles"] == "required"
    assert set(shown.values()) == {"required", "as_needed"}

    answer = client.patch(
        POLICIES, json={"policies": {"mark_price": "required", "telegram": "forbidden"}}
    ).json()["policies"]

    assert (answer["mark_price"], answer["telegram"]) == ("required", "forbidden")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CONFIG, {}, "body"),
        (CONFIG, {"allowed_instruments": ["SOL-USDT"]}, "allowed_instruments"),
        (CONFIG, {"min_confidence": 2}, "min_confidence"),
        (GATES, {"max_drawdown": 1.5}, "max_drawdown"),
        (GATES, {"min_trades": "many"}, "min_trades"),
        (POLICIES, {"policies": {"bingx_candles": "forbidden"}}, "policies.bingx_candles"),
        (POLICIES, {"policies": {}}, "policies"),
    ],
)
def test_bad_input_names_its_field_and_changes_nothing(
    scene: Scene, client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.patch(path, json=body)

    assert answer.status_code == 422
    assert field in answer.text
    assert audited(scene) == []


def test_an_agents_kill_switch_is_shown_set_and_lifted(scene: Scene, client: TestClient) -> None:
    assert client.get(KILL).json()["on"] is False

    on = client.post(KILL, json={"reason": "odd fills", "flatten": True})
    off = client.post(KILL, json={"on": False, "reason": "checked"})

    assert (on.status_code, on.json()["on"], on.json()["runs_stopped"]) == (200, True, 1)
    assert on.json()["reason"] == "odd fills"
    assert on.json()["accounts"] == {"paper": None, "live": None}
    assert off.json()["on"] is False
    assert [said["flatten"] for what, said in scene.desk.heard if what == "kill_agent"] == [
        True,
        False,
    ]


def test_lifting_without_a_reason_asks_the_desk_with_none(scene: Scene, client: TestClient) -> None:
    client.post(KILL, json={"on": False})
    client.post("/ops/trading/kill", json={"on": False})

    assert [said["reason"] for _, said in scene.desk.heard] == ["", ""]


@pytest.mark.parametrize("path", [GATES, POLICIES, KILL])
def test_an_unknown_agent_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path.replace("desk", "nobody")).status_code == 404
