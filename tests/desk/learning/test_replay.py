"""The first value that differs is found by its bytes; the parts of a choice by leaving each out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from desk.learning.contributions import contributions
from desk.learning.policy import MlpPolicy, load_policy, policy_card, probabilities
from desk.learning.replay import HELD_POSITION, first_difference, observation_names, think_again
from desk.market.features import FEATURES_V1

NAMES = observation_names(FEATURES_V1)
SIZE = len(NAMES)
FLOATS = st.floats(-10, 10, width=32)
OBSERVATIONS = arrays(np.float32, SIZE, elements=FLOATS)


def policy_of(weight: np.ndarray) -> MlpPolicy:
    card = policy_card(
        version_id="v1", algorithm="ppo", is_baseline=False, hyperparameters={}, software={}
    )
    tensors = {
        "layers.0.weight": weight.astype(np.float32),
        "layers.0.bias": np.zeros(3, dtype=np.float32),
    }
    return load_policy(card, tensors)


@given(OBSERVATIONS)
def test_an_observation_does_not_differ_from_itself(seen: np.ndarray) -> None:
    assert first_difference(NAMES, [float(one) for one in seen], seen) is None


@given(OBSERVATIONS, st.integers(0, SIZE - 1))
def test_the_first_value_whose_last_bit_differs_is_named(seen: np.ndarray, at: int) -> None:
    other = seen.copy()
    other.view(np.uint32)[at:] ^= 1

    found = first_difference(NAMES, [float(one) for one in seen], other)

    assert found is not None
    assert found.feature == NAMES[at]
    assert (found.recorded, found.recomputed) == (float(seen[at]), float(other[at]))


def test_a_minus_before_zero_and_a_number_that_is_none_are_differences() -> None:
    zero = np.zeros(SIZE, dtype=np.float32)
    minus, broken = zero.copy(), zero.copy()
    minus[2], broken[3] = -0.0, np.nan

    negative = first_difference(NAMES, zero.tolist(), minus)
    missing = first_difference(NAMES, zero.tolist(), broken)

    assert negative is not None
    assert negative.feature == NAMES[2]
    assert missing is not None
    assert (missing.feature, missing.recomputed) == (NAMES[3], None)


def test_observations_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="values for"):
        first_difference(NAMES, [0.0] * (SIZE - 1), np.zeros(SIZE, dtype=np.float32))


def test_the_last_value_is_the_held_position() -> None:
    assert NAMES[:-1] == FEATURES_V1.names
    assert NAMES[-1] == HELD_POSITION


def test_the_z_score_limit_looks_at_features_only() -> None:
    seen = np.zeros(SIZE, dtype=np.float32)
    seen[-1] = 1.0

    assert think_again(seen, None, threshold=0.0, zscore_limit=0.5) == ("", None)
    seen[0] = 0.6
    assert think_again(seen, None, threshold=0.0, zscore_limit=0.5)[0] != ""


@given(OBSERVATIONS, st.integers(0, 2**31 - 1))
def test_each_effect_is_what_the_confidence_loses_without_that_value(
    seen: np.ndarray, seed: int
) -> None:
    policy = policy_of(np.random.default_rng(seed).normal(0.0, 0.3, (3, SIZE)))
    chances = probabilities(policy.forward(seen))
    chosen = int(np.argmax(chances))

    found = contributions(policy, seen, NAMES)

    assert sorted(one.feature for one in found) == sorted(NAMES)
    sizes = [abs(one.effect) for one in found]
    assert sizes == sorted(sizes, reverse=True)
    for one in found:
        without = seen.copy()
        without[NAMES.index(one.feature)] = 0.0
        expected = float(probabilities(policy.forward(without))[chosen])
        assert one.confidence_without == expected
        assert one.effect == float(chances[chosen]) - expected
        assert one.value == float(seen[NAMES.index(one.feature)])


def test_a_value_that_the_network_does_not_look_at_has_no_effect() -> None:
    weight = np.zeros((3, SIZE))
    weight[2, 4] = 1.0
    seen = np.full(SIZE, 2.0, dtype=np.float32)

    first, *others = contributions(policy_of(weight), seen, NAMES)

    assert first.feature == NAMES[4]
    assert first.effect > 0.3
    assert {one.effect for one in others} == {0.0}
