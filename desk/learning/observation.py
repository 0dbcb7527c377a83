"""The array a policy sees, and the hashes that prove later what it was made from."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from desk.market.candles import Candles
from desk.market.features import Features

type Observation = NDArray[np.float32]
type Held = int | NDArray[np.integer] | NDArray[np.floating]

SIGNS = (-1.0, 0.0, 1.0)
"""What the last column may be: short, flat, long."""


def observation(features: Features, held: Held) -> Observation:
    """Return float32[..., F + 1]: features, then the sign of the held position (-1, 0 or +1).

    `held` is one signed quantity for float32[F], or one per row for float32[N, F].
    """
    signs = np.sign(np.asarray(held, dtype=np.float32)).reshape(*features.shape[:-1], 1)
    return np.concatenate([features, signs], axis=-1, dtype=np.float32)


def observation_sha256(values: Observation) -> str:
    """Hash of the float32 values as little-endian bytes."""
    return hashlib.sha256(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest()


def candles_sha256(candles: Candles) -> str:
    """Hash of candles: six little-endian columns of 8-byte numbers, one after another.

    Of their values, not of how they came: a zero with a minus sign counts as zero.
    """
    digest = hashlib.sha256(np.ascontiguousarray(candles.open_ms, dtype="<i8").tobytes())
    for column in (candles.open, candles.high, candles.low, candles.close, candles.volume):
        digest.update(np.ascontiguousarray(column + 0.0, dtype="<f8").tobytes())
    return digest.hexdigest()
