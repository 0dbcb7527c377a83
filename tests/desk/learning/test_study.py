"""Windows and their datasets: what was looked at has one id, and nothing later leaks in."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from desk.errors import BadInput
from desk.learning.study import split_ms, window
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1

MINUTE_MS = 60_000
Walk = Callable[..., Candles]


@pytest.fixture
def candles(walk: Walk) -> Candles:
    return walk(800)


def cut(candles: Candles, first: int, last: int):
    return window(
        "BTC-USDT",
        "1m",
        candles,
        FEATURES_V1,
        start_ms=int(candles.open_ms[first]),
        end_ms=int(candles.open_ms[0]) + last * MINUTE_MS,
    )


def test_every_row_of_a_window_has_features_when_its_lookback_is_stored(candles: Candles) -> None:
    chosen = cut(candles, 300, 500)

    assert chosen.candles.open_ms.tolist() == candles.open_ms[300:500].tolist()
    assert np.isfinite(chosen.features).all()
    assert chosen.features.tobytes() == FEATURES_V1.compute(candles)[300:500].tobytes()


def test_candles_after_the_window_change_nothing(candles: Candles, walk: Walk) -> None:
    other = Candles.concat([candles.take(slice(0, 500)), walk(800, seed=9).take(slice(500, 800))])

    assert cut(candles, 300, 500).features.tobytes() == cut(other, 300, 500).features.tobytes()
    assert cut(candles, 300, 500).dataset == cut(other, 300, 500).dataset


def test_the_dataset_id_names_candles_range_and_features(candles: Candles) -> None:
    volume = candles.volume.copy()
    volume[310] += 1.0
    thinner = replace(FEATURES_V1, features=FEATURES_V1.features[1:])
    made = [
        cut(candles, 300, 500),
        cut(candles, 300, 501),
        cut(replace(candles, volume=volume), 300, 500),
        window(
            "BTC-USDT",
            "1m",
            candles,
            thinner,
            start_ms=int(candles.open_ms[300]),
            end_ms=int(candles.open_ms[500]),
        ),
    ]

    assert cut(candles, 300, 500).dataset.dataset_id == made[0].dataset.dataset_id
    assert len({one.dataset.dataset_id for one in made}) == 4


def test_missing_candles_are_counted(candles: Candles) -> None:
    holed = candles.take(np.arange(len(candles)) % 100 != 99)

    chosen = cut(candles, 300, 500)
    assert (chosen.dataset.rows, chosen.dataset.missing) == (200, 0)
    with pytest.raises(BadInput, match="none had 239 candles without a gap"):
        cut(holed, 300, 500)


def test_every_second_candle_is_a_series_of_holes(candles: Candles) -> None:
    with pytest.raises(BadInput, match="without a gap"):
        cut(candles.take(np.arange(0, len(candles), 2)), 300, 790)


def test_a_window_without_one_whole_lookback_is_refused(candles: Candles) -> None:
    with pytest.raises(BadInput, match="period"):
        cut(candles, 0, FEATURES_V1.lookback - 1)

    assert np.isfinite(cut(candles, 0, FEATURES_V1.lookback).features).all(axis=1).sum() == 1


def test_the_last_fraction_is_held_out_on_the_grid() -> None:
    assert split_ms(0, 100 * MINUTE_MS, 0.3, "1m") == 70 * MINUTE_MS
    assert split_ms(0, 100 * MINUTE_MS, 1e-9, "1m") == 99 * MINUTE_MS
    with pytest.raises(BadInput, match="evaluation_fraction"):
        split_ms(0, 100 * MINUTE_MS, 1.0, "1m")
