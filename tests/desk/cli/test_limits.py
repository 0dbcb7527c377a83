"""`desk limits`: each command against the real routes."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from desk.cli import client
from desk.cli.application import app
from desk.errors import BadInput
from desk.store import kinds
from desk.trading.limits import default_paper_policy
from tests.serve_apps.scene import HERE, Scene, make_scene

LOCAL = ("127.0.0.1", 40_000)


@pytest.fixture
def scene() -> Scene:
    made = make_scene()
    made.store.put(kinds.ACCOUNT_POLICIES, "paper", default_paper_policy(), at_ms=0)
    return made


@pytest.fixture
def desk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    operator = TestClient(scene.app(), base_url=HERE, client=LOCAL)
    monkeypatch.setattr(client.httpx2, "Client", lambda **_: operator)
    return lambda *words: CliRunner().invoke(app, ["limits", *words])


def test_a_set_is_made_activated_edited_and_its_history_shown(desk: Callable[..., Result]) -> None:
    made = desk(
        *("create", "small", "--name", "Small", "--size", "500", "--leverage", "2"),
        *("--daily-loss", "100", "--drawdown", "0.05", "--positions", "2"),
    )
    desk("activate", "small")
    edited = desk("edit", "small", "--size", "400", "--version", "2", "--json")
    history = desk("history", "small", "--json")

    assert "small" in made.stdout
    assert (json.loads(edited.stdout)["row_version"], json.loads(edited.stdout)["active"]) == (
        3,
        True,
    )
    assert [row["row_version"] for row in json.loads(history.stdout)["items"]] == [2, 1]
    assert "small" in desk("list").stdout


def test_raising_a_set_in_use_takes_a_preflight_and_its_token(desk: Callable[..., Result]) -> None:
    refused = desk("edit", "default", "--size", "1500")
    asked = desk("edit", "default", "--size", "1500", "--preflight")
    token = asked.stdout.split("--confirm ")[1].strip()
    done = desk("edit", "default", "--size", "1500", "--confirm", token, "--json")

    assert isinstance(refused.exception, BadInput)
    assert refused.exception.field == "confirm_token"
    assert "raises max_position_size" in asked.stdout
    assert json.loads(done.stdout)["max_position_size"] == "1500"


def test_guardrails_are_shown_with_headroom_and_tightened(desk: Callable[..., Result]) -> None:
    shown = desk("use")
    tightened = desk("account", "paper", "max_drawdown=0.2", "flatten_on_drawdown=true")
    wrong = desk("account", "paper", "max_drawdown")

    assert "headroom" in shown.stdout
    assert "run-1" in shown.stdout
    assert "0.2" in tightened.stdout
    assert isinstance(wrong.exception, BadInput)
    assert wrong.exception.field == "NAME=VALUE"
