"""The drawn curve loses no extreme, whatever its length."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from desk.evaluation import tearsheet


@given(rows=st.integers(1, 6_000), seed=st.integers(0, 99))
def test_a_long_curve_keeps_its_ends_and_extremes(rows: int, seed: int) -> None:
    values = np.cumsum(np.random.default_rng(seed).normal(size=rows))

    kept = tearsheet.extremes(values, tearsheet.MOST_POINTS)

    assert len(kept) <= tearsheet.MOST_POINTS + 2
    assert (np.diff(kept) > 0).all()
    assert {0, rows - 1, int(values.argmin()), int(values.argmax())} <= set(kept.tolist())
