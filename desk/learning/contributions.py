"""How much each value of an observation had to do with a policy's choice, by leaving it out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from desk.learning.observation import Observation
from desk.learning.policy import MlpPolicy, probabilities

METHOD = "occlusion"
METHOD_NOTE = (
    "Each value is set to 0 alone, its average over the window for scaled features and no position"
    " for the held one, and the network is asked again: the effect is how much confidence in the"
    " chosen level is lost. Effects do not add up, values that say the same can each look"
    " unimportant, values that are near 0 show nothing, and it tells what moved this network, not"
    " what moves the market."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """What one value did to the confidence in the chosen level."""

    feature: str
    value: float
    confidence_without: float
    effect: float
    """Confidence minus that without it, -1 … 1: positive speaks for the choice."""


def contributions(
    policy: MlpPolicy, seen: Observation, names: Sequence[str]
) -> tuple[Contribution, ...]:
    """One for each value of a finite observation float32[F + 1], the largest effect first.

    Raises `ValueError` for another number of names than values.
    """
    values = np.asarray(seen, dtype=np.float32)
    rows = np.repeat(values[None, :], len(values) + 1, axis=0)
    rows[np.arange(len(values)), np.arange(len(values))] = 0.0
    chances = probabilities(policy.forward(rows))
    chosen = int(np.argmax(chances[-1]))
    whole = float(chances[-1, chosen])
    found = [
        Contribution(
            feature=name,
            value=float(value),
            confidence_without=float(without),
            effect=whole - float(without),
        )
        for name, value, without in zip(names, values, chances[:-1, chosen], strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.effect), one.feature)))
