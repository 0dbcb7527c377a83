"""`/openapi.json` is true and whole: statuses, bounds, headers, and examples that fit their own schemas."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from serve_apps.auth import is_open
from serve_apps.description import TAGS, operations
from tests.serve_apps.record_examples import answers_json
from tests.serve_apps.scene import Scene, make_scene

SCHEMA: dict[str, Any] = make_scene().app().openapi()
OPERATIONS = {f"{method} {path}": told for method, path, told in operations(SCHEMA)}
WRITES = sorted(name for name in OPERATIONS if not name.startswith("GET "))
COVERED = [name for name in WRITES if "/webhooks/" not in name and "/token/" not in name]
"""An alert is known by its body, and tokens are given out, not kept: their writes take no key."""
EXACT_LENGTH_OR_WORDS = ("maxLength", "enum", "const", "pattern", "format")


def variants(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a parameter may be, null aside."""
    for one in schema.get("anyOf", [schema]):
        found = one
        while "$ref" in found:
            found = SCHEMA["components"]["schemas"][found["$ref"].rsplit("/", 1)[1]]
        if found.get("type") != "null":
            yield found


def errors_of(value: Any, schema: dict[str, Any]) -> list[str]:
    whole = {**schema, "components": SCHEMA["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_an_operation_says_who_may_ask_and_every_error_that_all_may_meet(name: str) -> None:
    told = OPERATIONS[name]
    statuses = set(told["responses"])

    assert told["summary"]
    assert told["description"]
    assert len(told["tags"]) == 1
    assert set(told["tags"]) <= set(TAGS)
    assert {"421", "500", "503"} <= statuses
    assert not statuses & {"4XX", "5XX", "default"}
    if is_open(name.split()[1]):
        assert told["security"] == []
    else:
        assert {"401", "403"} <= statuses
        assert told["security"][0] == {"token": []}
    if name in COVERED:
        assert {"408", "409", "413", "415", "422"} <= statuses


def test_each_operation_has_an_id_of_its_own() -> None:
    ids = [told["operationId"] for told in OPERATIONS.values()]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_parameter_is_bounded(name: str) -> None:
    for one in OPERATIONS[name].get("parameters", []):
        for schema in variants(one["schema"]):
            where = f"{name} {one['name']}"
            match schema["type"]:
                case "string":
                    assert any(bound in schema for bound in EXACT_LENGTH_OR_WORDS), where
                case "integer":
                    assert {"minimum", "maximum"} <= set(schema), where
                case "array":
                    assert "maxItems" in schema, where
                case other:
                    assert other == "boolean", where


@pytest.mark.parametrize("name", COVERED)
def test_a_write_takes_an_idempotency_key(name: str) -> None:
    names = {one["name"] for one in OPERATIONS[name]["parameters"]}

    assert "Idempotency-Key" in names


def test_what_sends_an_etag_takes_it_back_in_its_writes() -> None:
    """A resource whose answer carries a version has no unconditional write."""
    tagged = {
        name
        for name, told in OPERATIONS.items()
        if any("ETag" in one.get("headers", {}) for one in told["responses"].values())
    }
    assert len(tagged) > 15
    creates = {"POST /agents/{agent_id}/start", "POST /risk-limits"}
    for name in sorted(tagged & set(WRITES) - creates):
        told = OPERATIONS[name]
        assert "If-Match" in {one["name"] for one in told["parameters"]}, name
        assert "412" in told["responses"], name


def test_examples_of_bodies_and_parameters_fit_their_schemas() -> None:
    judged = 0
    for name, told in OPERATIONS.items():
        for one in told.get("parameters", []):
            for schema in variants(one["schema"]):
                for example in schema.get("examples", []):
                    assert errors_of(example, one["schema"]) == [], f"{name} {one['name']}"
                    judged += 1
        for kind, content in told.get("requestBody", {}).get("content", {}).items():
            schemas = [
                each
                for given in variants(content["schema"])
                for each in (variants({"anyOf": given["oneOf"]}) if "oneOf" in given else [given])
            ]
            for schema in schemas:
                examples = [
                    *schema.get("examples", []),
                    *([content["example"]] if "example" in content else []),
                ]
                assert examples, f"{name} {kind}"
                for example in examples:
                    assert errors_of(example, content["schema"]) == [], f"{name} {kind}"
                    judged += 1
    assert judged > 80


@pytest.mark.parametrize("name", [name for name, one in OPERATIONS.items() if answers_json(one)])
def test_an_answer_has_an_example_that_fits_its_schema(name: str) -> None:
    success = next(one for key, one in OPERATIONS[name]["responses"].items() if key[0] == "2")
    content = success["content"]["application/json"]

    assert "example" in content, "run `python -m tests.serve_apps.record_examples`"
    assert errors_of(content["example"], content["schema"]) == []
    shown = content["example"]
    rows = shown.get("items", "one") if isinstance(shown, dict) else shown
    assert rows != [], "an empty list shows nothing"


def test_a_method_that_a_path_does_not_take_names_those_that_it_does(client: TestClient) -> None:
    answer = client.delete("/agents/desk/kill-switch")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, POST"


def test_a_row_goes_out_with_its_version_as_the_tag_which_a_write_takes_back(
    client: TestClient,
) -> None:
    seen = client.get("/agents/desk")
    moved = client.patch("/agents/desk/config", json={"min_confidence": 0.5})
    stale = client.post(
        "/agents/desk/kill-switch", json={}, headers={"If-Match": seen.headers["etag"]}
    )
    fresh = client.post(
        "/agents/desk/kill-switch", json={}, headers={"If-Match": moved.headers["etag"]}
    )

    assert seen.headers["etag"] == f'"{seen.json()["row_version"]}"'
    assert (stale.status_code, fresh.status_code) == (412, 200)


@pytest.mark.parametrize("tag", ["AAA", '"x"', "-1", '"1", "2"'])
def test_a_tag_that_was_never_given_out_is_refused(
    scene: Scene, client: TestClient, tag: str
) -> None:
    answer = client.post("/agents/desk/pause", headers={"If-Match": tag})

    assert answer.status_code == 422
    assert scene.desk.heard == []


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "", "text/json"]
)
def test_a_body_that_no_route_reads_is_415_before_anything_acts(
    scene: Scene, client: TestClient, kind: str
) -> None:
    answer = client.post(
        "/agents/desk/pause", content=b'{"reason": "x"}', headers={"content-type": kind}
    )

    assert (answer.status_code, answer.json()["field"]) == (415, "content-type")
    assert scene.desk.heard == []
