"""The retry queue over HTTP: what failed is listed, and an operator decides once, on record."""

from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from actors import retry_queue
from desk.market.retries import RetryItem, RetryStatus
from desk.store import kinds
from tests.serve_apps.scene import Scene

DEAD = RetryItem(
    item_id="rty1",
    job_type="backfill",
    payload={"pair": "BTC-USDT"},
    dedupe_key="backfill:BTC-USDT:1m",
    created_ms=1,
    updated_ms=1,
    next_attempt_at_ms=0,
    status=RetryStatus.DEAD,
    attempts=5,
    last_error="away",
)


@pytest.fixture(autouse=True)
def _some(scene: Scene) -> None:
    for item in (
        DEAD,
        replace(DEAD, item_id="rty2", status=RetryStatus.IN_FLIGHT),
        replace(DEAD, item_id="rty3", status=RetryStatus.WAITING),
    ):
        retry_queue.put(scene.store, item, expected_version=0)


def test_failed_jobs_are_listed_by_status(client: TestClient) -> None:
    whole = client.get("/ops/retry-queue").json()["items"]
    dead = client.get("/ops/retry-queue", params={"status": "dead"}).json()["items"]

    assert [row["item_id"] for row in whole] == ["rty3", "rty2", "rty1"]
    assert [row["item_id"] for row in dead] == ["rty1"]
    assert (dead[0]["attempts"], dead[0]["last_error"]) == (5, "away")
    assert client.get("/ops/retry-queue", params={"status": "odd"}).status_code == 422


def test_an_operator_retries_and_the_audit_says_so(scene: Scene, client: TestClient) -> None:
    answer = client.post("/ops/retry-queue/rty1/retry")

    assert (answer.status_code, answer.json()["status"]) == (200, "waiting")
    assert answer.json()["attempts"] == 0
    [entry] = [doc.value for doc in scene.store.list(kinds.AUDIT)]
    assert (entry.action, entry.resource) == ("retry.retry", "retry/rty1")
    assert (entry.before["status"], entry.after["status"]) == ("dead", "waiting")


def test_an_operator_discards_and_the_audit_says_so(scene: Scene, client: TestClient) -> None:
    assert client.post("/ops/retry-queue/rty1/discard").status_code == 200

    assert client.post("/ops/retry-queue/rty1/discard").status_code == 404
    [entry] = [doc.value for doc in scene.store.list(kinds.AUDIT)]
    assert (entry.action, entry.before["attempts"]) == ("retry.discard", 5)


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_what_is_in_flight_is_left_alone(scene: Scene, client: TestClient, verb: str) -> None:
    answer = client.post(f"/ops/retry-queue/rty2/{verb}")

    assert (answer.status_code, answer.json()["type"]) == (409, "urn:raydesk:illegal-transition")
    assert scene.store.list(kinds.AUDIT) == []
    assert client.post(f"/ops/retry-queue/nothing/{verb}").status_code == 404


def test_the_depth_is_a_metric_and_in_the_status_of_its_source(client: TestClient) -> None:
    text = client.get("/metrics").text
    for status in ("waiting", "in_flight", "dead"):
        assert f'desk_retry_queue_items{{status="{status}"}} 1.0' in text
    rows = {row["source"]: row for row in client.get("/ingestion/status").json()["items"]}
    assert (rows["bingx"]["retries_waiting"], rows["bingx"]["retries_dead"]) == (2, 1)
    assert rows["telegram"]["retries_dead"] == 0
