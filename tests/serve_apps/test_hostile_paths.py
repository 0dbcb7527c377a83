"""Any id in a path, any value in a query: a refusal, never a fault and never a file."""

import re
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from tests.serve_apps.scene import Scene, make_scene

HOSTILE = [
    "..",
    "../../etc/passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "\x00",
    "a\r\nSet-Cookie: x=1",
    "*",
    "?",
    "(a+)+$",
    "${jndi:ldap://x}",
    "<script>alert(1)</script>",
    "'; DROP TABLE runs; --",
    "\u202e\U0001f4a5",
    "k" * 3_000,
    "9" * 400,
    "-1",
    "NaN",
]


def operations() -> list[tuple[str, str, list[str]]]:
    """Every method and path with the names of its query parameters."""
    found: list[tuple[str, str, list[str]]] = []
    for path, methods in make_scene().app().openapi()["paths"].items():
        for method, operation in methods.items():
            query = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
            found.append((method.upper(), path, query))
    return found


OPERATIONS = [one for one in operations() if one[1] != "/events"]


@pytest.mark.catalogue("S05")
@pytest.mark.catalogue("S10")
@pytest.mark.parametrize("value", HOSTILE)
def test_a_hostile_value_is_refused_or_found_nowhere(client: TestClient, value: str) -> None:
    for method, path, query in OPERATIONS:
        target = re.sub(r"\{\w+\}", lambda _: quote(value, safe=""), path)
        given = dict.fromkeys(query, value)

        answer = client.request(method, target, params=given, follow_redirects=False)

        assert answer.status_code < 500 or path == "/healthz", (method, path, answer.text)
        assert "root:" not in answer.text
        assert "x=1" not in str(answer.headers.get("set-cookie"))


def test_a_hostile_id_changes_nothing(scene: Scene, client: TestClient) -> None:
    for value in HOSTILE:
        client.post(f"/trades/{quote(value, safe='')}/close")
        client.post(f"/ops/alerts/{quote(value, safe='')}/ack")
        client.post(f"/agents/{quote(value, safe='')}/start", json={"mode": "paper"})

    assert scene.desk.heard == []
