"""Each write of the description, asked twice under one key: one effect, one answer."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk import ids
from desk.store.layout import ANSWERS_KEPT_MS
from serve_apps.description import operations
from serve_apps.idempotency import LEASE_MS, fingerprint, is_covered
from tests.serve_apps.record_examples import WRITTEN, body_of, busy_scene, path_of, requests
from tests.serve_apps.scene import HERE, Scene, make_scene

SCHEMA: dict[str, Any] = make_scene().app().openapi()
WRITES = [
    (method, path, told)
    for method, path, told in operations(SCHEMA)
    if method != "GET" and is_covered(method, path)
]
NAMES = [f"{method} {path}" for method, path, _ in WRITES]
KEY = {"Idempotency-Key": "once", "Content-Type": "application/json"}


@pytest.fixture
def busy() -> Iterator[tuple[Scene, TestClient]]:
    with tempfile.TemporaryDirectory() as home:
        scene = busy_scene(Path(home))
        with TestClient(scene.app(), base_url=HERE, client=("127.0.0.1", 1)) as client:
            yield scene, client


def asked(scene: Scene, method: str, path: str, told: dict[str, Any]) -> tuple[str, bytes]:
    """Where and with what the write is asked for; an answer of 409 or 404 is an answer too."""
    known = requests(scene).get(f"{method} {path}")
    where, body = known or (path_of(path, told), body_of(SCHEMA, told))
    return where, b"" if body is None else json.dumps(body).encode()


def test_there_are_many_writes() -> None:
    assert len(WRITES) > 40
    assert set(WRITTEN) <= set(NAMES)


@pytest.mark.parametrize(("method", "path", "told"), WRITES, ids=NAMES)
def test_a_key_is_one_effect_and_another_request_under_it_is_422(
    busy: tuple[Scene, TestClient], method: str, path: str, told: dict[str, Any]
) -> None:
    scene, client = busy
    where, body = asked(scene, method, path, told)

    first = client.request(method, where, content=body, headers=KEY)
    effects, rows = len(scene.desk.heard), len(scene.store.audit_rows(0, 1_000))
    again = client.request(method, where, content=body, headers=KEY)
    other = client.request(method, f"{where}?other=1", content=body, headers=KEY)

    assert first.status_code != 422, first.text  # a refused body keeps nothing, and shows nothing
    assert again.status_code == first.status_code < 500
    assert again.content == first.content
    assert again.headers["idempotent-replay"] == "true"
    assert (other.status_code, other.json()["field"]) == (422, "idempotency-key")
    assert (len(scene.desk.heard), len(scene.store.audit_rows(0, 1_000))) == (effects, rows)


@pytest.mark.parametrize(("method", "path", "told"), WRITES, ids=NAMES)
def test_a_twin_in_flight_is_409_and_does_nothing(
    busy: tuple[Scene, TestClient], method: str, path: str, told: dict[str, Any]
) -> None:
    scene, client = busy
    where, body = asked(scene, method, path, told)
    scope: dict[str, Any] = {"query_string": b"", "headers": [], "state": {"body": body}}
    scene.store.begin_request(
        ids.request_id("idempotency", method, where, "twin"),
        fingerprint(scope),
        claim="the first",
        now_ms=scene.wall_ms,
        lease_ms=LEASE_MS,
        kept_ms=ANSWERS_KEPT_MS,
    )
    effects = len(scene.desk.heard)

    twin = client.request(method, where, content=body, headers=KEY | {"Idempotency-Key": "twin"})

    assert (twin.status_code, twin.json()["type"]) == (409, "urn:raydesk:in-flight")
    assert twin.headers["retry-after"] == "1"
    assert len(scene.desk.heard) == effects
