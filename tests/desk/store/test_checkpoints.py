"""Checkpoints: what is read is what was written, whole, by the same training, and a bounded number."""

# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from desk.errors import BadInput
from desk.store.checkpoints import CheckpointFolder

STATE: dict[str, Any] = {
    "weights": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "step": np.array(3.0)},
    "generator": {"state": 2**127 + 1, "kind": "PCG64"},
    "runners": [{"index": 0, "mean": None}, {"index": 1, "mean": 0.1}],
}


def folder(path: Path, **changes: Any) -> CheckpointFolder:
    chosen: dict[str, Any] = {"folder": path / "c", "fingerprint": "one", **changes}
    return CheckpointFolder(**chosen)


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert_same(found[name], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    else:
        is_nan = isinstance(expected, float) and math.isnan(expected)
        assert math.isnan(found) if is_nan else found == expected
        assert type(found) is type(expected)


leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.uint8, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    )
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(state=st.dictionaries(st.text(), trees, max_size=4))
def test_any_state_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, Any]
) -> None:
    checkpoints = folder(tmp_path_factory.mktemp("any"))

    checkpoints.save(1, state)

    assert_same(checkpoints.load(), state)


def test_the_newest_is_read_and_only_so_many_are_kept(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path, keep=2)
    assert checkpoints.load() is None

    for update in (2, 10, 9_999_999_999):
        checkpoints.save(update, {"update": update})

    assert checkpoints.load() == {"update": 9_999_999_999}
    assert len(list(checkpoints.folder.iterdir())) == 2
    checkpoints.clear()
    assert checkpoints.load() is None


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path)
    checkpoints.save(1, STATE)
    newest = checkpoints.save(2, {"update": 2})
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1

    newest.write_bytes(content)

    assert_same(checkpoints.load(), STATE)


def test_half_a_file_under_another_name_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path)
    path = checkpoints.save(1, STATE)

    (checkpoints.folder / ".x.tmp").write_bytes(path.read_bytes()[:50])
    (checkpoints.folder / "0000000002.safetensors").write_bytes(b"")

    assert_same(checkpoints.load(), STATE)


def test_another_trainings_checkpoint_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder(tmp_path).save(1, STATE)

    with pytest.raises(BadInput, match="its candles, feature set, numbers or software changed"):
        folder(tmp_path, fingerprint="other").load()


def test_nothing_in_it_is_pickled(tmp_path: Path) -> None:
    content = folder(tmp_path).save(1, STATE).read_bytes()
    length = int.from_bytes(content[:8], "little")

    head = json.loads(content[8 : 8 + length])
    rest = content[8 + length :]

    assert json.loads(head["__metadata__"]["desk"])["state"]["generator"]["state"] == 2**127 + 1
    assert len(rest) == sum(
        end - first
        for name, part in head.items()
        if name != "__metadata__"
        for first, end in [part["data_offsets"]]
    )


@pytest.mark.parametrize("field", ["every_updates", "keep"])
def test_an_interval_or_number_below_one_is_refused(tmp_path: Path, field: str) -> None:
    with pytest.raises(BadInput, match=field):
        folder(tmp_path, **{field: 0})


def test_what_it_cannot_hold_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    checkpoints = folder(tmp_path)

    with pytest.raises(TypeError, match="set"):
        checkpoints.save(1, {"a": {1, 2}})

    assert checkpoints.load() is None
