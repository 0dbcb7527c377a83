"""The statistics of luck equal references that are written straight from the papers, another way.

The references count in fractions and in mpmath with 50 digits, one number at a time.
"""

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.evaluation.overfitting import (
    CSCV_BLOCKS,
    Moments,
    Trials,
    deflated_sharpe,
    expected_highest_sharpe,
    moments,
    overfitting_among,
    overfitting_probability,
    probabilistic_sharpe,
    totals_by_step,
)

type Exact = Any
"""A number of mpmath, which has no types."""

CLOSE = 1e-9
PER_YEAR = 8_760.0


def exact(number: float) -> Exact:
    fraction = Fraction(number)
    return mpmath.mpf(fraction.numerator) / fraction.denominator


def power_sum(values: Sequence[float], power: int) -> Fraction:
    mean = sum(map(Fraction, values), Fraction(0)) / len(values)
    return sum(((Fraction(value) - mean) ** power for value in values), Fraction(0))


def root_of(fraction: Fraction) -> Exact:
    return mpmath.sqrt(mpmath.mpf(fraction.numerator) / fraction.denominator)


def as_float(fraction: Fraction) -> Exact:
    return mpmath.mpf(fraction.numerator) / fraction.denominator


def sharpe_of(values: Sequence[float]) -> Exact:
    mean = sum(map(Fraction, values), Fraction(0)) / len(values)
    variance = power_sum(values, 2) / (len(values) - 1)
    return as_float(mean) / root_of(variance) if variance else mpmath.mpf(0)


def probability_above(values: Sequence[float], benchmark: Exact) -> Exact:
    """Equation 11 of The Sharpe Ratio Efficient Frontier."""
    count = len(values)
    second = power_sum(values, 2) / count
    skew = as_float(power_sum(values, 3) / count) / root_of(second) ** 3
    kurtosis = as_float(power_sum(values, 4) / count / second**2)
    ratio = sharpe_of(values)
    error = mpmath.sqrt(1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2)
    return mpmath.ncdf((ratio - benchmark) * mpmath.sqrt(count - 1) / error)


def quantile(probability: Exact) -> Exact:
    return mpmath.sqrt(2) * mpmath.erfinv(2 * probability - 1)


def luckiest(count: int, variance: Exact) -> Exact:
    """Equation 1 of The Deflated Sharpe Ratio."""
    gamma = mpmath.euler
    return mpmath.sqrt(variance) * (
        (1 - gamma) * quantile(1 - mpmath.mpf(1) / count)
        + gamma * quantile(1 - mpmath.exp(-1) / count)
    )


def chosen_worse(columns: Sequence[Sequence[float]], blocks: int) -> Fraction:
    """§3 of The Probability of Backtest Overfitting: the logits of all combinations, by loops."""
    length = len(columns[0]) // blocks
    skip = len(columns[0]) - length * blocks
    cut = [
        [list(column[skip + at * length : skip + (at + 1) * length]) for at in range(blocks)]
        for column in columns
    ]
    logits: list[Exact] = []
    for inside in combinations(range(blocks), blocks // 2):
        outside = [at for at in range(blocks) if at not in inside]
        trained = [sharpe_of([x for at in inside for x in parts[at]]) for parts in cut]
        tested = [sharpe_of([x for at in outside for x in parts[at]]) for parts in cut]
        best = trained.index(max(trained))
        below = sum(1 for other in tested if other < tested[best])
        same = sum(1 for other in tested if other == tested[best])
        rank = mpmath.mpf(2 * below + same + 1) / 2
        relative = rank / (len(columns) + 1)
        logits.append(mpmath.log(relative / (1 - relative)))
    return Fraction(sum(1 for logit in logits if logit <= 0), len(logits))


@pytest.fixture(autouse=True)
def _digits() -> None:
    mpmath.mp.dps = 50


def heavy_tailed(seed: int, count: int, mean: float = 0.05) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_t(4, count) * rng.uniform(0.1, 30) + mean


@pytest.mark.parametrize("seed", range(12))
def test_the_probability_of_a_sharpe_ratio_equals_the_reference(seed: int) -> None:
    changes = heavy_tailed(seed, 20 + 15 * seed)
    benchmark = 0.02 * (seed % 4)

    found = probabilistic_sharpe(moments(changes), benchmark)

    assert found == pytest.approx(
        float(probability_above(changes.tolist(), exact(benchmark))), abs=CLOSE
    )


@pytest.mark.parametrize("count", [2, 3, 10, 45, 1_000, 100_000])
def test_the_highest_ratio_of_luck_equals_the_reference(count: int) -> None:
    assert expected_highest_sharpe(count, 0.37) == pytest.approx(
        float(luckiest(count, exact(0.37))), abs=CLOSE
    )


@pytest.mark.parametrize("count", [2, 7, 100, 3_000])
def test_a_deflated_ratio_equals_the_reference_whether_the_trials_are_known_or_not(
    count: int,
) -> None:
    changes = heavy_tailed(count, 200, mean=0.8)
    yearly = np.random.default_rng(count).normal(0.5, 2.0, min(count, 60)).tolist()
    found = moments(changes)

    known = deflated_sharpe(found, Trials(count=count, sharpes=tuple(yearly)), PER_YEAR)
    counted = deflated_sharpe(found, Trials(count=count), PER_YEAR)

    spread = as_float(power_sum(yearly, 2) / (len(yearly) - 1)) / mpmath.mpf(PER_YEAR)
    blind = mpmath.mpf(1) / (len(changes) - 1)
    values = changes.tolist()
    assert known == pytest.approx(
        float(probability_above(values, luckiest(count, spread))), abs=CLOSE
    )
    assert counted == pytest.approx(
        float(probability_above(values, luckiest(count, blind))), abs=CLOSE
    )
    assert 0.0 < counted < probabilistic_sharpe(found)


@pytest.mark.parametrize(("rows", "columns", "blocks"), [(38, 5, 6), (41, 6, 8)])
def test_the_probability_of_overfitting_equals_the_reference(
    rows: int, columns: int, blocks: int
) -> None:
    rng = np.random.default_rng(rows)
    changes = rng.normal(0.0, 3.0, (rows, columns))
    changes[:, -1] = 0.0  # flat
    changes[:, -2] = changes[:, 0]  # two thresholds that decide alike

    found = overfitting_probability(changes, blocks=blocks)

    expected = chosen_worse(changes.T.tolist(), blocks)
    assert found == pytest.approx(float(expected), abs=CLOSE)
    assert 0 < expected < 1


def test_a_candidate_that_is_always_best_is_not_overfit_and_pure_luck_is_as_a_coin() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0.0, 1.0, (400, 20))
    better = noise.copy()
    better[:, 3] += 1.0

    of_noise = [
        overfitting_probability(rng.normal(0.0, 1.0, (200, 20)), blocks=8) for _ in range(60)
    ]

    assert overfitting_probability(better) == 0.0
    assert np.mean([one for one in of_noise if one is not None]) == pytest.approx(0.5, abs=0.1)


def test_where_there_is_nothing_to_choose_there_is_no_probability() -> None:
    assert overfitting_probability(np.ones((100, 1))) is None
    assert overfitting_probability(np.zeros((100, 5))) is None
    assert overfitting_probability(np.random.default_rng(0).normal(size=(19, 4))) is None
    assert overfitting_probability(np.empty((0, 0))) is None


@given(seed=st.integers(0, 2**31), candidates=st.integers(2, 6), periods=st.integers(20, 64))
@settings(max_examples=30)
def test_among_results_by_period_it_is_the_same_probability_in_whatever_unit(
    seed: int, candidates: int, periods: int
) -> None:
    results = np.random.default_rng(seed).normal(0.001, 0.01, (candidates, periods))

    found = overfitting_among(results.tolist())

    assert found.probability == overfitting_probability(results.T)
    assert overfitting_among((results * 4.0).tolist()) == found
    assert (found.candidates, found.periods, found.reason) == (candidates, periods, "")


def test_among_results_by_period_it_equals_the_reference() -> None:
    results = np.random.default_rng(4).normal(0.0, 0.01, (4, 22)).tolist()

    expected = chosen_worse(results, CSCV_BLOCKS)
    assert overfitting_among(results).probability == pytest.approx(float(expected), abs=CLOSE)
    assert 0 < expected < 1


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ([], "candidates were 0, expected at least 2"),
        ([[0.1] * 64], "candidates were 1, expected at least 2"),
        ([[0.1] * 19, [0.2] * 19], "periods were 19, expected at least 20"),
        ([[0.1, 0.2] * 32, [0.1, 0.2] * 32], "all of them earned the same"),
    ],
)
def test_too_little_to_tell_from_is_said_in_place_of_a_probability(
    results: list[list[float]], why: str
) -> None:
    found = overfitting_among(results)

    assert found.probability is None
    assert found.reason.startswith(why)


@pytest.mark.parametrize("blocks", [0, 3])
def test_an_odd_number_of_blocks_is_refused(blocks: int) -> None:
    with pytest.raises(BadInput, match=f"blocks: was {blocks}"):
        overfitting_probability(np.ones((10, 2)), blocks=blocks)


def test_more_trials_need_more_to_be_believed() -> None:
    found = moments(heavy_tailed(3, 400, mean=2.0))

    believed = [deflated_sharpe(found, Trials(count=count), PER_YEAR) for count in (1, 2, 10, 500)]

    assert believed == sorted(believed, reverse=True)
    assert believed[0] == probabilistic_sharpe(found)
    assert believed[-1] < believed[0]


@given(st.lists(st.floats(-1e6, 1e6), max_size=30))
def test_no_history_is_too_strange_for_a_probability(values: list[float]) -> None:
    found = moments(np.array(values))

    assert 0.0 <= probabilistic_sharpe(found) <= 1.0
    assert 0.0 <= deflated_sharpe(found, Trials(count=9), PER_YEAR) <= 1.0


def test_of_one_observation_nothing_is_known() -> None:
    assert probabilistic_sharpe(Moments(count=1, sharpe=9.0, skew=0.0, kurtosis=3.0)) == 0.0
    assert probabilistic_sharpe(moments(np.empty(0))) == 0.0


@pytest.mark.parametrize(("count", "sharpes"), [(0, ()), (1, (0.1, 0.2)), (2, (0.1, float("nan")))])
def test_trials_that_cannot_be_are_refused(count: int, sharpes: tuple[float, ...]) -> None:
    with pytest.raises(BadInput, match=r"^trials: "):
        Trials(count=count, sharpes=sharpes)


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=200),
    st.integers(0, 59),
    st.sampled_from([5, 60]),
)
def test_changes_by_step_add_up_and_each_ends_on_the_grid(
    moves: list[float], first: int, step: int
) -> None:
    equity = 1_000.0 + np.cumsum(moves)
    close_ms = np.arange(first + 1, first + 1 + len(moves), dtype=np.int64)

    totals = totals_by_step(equity, 1_000.0, close_ms, step)

    assert totals.sum() == pytest.approx(equity[-1] - 1_000.0, abs=1e-6)
    assert len(totals) == (close_ms[-1] - 1) // step - (close_ms[0] - 1) // step + 1
