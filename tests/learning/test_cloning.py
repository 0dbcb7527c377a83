"""A clone does what the rule does, repeats itself, and is where a PPO can begin. No Ray."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from desk.engines.rllib import train
from desk.engines.training_progress import TrainingProgress
from desk.errors import BadInput
from desk.learning.arrays import MarketArrays
from desk.learning.baseline import (
    TREND_FEATURE,
    baseline_card,
    baseline_tensors,
    check_rule,
    trend_rule,
)
from desk.learning.env import TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.policy import LEVELS, load_policy
from desk.learning.training_spec import training_spec
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1, Feature, FeatureSet
from desk.trading.fills import FillSpec
from tests.learning.conftest import INSTRUMENT

SPEC = training_spec(
    "bc", {"lanes": 32, "hidden": [32], "minibatch": 128, "learning_rate": 5e-3}, steps=20_000
)


@pytest.fixture(scope="module")
def make_env(market: Candles) -> Callable[[int], TradingVectorEnv]:
    arrays = MarketArrays.from_candles(market, FEATURES_V1.compute(market), INSTRUMENT, FillSpec())
    return lambda lanes: TradingVectorEnv(arrays, lanes, EpisodeSpec(length=200))


def test_the_rule_answers_like_the_policy_that_is_shipped(
    make_env: Callable[[int], TradingVectorEnv],
) -> None:
    shipped = load_policy(baseline_card(), baseline_tensors())
    rule = trend_rule(FEATURES_V1, LEVELS)
    env = make_env(256)
    seen, _ = env.reset(seed=2)
    chosen: set[int] = set()
    for _ in range(100):
        answer = rule(seen)
        np.testing.assert_array_equal(answer, shipped.forward(seen).argmax(axis=1))
        chosen |= set(answer.tolist())
        seen, *_ = env.step(answer)
    assert chosen == {0, 1, 2}


def test_over_other_levels_and_columns_the_nearest_level_is_meant() -> None:
    bare = FeatureSet(
        name="two",
        features=(Feature(name="day_sine", rule="day_sine"), *_trend_alone()),
        lookback=FEATURES_V1.lookback,
    )
    rule = trend_rule(bare, (-0.5, -0.1, 0.9))
    observations = np.array([[9, -2, 0], [9, 0, 0], [9, 2, 0], [9, 0.4, 1]], dtype=np.float32)

    np.testing.assert_array_equal(rule(observations), [0, 1, 2, 2])


def _trend_alone() -> tuple[Feature, ...]:
    return tuple(one for one in FEATURES_V1.features if one.name == TREND_FEATURE)


def test_features_without_the_trend_are_refused() -> None:
    bare = FeatureSet(
        name="bare", features=(Feature(name="day_sine", rule="day_sine"),), lookback=1
    )
    with pytest.raises(BadInput, match="has no trend_60_240"):
        check_rule(bare)


def test_a_clone_agrees_with_its_rule_and_leaves_the_generators_alone(make_env: Any) -> None:
    told: list[TrainingProgress] = []
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()

    def note(progress: TrainingProgress) -> bool:
        told.append(progress)
        return False

    rule = trend_rule(FEATURES_V1, LEVELS)
    first = train(make_env, SPEC, note, rule=rule)
    again = train(make_env, SPEC, lambda _: False, rule=rule)

    assert first is not None
    assert again is not None
    assert first.figures["clone_agreement"] > 0.95
    assert first.progress.agreement == first.figures["clone_agreement"]
    steps = [one.steps for one in told]
    assert steps == sorted(steps)
    assert told[-1].steps == told[-1].total_steps
    assert {one.phase for one in told} == {"cloning"}
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tobytes() == before[1]
    for name, values in first.tensors.items():
        assert values.tobytes() == again.tensors[name].tobytes()

    policy = load_policy(baseline_card(), first.tensors)
    env = make_env(512)
    seen, _ = env.reset(seed=77)
    same = policy.forward(seen).argmax(axis=1) == rule(seen)
    assert same.mean() > 0.9


def test_it_is_cancelled_while_it_watches_and_while_it_learns(make_env: Any) -> None:
    rule = trend_rule(FEATURES_V1, LEVELS)

    assert train(make_env, SPEC, lambda _: True, rule=rule) is None
    assert train(make_env, SPEC, lambda one: one.agreement is not None, rule=rule) is None


def test_without_a_rule_nothing_is_cloned(make_env: Any) -> None:
    for spec in (SPEC, training_spec("ppo", {"warm_start": "rule"})):
        with pytest.raises(BadInput, match="without a rule to clone"):
            train(make_env, spec, lambda _: False)
