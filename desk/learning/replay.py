"""Making a decision's inner part again: what is shown, what is answered, the first value that differs. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from desk.learning.observation import Observation, observation
from desk.learning.policy import MlpPolicy, PolicyAnswer
from desk.market import features as market_features
from desk.market.candles import Candles
from desk.market.features import FeatureSet
from desk.market.signal_features import Signals

HELD_POSITION = "held_position"
"""Name of an observation's last value: the sign of the held position."""


class Verdict(StrEnum):
    """What a replay came to."""

    IDENTICAL = "identical"
    """Observation, answer and action are the recorded ones, bit for bit."""
    DIFFERENT = "different"
    IMPOSSIBLE = "impossible"
    """Something that is needed is gone: nothing is claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The first value of an observation that is not the recorded one; None: a number that is not finite."""

    feature: str
    recorded: float | None
    recomputed: float | None


def observation_names(features: FeatureSet) -> tuple[str, ...]:
    """A name for each of an observation's F + 1 values."""
    return (*features.names, HELD_POSITION)


def observe_again(
    features: FeatureSet, window: Candles, signals: Signals, *, held_sign: int, step_ms: int
) -> Observation:
    """Return float32[F + 1] of a window's newest candle, as a running series gives it."""
    values = features.observe(window, signals, step_ms=step_ms)
    return observation(values, held_sign)


def think_again(
    seen: Observation, policy: MlpPolicy | None, *, threshold: float, zscore_limit: float
) -> tuple[str, PolicyAnswer | None]:
    """Return why the features must not be decided on, or an empty text and the policy's answer.

    The answer is None without a policy.
    """
    reason = market_features.check(seen[:-1], zscore_limit)
    if reason is not None:
        return reason, None
    return "", policy.answer(seen, threshold) if policy else None


def first_difference(
    names: Sequence[str], recorded: Sequence[float], recomputed: Observation
) -> Difference | None:
    """The first value whose float32 bytes differ; None where all are equal.

    Raises `ValueError` for another number of values.
    """
    before = np.asarray(recorded, dtype=np.float32)
    if not len(names) == len(before) == len(recomputed):
        raise ValueError(f"there are {len(before)} and {len(recomputed)} values for {len(names)}")
    differs = before.view(np.uint32) != np.ascontiguousarray(recomputed).view(np.uint32)
    if not differs.any():
        return None
    at = int(np.argmax(differs))
    return Difference(
        feature=names[at],
        recorded=_finite(float(before[at])),
        recomputed=_finite(float(recomputed[at])),
    )


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
