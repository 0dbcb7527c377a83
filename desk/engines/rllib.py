"""RLlib's PPO behind one function: an environment in, plain tensors out.

Ray RLlib and torch are imported inside, so that naming the types costs nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import count
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.wallclock import monotonic_s

type Tensors = dict[str, NDArray[np.float32]]
type MakeEnv = Callable[[int], VectorEnv[Any, Any, Any]]
"""Returns an environment of as many lanes as asked for, `NEXT_STEP` autoreset, discrete actions."""

RLLIB_ENV = "rllib-single-agent-env-v0"
"""Under this name RLlib registers every training's environment with gymnasium, which warns of a second."""

_environments: dict[str, MakeEnv] = {}
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """How PPO trains. `steps` are environment steps over all lanes."""

    steps: int = 1_000_000
    seed: int = 7
    hidden: tuple[int, ...] = (64, 64)
    learning_rate: float = 3e-4
    gamma: float = 0.99
    """Discount per candle."""
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_coefficient: float = 0.01
    epochs: int = 4
    lanes: int = 256
    steps_per_lane: int = 64
    """Between two updates."""
    minibatch: int = 4096

    def __post_init__(self) -> None:
        if self.minibatch > self.batch:
            raise BadInput("minibatch", f"was {self.minibatch}, expected at most {self.batch}")

    @property
    def batch(self) -> int:
        """Steps per update."""
        return self.lanes * self.steps_per_lane

    def as_hyperparameters(self) -> dict[str, Any]:
        """The numbers as they go on the artifact's card."""
        return asdict(self) | {"hidden": list(self.hidden), "engine": f"rllib {version('ray')}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """Where a training stands. None: no figure yet."""

    steps: int
    total_steps: int
    episodes: int
    """Finished so far."""
    reward_mean: float | None
    """Mean return of recently finished episodes, in the environment's unit."""
    entropy: float | None
    kl: float | None
    """Between the policies before and after the last update."""
    steps_per_s: float
    eta_s: float
    """Wall seconds left at this speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPolicy:
    """The actor network as `layers.N.weight` float32[out, in] and `layers.N.bias`."""

    tensors: Tensors
    progress: TrainingProgress


def train(
    make_env: MakeEnv, spec: TrainingSpec, progress: Callable[[TrainingProgress], bool]
) -> TrainedPolicy | None:
    """Train until `spec.steps` were sampled; None when `progress` returned True to cancel.

    `progress` is called after every update, about every `spec.batch` steps. The same seed and
    environment give the same tensors on one kind of processor. Ray is started if it is not running.
    """
    # Ray's registry would pickle the environment's arrays; its only user is this very process.
    name = f"raydesk-lanes-{next(_numbers)}"
    _environments[name] = make_env
    try:
        algorithm = _build(name, make_env(1), spec)
        try:
            return _run(algorithm, spec, progress)
        finally:
            algorithm.stop()
    finally:
        del _environments[name]


def software_versions() -> dict[str, str]:
    """Releases that a training depends on."""
    return {name: version(name) for name in ("ray", "torch", "gymnasium", "numpy", "numba")}


def _build(name: str, single: VectorEnv[Any, Any, Any], spec: TrainingSpec) -> Any:
    config = _configured(name, single, spec)
    single.close()
    return config.build_algo()


def _configured(name: str, single: VectorEnv[Any, Any, Any], spec: TrainingSpec) -> Any:
    import torch  # noqa: PLC0415 - torch and RLlib take seconds and memory that only training needs
    from ray.rllib.algorithms.ppo import PPOConfig  # noqa: PLC0415
    from ray.rllib.core.rl_module.default_model_config import (  # noqa: PLC0415
        DefaultModelConfig,
    )
    from ray.tune import registry  # noqa: PLC0415

    from desk.engines.fragment_learner import FragmentPPOLearner  # noqa: PLC0415
    from desk.engines.fragment_runner import FragmentEnvRunner  # noqa: PLC0415

    for noisy in ("ray.rllib", "ray.tune"):  # warnings about RLlib's own deprecated parts
        logging.getLogger(noisy).setLevel(logging.ERROR)
    torch.set_num_threads(1)  # a second thread on a busy core made training 15 times slower
    untyped: Any = registry

    def make_lanes(context: Mapping[str, int]) -> VectorEnv[Any, Any, Any]:
        return _environments[name](context["num_envs"])

    untyped.register_env(name, make_lanes)
    gym.registry.pop(RLLIB_ENV, None)
    config: Any = PPOConfig()  # RLlib's own types are incomplete
    config.environment(
        name,
        observation_space=single.single_observation_space,  # pyright: ignore[reportUnknownMemberType]
        action_space=single.single_action_space,  # pyright: ignore[reportUnknownMemberType]
    )
    config.env_runners(
        env_runner_cls=FragmentEnvRunner,
        num_env_runners=0,
        num_envs_per_env_runner=spec.lanes,
        rollout_fragment_length=spec.steps_per_lane,
        gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT,
    )
    config.learners(learner_class=FragmentPPOLearner, num_learners=0, num_gpus_per_learner=0)
    config.training(
        train_batch_size_per_learner=spec.batch,
        minibatch_size=spec.minibatch,
        num_epochs=spec.epochs,
        lr=spec.learning_rate,
        gamma=spec.gamma,
        lambda_=spec.gae_lambda,
        clip_param=spec.clip,
        entropy_coeff=spec.entropy_coefficient,
        grad_clip=0.5,
        vf_clip_param=float(
            "inf"
        ),  # the default flattens errors beyond 10 and with them the critic
    )
    config.rl_module(
        model_config=DefaultModelConfig(
            fcnet_hiddens=list(spec.hidden), fcnet_activation="tanh", vf_share_layers=False
        )
    )
    config.debugging(seed=spec.seed, log_level="ERROR")
    return config


def _run(
    algorithm: Any, spec: TrainingSpec, progress: Callable[[TrainingProgress], bool]
) -> TrainedPolicy | None:
    began_s = monotonic_s()
    episodes, reward_mean, steps = 0, None, 0
    while True:
        result: dict[str, Any] = algorithm.train()
        runners: dict[str, Any] = result["env_runners"]
        before = steps
        steps = int(runners["num_env_steps_sampled_lifetime"])
        if steps <= before:  # RLlib reports success for an iteration that sampled nothing
            raise RuntimeError(f"training stood still at {steps} steps: read Ray's logs")
        episodes += int(runners.get("num_episodes", 0))
        reward_mean = _finite(runners.get("episode_return_mean"), reward_mean)
        learner: Mapping[str, Any] = result["learners"].get("default_policy", {})
        speed = steps / (monotonic_s() - began_s)
        now = TrainingProgress(
            steps=steps,
            total_steps=spec.steps,
            episodes=episodes,
            reward_mean=reward_mean,
            entropy=_finite(learner.get("entropy"), None),
            kl=_finite(learner.get("mean_kl_loss"), None),
            steps_per_s=speed,
            eta_s=max(spec.steps - steps, 0) / speed,
        )
        if progress(now):
            return None
        if steps >= spec.steps:
            return TrainedPolicy(tensors=actor_tensors(algorithm), progress=now)


def actor_tensors(algorithm: Any) -> Tensors:
    """The actor's dense layers of RLlib's default module, renamed to `layers.N.*`."""
    state: dict[str, Any] = algorithm.get_module().state_dict()
    found = [
        re.fullmatch(r"encoder\.actor_encoder\.net\.mlp\.(\d+)\.weight", name) for name in state
    ]
    numbers = sorted(int(match[1]) for match in found if match)
    stems = [f"encoder.actor_encoder.net.mlp.{number}" for number in numbers] + ["pi.net.mlp.0"]
    return {
        f"layers.{layer}.{part}": state[f"{stem}.{part}"].detach().numpy().astype(np.float32)
        for layer, stem in enumerate(stems)
        for part in ("weight", "bias")
    }


def _finite(value: Any, otherwise: float | None) -> float | None:
    """A metric that RLlib may leave out, or report as NaN when no episode ended."""
    if value is None:
        return otherwise
    number = float(value)
    return number if np.isfinite(number) else otherwise
