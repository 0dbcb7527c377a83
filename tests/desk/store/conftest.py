"""Servers of their own for tests that kill them, and candles to keep."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.store import server


@pytest.fixture
def running(home: Path) -> server.RunningServer:
    """A server of its own."""
    return server.start(home)


@pytest.fixture(scope="session")
def series() -> Callable[..., Candles]:
    """Return candles on the grid from a start, with prices in cents and a seed of their own."""

    def make(count: int, *, start_ms: int, interval: str = "1m", seed: int = 1) -> Candles:
        rng = np.random.default_rng(seed)
        close = np.round(60_000 + np.cumsum(rng.normal(0, 5, count)), 2)
        step = interval_ms(interval)
        return Candles(
            open_ms=start_ms // step * step + step * np.arange(count, dtype=np.int64),
            open=close,
            high=np.round(close + 1.07, 2),
            low=np.round(close - 1.03, 2),
            close=close,
            volume=np.round(rng.gamma(2.0, 3.0, count), 6),
        )

    return make
