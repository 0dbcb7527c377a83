"""The likeliest level on each row and how sure the policy is, once for all decision thresholds."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from desk.errors import EvaluationFailed
from desk.evaluation.fast import HELD_SIGNS, Forward
from desk.learning import kernel
from desk.learning.observation import observation
from desk.learning.policy import probabilities
from desk.market.candles import Floats
from desk.market.features import Features

_BATCH = 65_536


def likeliest(
    forward: Forward,
    features: Features,
    levels: Sequence[float],
    *,
    feature_limit: float = math.inf,
) -> tuple[NDArray[np.int8], Floats]:
    """For each held sign (-1, 0, +1) on each row: int8[3, T] the likeliest level's index, and
    float64[3, T] its probability, -1 where nothing is decided."""
    shape = (len(HELD_SIGNS), len(features))
    best, sureness = np.zeros(shape, dtype=np.int8), np.full(shape, -1.0)
    for first in range(0, len(features), _BATCH):
        part = features[first : first + _BATCH]
        with np.errstate(invalid="ignore"):
            usable = np.isfinite(part).all(axis=1) & (np.abs(part).max(axis=1) <= feature_limit)
        seen = np.flatnonzero(usable)
        if not len(seen):
            continue
        for number, sign in enumerate(HELD_SIGNS):
            logits = forward(observation(part[seen], np.full(len(seen), sign, dtype=np.int64)))
            if logits.shape[1:] != (len(levels),):
                raise EvaluationFailed(
                    f"logits had shape {logits.shape}, expected {len(levels)} columns"
                )
            is_finite = np.isfinite(logits).all(axis=1)
            chances = probabilities(np.where(is_finite[:, None], logits, np.float32(0)))
            best[number, first + seen] = chances.argmax(axis=1)
            sureness[number, first + seen] = np.where(is_finite, chances.max(axis=1), -1.0)
    return best, sureness


def table_at(best: NDArray[np.int8], sureness: Floats, threshold: float) -> NDArray[np.int8]:
    """What `desk.evaluation.fast.decision_table` says at a threshold, 0 to 1."""
    return np.where(sureness >= threshold, best, np.int8(kernel.HOLD)).astype(np.int8)
