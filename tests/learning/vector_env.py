"""A small environment for tests of sampling: episodes of many lengths, ended in both ways."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

WIDTH = 5


class Stops(VectorEnv[Any, Any, Any]):
    """Lanes that end at random steps, one in three by the world's doing; `NEXT_STEP` autoreset.

    Everything depends on the seed of `reset` and on the actions. `odds`: chance of an end per step.
    """

    def __init__(self, lanes: int, odds: float = 0.1) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
        self.num_envs, self._odds = lanes, odds
        self.single_observation_space = gym.spaces.Box(-10, 10, (WIDTH,), np.float32)
        self.single_action_space = gym.spaces.Discrete(3)
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._done = np.zeros(self.num_envs, dtype=bool)
        return self._look(), {}

    def step(self, actions: Any) -> Any:
        live = ~self._done
        rewards = np.where(live, actions + self._rng.normal(size=self.num_envs), 0.0)
        ends = live & (self._rng.random(self.num_envs) < self._odds)
        terminated = ends & (self._rng.random(self.num_envs) < 1 / 3)
        self._done = ends
        return self._look(), rewards, terminated, ends & ~terminated, {}

    def _look(self) -> np.ndarray:
        return self._rng.normal(size=(self.num_envs, WIDTH)).astype(np.float32)
