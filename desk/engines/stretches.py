"""Training in stretches: from where a checkpoint stood to a step, and a new checkpoint there."""

from dataclasses import dataclass
from pathlib import Path

from desk.engines.rllib import MakeEnv, Rule, Tensors, TrainingSpec, train_on
from desk.errors import ArtifactRefused
from desk.store.checkpoints import CheckpointFolder

ANY_TRAINING = "stretch"
"""Fingerprint of all of them: a population's members go on from each other's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A policy at the end of a stretch, as `layers.N.weight` float32[out, in] and `layers.N.bias`."""

    tensors: Tensors
    steps: int
    """Environment steps sampled since the training began."""


def train_stretch(
    make_env: MakeEnv,
    spec: TrainingSpec,
    *,
    until_steps: int,
    before: Path | None,
    after: Path,
    rule: Rule | None = None,
) -> Stretch:
    """Train on from the checkpoint `before` (None: from the beginning) and leave one at `after`.

    See `desk.engines.rllib.train_on`. `after` must be an empty folder. Raises `ArtifactRefused` for a
    checkpoint that is gone or damaged.
    """
    state = None
    if before is not None:
        state = _checkpoint(before).load()
        if state is None:
            raise ArtifactRefused(str(before), "has no whole checkpoint: remove the trial's folder")
    trained, reached = train_on(make_env, spec, state=state, until_steps=until_steps, rule=rule)
    _checkpoint(after).save(1, reached)
    return Stretch(tensors=trained.tensors, steps=int(reached["sampled"]))


def _checkpoint(folder: Path) -> CheckpointFolder:
    return CheckpointFolder(folder=folder, fingerprint=ANY_TRAINING)
