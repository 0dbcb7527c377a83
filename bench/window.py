"""One more candle for a run on indicators: its window carried on beside the same window read whole."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench.figures import Figure, quantile
from desk.market.candles import Candles
from desk.store import server
from desk.store.candle_window import CandleWindow
from desk.store.valkey import ValkeyStore

LOOKBACKS = (4_000, 22_160)
STEP_MS = 60_000
START_MS = 1_699_999_980_000
CANDLES_EACH = 60
"""Timed candles of one lookback; both ways look at each, in turn."""
LESS = 0.5
PAIR = "BTC-USDT"


def figures() -> Iterator[Figure]:
    """Measure on a server of its own. That both give the same candles is asserted at every one."""
    candles = _candles(max(LOOKBACKS) + 3 + CANDLES_EACH * len(LOOKBACKS))
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as home:
        running = server.start(Path(home))
        try:
            store = ValkeyStore(running.url)
            store.load_functions()
            yield from _measured(store, candles)
        finally:
            server.stop(running)


def _measured(store: ValkeyStore, candles: Candles) -> Iterator[Figure]:
    end = max(LOOKBACKS) + 3
    store.write_candles(PAIR, "1m", candles.take(slice(0, end)))
    for lookback in LOOKBACKS:
        window = CandleWindow(store, PAIR, "1m")
        window.newest(lookback)
        carried_s, whole_s = list[float](), list[float]()
        for _ in range(CANDLES_EACH):
            end += 1
            store.write_candles(PAIR, "1m", candles.take(slice(end - 3, end)))
            began = time.perf_counter()
            ours = window.newest(lookback)
            carried_s.append(time.perf_counter() - began)
            began = time.perf_counter()
            whole = store.last_candles(PAIR, "1m", lookback)
            whole_s.append(time.perf_counter() - began)
            assert np.array_equal(ours.open_ms, whole.open_ms)
            assert np.array_equal(ours.close, whole.close)
        assert window.read_whole == 1
        ours_ms, floor_ms = (1e3 * quantile(times, 0.5) for times in (carried_s, whole_s))
        yield Figure(
            name=f"one more candle of a window of {lookback:,}",
            ours=ours_ms,
            floor=floor_ms,
            unit="ms",
            floor_name="read whole",
            goal=f"≤ {LESS:g} of it",
            met=ours_ms <= LESS * floor_ms,
            notes={"p99_ms": 1e3 * quantile(carried_s, 0.99)},
        )


def _candles(count: int) -> Candles:
    rng = np.random.default_rng(11)
    close = np.round(40_000 * np.cumprod(1 + rng.normal(0, 5e-4, count)), 1)
    opened = np.concatenate([[40_000.0], close[:-1]])
    return Candles(
        open_ms=START_MS + STEP_MS * np.arange(count, dtype=np.int64),
        open=opened,
        high=np.maximum(opened, close) + 5.0,
        low=np.minimum(opened, close) - 5.0,
        close=close,
        volume=np.full(count, 12.5),
    )
