"""What an operator may set of ingestion while the desk runs, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from actors.ingestion_config import CHANGEABLE, overrides
from actors.signal_status import new_signal_status, status_key
from desk.settings import load_settings
from desk.store import kinds
from tests.serve_apps.scene import HERE, NOW_MS, Scene

LOCAL = ("127.0.0.1", 40_000)
CANDLES = {"source_type": "bingx_candles", "pair": "BTC-USDT", "interval": "1m"}
CONFIG = "/ops/ingestion/config"
GIVEN = {
    "DATA_GAP_HEAL_COOLDOWN_MIN": "7",
    "TELEGRAM_API_ID": "12345",
    "TELEGRAM_API_HASH": "b" * 32,
    "TRADINGVIEW_SECRET": "hunter22",
}


class Browser:
    """One operator at the API; every write has a key of its own."""

    def __init__(self, client: TestClient) -> None:
        self.client, self.writes = client, 0

    def send(self, method: str, path: str, body: Any, **headers: str) -> Any:
        self.writes += 1
        key = {"idempotency-key": f"k{self.writes}"}
        return self.client.request(method, path, json=body, headers={**key, **headers})

    def patch(self, body: dict[str, Any]) -> Any:
        return self.send("PATCH", "/data-sources/config", body)

    def put(self, settings: dict[str, Any], **headers: str) -> Any:
        return self.send("PUT", CONFIG, {"settings": settings}, **headers)

    def config(self) -> dict[str, Any]:
        items = self.client.get(CONFIG).json()["items"]
        return {item["name"]: item for item in items}


@pytest.fixture
def browser(scene: Scene) -> Iterator[Browser]:
    app = scene.app(settings=load_settings(GIVEN), signal_sources=(("telegram", "telegram:calls"),))
    with TestClient(app, base_url=HERE, client=LOCAL) as client:
        yield Browser(client)


def audited(scene: Scene) -> list[tuple[str, str]]:
    rows = [doc.value for doc in scene.store.list(kinds.AUDIT)]
    return [(row.action, row.resource) for row in rows]


# --- one source ---------------------------------------------------------------------------------


def test_a_threshold_decides_what_is_stale_from_now_on(scene: Scene, browser: Browser) -> None:
    scene.store.put(
        kinds.STATE, "clock", {"market_ms": NOW_MS, "wall_ms": 1, "speed": 1.0}, at_ms=1
    )
    scene.source(last_event_ms=NOW_MS - 100_000)

    tighter = browser.patch({**CANDLES, "freshness_threshold_s": 90})
    again = browser.patch({**CANDLES, "freshness_threshold_s": 90})
    wider = browser.patch({**CANDLES, "freshness_threshold_s": 300})

    assert [answer.status_code for answer in (tighter, again, wider)] == [200, 200, 200]
    assert [answer.json()["status"] for answer in (tighter, again, wider)] == [
        "stale",
        "stale",
        "ok",
    ]
    resource = "source/bingx_candles:BTC-USDT:1m"
    assert audited(scene) == [("source.config", resource)] * 2, (
        "what changes nothing is not audited"
    )


def test_a_row_that_its_poller_writes_meanwhile_loses_neither(
    scene: Scene, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.source(last_event_ms=NOW_MS)
    read, reads = scene.store.get, [0]

    def read_and_be_overtaken(kind: Any, key: str) -> Any:
        found = read(kind, key)
        if found is not None and kind is kinds.SOURCES and not reads[0]:
            reads[0] += 1
            scene.store.put(kind, key, replace(found.value, last_event_ms=NOW_MS + 7), at_ms=1)
        return found

    monkeypatch.setattr(scene.store, "get", read_and_be_overtaken)
    answer = browser.patch({**CANDLES, "enabled": False})

    row = read(kinds.SOURCES, "bingx_candles:BTC-USDT:1m")
    assert answer.json()["badge"] == "disabled"
    assert row is not None
    assert (row.value.enabled, row.value.last_event_ms) == (False, NOW_MS + 7)


def test_a_source_of_signals_is_set_once_it_was_synced(scene: Scene, browser: Browser) -> None:
    body = {"source_type": "telegram", "source_id": "telegram:calls", "enabled": False}

    early = browser.patch(body)
    row = new_signal_status("telegram", "telegram:calls", every_s=7_200)
    key = status_key("telegram", "telegram:calls")
    scene.store.put(kinds.SOURCES, key, row, at_ms=1)
    answer = browser.patch(body)

    assert (early.status_code, answer.status_code) == (404, 200)
    stored = scene.store.get(kinds.SOURCES, key)
    assert stored is not None
    assert stored.value == replace(row, enabled=False)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (CANDLES, 422, "enabled"),
        ({**CANDLES, "freshness_threshold_s": 69}, 422, "freshness_threshold_s"),
        ({**CANDLES, "freshness_threshold_s": 604_801}, 422, "freshness_threshold_s"),
        ({**CANDLES, "freshness_threshold_s": -1}, 422, "freshness_threshold_s"),
        ({**CANDLES, "status": "ok"}, 422, "status"),
        ({**CANDLES, "pair": "DOGE-USDT", "enabled": True}, 422, "pair"),
        ({**CANDLES, "interval": "5m", "enabled": True}, 422, "interval"),
        ({"source_type": "bingx_candles", "pair": "BTC-USDT", "enabled": True}, 422, "interval"),
        ({"source_type": "ticker", "enabled": True}, 422, "pair"),
        ({"source_type": "weather", "pair": "BTC-USDT", "enabled": True}, 422, "source_type"),
        ({**CANDLES, "source_id": "x", "enabled": True}, 422, "source_id"),
        ({"source_type": "telegram", "pair": "BTC-USDT", "enabled": True}, 422, "pair"),
        ({"source_type": "telegram", "source_id": "telegram:x", "enabled": True}, 404, None),
    ],
)
def test_what_cannot_be_set_names_its_field_and_changes_nothing(
    scene: Scene, browser: Browser, body: dict[str, Any], status: int, field: str | None
) -> None:
    answer = browser.patch(body)

    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert (scene.store.list(kinds.SOURCES), audited(scene)) == ([], [])


# --- the gap monitor's rules --------------------------------------------------------------------


def test_each_setting_says_where_its_value_comes_from_and_no_secret_is_shown(
    scene: Scene, browser: Browser
) -> None:
    browser.put({"DATA_GAP_HEAL_ENABLED": False})

    config, text = browser.config(), browser.client.get(CONFIG).text

    names = ("DATA_GAP_HEAL_ENABLED", "DATA_GAP_HEAL_COOLDOWN_MIN", "DATA_GAP_LOOKBACK_DAYS")
    assert [(config[name]["value"], config[name]["origin"]) for name in names] == [
        (False, "operator"),
        (7, "environment"),
        (30, "default"),
    ]
    assert config["DATA_GAP_HEAL_ENABLED"]["started_with"] is True
    assert config["BINGX_MARKET_DATA_PAIRS"]["value"][0] == "BTC-USDT"
    assert {name for name, item in config.items() if item["changeable"]} == set(CHANGEABLE)
    assert not set(config) & {"TELEGRAM_API_HASH", "TELEGRAM_API_ID", "TRADINGVIEW_SECRET"}
    assert not [part for part in ("hunter22", "b" * 32, "12345") if part in text]


def test_a_put_replaces_what_was_set_before_and_leaves_one_entry_each(
    scene: Scene, browser: Browser
) -> None:
    first = browser.put({"DATA_GAP_HEAL_ENABLED": False, "DATA_GAP_HEAL_MAX_ATTEMPTS": 9})
    same = browser.put({"DATA_GAP_HEAL_ENABLED": False, "DATA_GAP_HEAL_MAX_ATTEMPTS": 9})
    second = browser.put({"DATA_GAP_HEAL_MAX_ATTEMPTS": 2})

    versions = [answer.json()["row_version"] for answer in (first, same, second)]
    assert versions == [1, 1, 2]
    assert overrides(scene.store) == {"DATA_GAP_HEAL_MAX_ATTEMPTS": 2}
    assert browser.config()["DATA_GAP_HEAL_ENABLED"]["origin"] == "default"
    assert audited(scene) == [("ingestion.config", "ingestion/config")] * 2


def test_a_config_that_moved_on_since_it_was_read_is_not_overwritten(
    scene: Scene, browser: Browser
) -> None:
    browser.put({"DATA_GAP_HEAL_MAX_ATTEMPTS": 2})

    late = browser.put({"DATA_GAP_HEAL_MAX_ATTEMPTS": 3}, **{"if-match": "0"})
    timely = browser.put({"DATA_GAP_HEAL_MAX_ATTEMPTS": 4}, **{"if-match": "1"})

    assert (late.status_code, timely.status_code) == (412, 200)
    assert overrides(scene.store) == {"DATA_GAP_HEAL_MAX_ATTEMPTS": 4}


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"DATA_GAP_HEAL_MAX_ATTEMPTS": 0}, "DATA_GAP_HEAL_MAX_ATTEMPTS"),
        ({"DATA_GAP_HEAL_COOLDOWN_MIN": -1}, "DATA_GAP_HEAL_COOLDOWN_MIN"),
        ({"DATA_GAP_HEAL_ENABLED": 5}, "DATA_GAP_HEAL_ENABLED"),
        ({"DATA_GAP_LOOKBACK_DAYS": 3}, "DATA_GAP_LOOKBACK_DAYS"),
        ({"API_TOKEN": 1}, "API_TOKEN"),
        ({"DATA_GAP_HEAL_ENABLED": False, "DATA_GAP_HEAL_MAX": 3}, "DATA_GAP_HEAL_MAX"),
    ],
)
def test_a_value_that_the_environment_would_not_take_is_refused_whole(
    scene: Scene, browser: Browser, settings: dict[str, Any], field: str
) -> None:
    answer = browser.put(settings)

    assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
    assert (overrides(scene.store), audited(scene)) == ({}, [])


@pytest.mark.parametrize("value", ["5", 2.5, None, [1]])
def test_only_whole_numbers_and_switches_are_values(browser: Browser, value: object) -> None:
    assert browser.put({"DATA_GAP_HEAL_MAX_ATTEMPTS": value}).status_code == 422
