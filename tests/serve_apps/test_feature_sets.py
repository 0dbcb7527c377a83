"""Feature sets over HTTP: made once, never changed, refused by field, and counted by use."""

from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from desk.errors import NotFound
from desk.market.features import FEATURES_V1
from desk.store import kinds
from desk.store.feature_sets import feature_set_of
from tests.serve_apps.scene import HERE, PAIR, Scene
from tests.serve_apps.test_datasets import MADE

SOURCE = ("telegram", "telegram:@calls")
BODY: dict[str, Any] = {
    "name": "said",
    "features": [
        {"name": "trend_5_20", "rule": "trend", "windows": [5, 20]},
        {"name": "day_sine", "rule": "day_sine"},
    ],
    "signals": [{"source_id": SOURCE[1], "half_life_min": 30}],
}


@pytest.fixture
def asking(scene: Scene) -> TestClient:
    return TestClient(
        scene.app(signal_sources=(SOURCE,)), base_url=HERE, client=("127.0.0.1", 50_000)
    )


def post(client: TestClient, body: dict[str, Any], key: str = "k") -> Any:
    return client.post("/feature-sets", json=body, headers={"Idempotency-Key": key})


def test_a_set_is_made_once_and_audited_once(scene: Scene, asking: TestClient) -> None:
    made = post(asking, BODY)
    again = post(asking, BODY, key="another")

    assert (made.status_code, again.status_code) == (201, 201), made.text
    assert (
        made.json()
        == again.json()
        == asking.get(f"/feature-sets/{made.json()['feature_set_id']}").json()
    )
    assert made.json()["columns"] == [
        "trend_5_20",
        "day_sine",
        "signal_side:telegram:@calls",
        "signal_age:telegram:@calls",
    ]
    assert (made.json()["lookback"], made.json()["built_in"]) == (20, False)
    assert made.json()["sources"] == [SOURCE[1]]
    [audit] = scene.store.list(kinds.AUDIT)
    assert (audit.value.action, audit.version) == ("feature_set.create", 1)
    key = made.json()["feature_set_id"]
    assert feature_set_of(scene.store, key).feature_set_id == key


def test_columns_of_funding_are_made_shown_and_refused_by_their_field(asking: TestClient) -> None:
    columns = [{"rule": "funding_rate"}, {"rule": "funding_zscore", "windows": [21]}]
    body = {**BODY, "funding": {"columns": columns}}
    made = post(asking, body)
    refused = post(
        asking, {**body, "funding": {"columns": [*columns, {"rule": "funding_wait"}]}}, key="other"
    )

    assert made.status_code == 201, made.text
    assert made.json()["columns"][-2:] == ["funding_rate", "funding_zscore_21"]
    assert made.json()["funding"] == {
        "columns": [
            {"rule": "funding_rate", "windows": []},
            {"rule": "funding_zscore", "windows": [21]},
        ],
        "max_age_min": 540,
    }
    assert made.json()["sources"] == [SOURCE[1], "bingx:funding"]
    assert post(asking, BODY, key="third").json()["funding"] is None
    assert refused.status_code == 422
    assert "funding.columns.2.windows" in refused.text


def test_an_audit_event_that_a_crash_kept_back_is_written_by_the_repeat(
    scene: Scene, asking: TestClient
) -> None:
    post(asking, BODY)
    [audit] = scene.store.list(kinds.AUDIT)
    scene.store.trim_audit([audit.value])

    post(asking, BODY, key="another")

    assert [doc.value.audit_id for doc in scene.store.list(kinds.AUDIT)] == [audit.value.audit_id]


def test_the_list_begins_with_the_built_in_set_and_counts_uses(
    scene: Scene, asking: TestClient
) -> None:
    key = post(asking, BODY).json()["feature_set_id"]
    used = replace(MADE, feature_set_id=key)
    scene.store.put(kinds.DATASETS, used.dataset_id, used, at_ms=1)

    built_in, made = asking.get("/feature-sets").json()["items"]

    assert (built_in["feature_set_id"], built_in["built_in"]) == (FEATURES_V1.feature_set_id, True)
    assert built_in["columns"] == list(FEATURES_V1.names)
    assert built_in["version_count"] == len(
        [
            doc
            for doc in scene.store.list(kinds.VERSIONS)
            if doc.value.feature_set_id == FEATURES_V1.feature_set_id
        ]
    )
    assert (made["feature_set_id"], made["version_count"], made["dataset_count"]) == (key, 0, 1)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("signals.0.source_id", {"signals": [{"source_id": "telegram:@no", "half_life_min": 5}]}),
        ("features.0.rule", {"features": [{"name": "x", "rule": "eval", "windows": [1]}]}),
        ("features.0.windows", {"features": [{"name": "x", "rule": "trend", "windows": [9, 3]}]}),
        ("features.1", {"features": [BODY["features"][1], BODY["features"][1]]}),
        ("signals.0.half_life_min", {"signals": [{"source_id": SOURCE[1], "half_life_min": 0}]}),
        ("surprise", {"surprise": 1}),
    ],
)
def test_what_cannot_be_computed_names_its_field_and_leaves_nothing(
    scene: Scene, asking: TestClient, field: str, changes: dict[str, Any]
) -> None:
    answer = post(asking, BODY | changes)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert scene.store.list(kinds.FEATURE_SETS) == []
    assert scene.store.list(kinds.AUDIT) == []


def test_a_set_that_nobody_made_is_not_found(asking: TestClient) -> None:
    assert asking.get("/feature-sets/said-000000000000").status_code == 404


def test_a_record_whose_definition_says_another_id_is_not_computed(
    scene: Scene, asking: TestClient
) -> None:
    """As of a release whose rules gave other values."""
    made = post(asking, BODY)
    assert made.status_code == 201, made.text
    key = made.json()["feature_set_id"]
    record = scene.store.get(kinds.FEATURE_SETS, key)
    assert record is not None
    other = replace(record.value, features=replace(record.value.features, revision=2))
    scene.store.put(kinds.FEATURE_SETS, key, other, at_ms=1)

    with pytest.raises(NotFound):
        feature_set_of(scene.store, key)


def test_a_training_takes_a_set_that_was_made_and_refuses_another(
    scene: Scene, asking: TestClient
) -> None:
    scene.candles(400)
    key = post(asking, BODY).json()["feature_set_id"]

    def train(feature_set_id: str) -> Any:
        body = {"pair": PAIR, "feature_set_id": feature_set_id}
        words = {"Idempotency-Key": feature_set_id}
        return asking.post("/agents/desk/training", json=body, headers=words)

    assert train(key).status_code == 202
    assert scene.desk.heard[-1][1]["ask"].feature_set_id == key
    refused = train("said-000000000000")
    assert (refused.status_code, refused.json()["field"]) == (422, "feature_set_id")


MOVING: dict[str, Any] = {
    "name": "moving",
    "features": [
        {"name": "rsi_14", "rule": "rsi", "windows": [14]},
        {"name": "rsi_14_of_5", "rule": "rsi", "windows": [14], "bars": 5},
        {"name": "day_sine", "rule": "day_sine"},
    ],
    "anchor": {"every": 1_440, "warm_up": 200, "most_filled": 3},
}


def test_a_set_of_indicators_says_where_its_series_begin(scene: Scene, asking: TestClient) -> None:
    made = post(asking, MOVING).json()
    other = post(asking, MOVING | {"anchor": MOVING["anchor"] | {"every": 1_441}}, key="2").json()

    assert made["anchor"] == MOVING["anchor"]
    assert (made["gap_policy"], made["lookback"]) == ("fill", 1_840)
    assert [one["bars"] for one in made["features"]] == [1, 5, 1]
    assert made["feature_set_id"] != other["feature_set_id"]
    stored = feature_set_of(scene.store, made["feature_set_id"])
    assert stored.anchor is not None
    assert stored.anchor.every == 1_440
    built_in = asking.get("/feature-sets").json()["items"][0]
    assert (built_in["anchor"], built_in["gap_policy"]) == (None, "reject")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"anchor": None}, "anchor"),
        ({"anchor": {"every": 1_440, "warm_up": 20, "most_filled": 3}}, "anchor.warm_up"),
        ({"anchor": {"every": 0, "warm_up": 200, "most_filled": 3}}, "anchor.every"),
        ({"anchor": {"every": 1_440, "warm_up": 200}}, "anchor.most_filled"),
        ({"features": [{"name": "x", "rule": "rsy", "windows": [14]}]}, "features.0.rule"),
        ({"features": [{"name": "x", "rule": "day_sine", "bars": 5}]}, "features.0.bars"),
    ],
)
def test_an_anchor_that_does_not_fit_is_refused_by_its_field(
    asking: TestClient, changes: dict[str, Any], field: str
) -> None:
    refused = post(asking, MOVING | changes)

    assert refused.status_code == 422
    assert field in refused.text
