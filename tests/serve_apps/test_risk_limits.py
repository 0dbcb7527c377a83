"""Limit sets and guardrails over HTTP: new revisions, refusals by field, and what raises risk is confirmed."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.clock import HOUR_MS
from desk.runs import RunStatus
from desk.store import kinds
from desk.store.port import Event
from desk.trading import ledger as books
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.limits import default_live_policy, default_paper_policy
from tests.serve_apps.scene import NOW_MS, Scene, make_run

WHOLE = {
    "set_id": "small",
    "name": "Small",
    "max_position_size": "500",
    "leverage_cap": "2",
    "max_daily_loss": "100",
    "max_drawdown": "0.05",
    "max_open_positions": 2,
}
DEFAULT = "/risk-limits/default"
GUARDRAILS = "/ops/trading/risk"


@pytest.fixture
def policies(scene: Scene) -> None:
    for policy in (default_paper_policy(), default_live_policy()):
        scene.store.put(kinds.ACCOUNT_POLICIES, policy.account, policy, at_ms=NOW_MS)


def in_use(scene: Scene) -> None:
    """An active run of the set `default`."""
    run = make_run("run-9", started_ms=NOW_MS)
    scene.store.put(kinds.RUNS, run.run_id, run, at_ms=NOW_MS)
    assert (run.risk_limit_set_id, run.status) == ("default", RunStatus.RUNNING)


def idle(scene: Scene) -> None:
    """No run is active."""
    for doc in scene.store.list(kinds.RUNS):
        stopped = replace(doc.value, status=RunStatus.STOPPED)
        scene.store.put(kinds.RUNS, doc.key, stopped, at_ms=doc.at_ms)


def open_live_books(scene: Scene) -> None:
    fence = scene.store.acquire_lease("ledger:live", "test", 60_000)
    opened = books.open_ledger("live", Decimal(10_000), now_ms=NOW_MS)
    event = Event(topic="risk", key="live", data={}, at_ms=NOW_MS)
    scene.store.create_ledger(opened, fence=fence, event=event)


def refusal(answer: Any, status: int = 422) -> tuple[str, str]:
    assert answer.status_code == status, answer.text
    problem = answer.json()
    return problem.get("field", ""), problem["detail"]


def audit(scene: Scene) -> list[str]:
    return [doc.value.action for doc in scene.store.list(kinds.AUDIT)]


def test_a_new_set_is_stored_inactive_and_a_run_may_start_with_it_once_it_is_activated(
    scene: Scene, client: TestClient
) -> None:
    made = client.post("/risk-limits", json=WHOLE)
    active = client.post("/risk-limits/small/activate")

    assert made.status_code == 201, made.text
    assert (made.json()["active"], made.json()["row_version"]) == (False, 1)
    assert (active.json()["active"], active.json()["row_version"]) == (True, 2)
    assert client.post("/risk-limits/small/activate").json()["row_version"] == 2, "once is enough"
    assert {"limits.create", "limits.activate"} <= set(audit(scene))


def test_a_set_that_lacks_a_limit_is_refused_by_its_field(client: TestClient) -> None:
    for field in WHOLE:
        body = {name: value for name, value in WHOLE.items() if name != field}
        assert refusal(client.post("/risk-limits", json=body))[0].endswith(field)
    assert len(client.get("/risk-limits").json()["items"]) == 1


NONSENSE: tuple[tuple[str, object], ...] = (
    ("max_position_size", "-1"),
    ("max_position_size", "0"),
    ("max_position_size", "NaN"),
    ("leverage_cap", "0.5"),
    ("leverage_cap", "126"),
    ("max_daily_loss", "-200"),
    ("max_drawdown", "1.5"),
    ("max_drawdown", "Infinity"),
    ("max_open_positions", 0),
    ("max_open_positions", -3),
    ("max_open_positions", 1.5),
)


def test_a_limit_without_sense_is_refused_by_its_field_and_changes_nothing(
    client: TestClient,
) -> None:
    before = client.get("/risk-limits").json()
    for field, value in NONSENSE:
        assert refusal(client.post("/risk-limits", json=WHOLE | {field: value}))[0].endswith(field)
        assert refusal(client.patch(DEFAULT, json={field: value}))[0].endswith(field)
    assert client.get("/risk-limits").json() == before


BEYOND: tuple[tuple[str, object, str], ...] = (
    ("max_position_size", "5001", "at most 5000: max_instrument_exposure of account paper"),
    ("max_daily_loss", "501", "at most 500: max_daily_loss of account paper"),
    ("max_drawdown", "0.26", "at most 0.25: max_drawdown of account paper"),
    ("max_open_positions", 11, "at most 10: max_open_positions of account paper"),
    ("leverage_cap", "4", "at most 3: max_leverage of account paper"),
)


@pytest.mark.usefixtures("policies")
def test_a_limit_looser_than_the_accounts_is_refused_with_what_that_is(
    scene: Scene, client: TestClient
) -> None:
    idle(scene)
    for field, value, said in BEYOND:
        for answer in (
            client.post("/risk-limits", json=WHOLE | {field: value}),
            client.patch(DEFAULT, json={field: value}),
        ):
            found, detail = refusal(answer)
            assert found == field
            assert said in detail


def test_a_leverage_above_the_venues_maximum_is_refused(scene: Scene, client: TestClient) -> None:
    for doc in scene.store.list(kinds.INSTRUMENTS):
        low = replace(doc.value, max_leverage=2)
        scene.store.put(kinds.INSTRUMENTS, doc.key, low, at_ms=0)

    assert refusal(client.post("/risk-limits", json=WHOLE | {"leverage_cap": "3"})) == (
        "leverage_cap",
        "was 3, expected at most 2, the venue's maximum",
    )
    assert refusal(client.patch(GUARDRAILS, json={"account": "paper", "max_leverage": "5"})) == (
        "max_leverage",
        "was 5, expected at most 2, the venue's maximum",
    )


def test_an_id_in_use_is_refused_with_the_revision_it_is_at(client: TestClient) -> None:
    field, detail = refusal(client.post("/risk-limits", json=WHOLE | {"set_id": "default"}))

    assert field == "set_id"
    assert "revision 1" in detail


def test_each_edit_is_a_new_revision_and_the_old_ones_are_kept(
    scene: Scene, client: TestClient
) -> None:
    idle(scene)
    for size in ("900", "950", "800"):
        assert client.patch(DEFAULT, json={"max_position_size": size}).status_code == 200

    now = client.get("/risk-limits").json()["items"][0]
    kept = client.get(f"{DEFAULT}/revisions").json()["items"]
    assert (now["row_version"], now["max_position_size"]) == (4, "800")
    assert sorted((row["row_version"], row["max_position_size"]) for row in kept) == [
        (1, "1000"),
        (2, "900"),
        (3, "950"),
    ]
    rows = [doc.value for doc in scene.store.list(kinds.AUDIT)]
    edits = [(row.before, row.after) for row in rows if row.action == "limits.edit"]
    assert ("1000", "900") in [
        (before["max_position_size"], after["max_position_size"]) for before, after in edits
    ]


@pytest.mark.parametrize("verb", ["edit", "activate", "If-Match", "policy"])
@pytest.mark.usefixtures("policies")
def test_a_stale_revision_is_refused_with_the_current_one(client: TestClient, verb: str) -> None:
    assert client.patch(DEFAULT, json={"max_position_size": "900"}).status_code == 200
    tighter = {"account": "paper", "max_drawdown": "0.2"}
    assert client.patch(GUARDRAILS, json=tighter).status_code == 200
    stale = {"max_position_size": "800"}

    match verb:
        case "edit":
            answer = client.patch(DEFAULT, json=stale | {"version": 1})
        case "activate":
            answer = client.post(f"{DEFAULT}/activate", json={"version": 1})
        case "If-Match":
            answer = client.patch(DEFAULT, json=stale, headers={"If-Match": '"1"'})
        case _:
            answer = client.patch(GUARDRAILS, json=tighter | {"version": 1})

    field, detail = refusal(answer, 412 if verb == "If-Match" else 409)
    assert field == "version"
    assert "at version 2, expected 1" in detail


def test_a_set_in_use_is_tightened_at_once(scene: Scene, client: TestClient) -> None:
    in_use(scene)

    answer = client.patch(DEFAULT, json={"max_position_size": "400", "max_open_positions": 1})

    assert answer.status_code == 200, answer.text
    assert answer.json()["effective_from_ms"] == NOW_MS


@pytest.mark.usefixtures("policies")
def test_a_set_in_use_is_loosened_only_with_the_token_of_this_very_edit(
    scene: Scene, client: TestClient
) -> None:
    in_use(scene)
    edit = {"max_position_size": "1500"}

    field, detail = refusal(client.patch(DEFAULT, json=edit))
    assert field == "confirm_token"
    assert "max_position_size is 1000" in detail

    asked = client.post(
        "/ops/preflight", json={"action": "risk-limits.edit", "set_id": "default"} | edit
    ).json()
    assert (asked["raises"], asked["version"]) == (["max_position_size"], 1)
    token = {"confirm_token": asked["confirm_token"]}
    other = refusal(client.patch(DEFAULT, json={"max_position_size": "1600"} | token))
    assert other[0] == "confirm_token"
    assert "another request" in other[1]

    done = client.patch(DEFAULT, json=edit | token)
    assert (done.status_code, done.json()["max_position_size"]) == (200, "1500")
    again = refusal(client.patch(DEFAULT, json={"max_position_size": "1700"} | token))
    assert again[0] == "confirm_token", "a token is good for one request"


@pytest.mark.usefixtures("policies")
def test_a_token_is_of_one_revision(scene: Scene, client: TestClient) -> None:
    in_use(scene)
    edit = {"max_position_size": "1500"}
    asked = client.post(
        "/ops/preflight", json={"action": "risk-limits.edit", "set_id": "default"} | edit
    ).json()
    client.patch(DEFAULT, json={"max_daily_loss": "100"})

    answer = client.patch(DEFAULT, json=edit | {"confirm_token": asked["confirm_token"]})

    assert refusal(answer)[0] == "confirm_token"


def test_a_set_that_no_run_uses_is_loosened_without_a_token(
    scene: Scene, client: TestClient
) -> None:
    idle(scene)

    asked = client.post(
        "/ops/preflight",
        json={"action": "risk-limits.edit", "set_id": "default", "max_position_size": "1500"},
    ).json()
    assert asked["confirm_token"] is None
    assert client.patch(DEFAULT, json={"max_position_size": "1500"}).status_code == 200


@pytest.mark.usefixtures("policies")
def test_a_set_of_a_live_run_may_not_go_beyond_the_live_guardrails(
    scene: Scene, client: TestClient
) -> None:
    idle(scene)
    run = replace(make_run("run-9", started_ms=NOW_MS), account="live")
    scene.store.put(kinds.RUNS, run.run_id, run, at_ms=NOW_MS)
    open_live_books(scene)

    field, detail = refusal(client.patch(DEFAULT, json={"max_position_size": "1500"}))

    assert field == "max_position_size"
    assert "account live" in detail


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize(
    "looser",
    [
        {"max_total_exposure": "1.5"},
        {"cooldown_minutes": 10},
        {"account": "live", "flatten_on_drawdown": False},
        {"account": "live", "max_drawdown": "0.06"},
    ],
)
def test_guardrails_are_loosened_only_with_a_token(
    scene: Scene, client: TestClient, looser: dict[str, object]
) -> None:
    idle(scene)
    open_live_books(scene)
    edit = {"account": "paper"} | looser

    assert refusal(client.patch(GUARDRAILS, json=edit))[0] == "confirm_token"

    asked = client.post("/ops/preflight", json={"action": "risk-policy.edit"} | edit).json()
    done = client.patch(GUARDRAILS, json=edit | {"confirm_token": asked["confirm_token"]})
    assert done.status_code == 200, done.text
    assert done.json()["policy_version"] == 2
    name = next(iter(set(looser) - {"account"}))
    wanted = str(looser[name]).replace("False", "0")
    assert Decimal(done.json()["policy"][name]) == Decimal(wanted)


@pytest.mark.usefixtures("policies")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"account": "nobody", "max_drawdown": "0.1"}, "account"),
        ({"account": "paper"}, "body"),
        ({"account": "paper", "max_drawdown": "-0.1"}, "max_drawdown"),
        ({"account": "paper", "max_instrument_exposure": "2"}, "max_instrument_exposure"),
        ({"account": "paper", "cooldown_minutes": 0}, "cooldown_minutes"),
    ],
)
def test_guardrails_without_sense_are_refused_by_their_field(
    client: TestClient, body: dict[str, object], field: str
) -> None:
    assert refusal(client.patch(GUARDRAILS, json=body))[0] == field


def test_each_limit_is_shown_with_its_use_and_headroom_by_account_and_by_run(
    scene: Scene, client: TestClient
) -> None:
    in_use(scene)
    scene.order()

    account = client.get(GUARDRAILS).json()["accounts"][0]

    run = next(row for row in account["runs"] if row["run_id"] == "run-9")
    size = next(cap for cap in run["caps"] if cap["name"] == "max_position_size")
    assert (run["set_id"], run["set_version"]) == ("default", 1)
    assert [Decimal(size[name]) for name in ("cap", "used", "headroom")] == [1000, 400, 600]
    caps = {cap["name"]: cap for cap in account["caps"]}
    assert {"max_leverage", "liquidation_buffer", "max_total_exposure"} <= set(caps)
    total = caps["max_total_exposure"]
    assert Decimal(total["cap"]) - Decimal(total["used"]) == Decimal(total["headroom"])


def test_a_run_whose_set_is_gone_is_shown_without_limits(scene: Scene, client: TestClient) -> None:
    in_use(scene)
    scene.store.delete(kinds.RISK_LIMITS, "default")

    runs = client.get(GUARDRAILS).json()["accounts"][0]["runs"]

    assert all((row["set_version"], row["caps"]) == (0, []) for row in runs)


def test_a_cool_down_ends_early_with_a_reason_and_is_audited(
    scene: Scene, client: TestClient
) -> None:
    cooling = Breaker(
        account="paper",
        state=BreakerState.COOLDOWN,
        cooldown_until_ms=NOW_MS + HOUR_MS,
        trigger_reason="max_daily_loss",
    )
    scene.store.put(kinds.BREAKERS, "paper", cooling, at_ms=NOW_MS)
    reset = "/ops/trading/circuit-breaker/reset"

    assert refusal(client.post(reset, json={"account": "paper", "reason": " "}))[0] == "reason"
    done = client.post(reset, json={"account": "paper", "reason": "seen and understood"})

    assert (done.status_code, done.json()["state"]) == (200, "ok")
    row = scene.store.get(kinds.BREAKERS, "paper")
    assert row is not None
    assert row.value.reference_equity == 10_000
    assert "breaker.reset" in audit(scene)
    again = client.post(reset, json={"account": "paper", "reason": "twice"})
    assert again.json()["state"] == "ok"
