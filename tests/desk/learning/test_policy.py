"""Policies: the same answer alone and in a batch, hold when in doubt, refuse what does not fit."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from desk.errors import ArtifactRefused
from desk.learning.policy import (
    LEVELS,
    LOW_CONFIDENCE,
    NON_FINITE_LOGITS,
    NON_FINITE_OBSERVATION,
    MlpPolicy,
    decide,
    load_policy,
    policy_card,
    probabilities,
)
from desk.learning.policy_lanes import forward_lanes
from desk.market.features import FEATURES_V1

SIZE = FEATURES_V1.size + 1


def card(**changes: Any) -> dict[str, Any]:
    made = policy_card(
        version_id="v1", algorithm="ppo", is_baseline=False, hyperparameters={}, software={}
    )
    return json.loads(json.dumps(made)) | changes


def tensors(*sizes: int, seed: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made: dict[str, np.ndarray] = {}
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(0.0, inputs**-0.5, (outputs, inputs))
        made[f"layers.{number}.weight"] = weight.astype(np.float32)
        made[f"layers.{number}.bias"] = rng.normal(0.0, 0.1, outputs).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def policy() -> MlpPolicy:
    return load_policy(card(), tensors(SIZE, 64, 64, 3))


@given(count=st.integers(1, 200), at=st.integers(0, 199), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_a_row_of_a_batch_gets_the_bytes_it_gets_alone(
    policy: MlpPolicy, count: int, at: int, seed: int
) -> None:
    batch = np.random.default_rng(seed).normal(0.0, 2.0, (count, SIZE)).astype(np.float32)
    row = batch[at % count]

    assert policy.forward(batch)[at % count].tobytes() == policy.forward(row).tobytes()


@given(
    count=st.integers(1, 1_100),
    widths=st.lists(st.integers(1, 70), max_size=3),
    seed=st.integers(0, 99),
)
@settings(max_examples=40)
def test_compiled_lanes_get_the_bytes_that_serving_gives(
    count: int, widths: list[int], seed: int
) -> None:
    policy = load_policy(card(), tensors(SIZE, *widths, 3, seed=seed))
    batch = np.random.default_rng(seed).normal(0.0, 2.0, (count, SIZE)).astype(np.float32)

    logits = forward_lanes(policy)(batch)

    assert logits.tobytes() == policy.forward(batch).tobytes()
    assert logits[-1].tobytes() == policy.forward(batch[-1]).tobytes()


def test_lanes_take_what_shared_memory_and_slices_give(policy: MlpPolicy) -> None:
    batch = np.random.default_rng(5).normal(size=(60, SIZE)).astype(np.float32)
    batch.setflags(write=False)

    assert forward_lanes(policy)(batch[::2]).tobytes() == policy.forward(batch[::2]).tobytes()
    assert forward_lanes(policy)(batch[:0]).shape == (0, 3)


def test_forward_is_dense_layers_with_tanh_between(policy: MlpPolicy) -> None:
    weights = tensors(SIZE, 64, 64, 3)
    rows = np.random.default_rng(1).normal(size=(4, 5, SIZE)).astype(np.float32)

    values = rows.astype(np.float64)
    for number in range(3):
        values = values @ weights[f"layers.{number}.weight"].T + weights[f"layers.{number}.bias"]
        values = np.tanh(values) if number < 2 else values

    assert policy.forward(rows).dtype == np.float32
    np.testing.assert_allclose(policy.forward(rows), values, atol=1e-5)
    assert policy.forward(rows[:0]).shape == (0, 5, 3)


def test_the_likeliest_level_is_the_target_and_its_probability_the_confidence() -> None:
    answer = decide(np.array([0.0, 1.0, 3.0], dtype=np.float32), LEVELS, 0.35, "v1")

    odds = np.exp([0.0, 1.0, 3.0])
    assert answer.target == 1.0
    assert answer.confidence == pytest.approx(odds[2] / odds.sum())
    assert not answer.held
    assert answer.reason == ""
    assert answer.logits == (0.0, 1.0, 3.0)
    assert answer.version_id == "v1"


def test_a_confidence_below_the_threshold_keeps_the_position() -> None:
    logits = np.array([0.0, 0.1, 0.2], dtype=np.float32)
    confidence = decide(logits, LEVELS, 0.0).confidence

    doubtful = decide(logits, LEVELS, np.nextafter(confidence, 1.0))

    assert doubtful.held
    assert doubtful.reason == LOW_CONFIDENCE
    assert not decide(logits, LEVELS, confidence).held


@given(
    logits=arrays(np.float32, 3, elements=st.floats(-5, 5, width=32)),
    at=st.integers(0, 2),
    broken=st.sampled_from([np.nan, np.inf, -np.inf]),
)
@pytest.mark.catalogue("M03")
def test_m03_a_logit_that_is_not_finite_holds(logits: np.ndarray, at: int, broken: float) -> None:
    logits[at] = broken

    answer = decide(logits, LEVELS, 0.0, "v1")

    assert answer.held
    assert answer.reason == NON_FINITE_LOGITS
    assert (answer.target, answer.confidence) == (0.0, 0.0)


@pytest.mark.catalogue("M03")
def test_m03_an_observation_that_is_not_finite_never_reaches_the_network(
    policy: MlpPolicy,
) -> None:
    values = np.zeros(SIZE, dtype=np.float32)
    values[3] = np.nan

    answer = policy.answer(values, 0.0)

    assert answer.held
    assert answer.reason == NON_FINITE_OBSERVATION
    assert not policy.answer(np.zeros(SIZE, dtype=np.float32), 0.0).held


@given(arrays(np.float32, (4, 3), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_probabilities_add_up_to_one_for_any_finite_logits(logits: np.ndarray) -> None:
    chances = probabilities(logits)

    np.testing.assert_allclose(chances.sum(axis=-1), 1.0)
    assert (chances >= 0.0).all()


@pytest.mark.catalogue("M02")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"feature_set_id": "v1-000000000000"}, "feature set"),
        ({"observation_size": 9}, "observation size"),
        ({"activation": "relu"}, "activation"),
        ({"levels": [-1, 1]}, "3 outputs for 2 levels"),
        ({"levels": [0, -1, 1]}, "rising numbers"),
        ({"levels": [-2, 0, 1]}, "rising numbers"),
        ({"levels": []}, "levels"),
    ],
)
def test_m02_a_card_that_does_not_fit_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ArtifactRefused, match=problem):
        load_policy(card(**changes), tensors(SIZE, 8, 3))


@pytest.mark.catalogue("M02")
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"layers.1.weight": np.ones((3, 9), np.float32)}, "layer 1 had shapes"),
        ({"layers.0.bias": np.ones(7, np.float32)}, "layer 0 had shapes"),
        ({"layers.0.weight": np.ones((8, SIZE))}, "float64, expected float32"),
        ({"layers.0.weight": np.full((8, SIZE), np.nan, np.float32)}, "not finite"),
        ({"extra": np.ones(1, np.float32)}, "tensors were"),
    ],
)
def test_m02_weights_that_do_not_fit_are_refused(
    changes: dict[str, np.ndarray], problem: str
) -> None:
    with pytest.raises(ArtifactRefused, match=problem):
        load_policy(card(), tensors(SIZE, 8, 3) | changes)


def test_weights_for_another_number_of_features_are_refused() -> None:
    with pytest.raises(ArtifactRefused, match="observation size"):
        load_policy(card(), tensors(SIZE - 1, 8, 3))
