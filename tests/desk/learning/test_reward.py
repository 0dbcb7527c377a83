"""The reward's logarithm against the library's."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.learning.reward import LEAST_GROWTH, log_growth

SCALE = 1_000.0


@given(change=st.floats(-0.999, 3.0))
def test_the_reward_is_the_scaled_log_of_growth_to_the_last_bits(change: float) -> None:
    growth, found = np.array([1.0 + change]), np.empty(1)

    log_growth(growth, SCALE, found)

    assert found[0] == pytest.approx(SCALE * math.log(growth[0]), rel=2e-15, abs=1e-300)


@pytest.mark.parametrize("ruined", [0.0, -0.5, LEAST_GROWTH / 2])
def test_ruin_is_a_finite_fall(ruined: float) -> None:
    found = np.empty(2)

    log_growth(np.array([ruined, 1.0]), SCALE, found)

    assert found.tolist() == [SCALE * math.log(LEAST_GROWTH), 0.0]
