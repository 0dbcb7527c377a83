"""Intervals come from blocks of the history, repeat with their seed, and cover what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.evaluation.bootstrap import block_length, intervals, stationary_rows

MEAN = {"mean": lambda drawn: drawn.mean(axis=1)}


def autoregressive(count: int, rho: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values, last = np.empty(count), 0.0
    for at, shock in enumerate(rng.normal(size=count)):
        last = rho * last + shock
        values[at] = last
    return values


@given(
    count=st.integers(1, 60),
    length=st.floats(1.0, 30.0),
    seed=st.integers(0, 2**32 - 1),
)
def test_drawn_rows_exist_and_go_on_within_blocks(count: int, length: float, seed: int) -> None:
    rows = stationary_rows(count, length, 7, np.random.default_rng(seed))

    assert rows.shape == (7, count)
    assert rows.min() >= 0
    assert rows.max() < count


def test_blocks_are_as_long_as_asked_on_average_and_start_everywhere() -> None:
    rows = stationary_rows(1_000, 20.0, 400, np.random.default_rng(3))

    goes_on = np.diff(rows, axis=1) % 1_000 == 1
    mean_length = 1.0 / (1.0 - goes_on.mean())
    assert mean_length == pytest.approx(20.0, rel=0.05)
    assert np.bincount(rows.ravel(), minlength=1_000).std() / 400 < 0.2


def test_the_longer_the_memory_the_longer_the_blocks() -> None:
    lengths = [
        float(np.median([block_length(autoregressive(2_000, rho, seed)) for seed in range(12)]))
        for rho in (0.0, 0.3, 0.6, 0.9)
    ]

    assert lengths == sorted(lengths)
    assert lengths[0] < 3.0
    # For an autoregression of order 1 theory gives (2 rho / (1 - rho^2))^(2/3) N^(1/3), 18.9 at 0.6.
    assert lengths[2] == pytest.approx(
        (2 * 0.6 / (1 - 0.36)) ** (2 / 3) * 2_000 ** (1 / 3), rel=0.4
    )


@pytest.mark.parametrize(
    ("count", "rho", "seed", "expected"),
    [  # what arch 8.0.0 says: optimal_block_length(...)["stationary"]
        (60, -0.4, 1, 5.62001414984481),
        (60, 0.9, 2, 4.2569344196945655),
        (300, 0.3, 1, 2.0633537832570434),
        (300, 0.9, 3, 22.60691535469512),
        (2000, 0, 2, 1.5675604832065457),
        (2000, 0.6, 1, 17.375744797999186),
    ],
)
def test_block_lengths_are_those_of_an_independent_library(
    count: int, rho: float, seed: int, expected: float
) -> None:
    found = block_length(autoregressive(count, rho, seed))

    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("values", [np.empty(0), np.ones(500), np.arange(5.0)])
def test_a_history_without_memory_or_variation_is_drawn_value_by_value(values: np.ndarray) -> None:
    assert block_length(values) == 1.0


def test_nine_of_ten_intervals_cover_the_truth_though_the_history_remembers() -> None:
    covered = 0
    for seed in range(120):
        found = intervals(autoregressive(400, 0.5, seed), MEAN, seed=seed, replications=300)
        covered += found.figures["mean"].low <= 0.0 <= found.figures["mean"].high

    assert covered >= 0.85 * 120  # drawn value by value it is about 75 of 100


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = autoregressive(300, 0.2, 1)

    assert intervals(values, MEAN, seed=5) == intervals(values, MEAN, seed=5)
    assert intervals(values, MEAN, seed=5) != intervals(values, MEAN, seed=6)


def test_the_estimate_is_the_histories_own_and_lies_inside() -> None:
    values = autoregressive(300, 0.2, 1)

    found = intervals(values, MEAN, seed=5)

    figure = found.figures["mean"]
    assert figure.estimate == pytest.approx(values.mean())
    assert figure.low < figure.estimate < figure.high
    assert found.observations == 300
    assert found.block_length == block_length(values)


def test_of_nothing_there_is_no_interval() -> None:
    found = intervals(np.empty(0), MEAN, seed=1)

    assert (dict(found.figures), found.observations) == ({}, 0)


@pytest.mark.parametrize(("count", "length"), [(0, 5.0), (5, 0.5)])
def test_blocks_that_cannot_be_are_refused(count: int, length: float) -> None:
    with pytest.raises(BadInput, match=r"^blocks: "):
        stationary_rows(count, length, 3, np.random.default_rng(1))
