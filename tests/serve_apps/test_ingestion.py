"""Ingestion over HTTP: runs that can be filtered and paged, and each source as a whole."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.clock import HOUR_MS
from desk.market.ingestion import IngestionKind, IngestionRun, IngestionStatus
from desk.store import kinds
from tests.serve_apps.scene import NOW_MS, PAIR, Scene, make_ingestion_run


def keep(scene: Scene, run_id: str, **changes: Any) -> IngestionRun:
    run = make_ingestion_run(run_id, pair=PAIR, interval="1m", **changes)
    scene.store.put(kinds.INGESTION, run_id, run, at_ms=run.started_ms)
    return run


def listed(client: TestClient, path: str = "/ops/ingestion/runs", **query: Any) -> list[str]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [row["run_id"] for row in answer.json()["items"]]


@pytest.fixture
def some(scene: Scene) -> Scene:
    keep(scene, "a", started_ms=NOW_MS - 3)
    keep(scene, "b", started_ms=NOW_MS - 2, status=IngestionStatus.FAILED, error="away")
    run = keep(scene, "c", started_ms=NOW_MS - 1, kind=IngestionKind.SYNC)
    telegram = replace(
        run, source="telegram", source_type="telegram", source_id="telegram:calls", pair=""
    )
    scene.store.put(kinds.INGESTION, "c", telegram, at_ms=run.started_ms)
    return scene


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, ["c", "b", "a"]),
        ({"source": "bingx"}, ["b", "a"]),
        ({"source": "bingx_candles"}, ["b", "a"]),
        ({"source": "telegram:calls"}, ["c"]),
        ({"pair": PAIR, "status": "failed"}, ["b"]),
        ({"pair": "ETH-USDT"}, []),
        ({"interval": "5m"}, []),
        ({"start_ms": NOW_MS - 2, "end_ms": NOW_MS - 1}, ["b"]),
    ],
)
def test_runs_are_listed_newest_first_by_what_was_asked(
    some: Scene, client: TestClient, query: dict[str, Any], wanted: list[str]
) -> None:
    assert some.store.list(kinds.INGESTION)
    assert listed(client, **query) == wanted
    assert listed(client, "/data-sources/runs", **query) == wanted


def test_runs_are_paged(some: Scene, client: TestClient) -> None:
    assert some.store.list(kinds.INGESTION)
    first = client.get("/ops/ingestion/runs", params={"limit": 2}).json()
    rest = listed(client, cursor=first["next_cursor"])
    assert ([row["run_id"] for row in first["items"]], rest) == (["c", "b"], ["a"])


@pytest.mark.parametrize(
    "query", [{"status": "odd"}, {"pair": "nonsense"}, {"interval": "7m"}, {"cursor": "???"}]
)
def test_a_filter_that_means_nothing_is_refused(client: TestClient, query: dict[str, str]) -> None:
    assert client.get("/ops/ingestion/runs", params=query).status_code == 422


@pytest.mark.parametrize("path", ["/ops/ingestion/status", "/ingestion/status"])
def test_each_source_is_counted_by_its_evidence(
    scene: Scene, client: TestClient, path: str
) -> None:
    scene.source(last_event_ms=NOW_MS)
    scene.source(last_event_ms=0, pair="ETH-USDT")
    scene.source(last_event_ms=NOW_MS, source_type="ticker", interval="", enabled=False)
    keep(scene, "a", new=120, updated_ms=NOW_MS - 1)
    keep(scene, "old", new=10_000, updated_ms=NOW_MS - HOUR_MS - 1)

    rows = {row["source"]: row for row in client.get(path).json()["items"]}

    bingx = rows["bingx"]
    # Two pairs, one interval and seven feeds: what has no row is not ok, and is counted too.
    assert (bingx["enabled"], bingx["paused"]) == (15, 1)
    assert (bingx["ok"], bingx["stale"], bingx["unavailable"]) == (1, 1, 13)
    assert (bingx["rows_per_min"], bingx["last_run"]["run_id"]) == (2.0, "a")
    assert (rows["telegram"]["enabled"], rows["telegram"]["last_run"]) == (0, None)
