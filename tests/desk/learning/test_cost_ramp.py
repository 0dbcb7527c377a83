"""The cost ramp: cheap at first, and exactly the real environment once it is over."""

from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pytest

from desk.learning.arrays import MarketArrays
from desk.learning.cost_ramp import CostRampEnv
from desk.learning.env import TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument

LANES = 4
EPISODE = EpisodeSpec(length=500)
FLIP = [np.full(LANES, 2 * (step % 2)) for step in range(60)]


@pytest.fixture(scope="module")
def arrays(walk: Callable[..., Candles]) -> MarketArrays:
    candles = walk(1_500)
    instrument = Instrument(
        pair="BTC-USDT",
        tick=Decimal("0.1"),
        lot=Decimal("0.0001"),
        min_quantity=Decimal("0.0001"),
        min_notional=Decimal(2),
        maker_rate=Decimal("0.0002"),
        taker_rate=Decimal("0.0005"),
        max_leverage=100,
    )
    return MarketArrays.from_candles(candles, FEATURES_V1.compute(candles), instrument, FillSpec())


def fees(env: TradingVectorEnv) -> list[float]:
    env.reset(seed=3)
    paid: list[float] = []
    for actions in FLIP:
        env.step(actions)
        paid.append(float(-env.terms()["fees"].sum()))
    return paid


def test_commission_rises_from_a_fraction_to_the_real_one(arrays: MarketArrays) -> None:
    real = fees(TradingVectorEnv(arrays, LANES, EPISODE))

    ramped = fees(CostRampEnv(arrays, LANES, EPISODE, first_fraction=0.2, ramp_steps=40))

    parts = [paid / full for paid, full in zip(ramped, real, strict=True) if full]
    assert parts[0] == pytest.approx(0.2, abs=0.03)
    assert parts == sorted(parts)
    assert parts[-19:] == [1.0] * 19


def test_after_the_ramp_nothing_differs_from_the_real_environment(arrays: MarketArrays) -> None:
    ramped = CostRampEnv(arrays, LANES, EPISODE, first_fraction=0.2, ramp_steps=10)
    real = TradingVectorEnv(arrays, LANES, EPISODE)
    for actions in FLIP[:10]:
        ramped.step(actions)

    ramped.reset(seed=9)
    real.reset(seed=9)

    assert ramped.arrays is arrays
    for actions in FLIP:
        got, wanted = ramped.step(actions), real.step(actions)
        for one, other in zip(got[:4], wanted[:4], strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_ramp_of_no_steps_is_the_real_environment(arrays: MarketArrays) -> None:
    env = CostRampEnv(arrays, LANES, EPISODE, first_fraction=0.2, ramp_steps=0)

    assert env.cost_fraction == 1.0
    assert env.arrays is arrays
