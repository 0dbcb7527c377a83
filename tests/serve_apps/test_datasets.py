"""Datasets over HTTP: what was frozen, and its whole story."""

from dataclasses import replace

from fastapi.testclient import TestClient

from desk.learning.study import Dataset
from desk.store import kinds
from tests.serve_apps.scene import PAIR, Scene, make_ingestion_run, make_job

MADE = Dataset(
    dataset_id="ds-parent",
    pair=PAIR,
    interval="1m",
    start_ms=0,
    end_ms=600_000,
    sha256="a" * 64,
    rows=9,
    missing=1,
    feature_set_id="features-v1",
    lookback=240,
    created_ms=1,
)
CHILD = replace(
    MADE,
    dataset_id="ds-child",
    parents=("ds-parent",),
    source_run_ids=("ing-1", "job-1", "job-gone"),
    created_ms=2,
)


def keep(scene: Scene, *datasets: Dataset) -> None:
    for one in datasets:
        scene.store.put(kinds.DATASETS, one.dataset_id, one, at_ms=one.created_ms)


def test_datasets_are_listed_newest_first_by_pair_and_page(
    scene: Scene, client: TestClient
) -> None:
    keep(scene, MADE, CHILD, replace(MADE, dataset_id="ds-other", pair="ETH-USDT", created_ms=3))

    first = client.get("/datasets", params={"limit": 1}).json()
    rest = client.get("/datasets", params={"cursor": first["next_cursor"]}).json()
    of_pair = client.get("/datasets", params={"pair": PAIR}).json()

    assert [one["dataset_id"] for one in first["items"] + rest["items"]] == [
        "ds-other",
        "ds-child",
        "ds-parent",
    ]
    assert [one["dataset_id"] for one in of_pair["items"]] == ["ds-child", "ds-parent"]
    assert of_pair["items"][1] == client.get("/datasets/ds-parent").json()
    assert (of_pair["items"][1]["missing"], of_pair["items"][1]["window"]) == (1, 240)


def test_the_lineage_names_ancestors_runs_and_what_rests_on_it(
    scene: Scene, client: TestClient
) -> None:
    keep(scene, MADE, CHILD)
    job = make_job("job-1", 1, pair=PAIR)
    scene.store.put(kinds.JOBS, job.job_id, job, at_ms=1)
    run = make_ingestion_run("ing-1", source="bingx", pair=PAIR, new=7)
    scene.store.put(kinds.INGESTION, run.run_id, run, at_ms=1)
    version = scene.store.list(kinds.VERSIONS)[0].value
    trained = replace(version, version_id="v-trained", dataset_id="ds-child")
    scene.store.put(kinds.VERSIONS, "v-trained", trained, at_ms=2)

    story = client.get("/datasets/ds-child/lineage").json()

    assert [one["dataset_id"] for one in story["ancestors"]] == ["ds-parent"]
    # A dataset of an older release names jobs: they are shown as the runs they were.
    assert [one["run_id"] for one in story["source_runs"]] == ["ing-1", "job-1"]
    assert story["source_runs"][0]["new"] == 7
    assert (story["version_ids"], story["evaluation_ids"]) == (["v-trained"], [])


def test_an_unknown_dataset_is_not_found(client: TestClient) -> None:
    for path in ("/datasets/ds-nothing", "/datasets/ds-nothing/lineage"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["title"]) == (404, "Not found"), answer.text
