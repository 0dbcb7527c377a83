"""`desk source`: each command against the real routes."""

import json
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from actors.commands import FeedScope
from actors.ingestion_config import overrides
from desk.cli import client
from desk.cli.application import app
from desk.errors import BadInput
from desk.store import kinds
from tests.serve_apps.scene import HERE, Scene, make_scene

LOCAL = ("127.0.0.1", 40_000)


@pytest.fixture
def scene() -> Scene:
    return make_scene()


@pytest.fixture
def desk(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    operator = TestClient(scene.app(), base_url=HERE, client=LOCAL)
    monkeypatch.setattr(client.httpx2, "Client", lambda **_: operator)
    return lambda *words: CliRunner().invoke(app, ["source", *words])


def test_a_pause_says_which_runs_it_costs_and_a_dry_run_only_that(
    scene: Scene, desk: Callable[..., Result]
) -> None:
    rehearsed = desk("pause", "bingx", "--pair", "BTC-USDT", "--dry-run")
    paused = desk("pause", "bingx", "--type", "ticker")
    desk("resume", "bingx")
    ran = desk("run", "telegram", "--json")

    assert "9 would be paused" in rehearsed.stdout
    assert "run-1" in rehearsed.stdout
    assert "9 paused" in paused.stdout
    assert json.loads(ran.stdout)["source"] == "telegram"
    heard = [(said["wish"], said.get("scope"), said.get("dry_run")) for _, said in scene.desk.heard]
    assert heard == [
        ("pause", FeedScope(pair="BTC-USDT"), True),
        ("pause", FeedScope(source_type="ticker"), False),
        ("resume", FeedScope(), False),
        ("run", None, None),
    ]


def test_a_row_is_set_and_shown(scene: Scene, desk: Callable[..., Result]) -> None:
    words = ("bingx_candles", "--pair", "BTC-USDT", "--interval", "1m")

    shown = desk("set", *words, "--disabled", "--threshold", "300")

    row = scene.store.get(kinds.SOURCES, "bingx_candles:BTC-USDT:1m")
    assert row is not None
    assert (row.value.enabled, row.value.freshness_threshold_s) == (False, 300)
    assert "300" in shown.stdout


def test_settings_are_added_to_what_was_set_until_a_reset(
    scene: Scene, desk: Callable[..., Result]
) -> None:
    desk("config", "DATA_GAP_HEAL_ENABLED=false")
    both = desk("config", "DATA_GAP_HEAL_COOLDOWN_MIN=5")
    first = overrides(scene.store)
    desk("config", "--reset", "DATA_GAP_HEAL_MAX_ATTEMPTS=3")

    assert first == {"DATA_GAP_HEAL_ENABLED": False, "DATA_GAP_HEAL_COOLDOWN_MIN": 5}
    assert "operator" in both.stdout
    assert overrides(scene.store) == {"DATA_GAP_HEAL_MAX_ATTEMPTS": 3}


@pytest.mark.parametrize("text", ["DATA_GAP_HEAL_ENABLED", "DATA_GAP_HEAL_COOLDOWN_MIN=soon"])
def test_what_is_no_value_is_refused(desk: Callable[..., Result], text: str) -> None:
    assert isinstance(desk("config", text).exception, BadInput)
