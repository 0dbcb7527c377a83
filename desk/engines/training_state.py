"""All that the rest of a training depends on, taken out of RLlib's parts and put back.

RLlib's own checkpoints leave out what a repeated training needs: the environment's lanes, the fragment
that a runner goes on from, PPO's KL coefficient, the random generators. With those, a training that is
taken up again ends with the bytes of one that was never interrupted (tests/learning/test_resume.py).

Importing this module imports RLlib and torch. States are dicts with text keys, lists, numbers, numpy
arrays: what `desk.store.checkpoints` takes.
"""

# RLlib's classes are partly untyped, so nothing that they return has a type.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import random
from functools import partial
from typing import Any

import numpy as np
import torch

from desk.errors import BadInput

MODULE = "default_policy"
LIFETIME_STEPS = "env_runners--num_env_steps_sampled_lifetime"
"""RLlib's count of sampled steps, under the name its metrics have in a state."""

type State = dict[str, Any]


def training_state(algorithm: Any) -> State:
    """The state of an algorithm between two calls of `train`."""
    group = algorithm.env_runner_group
    is_remote = group.num_remote_workers() > 0
    runners = group.foreach_env_runner(runner_state, local_env_runner=not is_remote)
    learners = [result.get() for result in algorithm.learner_group.foreach_learner(learner_state)]
    state: State = {
        "runners": sorted(runners, key=lambda one: one["index"]),
        "learners": sorted(learners, key=lambda one: one["index"]),
        "generators": generators(),
        "steps": algorithm.metrics.get_state()["stats"][LIFETIME_STEPS],
    }
    if hasattr(algorithm.local_replay_buffer, "snapshot"):
        state["replay"] = algorithm.local_replay_buffer.snapshot()
    return state


def restore_training(algorithm: Any, state: State) -> None:
    """Put a state into an algorithm that was built from the same spec. Call it before any `train`."""
    learners, runners = state["learners"], state["runners"]
    results = algorithm.learner_group.foreach_learner(_restore_learner, states=learners)
    for result in results:
        result.get()
    algorithm.metrics.set_state({"stats": {LIFETIME_STEPS: state["steps"]}})
    group = algorithm.env_runner_group
    group.sync_weights(from_worker_or_learner_group=algorithm.learner_group, inference_only=True)
    is_remote = group.num_remote_workers() > 0
    group.foreach_env_runner(
        partial(restore_runner, states=runners), local_env_runner=not is_remote
    )
    if hasattr(algorithm.local_replay_buffer, "restore"):
        algorithm.local_replay_buffer.restore(state["replay"])
    # Last: building and synchronising draw numbers of their own.
    restore_generators(state["generators"])


def runner_state(runner: Any) -> State:
    """The lanes of a fragment runner and where its sampling stands."""
    env = lanes_of(runner)
    if not hasattr(env, "get_state"):
        problem = f"was a {type(env).__name__} without get_state: it cannot be taken up again"
        raise BadInput("environment", problem)
    return {
        "index": runner.worker_index,
        "steps": runner.num_env_steps_sampled_lifetime,
        "sampling": runner.sampling_state(),
        "env": env.get_state(),
        "generators": generators(),
    }


def restore_runner(runner: Any, states: list[State]) -> None:
    """Put back the state of the runner with this one's number."""
    (state,) = (one for one in states if one["index"] == runner.worker_index)
    lanes_of(runner).set_state(state["env"])
    runner.num_env_steps_sampled_lifetime = state["steps"]
    runner.restore_sampling(state["sampling"])
    restore_generators(state["generators"])


def learner_state(learner: Any) -> State:
    """Networks, optimizers and coefficients of one learner."""
    module = learner.module[MODULE].unwrapped()
    return {
        "index": getattr(learner, "_learner_index", None) or 0,
        "updates": learner._weights_seq_no,
        "module": {name: values.numpy().copy() for name, values in module.state_dict().items()},
        "optimizers": {
            name: _optimizer_state(optimizer)
            for name, optimizer in learner._named_optimizers.items()
        },
        "kl_coefficient": _kl_coefficient(learner),
        "target_updates": int(getattr(learner, "updates_since_target", 0)),
        "generators": generators(),
    }


def _restore_learner(learner: Any, states: list[State]) -> None:
    index = getattr(learner, "_learner_index", None) or 0
    (state,) = (one for one in states if one["index"] == index)
    module = learner.module[MODULE].unwrapped()
    module.load_state_dict({name: torch.from_numpy(v) for name, v in state["module"].items()})
    learner._weights_seq_no = state["updates"]
    for name, optimizer in learner._named_optimizers.items():
        _restore_optimizer(optimizer, state["optimizers"][name])
    if state["kl_coefficient"] is not None:
        learner.curr_kl_coeffs_per_module[MODULE].data.fill_(state["kl_coefficient"])
    if hasattr(learner, "updates_since_target"):
        learner.updates_since_target = state["target_updates"]
    restore_generators(state["generators"])


def load_weights(learner: Any, weights: dict[str, Any]) -> None:
    """Put some of a module's weights into a learner; the others stay."""
    module = learner.module[MODULE].unwrapped()
    given = {name: torch.from_numpy(values) for name, values in weights.items()}
    module.load_state_dict(module.state_dict() | given)


def generators() -> State:
    """The process's global generators, which RLlib and torch draw from."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, following = random.getstate()
    return {
        "torch": torch.get_rng_state().numpy().copy(),
        "numpy": [name, np.array(keys), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(words), following],
    }


def restore_generators(state: State) -> None:
    """Put the process's global generators where they were."""
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys, position, has_gauss, gauss))
    version, words, following = state["python"]
    random.setstate((version, tuple(words), following))


def lanes_of(runner: Any) -> Any:
    """A fragment runner's vector environment, behind RLlib's wrapper."""
    return runner.env.env


def _kl_coefficient(learner: Any) -> float | None:
    coefficients = getattr(learner, "curr_kl_coeffs_per_module", None)
    return None if coefficients is None else float(coefficients[MODULE].item())


def _optimizer_state(optimizer: Any) -> State:
    """Adam's moments by parameter; its numbers are the spec's and stay with the optimizer."""
    moments = optimizer.state_dict()["state"]
    return {
        str(number): {name: values.numpy().copy() for name, values in parts.items()}
        for number, parts in moments.items()
    }


def _restore_optimizer(optimizer: Any, state: State) -> None:
    moments = {
        int(number): {name: torch.from_numpy(values) for name, values in parts.items()}
        for number, parts in state.items()
    }
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
