"""Stable-Baselines3's PPO on the same environment and network; `bench.rl` puts the library on the path.

Only SB3 itself is added, without dependencies: torch, numpy and gymnasium are those of the desk.
"""

from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports] - in a folder of its own
from stable_baselines3.common.vec_env import VecEnv  # pyright: ignore[reportMissingImports]

from desk.engines.rllib import TrainingSpec
from desk.learning.env import TradingVectorEnv


class Sb3:
    """One PPO; a call is one update of the same size as ours."""

    def __init__(self, env: TradingVectorEnv, spec: TrainingSpec) -> None:
        self.taken: list[int] = []
        self._env, self._batch = _Native(env), spec.batch
        self._ppo = PPO(
            "MlpPolicy",
            self._env,
            learning_rate=spec.learning_rate,
            n_steps=spec.steps_per_lane,
            batch_size=spec.minibatch,
            n_epochs=spec.epochs,
            gamma=spec.gamma,
            gae_lambda=spec.gae_lambda,
            clip_range=spec.clip,
            ent_coef=spec.entropy_coefficient,
            vf_coef=1.0,
            max_grad_norm=0.5,
            policy_kwargs={
                "net_arch": {"pi": list(spec.hidden), "vf": list(spec.hidden)},
                "activation_fn": torch.nn.Tanh,
            },
            seed=spec.seed,
            device="cpu",
        )

    def __call__(self) -> int:
        before = self._env.steps
        self._ppo.learn(self._batch, reset_num_timesteps=False)
        return self._env.steps - before

    def stop(self) -> None:
        self._ppo.env.close()


class _Native(VecEnv):
    """All lanes as one `VecEnv`. A reset is a step of its own, as in ours, and is not counted."""

    def __init__(self, env: TradingVectorEnv) -> None:
        self._env, self.steps = env, 0
        self._silent: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._done = np.zeros(env.num_envs, dtype=np.bool_)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        return self._env.reset(seed=1)[0]

    def step_async(self, actions: Any) -> None:
        self._actions = actions

    def step_wait(self) -> Any:
        self.steps += self.num_envs - int(self._done.sum())
        seen, rewards, terminated, truncated, _ = self._env.step(self._actions)
        self._done = terminated | truncated
        infos = self._silent
        if truncated.any():
            infos = [{} for _ in range(self.num_envs)]
            for lane in np.flatnonzero(truncated):
                infos[lane] = {"TimeLimit.truncated": True, "terminal_observation": seen[lane]}
        return seen, rewards, self._done, infos

    def close(self) -> None:
        self._env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self._env, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        return [getattr(self._env, method_name)(*args, **kwargs)] * self.num_envs

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs
