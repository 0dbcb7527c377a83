"""PPO behind one function: it learns, repeats itself, can be stopped, and exports what torch computes."""

from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from desk.engines import rllib
from desk.engines.rllib import TrainingProgress, TrainingSpec, train
from desk.errors import BadInput
from desk.learning.policy import load_policy, policy_card
from desk.market.features import FEATURES_V1

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session")]

SIZE = FEATURES_V1.size + 1
SPEC = TrainingSpec(
    steps=24_000, seed=3, lanes=64, steps_per_lane=64, minibatch=1024, learning_rate=2e-3
)


class SayTheSign(VectorEnv[Any, Any, Any]):
    """Reward 1 for naming the sign of the first value, over episodes of 30 steps."""

    def __init__(self, lanes: int) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs = lanes
        self.single_observation_space = gym.spaces.Box(-10, 10, (SIZE,), np.float32)
        self.single_action_space = gym.spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self._rng = np.random.default_rng(seed)
        self._age = np.zeros(self.num_envs, dtype=int)
        self._done = np.zeros(self.num_envs, dtype=bool)
        return self._look(), {}

    def step(self, actions: Any) -> Any:
        rewards = np.where(actions == 2 * (self._seen[:, 0] > 0), 1.0, 0.0) * ~self._done
        self._age = np.where(self._done, 0, self._age + 1)
        self._done = self._age >= 30
        never = np.zeros(self.num_envs, dtype=bool)
        return self._look(), rewards, never, self._done.copy(), {}

    def _look(self) -> np.ndarray:
        self._seen = self._rng.normal(size=(self.num_envs, SIZE)).astype(np.float32)
        return self._seen.copy()


def test_it_learns_counts_its_steps_and_repeats_itself() -> None:
    seen: list[TrainingProgress] = []

    def note(progress: TrainingProgress) -> bool:
        seen.append(progress)
        return False

    trained = train(SayTheSign, SPEC, note)
    again = train(SayTheSign, SPEC, lambda _: False)
    other = train(SayTheSign, replace(SPEC, steps=4_096, seed=4), lambda _: False)

    assert trained is not None
    assert again is not None
    assert other is not None
    assert [one.steps for one in seen] == [4096 * n for n in range(1, 7)]
    assert seen[-1] == trained.progress
    assert seen[-1].eta_s == 0.0
    first, last = seen[0].reward_mean, seen[-1].reward_mean
    assert first is not None
    assert last is not None
    assert last > first + 5.0
    assert seen[-1].episodes > seen[0].episodes > 0
    assert None not in (seen[-1].entropy, seen[-1].kl)
    assert sorted(trained.tensors) == sorted(again.tensors)
    for name, values in trained.tensors.items():
        assert values.dtype == np.float32
        assert values.tobytes() == again.tensors[name].tobytes()
        assert values.tobytes() != other.tensors[name].tobytes()


@pytest.mark.catalogue("M08")
def test_m08_the_exported_network_answers_like_torch() -> None:
    import torch

    spec = replace(SPEC, steps=4_096, hidden=(32, 16))
    rllib._environments["exported"] = SayTheSign
    algorithm = rllib._build("exported", SayTheSign(1), spec)
    try:
        algorithm.train()
        policy = load_policy(
            policy_card(
                version_id="v1",
                algorithm="ppo",
                is_baseline=False,
                hyperparameters=spec.as_hyperparameters(),
                software=rllib.software_versions(),
            ),
            rllib.actor_tensors(algorithm),
        )
        rows = np.random.default_rng(0).normal(0.0, 3.0, (500, SIZE)).astype(np.float32)
        with torch.no_grad():
            answer = algorithm.get_module().forward_inference({"obs": torch.from_numpy(rows)})
    finally:
        algorithm.stop()
        del rllib._environments["exported"]

    assert [len(bias) for _, bias in policy.layers] == [32, 16, 3]
    np.testing.assert_allclose(
        policy.forward(rows), answer["action_dist_inputs"].numpy(), atol=1e-5, rtol=1e-5
    )


def test_a_training_that_is_told_to_stop_returns_nothing() -> None:
    calls: list[int] = []

    def stop_at_the_second(progress: TrainingProgress) -> bool:
        calls.append(progress.steps)
        return len(calls) == 2

    assert train(SayTheSign, SPEC, stop_at_the_second) is None
    assert calls == [4096, 8192]
    assert not rllib._environments


def test_a_minibatch_larger_than_the_batch_is_refused() -> None:
    with pytest.raises(BadInput, match="minibatch"):
        replace(SPEC, minibatch=5000)
