"""What can be learnt is learnt, what cannot is left alone: training and evaluation as the desk runs them.

Every market is generated from its seed; those that are evaluated on have seeds, and so candles, that
no training saw. Profits are in USDT on 1,000 USDT of notional, after fees, slippage and funding.
"""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_period import Period
from actors.training import TrainAsk, train_version
from desk.clock import ManualClock
from desk.engines.rllib import TrainingSpec
from desk.market.candles import Candles
from desk.store.memory import MemoryStore
from tests.learning import planted
from tests.learning.conftest import INSTRUMENT

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.timeout(300),  # half a minute each on two quiet cores
]

type Generate = Callable[..., Candles]

TRAINED, HELD_OUT = 43_200, 8_000
"""Candles."""
WARM_UP = 500
DAYS = (HELD_OUT - WARM_UP) / 1_440
SHORT = TrainingSpec(seed=1, hidden=(32, 32), learning_rate=2e-3)
SHORT_RAMP = 0.3
"""Fewer and larger steps than the defaults and full costs sooner, for a suite that runs often."""
MOST_TRADES_PER_DAY = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trained version on one held-out market."""

    pnl: float
    trades_per_day: float
    exposure: float


def period(count: int) -> Period:
    return Period(
        pair="BTC-USDT",
        interval="1m",
        start_ms=planted.START_MS + WARM_UP * planted.MINUTE_MS,
        end_ms=planted.START_MS + count * planted.MINUTE_MS,
        instrument=INSTRUMENT,
    )


def outcomes(
    generate: Generate,
    home: Path,
    held_out: tuple[int, ...],
    training: TrainingSpec,
    **asked: float,
) -> list[Outcome]:
    """Train on the market of 1,000 + the training's seed and evaluate on those of `held_out`."""
    store = MemoryStore()
    version = train_version(
        home,
        store,
        generate(TRAINED, seed=1_000 + training.seed),
        TrainAsk(period=period(TRAINED), training=training, **asked),  # pyright: ignore[reportArgumentType]
        clock=ManualClock(1),
        progress=lambda _: False,
    )
    assert version is not None
    found: list[Outcome] = []
    for seed in held_out:
        evaluation = EvaluateAsk(period=period(HELD_OUT), version_id=version.version_id)
        market = generate(HELD_OUT, seed=seed)
        report = evaluate_version(home, store, market, evaluation, clock=ManualClock(seed))
        pnl, trades = float(report.net_pnl_after_fees), report.trade_count / DAYS
        found.append(Outcome(pnl, trades, report.exposure))
    return found


def lower_bound(values: list[float]) -> float:
    """Mean less two standard errors, over independent seeds."""
    return statistics.mean(values) - 2.0 * statistics.stdev(values) / math.sqrt(len(values))


def told(name: str, found: list[Outcome]) -> str:
    pnl = [one.pnl for one in found]
    error = statistics.stdev(pnl) / math.sqrt(len(pnl))
    trades = statistics.mean(one.trades_per_day for one in found)
    exposure = statistics.mean(one.exposure for one in found)
    mean = statistics.mean(pnl)
    return (
        f"{name}: {mean:+.0f} ± {error:.0f} USDT in {DAYS:.1f} days over {len(pnl)} markets,"
        f" {trades:.2f} trades a day, exposure {exposure:.2f}"
    )


def test_a_planted_edge_is_learnt_and_pays_on_markets_it_never_saw(tmp_path: Path) -> None:
    training = replace(SHORT, steps=150_000)
    found = outcomes(planted.trending, tmp_path, (51, 52, 53), training, ramp_fraction=SHORT_RAMP)

    assert lower_bound([one.pnl for one in found]) > 0.0, told("trend", found)


def test_on_noise_it_learns_to_leave_the_market_alone(tmp_path: Path) -> None:
    training = replace(SHORT, steps=400_000)
    found = outcomes(planted.noise, tmp_path, (51, 52), training, ramp_fraction=SHORT_RAMP)

    assert all(one.trades_per_day <= MOST_TRADES_PER_DAY for one in found), told("noise", found)


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_at_the_defaults_every_seed_earns_on_the_edge_and_rests_on_noise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earned: list[Outcome] = []
    rested: list[Outcome] = []
    for seed in range(1, 6):
        training = TrainingSpec(seed=seed)
        markets = (10 * seed + 1_000_000, 10 * seed + 1_000_001)
        for name, generate, found in (
            ("trend", planted.trending, earned),
            ("noise", planted.noise, rested),
        ):
            home = tmp_path / f"{name}-{seed}"
            found.extend(outcomes(generate, home, markets, training))
    with capsys.disabled():
        print("\n" + told("trend", earned) + "\n" + told("noise", rested))

    assert all(one.pnl > 0.0 for one in earned), told("trend", earned)
    assert lower_bound([one.pnl for one in earned]) > 0.0, told("trend", earned)
    assert all(one.trades_per_day <= MOST_TRADES_PER_DAY for one in rested), told("noise", rested)
