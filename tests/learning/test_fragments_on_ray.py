"""Fragments from a remote runner, inside a Tune trial, and for an off-policy algorithm."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from actors.learning_jobs import LEARNING_ENVIRONMENT
from desk.engines.rllib import RLLIB_ENV
from tests.learning.test_fragment_runner import LANES, STEPS, configured

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.timeout(300),  # fresh processes import torch
    pytest.mark.filterwarnings("ignore"),  # RLlib's and Tune's about their own deprecated parts
]


@pytest.fixture(autouse=True)
def _forget_the_environment() -> Iterator[None]:
    gym.registry.pop(RLLIB_ENV, None)
    yield
    gym.registry.pop(RLLIB_ENV, None)


def _small(base: type[Any]) -> Any:
    from desk.engines.fragment_runner import FragmentEnvRunner

    return configured(FragmentEnvRunner, odds=0.2, base=base)


def _threads(runner: Any) -> int:
    import torch

    return torch.get_num_threads() if runner.worker_index else 1


def test_a_remote_runner_samples_on_one_thread_and_its_steps_are_learnt_from() -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    config = _small(PPOConfig)
    config.env_runners(num_env_runners=1)
    config.training(minibatch_size=32, num_epochs=1)
    algorithm = config.build_algo()
    try:
        result = algorithm.train()
        threads = algorithm.env_runner_group.foreach_env_runner(_threads)
    finally:
        algorithm.stop()

    runners = result["env_runners"]
    assert LANES * STEPS <= runners["num_env_steps_sampled"] < LANES * STEPS + LANES
    assert runners["num_episodes"] > 0
    assert runners["episode_return_mean"] == runners["episode_return_mean"]
    assert result["learners"]["default_policy"]["entropy"] > 0.0
    assert set(threads) == {1}


def test_a_learning_job_pins_every_numeric_library_to_one_thread() -> None:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    assert {LEARNING_ENVIRONMENT["env_vars"][name] for name in names} == {"1"}


def test_a_tune_trial_reports_what_fragments_earned(tmp_path: Path) -> None:
    from ray import tune
    from ray.rllib.algorithms.ppo import PPOConfig

    config = _small(PPOConfig)
    config.training(minibatch_size=32, num_epochs=1)
    tuner = tune.Tuner(
        "PPO",
        param_space=config,
        run_config=tune.RunConfig(
            stop={"num_env_steps_sampled_lifetime": 2 * LANES * STEPS},
            storage_path=str(tmp_path),
            verbose=0,
        ),
    )

    results = tuner.fit()

    assert not results.errors
    (only,) = results
    assert only.metrics is not None
    assert only.metrics["num_env_steps_sampled_lifetime"] >= 2 * LANES * STEPS
    assert isinstance(only.metrics["env_runners"]["episode_return_mean"], float)


def test_dqn_learns_from_the_same_episodes() -> None:
    from ray.rllib.algorithms.dqn import DQNConfig

    config = _small(DQNConfig)
    config.training(
        train_batch_size_per_learner=32,
        num_steps_sampled_before_learning_starts=LANES * STEPS,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 5_000},
    )
    algorithm = config.build_algo()
    try:
        algorithm.train()
        result = algorithm.train()
    finally:
        algorithm.stop()

    assert result["env_runners"]["num_env_steps_sampled_lifetime"] >= 2 * LANES * STEPS
    assert result["learners"]["default_policy"]["num_module_steps_trained"] > 0
