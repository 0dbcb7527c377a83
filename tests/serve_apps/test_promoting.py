"""A promotion over HTTP: its gate row by row, and the token that who is logged in on the pages needs."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.confirmations import LIFE_MS
from desk.store import kinds
from tests.actors.test_version_switch import evaluated, make_version
from tests.serve_apps.scene import BASELINE, PAIR, TOKEN, WALL_MS, Scene
from tests.serve_apps.test_guards import csrf_of, login

PREFLIGHT = {"action": "version.promote", "version_id": "v1", "pair": PAIR}
PROMOTE = "/agents/desk/versions/v1/promote"


@pytest.fixture
def ready(scene: Scene) -> Scene:
    """A desk with a version that passed on the pair, and one that was never evaluated."""
    for name in ("v1", "v2"):
        scene.store.put(kinds.VERSIONS, name, make_version(name), at_ms=0)
    evaluated(scene.store, "e-v1", "v1", pair=PAIR)
    return scene


@pytest.fixture
def logged_in(ready: Scene, guarded: TestClient) -> TestClient:
    """A browser that is logged in, with its CSRF token on every request."""
    login(guarded)
    guarded.headers["X-CSRF-Token"] = csrf_of(guarded)
    return guarded


def active(scene: Scene) -> str:
    found = scene.store.get(kinds.AGENTS, "desk")
    assert found is not None
    return found.value.active_version_id


def preflight(client: TestClient, **changes: Any) -> Any:
    answer = client.post("/ops/preflight", json={**PREFLIGHT, **changes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def confirmed(told: Any) -> dict[str, Any]:
    return {
        "pair": told["pair"],
        "confirm_token": told["confirm_token"],
        "confirm_name": told["confirm_name"],
    }


def test_a_preflight_tells_the_gate_row_by_row_and_changes_nothing(
    ready: Scene, client: TestClient
) -> None:
    follows = {"agent_id": "desk"}
    ready.store.put(kinds.STATE, "follows:run-1", follows, at_ms=0)

    told = preflight(client)

    assert (told["allowed"], told["evaluation_id"], told["confirm_name"]) == (True, "e-v1", "v1")
    assert (told["active_version_id"], told["runs"]) == (BASELINE, ["run-1"])
    assert all(gate["passed"] and not gate["problem"] for gate in told["gates"])
    assert active(ready) == BASELINE
    noted = client.get("/ops/audit", params={"action": "promote.preflight"}).json()["items"]
    assert [row["after"]["allowed"] for row in noted] == [True]


def test_a_version_that_the_gate_refuses_gets_no_token(ready: Scene, client: TestClient) -> None:
    told = preflight(client, version_id="v2")

    assert (told["allowed"], told["confirm_token"]) == (False, None)
    (gate,) = told["gates"]
    assert gate["problem"].startswith("not_evaluated_on_pair: ")


@pytest.mark.parametrize(
    ("ask", "status", "field"),
    [
        ({"pair": "PAXG-USDT"}, 422, "pair"),
        ({"pair": "nonsense"}, 422, "pair"),
        ({"version_id": "nobody"}, 404, None),
        ({"agent_id": "nobody"}, 404, None),
        ({"action": "version.promot"}, 422, None),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_name(
    ready: Scene, client: TestClient, ask: dict[str, str], status: int, field: str | None
) -> None:
    answer = client.post("/ops/preflight", json={**PREFLIGHT, **ask})

    assert answer.status_code == status
    if field is not None:
        assert field in answer.text


def test_from_the_pages_a_version_is_promoted_by_its_token_and_name(
    ready: Scene, logged_in: TestClient
) -> None:
    answer = logged_in.post(PROMOTE, json=confirmed(preflight(logged_in)))

    assert answer.json()["evaluation_id"] == "e-v1"
    assert active(ready) == "v1"
    assert logged_in.post(PROMOTE, json={"pair": PAIR}).status_code == 200, "it is done already"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"confirm_token": ""}, "confirm_token"),
        ({"confirm_token": "k.s"}, "confirm_token"),
        ({"confirm_name": "v2"}, "confirm_name"),
    ],
)
def test_from_the_pages_nothing_is_promoted_without_both(
    ready: Scene, logged_in: TestClient, change: dict[str, str], field: str
) -> None:
    body = confirmed(preflight(logged_in)) | change

    answer = logged_in.post(PROMOTE, json=body)

    assert answer.status_code == 422
    assert field in answer.text
    assert active(ready) == BASELINE


def test_a_token_is_of_one_evaluation_and_one_row_of_the_agent(
    ready: Scene, logged_in: TestClient
) -> None:
    body = confirmed(preflight(logged_in))
    evaluated(ready.store, "e-v1b", "v1", pair=PAIR, created_ms=WALL_MS)

    assert logged_in.post(PROMOTE, json=body).status_code == 422
    body = confirmed(preflight(logged_in))
    agent = ready.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    ready.store.put(kinds.AGENTS, "desk", replace(agent.value, name="other"), at_ms=0)

    assert logged_in.post(PROMOTE, json=body).status_code == 422
    assert active(ready) == BASELINE


def test_the_gates_are_judged_again_with_the_token_in_hand(
    ready: Scene, logged_in: TestClient
) -> None:
    body = confirmed(preflight(logged_in))
    evaluated(ready.store, "e-v1b", "v1", pair=PAIR, created_ms=WALL_MS, trade_count=3)

    answer = logged_in.post(PROMOTE, json=body)

    assert (answer.status_code, answer.json()["title"]) == (409, "A gate refused")
    assert "insufficient_trade_count" in answer.json()["detail"]
    assert active(ready) == BASELINE


def test_a_token_does_not_last_longer_than_a_minute(
    ready: Scene, logged_in: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = preflight(logged_in)
    monkeypatch.setattr("actors.confirming.wall_ms", lambda: told["expires_at_ms"])

    answer = logged_in.post(PROMOTE, json=confirmed(told))

    assert answer.status_code == 422
    assert f"held for {LIFE_MS // 1000} s" in answer.text
    assert active(ready) == BASELINE


def test_a_script_needs_no_token_and_the_same_gates(ready: Scene, guarded: TestClient) -> None:
    guarded.headers["Authorization"] = f"Bearer {TOKEN}"
    refused = guarded.post("/agents/desk/versions/v2/promote", json={"pair": PAIR})
    assert refused.status_code == 409

    assert guarded.post(PROMOTE, json={"pair": PAIR}).status_code == 200
    assert active(ready) == "v1"


def test_a_token_that_a_script_gives_has_to_be_right(ready: Scene, client: TestClient) -> None:
    body = {"pair": PAIR, "confirm_token": "k.s", "confirm_name": "v1"}

    assert client.post(PROMOTE, json=body).status_code == 422
    assert active(ready) == BASELINE
