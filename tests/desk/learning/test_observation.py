"""Observations: float32, the position's sign last, and hashes over exact bytes."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from desk.learning.observation import candles_sha256, observation, observation_sha256
from desk.market.candles import Candles


def test_the_sign_of_the_held_position_comes_last() -> None:
    features = np.array([0.5, -1.25], dtype=np.float32)

    assert observation(features, 0).tolist() == [0.5, -1.25, 0.0]
    assert observation(features, 37).tolist() == [0.5, -1.25, 1.0]
    assert observation(features, -2).tolist() == [0.5, -1.25, -1.0]
    assert observation(features, -2).dtype == np.float32


def test_many_rows_are_built_like_one() -> None:
    features = np.arange(6, dtype=np.float32).reshape(3, 2)
    held = np.array([5, 0, -5])

    many = observation(features, held)

    assert many.dtype == np.float32
    for row in range(3):
        assert many[row].tobytes() == observation(features[row], int(held[row])).tobytes()


def test_the_hash_changes_with_any_bit() -> None:
    values = np.array([0.5, 0.0], dtype=np.float32)
    nudged = np.nextafter(values, np.float32(1.0))

    assert observation_sha256(values) == observation_sha256(values.copy())
    assert len({observation_sha256(v) for v in (values, nudged, -values)}) == 3


def test_candles_have_a_hash_of_every_column(walk: Callable[..., Candles]) -> None:
    candles = walk(10)
    changed = [
        replace(candles, **{name: getattr(candles, name) + 1})
        for name in ("open_ms", "open", "high", "low", "close", "volume")
    ]

    assert candles_sha256(candles.take(slice(0, 10))) == candles_sha256(candles)
    assert len({candles_sha256(c) for c in [candles, *changed]}) == 7
