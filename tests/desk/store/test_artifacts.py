"""Policy artifacts: whole, of the right hash and shape, and from inside their folder only."""

import hashlib
import json
import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from desk.errors import ArtifactRefused
from desk.store.artifacts import CARD, TENSORS, ArtifactCard, Artifacts

CARD_OF_V1 = ArtifactCard(
    version_id="v1",
    algorithm="ppo",
    is_baseline=False,
    feature_set_id="fs1",
    observation_size=4,
    levels=(-1.0, 0.0, 1.0),
    hyperparameters={"lr": 0.0003, "layers": [5]},
    software={"torch": "2.15"},
)


def _tensors(seed: int = 0, sizes: tuple[int, ...] = (4, 5, 3)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = dict[str, np.ndarray]()
    for n, (inputs, outputs) in enumerate(pairwise(sizes)):
        tensors[f"layers.{n}.weight"] = rng.normal(size=(outputs, inputs)).astype(np.float32)
        tensors[f"layers.{n}.bias"] = rng.normal(size=outputs).astype(np.float32)
    return tensors


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path / "artifacts")


def test_an_artifact_comes_back_as_it_was_written(artifacts: Artifacts, tmp_path: Path):
    written = artifacts.write(CARD_OF_V1, _tensors())

    found = artifacts.read("v1", expected_sha256=written.sha256, feature_set_id="fs1")

    assert found.card == written
    assert artifacts.card("v1") == written
    assert len(found.layers) == 2
    for n, (weight, bias) in enumerate(found.layers):
        assert np.array_equal(weight, _tensors()[f"layers.{n}.weight"])
        assert np.array_equal(bias, _tensors()[f"layers.{n}.bias"])
    assert found.tensor_bytes == (artifacts.path("v1") / TENSORS).stat().st_size
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["v1"]


def test_writing_the_same_again_changes_nothing_and_another_is_refused(artifacts: Artifacts):
    written = artifacts.write(CARD_OF_V1, _tensors())

    assert artifacts.write(CARD_OF_V1, _tensors()) == written
    with pytest.raises(ArtifactRefused, match="other content"):
        artifacts.write(CARD_OF_V1, _tensors(seed=1))

    assert artifacts.read("v1").card == written


@pytest.mark.catalogue("M01")
@pytest.mark.parametrize("name", [TENSORS, CARD])
def test_a_flipped_byte_is_refused(artifacts: Artifacts, name: str):
    artifacts.write(CARD_OF_V1, _tensors())
    file = artifacts.path("v1") / name
    content = bytearray(file.read_bytes())
    content[content.find(b'"')] ^= 1
    file.write_bytes(content)

    with pytest.raises(ArtifactRefused, match=r"sha256|unreadable"):
        artifacts.read("v1")


def test_an_artifact_that_was_exchanged_with_its_card_is_refused(artifacts: Artifacts):
    registered = artifacts.write(CARD_OF_V1, _tensors())
    for file in artifacts.path("v1").iterdir():
        file.unlink()
    artifacts.path("v1").rmdir()
    artifacts.write(CARD_OF_V1, _tensors(seed=1))

    with pytest.raises(ArtifactRefused, match=f"expected {registered.sha256}"):
        artifacts.read("v1", expected_sha256=registered.sha256)


@pytest.mark.catalogue("M02")
def test_another_feature_set_is_refused(artifacts: Artifacts):
    artifacts.write(CARD_OF_V1, _tensors())

    with pytest.raises(ArtifactRefused, match="feature set fs1, this desk computes fs2"):
        artifacts.read("v1", feature_set_id="fs2")


@pytest.mark.catalogue("M02")
@pytest.mark.parametrize(
    "tensors",
    [
        _tensors(sizes=(5, 5, 3)),
        _tensors(sizes=(4, 5, 2)),
        {name: value.astype(np.float64) for name, value in _tensors().items()},
        {**_tensors(), "layers.0.bias": np.zeros(4, dtype=np.float32)},
        {name: value for name, value in _tensors().items() if "bias" not in name},
        {**_tensors(), "extra.weight": np.zeros(1, dtype=np.float32)},
        {},
    ],
    ids=["inputs", "outputs", "float64", "bias", "no_bias", "extra", "empty"],
)
def test_tensors_of_another_shape_are_refused_when_written(
    artifacts: Artifacts, tensors: dict[str, np.ndarray]
):
    with pytest.raises(ArtifactRefused):
        artifacts.write(CARD_OF_V1, tensors)

    with pytest.raises(ArtifactRefused, match="no artifact v1"):
        artifacts.read("v1")


@pytest.mark.catalogue("M02")
def test_a_card_that_was_edited_to_another_shape_is_refused(artifacts: Artifacts):
    artifacts.write(CARD_OF_V1, _tensors())
    file = artifacts.path("v1") / CARD
    card = json.loads(file.read_text())
    file.write_text(json.dumps({**card, "observation_size": 5}))

    with pytest.raises(ArtifactRefused, match="expected 5 inputs"):
        artifacts.read("v1")


def test_a_card_under_another_name_is_refused(artifacts: Artifacts):
    artifacts.write(CARD_OF_V1, _tensors())
    artifacts.path("v1").rename(artifacts.path("v1").parent / "v2")

    with pytest.raises(ArtifactRefused, match="names version v1"):
        artifacts.read("v2")


@pytest.mark.parametrize("name", [TENSORS, CARD])
def test_a_missing_file_is_named(artifacts: Artifacts, name: str):
    artifacts.write(CARD_OF_V1, _tensors())
    (artifacts.path("v1") / name).unlink()

    with pytest.raises(ArtifactRefused, match=f"{name} is missing"):
        artifacts.read("v1")


@pytest.mark.catalogue("S05")
@pytest.mark.parametrize(
    "version_id",
    [
        "..",
        "../v1",
        "v1/../../x",
        "/etc/passwd",
        "%2e%2e",
        "a\0b",
        "",
        ".hidden",
        "v1/..",
        "a" * 200,
    ],
)
def test_a_version_id_that_is_no_plain_name_is_refused(artifacts: Artifacts, version_id: str):
    with pytest.raises(ArtifactRefused, match="version id was"):
        artifacts.read(version_id)
    with pytest.raises(ArtifactRefused, match="version id was"):
        artifacts.path(version_id)


@pytest.mark.catalogue("S05")
def test_links_are_not_followed(artifacts: Artifacts, tmp_path: Path):
    artifacts.write(CARD_OF_V1, _tensors())
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "artifacts" / "linked").symlink_to(outside)
    with pytest.raises(ArtifactRefused, match="link"):
        artifacts.read("linked")

    file = artifacts.path("v1") / TENSORS
    file.rename(outside / TENSORS)
    file.symlink_to(outside / TENSORS)
    with pytest.raises(ArtifactRefused, match="missing"):
        artifacts.read("v1")


@pytest.mark.catalogue("M07")
def test_a_pickle_in_place_of_tensors_is_refused_and_never_run(
    artifacts: Artifacts, tmp_path: Path
):
    written = artifacts.write(CARD_OF_V1, _tensors())
    trap = tmp_path / "sprung"
    payload = pickle.dumps(_Touch(trap))
    (artifacts.path("v1") / TENSORS).write_bytes(payload)
    card = json.loads((artifacts.path("v1") / CARD).read_text())
    forged = {**card, "sha256": hashlib.sha256(payload).hexdigest()}
    (artifacts.path("v1") / CARD).write_text(json.dumps(forged))

    with pytest.raises(ArtifactRefused, match="unreadable"):
        artifacts.read("v1")
    assert not trap.exists()
    with pytest.raises(ArtifactRefused, match="expected"):
        artifacts.read("v1", expected_sha256=written.sha256)
    pickle.loads(payload)
    assert trap.exists()


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)
