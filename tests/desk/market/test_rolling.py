"""Rolling windows: the same float64 bytes alone and among thousands."""

from collections.abc import Callable

import numpy as np
import pytest

from desk.market.candles import Candles
from desk.market.rolling import FEW_ROWS, Rows, evenly_spaced

LOOKBACK = 240
WINDOWS: dict[str, Callable[[Rows], np.ndarray]] = {
    "mean": lambda rows: rows.mean(rows.candles.volume, 240),
    "offset_mean": lambda rows: rows.offset_mean(60),
    "deviation": lambda rows: rows.deviation(240),
    "volatility": lambda rows: rows.volatility(239),
    "highest": lambda rows: rows.highest(240),
    "lowest": lambda rows: rows.lowest(15),
    "lag": lambda rows: rows.lag(rows.candles.close, 60),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_one_row_has_the_bytes_it_has_among_many(walk: Callable[..., Candles], name: str) -> None:
    candles, window = walk(LOOKBACK + 400), WINDOWS[name]

    many = window(Rows(candles, LOOKBACK))

    assert many.dtype == np.float64
    assert len(many) == 401 > FEW_ROWS
    for row in range(0, 401, 13):
        alone = window(Rows(candles.take(slice(row, row + LOOKBACK)), LOOKBACK))
        assert alone.tobytes() == many[row : row + 1].tobytes()


def test_a_hole_is_seen_by_every_row_that_looks_across_it(walk: Callable[..., Candles]) -> None:
    candles = walk(30).take(np.arange(30) != 12)

    even = evenly_spaced(candles, 5)

    assert np.flatnonzero(even).tolist() == [*range(4, 12), *range(16, 29)]
    assert not evenly_spaced(candles.take(slice(0, 3)), 5).any()
