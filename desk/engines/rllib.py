"""RLlib behind one function: an environment and a spec in, plain tensors out.

Ray RLlib and torch are imported inside, so that naming the types costs nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from itertools import count
from typing import Any, Protocol

import numpy as np
import structlog
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from desk.engines.training_progress import Tell, TrainingProgress
from desk.errors import BadInput
from desk.learning.training_spec import BC, DQN, RULE, TrainingSpec
from desk.wallclock import monotonic_s

__all__ = ["RLLIB_ENV", "TrainedPolicy", "TrainingProgress", "TrainingSpec", "train"]

log = structlog.stdlib.get_logger()

type Tensors = dict[str, NDArray[np.float32]]
type MakeEnv = Callable[[int], VectorEnv[Any, Any, Any]]
"""Returns an environment of as many lanes as asked for, `NEXT_STEP` autoreset, discrete actions."""
type Rule = Callable[[NDArray[np.float32]], NDArray[np.int64]]
"""From observations float32[N, F + 1] to the index of each one's action, int64[N]."""

RLLIB_ENV = "rllib-single-agent-env-v0"
"""Under this name RLlib registers every training's environment with gymnasium, which warns of a second."""
TRIES = 3
"""Times in a row that a training is taken up again where a runner's or learner's process died."""
GAP_ROWS = 10_000
"""Newest observations that tell how far apart DQN's values typically are."""
LEAST_GAP = 1e-6

_environments: dict[str, MakeEnv] = {}
_numbers = count(1)


class StoodStill(RuntimeError):
    """RLlib reported success for an iteration that sampled nothing, or without one of the runners."""


class Checkpoints(Protocol):
    """Where a training leaves its state; `desk.store.checkpoints.CheckpointFolder` is one."""

    @property
    def every_updates(self) -> int: ...

    def save(self, update: int, state: Mapping[str, Any]) -> object: ...

    def load(self) -> dict[str, Any] | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedPolicy:
    """The policy's network as `layers.N.weight` float32[out, in] and `layers.N.bias`.

    The largest output is the action. What softmax makes of the outputs, a decision's confidence, is
    for PPO the probability with which the policy would have chosen the action in training; for a clone
    the probability that the rule chooses it; for DQN see `value_tensors`.
    """

    tensors: Tensors
    progress: TrainingProgress
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """What else came out: `clone_agreement`, `value_gap`."""


def train(
    make_env: MakeEnv,
    spec: TrainingSpec,
    progress: Tell,
    *,
    checkpoints: Checkpoints | None = None,
    rule: Rule | None = None,
) -> TrainedPolicy | None:
    """Train until `spec.steps` were sampled; None when `progress` returned True to cancel.

    `progress` is called after every update, about every `spec.batch` steps. The same seed and
    environment give the same tensors on one kind of processor, however often the training was taken
    up from `checkpoints` in between: those are read first, and written every so many updates. Then the
    environment must have `get_state` and `set_state`. `rule` is what `bc` and a warm start clone. With
    runners or learners of their own, `make_env` goes through the object store once. Ray is started if
    it is not running. Raises `BadInput` for what does not fit together.
    """
    if rule is None and (spec.algorithm == BC or spec.warm_start == RULE):
        raise BadInput("warm_start", "was asked for without a rule to clone: give one")
    if spec.algorithm == BC:
        from desk.engines.cloning import clone  # noqa: PLC0415 - torch takes seconds

        cloned = clone(make_env, rule, spec, progress)  # pyright: ignore[reportArgumentType]
        if cloned is None:
            return None
        figures = {"clone_agreement": cloned.agreement}
        return TrainedPolicy(tensors=cloned.tensors, progress=cloned.progress, figures=figures)
    tries = TRIES
    while True:
        stand = _Stand(checkpoints, progress)
        try:
            return _attempt(make_env, spec, stand, rule)
        except Exception as broken:
            tries = TRIES if stand.has_saved else tries - 1
            if not (_is_lost_process(broken) and checkpoints is not None and tries):
                raise
            log.warning("training_taken_up_again", error=repr(broken), tries_left=tries)


def train_on(
    make_env: MakeEnv,
    spec: TrainingSpec,
    *,
    state: Mapping[str, Any] | None,
    until_steps: int,
    rule: Rule | None = None,
) -> tuple[TrainedPolicy, dict[str, Any]]:
    """Train from a state (None: from the beginning) until so many steps were sampled in all.

    Returns the policy and the state there: dicts, lists, numbers, texts and arrays. Several of these
    end as one `train` of all the steps does. Numbers of `spec` that differ from those the state was
    reached with hold from here on; lanes and layers may not differ. A clone is made anew.
    """
    if spec.algorithm == BC:
        cloned = train(make_env, replace(spec, steps=until_steps), lambda now: False, rule=rule)
        assert cloned is not None  # nobody cancelled
        return cloned, {"sampled": until_steps}
    stand = _Stand(None, lambda now: False, state, until_steps=until_steps)
    trained = _attempt(make_env, spec, stand, rule)
    assert trained is not None
    return trained, stand.last


class _Stand:
    """What one attempt at a training begins with, tells and leaves behind."""

    def __init__(
        self,
        checkpoints: Checkpoints | None,
        progress: Tell,
        state: Mapping[str, Any] | None = None,
        *,
        until_steps: int | None = None,
    ) -> None:
        self._checkpoints, self.progress, self.until_steps = checkpoints, progress, until_steps
        self.state = checkpoints.load() if checkpoints else state
        self.last: dict[str, Any] = {}
        """The state at `until_steps`."""
        self.has_saved = False
        before = self.state or {}
        self.updates: int = before.get("update", 0)
        self.steps: int = before.get("sampled", 0)
        self.episodes: int = before.get("episodes", 0)
        self.reward_mean: float | None = before.get("reward_mean")
        self.figures: dict[str, float] = dict(before.get("figures", {}))
        self.began_at = self.steps

    def save_if_due(self, algorithm: Any) -> None:
        if self._checkpoints is None or self.updates % self._checkpoints.every_updates:
            return
        self._checkpoints.save(self.updates, self._state_of(algorithm))
        self.has_saved = True

    def end(self, algorithm: Any) -> None:
        if self.until_steps is not None:
            self.last = self._state_of(algorithm)

    def _state_of(self, algorithm: Any) -> dict[str, Any]:
        from desk.engines.training_state import training_state  # noqa: PLC0415

        own = {
            "update": self.updates,
            "sampled": self.steps,
            "episodes": self.episodes,
            "reward_mean": self.reward_mean,
            "figures": self.figures,
        }
        return {**training_state(algorithm), **own}


def _attempt(
    make_env: MakeEnv, spec: TrainingSpec, stand: _Stand, rule: Rule | None
) -> TrainedPolicy | None:
    """Train from the beginning or the checkpoint to the end, in processes that live that long."""
    warm: Tensors | None = None
    if spec.warm_start == RULE and stand.state is None:
        from desk.engines.cloning import clone  # noqa: PLC0415

        cloned = clone(make_env, rule, spec, stand.progress)  # pyright: ignore[reportArgumentType]
        if cloned is None:
            return None
        warm, stand.figures["clone_agreement"] = cloned.tensors, cloned.agreement
    name = f"raydesk-lanes-{next(_numbers)}"
    _environments[name] = make_env
    try:
        algorithm = _build(name, make_env(1), spec)
        try:
            return _run(algorithm, spec, stand, warm)
        finally:
            algorithm.stop()
    finally:
        del _environments[name]


def software_versions() -> dict[str, str]:
    """Releases that a training depends on."""
    names = ("ray", "torch", "gymnasium", "numpy", "numba", "raydesk")
    return {name: version(name) for name in names}


def check_processors(spec: TrainingSpec) -> None:
    """Raise `BadInput` for more actors than the cluster has processors; Ray must be initialised.

    RLlib would wait for them for ever.
    """
    import ray  # noqa: PLC0415

    untyped: Any = ray
    wanted = spec.runners + spec.learners
    there = int(untyped.cluster_resources().get("CPU", 0)) - 1
    if wanted > there:
        raise BadInput(
            "runners",
            f"and learners were {wanted} actors, but beside the trainer the cluster has"
            f" {max(there, 0)} processors: ask for fewer, or 0 to train in one process",
        )


def _build(name: str, single: VectorEnv[Any, Any, Any], spec: TrainingSpec) -> Any:
    from desk.engines.rllib_config import built, configured  # noqa: PLC0415

    make_env, shared = _environments[name], None
    if spec.runners or spec.learners:
        import ray  # noqa: PLC0415

        untyped: Any = ray
        if not untyped.is_initialized():
            untyped.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        check_processors(spec)
        shared = untyped.put(make_env) if spec.runners else None
    config = configured(name, single, spec, make_env, shared)
    single.close()
    return built(config, spec)


def _run(
    algorithm: Any, spec: TrainingSpec, stand: _Stand, warm: Tensors | None
) -> TrainedPolicy | None:
    from desk.engines.training_state import restore_training  # noqa: PLC0415

    if stand.state is not None:
        restore_training(algorithm, dict(stand.state))
    elif warm is not None:
        _begin_with(algorithm, warm)
    began_s, until_steps = monotonic_s(), stand.until_steps or spec.steps
    while stand.steps < until_steps or not stand.updates:
        result: dict[str, Any] = algorithm.train()
        now = _noted(result, spec, stand, monotonic_s() - began_s)
        if stand.steps < until_steps:
            stand.save_if_due(algorithm)
        if stand.progress(now):
            return None
        if stand.steps >= until_steps:
            break
    else:  # the checkpoint was the last one
        now = _progress({}, {}, spec, stand, 0.0)
    stand.end(algorithm)
    if spec.algorithm == DQN:
        observations = algorithm.local_replay_buffer.newest_observations(GAP_ROWS)
        tensors, gap = value_tensors(algorithm, observations)
        return TrainedPolicy(
            tensors=tensors, progress=now, figures={**stand.figures, "value_gap": gap}
        )
    return TrainedPolicy(tensors=actor_tensors(algorithm), progress=now, figures=stand.figures)


def _noted(
    result: dict[str, Any], spec: TrainingSpec, stand: _Stand, seconds: float
) -> TrainingProgress:
    runners: dict[str, Any] = result.get("env_runners", {})
    late = result.get("fault_tolerance", {}).get("num_env_runners_dropped_lifetime", 0)
    if late:
        raise StoodStill(f"{late} answers of runners came too late: ask for fewer runners")
    before = stand.steps
    stand.steps = int(runners.get("num_env_steps_sampled_lifetime", 0))
    if stand.steps <= before:
        raise StoodStill(f"training stood still at {stand.steps} steps: read Ray's logs")
    stand.updates += 1
    stand.episodes += int(runners.get("num_episodes", 0))
    stand.reward_mean = _finite(runners.get("episode_return_mean"), stand.reward_mean)
    learner: Mapping[str, Any] = result.get("learners", {}).get("default_policy", {})
    return _progress(runners, learner, spec, stand, seconds)


def _progress(
    runners: Mapping[str, Any],
    learner: Mapping[str, Any],
    spec: TrainingSpec,
    stand: _Stand,
    seconds: float,
) -> TrainingProgress:
    speed = (stand.steps - stand.began_at) / seconds if seconds else 0.0
    terms: Mapping[str, Any] = runners.get("reward_terms", {})
    return TrainingProgress(
        steps=stand.steps,
        total_steps=spec.steps,
        episodes=stand.episodes,
        reward_mean=stand.reward_mean,
        entropy=_finite(learner.get("entropy"), None),
        kl=_finite(learner.get("mean_kl_loss"), None),
        steps_per_s=speed,
        eta_s=max(spec.steps - stand.steps, 0) / speed if speed else 0.0,
        updates=stand.updates,
        value_loss=_finite(learner.get("vf_loss", learner.get("qf_loss")), None),
        reward_terms={name: _finite(value, None) or 0.0 for name, value in terms.items()},
        agreement=stand.figures.get("clone_agreement"),
        resumed_from_steps=stand.began_at,
    )


def actor_tensors(algorithm: Any) -> Tensors:
    """The actor's dense layers of RLlib's default module, renamed to `layers.N.*`."""
    return _renamed(algorithm, "encoder.actor_encoder.net.mlp", "pi.net.mlp.0")


def value_tensors(algorithm: Any, observations: NDArray[np.float32]) -> tuple[Tensors, float]:
    """DQN's network as a policy's: its largest output is the greedy action, and the median gap.

    The outputs are each action's value less the mean of all, in units of the median gap between the
    best and the second best over `observations`. So a confidence says how clear a decision is beside
    a typical one of the training: where the values are a typical gap apart, the best action's odds
    against the second are e to 1, at twice the gap e² to 1. It is no probability of being right.
    """
    tensors = _renamed(algorithm, "encoder.net.mlp", "af.net.mlp.0")
    depth = len(tensors) // 2
    values = observations.astype(np.float64)
    for layer in range(depth):
        values = values @ tensors[f"layers.{layer}.weight"].T + tensors[f"layers.{layer}.bias"]
        values = np.tanh(values) if layer < depth - 1 else values
    ordered = np.sort(values, axis=1)
    gap = max(float(np.median(ordered[:, -1] - ordered[:, -2])), LEAST_GAP)
    for part in ("weight", "bias"):
        name = f"layers.{depth - 1}.{part}"
        last = tensors[name].astype(np.float64)
        tensors[name] = ((last - last.mean(axis=0)) / gap).astype(np.float32)
    return tensors, gap


def _renamed(algorithm: Any, encoder: str, head: str) -> Tensors:
    state: dict[str, Any] = algorithm.learner_group.get_weights()["default_policy"]
    found = [re.fullmatch(rf"{re.escape(encoder)}\.(\d+)\.weight", name) for name in state]
    numbers = sorted(int(match[1]) for match in found if match)
    stems = [f"{encoder}.{number}" for number in numbers] + [head]
    return {
        f"layers.{layer}.{part}": np.array(state[f"{stem}.{part}"], dtype=np.float32)
        for layer, stem in enumerate(stems)
        for part in ("weight", "bias")
    }


def _begin_with(algorithm: Any, tensors: Tensors) -> None:
    """Put a policy into PPO's actor, in the learners and in the runners."""
    depth = len(tensors) // 2
    stems = [f"encoder.actor_encoder.net.mlp.{2 * layer}" for layer in range(depth - 1)]
    state = {
        f"{stem}.{part}": tensors[f"layers.{layer}.{part}"]
        for layer, stem in enumerate([*stems, "pi.net.mlp.0"])
        for part in ("weight", "bias")
    }
    from desk.engines.training_state import load_weights  # noqa: PLC0415

    for result in algorithm.learner_group.foreach_learner(load_weights, weights=state):
        result.get()
    algorithm.env_runner_group.sync_weights(
        from_worker_or_learner_group=algorithm.learner_group, inference_only=True
    )


def _is_lost_process(broken: BaseException) -> bool:
    """Whether an error means that a process of the training is gone."""
    from ray.exceptions import RayActorError, WorkerCrashedError  # noqa: PLC0415

    return isinstance(broken, RayActorError | WorkerCrashedError | StoodStill)


def _finite(value: Any, otherwise: float | None) -> float | None:
    """A metric that RLlib may leave out, or report as NaN when no episode ended."""
    if value is None:
        return otherwise
    number = float(value)
    return number if np.isfinite(number) else otherwise
