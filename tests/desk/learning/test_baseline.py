"""The shipped trend rule: what it says it is, and nothing more."""

from collections.abc import Callable

import numpy as np
import pytest

from desk.learning.baseline import (
    BASELINE_VERSION_ID,
    ENTER_TREND,
    LEAVE_TREND,
    TREND_FEATURE,
    baseline_card,
    baseline_tensors,
)
from desk.learning.observation import observation
from desk.learning.policy import MlpPolicy, load_policy
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1


@pytest.fixture(scope="module")
def rule() -> MlpPolicy:
    return load_policy(baseline_card(), baseline_tensors())


def target(rule: MlpPolicy, trend: float, held: int) -> float:
    features = np.random.default_rng(5).normal(size=FEATURES_V1.size).astype(np.float32)
    features[FEATURES_V1.index(TREND_FEATURE)] = trend
    return rule.answer(observation(features, held), 0.35).target


def test_it_says_that_it_is_a_baseline(rule: MlpPolicy) -> None:
    assert rule.is_baseline
    assert rule.version_id == BASELINE_VERSION_ID
    assert rule.algorithm == "baseline_trend_rule"


@pytest.mark.parametrize("sign", [-1, 1])
def test_it_enters_on_a_strong_trend_and_leaves_when_it_has_nearly_gone(
    rule: MlpPolicy, sign: int
) -> None:
    assert target(rule, sign * (ENTER_TREND + 0.01), 0) == sign
    assert target(rule, sign * (ENTER_TREND - 0.01), 0) == 0
    assert target(rule, sign * (LEAVE_TREND + 0.01), sign) == sign
    assert target(rule, sign * (LEAVE_TREND - 0.01), sign) == 0
    assert target(rule, -sign * (2 * ENTER_TREND), sign) == -sign


def test_only_the_trend_and_the_position_matter(rule: MlpPolicy) -> None:
    weight, _ = rule.layers[0]

    used = {FEATURES_V1.index(TREND_FEATURE), FEATURES_V1.size}
    assert set(np.flatnonzero(weight.any(axis=0)).tolist()) == used


def test_it_holds_positions_for_a_while_and_is_flat_at_times(
    rule: MlpPolicy, walk: Callable[..., Candles]
) -> None:
    features = FEATURES_V1.compute(walk(6000, seed=11))[FEATURES_V1.lookback - 1 :]

    held, targets = 0, []
    for row in features:
        held = int(rule.answer(observation(row, held), 0.35).target)
        targets.append(held)

    changes = np.flatnonzero(np.diff(targets, prepend=np.nan))
    spells = np.diff(np.append(changes, len(targets)))
    positions = [n for n, at in zip(spells, changes, strict=True) if targets[at]]
    assert set(targets) == {-1, 0, 1}
    assert np.median(positions) > 30
    assert 0.05 < np.mean(np.array(targets) == 0) < 0.6
