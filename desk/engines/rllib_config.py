"""RLlib's configurations of our algorithms: fragments, one thread, no defaults that hurt.

Importing this module imports RLlib and torch.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import logging
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import ray
import torch
from gymnasium.vector import VectorEnv
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.tune import registry

from desk.engines.fragment_learner import FragmentPPOLearner
from desk.engines.fragment_runner import FragmentEnvRunner
from desk.engines.replay import FragmentDQNLearner, LaneReplay
from desk.engines.rllib import RLLIB_ENV
from desk.learning.training_spec import DQN, TrainingSpec

GRADIENT_NORM = 0.5
DQN_GRADIENT_NORM = 10.0
REPLAY_SEED = 0x5EED
REQUESTS_IN_FLIGHT = 8
"""Weights go to a runner without waiting, and RLlib throws new ones away while so many are on their way.
With its 1 a runner that was just built sampled on with the weights it was born with, in place of those of
the checkpoint or of the clone that were sent next. Calls of one runner are carried out in order."""
SAMPLE_TIMEOUT_S = 600.0
"""For a fragment of a runner in a process of its own. RLlib's 60 s are over while a fresh process on busy
cores still imports torch and compiles; what comes later RLlib throws away and trains on the rest. Then the
training is taken up again from its checkpoint."""

type Lanes = VectorEnv[Any, Any, Any]


def configured(
    name: str, single: Lanes, spec: TrainingSpec, make_local: Callable[[int], Lanes], shared: Any
) -> Any:
    """The configuration of a spec for the environment that is registered here as `name`.

    `single` tells the spaces. `shared` is the object reference of the environment's maker for runners
    in other processes, where there are any: its arrays lie once in the object store.
    """
    for noisy in ("ray.rllib", "ray.tune"):  # warnings about RLlib's own deprecated parts
        logging.getLogger(noisy).setLevel(logging.ERROR)
    torch.set_num_threads(1)  # a second thread on a busy core made training 15 times slower
    _register(name, make_local, is_shared=spec.runners > 0)
    config: Any = DQNConfig() if spec.algorithm == DQN else PPOConfig()
    config.environment(
        name,
        observation_space=single.single_observation_space,
        action_space=single.single_action_space,
        env_config={"shared": [shared]} if spec.runners else {},
    )
    config.env_runners(
        env_runner_cls=FragmentEnvRunner,
        num_env_runners=spec.runners,
        num_envs_per_env_runner=spec.lanes,
        rollout_fragment_length=spec.steps_per_lane,
        gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
        sample_timeout_s=SAMPLE_TIMEOUT_S,
        max_requests_in_flight_per_env_runner=REQUESTS_IN_FLIGHT,
        merge_env_runner_states=False,  # our connectors have none
    )
    # A runner that RLlib replaced would sample on from other lanes: the training is taken up again
    # from its checkpoint instead.
    config.fault_tolerance(restart_failed_env_runners=False, ignore_env_runner_failures=False)
    config.debugging(seed=spec.seed, log_level="ERROR")
    if spec.algorithm == DQN:
        _as_dqn(config, spec)
    else:
        _as_ppo(config, spec)
    return config


def built(config: Any, spec: TrainingSpec) -> Any:
    """The algorithm of a configuration, with our memory in the place of RLlib's."""
    algorithm = config.build_algo()
    if spec.algorithm == DQN:
        algorithm.local_replay_buffer = LaneReplay(spec.replay_steps, spec.seed ^ REPLAY_SEED)
    return algorithm


def _as_ppo(config: Any, spec: TrainingSpec) -> None:
    config.learners(
        learner_class=FragmentPPOLearner, num_learners=spec.learners, num_gpus_per_learner=0
    )
    config.training(
        train_batch_size_per_learner=spec.batch // max(spec.learners, 1),
        minibatch_size=spec.minibatch,
        num_epochs=spec.epochs,
        lr=spec.learning_rate,
        gamma=spec.gamma,
        lambda_=spec.gae_lambda,
        clip_param=spec.clip,
        entropy_coeff=spec.entropy_coefficient,
        grad_clip=GRADIENT_NORM,
        # The default flattens errors beyond 10 and with them the critic.
        vf_clip_param=float("inf"),
    )
    config.rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=list(spec.hidden), fcnet_activation="tanh", vf_share_layers=False
        )
    )


def _as_dqn(config: Any, spec: TrainingSpec) -> None:
    config.learners(learner_class=FragmentDQNLearner, num_learners=0, num_gpus_per_learner=0)
    # RLlib's weights are by runners + 1, of which one samples: so many updates follow each batch.
    per_update = spec.lanes * spec.steps_per_lane * (spec.runners + 1)
    falling = max(int(spec.steps * spec.epsilon_fraction), 1)
    config.training(
        train_batch_size_per_learner=spec.minibatch,
        training_intensity=spec.updates_per_batch * spec.minibatch / per_update,
        lr=spec.learning_rate,
        gamma=spec.gamma,
        grad_clip=DQN_GRADIENT_NORM,
        target_network_update_freq=spec.target_every_updates,
        num_steps_sampled_before_learning_starts=max(spec.warm_up_steps, spec.minibatch),
        epsilon=[(0, 1.0), (falling, spec.last_epsilon)],
        double_q=True,
        dueling=False,  # one head, so that the network is a policy's
        num_atoms=1,
        n_step=1,
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1},
    )
    config.rl_module(
        model_config=DefaultModelConfig(fcnet_hiddens=list(spec.hidden), fcnet_activation="tanh")
    )


def _register(name: str, make_local: Callable[[int], Lanes], *, is_shared: bool) -> None:
    # Ray's registry would pickle the arrays: in this process a closure over names suffices, in
    # others the object store has them.
    untyped: Any = registry
    untyped.register_env(name, make_shared if is_shared else _by_count(make_local))
    gym.registry.pop(RLLIB_ENV, None)


def _by_count(make: Callable[[int], Lanes]) -> Callable[[Mapping[str, int]], Lanes]:
    return lambda context: make(context["num_envs"])


def make_shared(context: Mapping[str, Any]) -> Lanes:
    """The environment in a runner's process; its arrays are views of the object store's memory."""
    untyped: Any = ray
    make = untyped.get(context["shared"][0])
    return make(context["num_envs"])
