"""Drift: what only looks different for a while passes, what has become different is named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from desk.evaluation.drift import (
    ACTIONS,
    CONFIDENCE,
    FEATURES,
    MONEY,
    DriftLimits,
    Profile,
    Recent,
    judge,
    profile_of,
    psi,
)
from desk.learning.policy import LEVELS, MlpPolicy

LIMITS = DriftLimits()
NAMES = tuple(f"f{number}" for number in range(8))
ROWS = 6_000


def slow_features(seed: int, rows: int = ROWS) -> NDArray[np.float32]:
    """Eight features that wander: any two hours of them look unlike the whole."""
    noise = np.random.default_rng(seed).normal(size=(rows, 8))
    found = np.zeros_like(noise)
    for row in range(1, rows):
        found[row] = 0.85 * found[row - 1] + 0.53 * noise[row]
    return found.astype(np.float32)


def policy() -> MlpPolicy:
    """Follows the sign of the first feature, flat around zero, unsure between."""
    weight = np.zeros((3, 9), dtype=np.float32)
    weight[:, 0] = [-2.0, 0.0, 2.0]
    return MlpPolicy(
        version_id="v1",
        algorithm="rule",
        is_baseline=False,
        feature_set_id="fs",
        levels=LEVELS,
        layers=((weight, np.array([0.0, 1.0, 0.0], dtype=np.float32)),),
    )


@pytest.fixture(scope="module")
def profile() -> Profile:
    made = profile_of(policy(), slow_features(1), NAMES, LIMITS, pnl_per_fee=1.5)
    assert made is not None
    return made


def answered(features: NDArray[np.float32]) -> Recent:
    """What the policy answers on these rows, as a run stores it."""
    seen = np.concatenate([features, np.zeros((len(features), 1), dtype=np.float32)], axis=1)
    logits = policy().forward(seen).astype(np.float64)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Recent(
        confidences=chances.max(axis=1),
        signs=(chances.argmax(axis=1) - 1).astype(np.int8),
        features=features,
        trades_per_fee=np.array([]),
    )


def codes(recent: Recent, profile: Profile | None) -> list[str]:
    return [signal.code for signal in judge(recent, profile, LIMITS)]


def test_the_same_market_at_another_time_drifts_in_at_most_one_of_a_hundred_windows(
    profile: Profile,
) -> None:
    later = slow_features(2, 24_000)
    windows = [later[at : at + LIMITS.rows] for at in range(0, 24_000, LIMITS.rows)]

    drifted = [found for window in windows if (found := codes(answered(window), profile))]

    assert len(drifted) <= len(windows) / 100


def test_features_that_moved_are_named_with_the_worst_of_them(profile: Profile) -> None:
    moved = slow_features(3)[-LIMITS.feature_rows :]
    moved[:, [2, 5, 6]] += 6.0

    [signal] = [one for one in judge(answered(moved), profile, LIMITS) if one.code == FEATURES]

    assert signal.metric in {"psi:f2", "psi:f5", "psi:f6"}
    assert signal.value > signal.threshold
    assert "3 of 8 features" in signal.detail


def test_one_feature_of_eight_is_no_drift_of_the_market(profile: Profile) -> None:
    moved = slow_features(3)[-LIMITS.feature_rows :]
    moved[:, 2] += 6.0

    assert FEATURES not in codes(answered(moved), profile)


def test_a_policy_that_wants_always_the_same_has_drifted(profile: Profile) -> None:
    recent = answered(slow_features(3)[-LIMITS.rows :])

    stuck = replace(recent, signs=np.ones(LIMITS.action_rows, dtype=np.int8))

    assert codes(stuck, profile) == [ACTIONS]
    assert sum(profile.action_shares) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("mean", "own", "drifts"),
    [
        (0.5, None, False),
        (0.79, None, False),
        (0.81, None, True),
        (0.19, None, True),
        (0.95, 0.9, False),
        (0.55, 0.95, False),
        (0.1, 0.95, True),
    ],
)
def test_confidence_is_held_against_the_baseline_and_the_versions_own(
    profile: Profile, mean: float, own: float | None, drifts: bool
) -> None:
    recent = Recent(
        confidences=np.full(LIMITS.confidence_rows, mean),
        signs=np.zeros(0, dtype=np.int8),
        features=np.zeros((0, 8), dtype=np.float32),
        trades_per_fee=np.array([]),
    )

    found = codes(recent, replace(profile, confidence=own) if own else None)

    assert found == ([CONFIDENCE] if drifts else [])


@given(st.integers(0, LIMITS.confidence_rows - 1))
def test_too_few_decisions_are_not_judged(rows: int) -> None:
    recent = Recent(
        confidences=np.full(rows, 0.99),
        signs=np.ones(rows, dtype=np.int8),
        features=np.full((rows, 8), 9.0, dtype=np.float32),
        trades_per_fee=np.full(min(rows, LIMITS.trades - 1), -9.0),
    )
    made = Profile(
        version_id="v1",
        feature_names=NAMES,
        edges=((0.0,),) * 8,
        shares=((0.5, 0.5),) * 8,
        psi_limits=(0.25,) * 8,
        action_shares=(0.3, 0.4, 0.3),
        mix_limit=0.35,
        confidence=0.5,
        rows=ROWS,
        pnl_per_fee=1.0,
    )

    assert codes(recent, made) == []


def test_trades_that_earn_less_than_chance_explains_are_named(profile: Profile) -> None:
    rng = np.random.default_rng(4)
    recent = answered(slow_features(3)[-LIMITS.rows :])
    expected, poor = (
        replace(recent, trades_per_fee=rng.normal(mean, 4.0, 40)) for mean in (1.5, -2.0)
    )

    assert MONEY not in codes(expected, profile)
    assert MONEY in codes(poor, profile)
    assert MONEY not in codes(poor, replace(profile, pnl_per_fee=None))


def test_a_reference_that_is_too_short_or_has_holes_gives_no_profile_or_one_without_them() -> None:
    features = slow_features(5)
    features[100] = np.nan

    made = profile_of(policy(), features, NAMES, LIMITS)

    assert made is not None
    assert made.rows == ROWS - 1
    assert profile_of(policy(), features[: 2 * LIMITS.rows - 1], NAMES, LIMITS) is None


shares = st.lists(st.floats(0.001, 1.0), min_size=4, max_size=4).map(
    lambda parts: np.array(parts) / sum(parts)
)


@given(shares, shares)
def test_the_index_is_zero_for_equals_positive_otherwise_and_the_same_both_ways(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> None:
    assert psi(one, one) == 0.0
    assert psi(one, other) >= 0.0
    assert psi(one, other) == pytest.approx(psi(other, one))
