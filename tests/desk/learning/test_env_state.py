"""An environment that is put back where it was goes on with the same bytes."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from desk.errors import BadInput
from desk.learning.arrays import MarketArrays
from desk.learning.cost_ramp import CostRampEnv
from desk.learning.episode import EpisodeSpec
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store.checkpoints import CheckpointFolder
from desk.trading.fills import FillSpec
from desk.trading.intents import Protection
from tests.learning.conftest import INSTRUMENT

LANES, STEPS = 16, 120
PLAIN = EpisodeSpec(length=40)
SHAPED = EpisodeSpec(
    length=40,
    turnover_coefficient=0.01,
    drawdown_coefficient=0.1,
    protection=Protection(stop_loss_fraction=Decimal("0.003")),
    leverage=20,
)


@pytest.fixture(scope="module")
def arrays(walk: Callable[..., Candles]) -> MarketArrays:
    candles = walk(1_500)
    rates = [(int(candles.open_ms[n]) + 10, Decimal("0.0003")) for n in range(0, 1_500, 90)]
    return MarketArrays.from_candles(
        candles, FEATURES_V1.compute(candles), INSTRUMENT, FillSpec(), rates
    )


def made(arrays: MarketArrays, spec: EpisodeSpec) -> CostRampEnv:
    return CostRampEnv(arrays, LANES, spec, first_fraction=0.1, ramp_steps=150)


def walked(env: CostRampEnv, seed: int, steps: int) -> list[tuple[bytes, ...]]:
    actions = np.random.default_rng(seed)
    seen: list[tuple[bytes, ...]] = []
    for _ in range(steps):
        observed, rewards, ended, cut, _ = env.step(actions.integers(0, 3, LANES))
        terms = [values.tobytes() for values in env.reward_terms().values()]
        seen.append((observed.tobytes(), rewards.tobytes(), ended.tobytes(), cut.tobytes(), *terms))
    return seen


@pytest.mark.parametrize("spec", [PLAIN, SHAPED])
def test_the_steps_after_a_return_are_those_that_would_have_followed(
    arrays: MarketArrays, spec: EpisodeSpec, tmp_path: Any
) -> None:
    first = made(arrays, spec)
    first.reset(seed=3)
    walked(first, 1, STEPS)
    checkpoints = CheckpointFolder(folder=tmp_path, fingerprint="env")
    checkpoints.save(1, first.get_state())
    expected = walked(first, 2, STEPS)
    again, _ = first.reset()

    other = made(arrays, spec)
    other.reset(seed=99)
    walked(other, 5, 7)
    state = checkpoints.load()
    assert state is not None
    other.set_state(state)

    assert walked(other, 2, STEPS) == expected
    assert other.reset()[0].tobytes() == again.tobytes()
    assert other.cost_fraction == first.cost_fraction


def test_a_state_of_other_lanes_is_refused(arrays: MarketArrays) -> None:
    env, fewer = (
        made(arrays, PLAIN),
        CostRampEnv(arrays, 3, PLAIN, first_fraction=0.1, ramp_steps=150),
    )
    fewer.reset(seed=1)

    with pytest.raises(BadInput, match="was of 3 lanes, expected 16"):
        env.set_state(fewer.get_state())
