"""A trainer of milliseconds: its policy is a function of its numbers and steps, as RLlib's would be."""

import json
from pathlib import Path

import numpy as np

from desk.engines.rllib import MakeEnv, Rule, Tensors, TrainingSpec
from desk.engines.stretches import Stretch
from desk.market.features import FEATURES_V1

STATE = "state.json"


def quick_train(
    make_env: MakeEnv,
    spec: TrainingSpec,
    *,
    until_steps: int,
    before: Path | None,
    after: Path,
    rule: Rule | None = None,
) -> Stretch:
    """What it learnt is the product of learning rate and steps, summed over all stretches."""
    state = (
        {"steps": 0, "learnt": 0.0} if before is None else json.loads((before / STATE).read_text())
    )
    learnt = state["learnt"] + spec.learning_rate * (until_steps - state["steps"])
    (after / STATE).write_text(json.dumps({"steps": until_steps, "learnt": learnt}))
    return Stretch(tensors=tensors_of(learnt, spec.seed), steps=until_steps)


def tensors_of(learnt: float, seed: int) -> Tensors:
    """A policy that is the likelier to be long the more it has learnt."""
    rng = np.random.default_rng(seed)
    size = FEATURES_V1.size + 1
    return {
        "layers.0.weight": rng.normal(0.0, 0.3, (3, size)).astype(np.float32),
        "layers.0.bias": np.array([0.0, 0.0, learnt], dtype=np.float32),
    }


def learnt_at(checkpoint: Path) -> float:
    return json.loads((checkpoint / "trained-0-0" / STATE).read_text())["learnt"]
