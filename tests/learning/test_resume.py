"""A training that is taken up again ends with the bytes of one that was never interrupted."""

# pyright: reportPrivateUsage=false

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from desk.engines.rllib import TrainedPolicy, TrainingProgress, train
from desk.engines.stretches import train_stretch
from desk.errors import ArtifactRefused, BadInput
from desk.learning.arrays import MarketArrays
from desk.learning.baseline import trend_rule
from desk.learning.cost_ramp import CostRampEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.policy import LEVELS, load_policy, policy_card
from desk.learning.training_spec import TrainingSpec, training_spec
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store.checkpoints import CheckpointFolder
from desk.trading.fills import FillSpec
from tests.learning.conftest import INSTRUMENT
from tests.learning.vector_env import Stops

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.timeout(400),  # a fresh process imports torch
]

PPO = training_spec(
    "ppo",
    {"lanes": 32, "steps_per_lane": 32, "minibatch": 256, "hidden": [16], "learning_rate": 2e-3},
    steps=8_192,
    seed=3,
)
DQN = training_spec(
    "dqn",
    {
        "lanes": 32,
        "minibatch": 128,
        "hidden": [16],
        "learning_rate": 2e-3,
        "warm_up_steps": 1_000,
        "replay_steps": 2_000,
        "target_every_updates": 3,
    },
    steps=8_192,
    seed=3,
)


@pytest.fixture(scope="module")
def make_env(market: Candles) -> Callable[[int], CostRampEnv]:
    arrays = MarketArrays.from_candles(market, FEATURES_V1.compute(market), INSTRUMENT, FillSpec())
    spec = EpisodeSpec(length=100, drawdown_coefficient=0.1, turnover_coefficient=0.01)

    def make(lanes: int) -> CostRampEnv:
        return CostRampEnv(arrays, lanes, spec, first_fraction=0.1, ramp_steps=150)

    return make


def hash_of(trained: TrainedPolicy | None) -> str:
    assert trained is not None
    parts = [trained.tensors[name].tobytes() for name in sorted(trained.tensors)]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def checkpoints(folder: Path, *, every: int = 1) -> CheckpointFolder:
    return CheckpointFolder(folder=folder, fingerprint="test", every_updates=every)


class Told:
    """What progress said; cancels at an update."""

    def __init__(self, until: int | None = None) -> None:
        self.until, self.seen = until, list[TrainingProgress]()

    def __call__(self, progress: TrainingProgress) -> bool:
        self.seen.append(progress)
        return progress.phase == "training" and progress.updates == self.until


RULE = trend_rule(FEATURES_V1, LEVELS)
WARM = replace(PPO, warm_start="rule", warm_start_steps=4_000)


@pytest.mark.parametrize("spec", [WARM, DQN], ids=["ppo", "dqn"])
def test_interrupted_twice_it_ends_with_the_same_bytes(
    spec: TrainingSpec, make_env: Any, tmp_path: Path
) -> None:
    whole = train(make_env, spec, lambda _: False, rule=RULE)
    every = 3
    parts: list[Told] = []
    for until in (4, 6, None):
        parts.append(Told(until))
        kept = checkpoints(tmp_path, every=every)
        last = train(make_env, spec, parts[-1], checkpoints=kept, rule=RULE)

    assert whole is not None
    assert last is not None
    assert hash_of(last) == hash_of(whole)
    assert last.figures == whole.figures
    cloned = [[one for one in part.seen if one.phase == "cloning"] for part in parts]
    assert [bool(told) for told in cloned] == [spec.warm_start == "rule", False, False]
    first, second, third = ([one for one in part.seen if one.phase == "training"] for part in parts)
    assert [first[-1].updates, second[0].updates, third[0].updates] == [4, 4, 7]
    assert second[0].resumed_from_steps == first[every - 1].steps
    assert second[0].steps == first[every].steps  # lost: what came after the last checkpoint
    assert third[-1].steps >= spec.steps
    assert len(list(tmp_path.iterdir())) <= 2


@pytest.mark.parametrize("spec", [WARM, DQN], ids=["ppo", "dqn"])
def test_trained_in_stretches_it_ends_with_the_same_bytes(
    spec: TrainingSpec, make_env: Any, tmp_path: Path
) -> None:
    whole = train(make_env, spec, lambda _: False, rule=RULE)

    before, reached = None, 0
    for until in (3_000, 5_000, spec.steps):
        after = tmp_path / str(until)
        after.mkdir()
        part = train_stretch(
            make_env, spec, until_steps=until, before=before, after=after, rule=RULE
        )
        assert until <= part.steps < until + spec.batch
        before, reached = after, part.steps

    assert whole is not None
    assert reached == whole.progress.steps
    assert {name: values.tobytes() for name, values in part.tensors.items()} == {
        name: values.tobytes() for name, values in whole.tensors.items()
    }


def test_a_stretch_does_not_begin_from_a_damaged_checkpoint(make_env: Any, tmp_path: Path) -> None:
    (tmp_path / "after").mkdir()

    with pytest.raises(ArtifactRefused, match="no whole checkpoint"):
        train_stretch(make_env, PPO, until_steps=9_000, before=tmp_path, after=tmp_path / "after")


def test_a_state_without_the_generators_would_not_do(make_env: Any, tmp_path: Path) -> None:
    """The test above could fail: everything but torch's generator is put back."""
    whole = train(make_env, PPO, lambda _: False)
    train(make_env, PPO, Told(4), checkpoints=checkpoints(tmp_path))
    folder = checkpoints(tmp_path)
    state = folder.load()
    assert state is not None
    state["generators"]["torch"] = torch.Generator().manual_seed(1).get_state().numpy()
    state["runners"][0]["generators"] = state["learners"][0]["generators"] = state["generators"]
    folder.save(5, state)

    other = train(make_env, PPO, lambda _: False, checkpoints=folder)

    assert hash_of(other) != hash_of(whole)


def test_an_environment_without_a_state_is_refused_where_it_would_be_needed(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="Stops without get_state"):
        train(Stops, PPO, lambda _: False, checkpoints=checkpoints(tmp_path))


def test_progress_tells_what_rewards_were_made_of(make_env: Any) -> None:
    told = Told(2)
    train(make_env, PPO, told)

    last = told.seen[-1]
    assert last.reward_terms.keys() == {"growth", "turnover", "drawdown"}
    assert last.reward_terms["turnover"] < 0.0
    assert last.reward_terms["drawdown"] < 0.0
    figures = last.as_metrics()
    assert figures.keys() >= {"kl", "entropy", "value_loss", "steps_per_s", "remaining_s"}
    assert figures["reward_growth"] == last.reward_terms["growth"]
    assert all(isinstance(value, float) for value in figures.values())


def test_dqn_ends_as_a_policy_that_is_served_and_says_how_clear_a_decision_is(
    make_env: Any,
) -> None:
    trained = train(make_env, DQN, lambda _: False)
    assert trained is not None
    card = policy_card(
        version_id="dqn-1",
        algorithm="dqn",
        is_baseline=False,
        hyperparameters=DQN.as_hyperparameters(),
        software={},
    )
    policy = load_policy(card, trained.tensors)
    env = make_env(64)
    seen, _ = env.reset(seed=1)

    logits = np.sort(policy.forward(seen), axis=1)

    assert trained.figures["value_gap"] > 0.0
    # The unit is the training's median gap, so a typical gap is about one.
    assert 0.1 < float(np.median(logits[:, -1] - logits[:, -2])) < 10.0
    assert 1 / 3 < policy.answer(seen[0], 0.0).confidence < 1.0


def test_another_process_with_another_hash_seed_trains_the_same_bytes(make_env: Any) -> None:
    whole = train(make_env, PPO, lambda _: False)

    @ray.remote(num_cpus=0, runtime_env={"env_vars": {"PYTHONHASHSEED": "4711"}})
    def elsewhere(make: Any) -> tuple[str, int]:
        return hash_of(train(make, PPO, lambda _: False)), hash("desk")

    found, there = ray.get(elsewhere.remote(make_env), timeout=360)

    assert there != hash("desk")  # the process did hash otherwise
    assert found == hash_of(whole)
