"""What the promotion gate lets through: of many policies without skill almost none, of skilled ones most."""

from collections.abc import Callable
from dataclasses import replace
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
from tests.learning.populations import (
    Judgement,
    fitted_policy,
    ground,
    judged,
    luckiest,
    random_population,
    told,
)

SHORT = TrainingSpec(hidden=(32, 32), learning_rate=2e-3)
WARM_UP = 500
MOST_WITHOUT_SKILL, LEAST_WITH_SKILL = 0.05, 0.8


def test_of_policies_without_skill_at_most_one_in_twenty_passes() -> None:
    found = random_population(planted.noise, 20, 3_000)

    assert sum(one.passed for one in found) <= MOST_WITHOUT_SKILL * 20, told("noise", found)
    assert sum(one.trades >= 20 for one in found) >= 10, told("noise", found)


def test_of_policies_that_learnt_a_planted_edge_at_least_four_of_five_pass() -> None:
    found = [
        judged(
            ground(planted.trending(6_000, seed=900 + seed)),
            fitted_policy(planted.trending(12_000, seed=seed)),
        )
        for seed in range(5)
    ]

    assert sum(one.passed for one in found) >= LEAST_WITH_SKILL * 5, told("edge", found)


def test_the_luckiest_of_many_is_believed_less_when_the_gate_knows_of_the_others() -> None:
    where = ground(planted.noise(3_000, seed=18))
    policy, trials = luckiest(where, range(40))

    alone = judged(where, policy)
    among = judged(where, policy, trials=trials)

    assert alone.net_pnl > 0.0
    assert alone.deflated_sharpe > 0.95 > among.deflated_sharpe
    assert set(among.reasons) - set(alone.reasons) == {"deflated_sharpe_below_threshold"}


# --- what is trained, nightly -------------------------------------------------------------------


def trained_population(
    generate: Callable[..., Candles],
    home: Path,
    seeds: range,
    *,
    steps: int,
    trained: int = 43_200,
    held_out: int = 30_000,
) -> list[Judgement]:
    """Train with each seed on a market of its own, and evaluate as the desk does on another one."""
    found: list[Judgement] = []
    for seed in seeds:
        store = MemoryStore()
        version = train_version(
            home,
            store,
            generate(trained, seed=1_000 + seed),
            TrainAsk(
                period=_period(trained),
                training=replace(SHORT, seed=seed, steps=steps),
                ramp_fraction=0.3,
            ),
            clock=ManualClock(seed),
            progress=lambda _: False,
        )
        assert version is not None
        market = generate(held_out, seed=2_000_000 + seed)
        report = evaluate_version(
            home,
            store,
            replace(market, open_ms=market.open_ms + trained * planted.MINUTE_MS),
            EvaluateAsk(period=_period(held_out, after=trained), version_id=version.version_id),
            clock=ManualClock(seed),
        )
        assert report.evidence is not None
        found.append(
            Judgement(
                reasons=report.reasons,
                trades=report.trade_count,
                net_pnl=float(report.net_pnl_after_fees),
                deflated_sharpe=report.evidence.deflated_sharpe,
            )
        )
    return found


def _period(count: int, *, after: int = 0) -> Period:
    first_ms = planted.START_MS + after * planted.MINUTE_MS
    return Period(
        pair="BTC-USDT",
        interval="1m",
        start_ms=first_ms + WARM_UP * planted.MINUTE_MS,
        end_ms=first_ms + count * planted.MINUTE_MS,
        instrument=INSTRUMENT,
    )


@pytest.mark.nightly
@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
@pytest.mark.timeout(7_200)
def test_of_two_hundred_trained_or_random_policies_on_noise_at_most_ten_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = trained_population(planted.noise, tmp_path, range(1, 21), steps=60_000)
    found = [*random_population(planted.noise, 180, 8_000), *trained]
    with capsys.disabled():
        print("\n" + told("noise", found) + "\n" + told("of those trained", trained))

    assert len(found) == 200
    assert sum(one.passed for one in found) <= MOST_WITHOUT_SKILL * 200, told("noise", found)


@pytest.mark.nightly
@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
@pytest.mark.timeout(7_200)
def test_of_twenty_policies_trained_on_a_planted_edge_at_least_sixteen_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With 150,000 steps one in six learns less than the shipped trend rule earns, and is refused.
    found = trained_population(planted.trending, tmp_path, range(1, 21), steps=400_000)
    with capsys.disabled():
        print("\n" + told("edge", found))

    assert sum(one.passed for one in found) >= LEAST_WITH_SKILL * 20, told("edge", found)
