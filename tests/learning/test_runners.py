"""Runners and learners as Ray actors: one copy of the arrays, and a killed one changes no byte."""

# pyright: reportUnknownMemberType=false

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from desk.engines.rllib import check_processors, train
from desk.engines.training_progress import TrainingProgress
from desk.errors import BadInput
from desk.learning.arrays import MarketArrays
from desk.learning.cost_ramp import CostRampEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.training_spec import TrainingSpec, training_spec
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from tests.learning.conftest import INSTRUMENT
from tests.learning.test_resume import Told, checkpoints, hash_of
from tests.processes import processes_named

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.timeout(500),  # fresh processes import torch
]

ONE_RUNNER = training_spec(
    "ppo",
    {"lanes": 32, "steps_per_lane": 32, "minibatch": 256, "hidden": [16], "runners": 1},
    steps=5_120,
    seed=3,
)


class Maker:
    """Makes environments over a market, as a training's closure does."""

    def __init__(self, arrays: MarketArrays) -> None:
        self.arrays = arrays

    def __call__(self, lanes: int) -> CostRampEnv:
        spec = EpisodeSpec(length=100, drawdown_coefficient=0.1)
        return CostRampEnv(self.arrays, lanes, spec, first_fraction=0.1, ramp_steps=100)


@pytest.fixture(scope="module")
def make_env(market: Candles) -> Maker:
    features = FEATURES_V1.compute(market)
    return Maker(MarketArrays.from_candles(market, features, INSTRUMENT, FillSpec()))


def runner_pids() -> list[int]:
    return processes_named("ray::FragmentEnvRunner")


class KillsARunner:
    """Progress that ends a runner's process at an update, once."""

    def __init__(self, at: int) -> None:
        self._at, self.killed, self.seen = at, 0, list[TrainingProgress]()

    def __call__(self, progress: TrainingProgress) -> bool:
        self.seen.append(progress)
        if progress.updates == self._at and not self.killed:
            (pid, *_) = runner_pids()
            self.killed = pid
            os.kill(pid, signal.SIGKILL)
        return False


def figures(progress: TrainingProgress) -> tuple[object, ...]:
    """What an update came to; how long it took is another matter."""
    return progress.steps, progress.entropy, progress.kl, progress.value_loss


def test_a_killed_runner_costs_one_interval_and_what_is_repeated_comes_to_the_same(
    make_env: Maker, tmp_path: Path
) -> None:
    told = KillsARunner(at=3)

    last = train(make_env, ONE_RUNNER, told, checkpoints=checkpoints(tmp_path, every=2))

    assert told.killed
    assert last is not None
    updates = [one.updates for one in told.seen]
    assert updates == [1, 2, 3, 3, 4, 5]
    assert told.seen[3].resumed_from_steps == told.seen[1].steps
    assert figures(told.seen[3]) == figures(told.seen[2])


def test_more_actors_than_processors_are_refused_before_anything_waits() -> None:
    with pytest.raises(BadInput, match="runners: and learners were 9 actors"):
        check_processors(replace(ONE_RUNNER, runners=9))


def test_runners_look_at_one_copy_of_the_arrays(make_env: Maker) -> None:
    shared = ray.put(make_env)

    @ray.remote(num_cpus=0)
    def look(make: list[Any]) -> tuple[bool, bool]:
        from desk.engines.rllib_config import make_shared

        env: Any = make_shared({"shared": make, "num_envs": 4})
        env.reset(seed=1)
        env.step([0, 1, 2, 0])
        features = env.arrays.features
        return features.flags.owndata, features.flags.writeable

    assert ray.get(look.remote([shared]), timeout=200) == (False, False)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # Ray's learners about Ray Data's own deprecated parts
@pytest.mark.parametrize(
    "changes", [{"runners": 2}, {"runners": 2, "learners": 1}, {"learners": 2}]
)
def test_with_actors_of_their_own_it_is_taken_up_to_the_byte(
    make_env: Maker, tmp_path: Path, changes: dict[str, int]
) -> None:
    spec: TrainingSpec = replace(ONE_RUNNER, **{"runners": 0, **changes}, steps=10_240)  # pyright: ignore[reportArgumentType]
    whole = train(make_env, spec, lambda _: False)

    assert train(make_env, spec, Told(3), checkpoints=checkpoints(tmp_path, every=2)) is None
    last = train(make_env, spec, lambda _: False, checkpoints=checkpoints(tmp_path, every=2))

    assert hash_of(last) == hash_of(whole)
