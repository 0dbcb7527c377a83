"""Training in stretches: from where a checkpoint stood to a step, and a new checkpoint there.

RLlib and torch are imported inside. Its checkpoints are pickles: only a trial reads them, from the
folder that it wrote them to; what is scored and served are plain tensors.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desk.engines import rllib
from desk.engines.rllib import MakeEnv, Tensors, TrainingSpec

ALGORITHMS = ("ppo",)
"""What `train_stretch` can train."""
STEPS = "steps.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A policy at the end of a stretch, as `layers.N.weight` float32[out, in] and `layers.N.bias`."""

    tensors: Tensors
    steps: int
    """Environment steps sampled since the training began."""


def steps_at(checkpoint: Path) -> int:
    """Steps that a checkpoint stands at."""
    return int(json.loads((checkpoint / STEPS).read_text()))


def train_stretch(
    make_env: Callable[[int], MakeEnv],
    spec: TrainingSpec,
    *,
    until_steps: int,
    before: Path | None,
    after: Path,
) -> Stretch:
    """Train on from the checkpoint `before` (None: from the beginning) and leave one at `after`.

    `make_env(steps)` returns the maker of an environment as it is after so many steps. Weights and the
    optimizer's moments go on; episodes begin anew, and numbers of `spec` that differ from those of the
    checkpoint hold from here on. `after` must be an empty folder.
    """
    begun = 0 if before is None else steps_at(before)
    algorithm = _algorithm(make_env(begun), spec)
    try:
        if before is not None:
            algorithm.restore_from_path(str(before / "rllib"))
        steps = _sampled(algorithm, begun, until_steps)
        algorithm.save_to_path(str(after / "rllib"))
        tensors = rllib.actor_tensors(algorithm)
    finally:
        algorithm.stop()
    (after / STEPS).write_text(json.dumps(steps))
    return Stretch(tensors=tensors, steps=steps)


def _algorithm(make_env: MakeEnv, spec: TrainingSpec) -> Any:
    untyped: Any = rllib  # its own doors to RLlib's registry of environments
    name = f"raydesk-lanes-{next(untyped._numbers)}"
    untyped._environments[name] = make_env
    return untyped._build(name, make_env(1), spec)


def _sampled(algorithm: Any, begun: int, until_steps: int) -> int:
    """Train until so many steps were sampled in all, the checkpoint's included; returns how many."""
    steps = begun
    while steps < until_steps:
        runners: dict[str, Any] = algorithm.train()["env_runners"]
        before, steps = steps, int(runners["num_env_steps_sampled_lifetime"])
        if steps <= before:  # RLlib reports success for an iteration that sampled nothing
            raise RuntimeError(f"training stood still at {steps} steps: read Ray's logs")
    return steps
