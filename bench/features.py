"""Feature sets over TA-Lib beside the bare calls, and one more candle beside a trailing window.

A million 1m candles: real ones, tiled in time, where `RAYDESK_DATA` names the folder of them;
generated ones else, which the notes say. That history and stream agree in every byte is asserted
before a figure is printed. Figures are CPU time; the wall's is in the notes.
"""

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import talib

from bench.figures import Figure, interleaved, median, quantile
from desk.market.anchors import Anchor, Stretch, last_stretch
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.market.recursive import Blocks, Handles, plan_of

ROWS = 1_000_000
STEP_MS = 60_000
START_MS = 1_672_531_200_000
TAPE = "binance_spot_BTCUSDT_1m_2025-05-20_2025-08-18.parquet"
ANCHOR = Anchor(every=20_160, warm_up=1_000, most_filled=3)
UPDATES = 5_000
"""Timed candles, one after another."""
TWINS = 3
"""Streams that take each candle alike. The quickest of them counts: on a shared machine one try in a
hundred of anything is interrupted, so that the slowest tries of one stream tell of the machine."""
WINDOW = 500
WINDOWS = 200
"""Timed trailing windows in each repetition."""
REPETITIONS = 5
SLOWEST_US = 50.0
MOST = 1.15
QUICKER = 10.0

RULES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("rsi", (14,)),
    ("rsi", (30,)),
    ("cmo", (14,)),
    ("mfi", (14,)),
    ("cci", (20,)),
    ("willr", (14,)),
    ("adx", (14,)),
    ("di_balance", (14,)),
    ("aroon", (25,)),
    ("stoch_k", (14, 3, 3)),
    ("stoch_d", (14, 3, 3)),
    ("natr", (14,)),
    ("atr_change", (14, 60)),
    ("roc", (5, 14)),
    ("roc", (30, 14)),
    ("sma_distance", (60, 14)),
    ("ema_distance", (12, 14)),
    ("ema_distance", (60, 14)),
    ("ema_distance", (240, 14)),
    ("tema_distance", (20, 14)),
    ("kama_distance", (30, 14)),
    ("linear_distance", (20, 14)),
    ("linear_slope", (20, 14)),
    ("macd", (12, 26, 9, 14)),
    ("macd_signal", (12, 26, 9, 14)),
    ("macd_histogram", (12, 26, 9, 14)),
    ("band_position", (20,)),
    ("band_width", (20, 14)),
    ("obv_change", (30,)),
    ("ad_change", (30,)),
    ("volume_trend", (15, 60)),
)
FEATURES = make_feature_set(
    "bench",
    [Feature(name=f"f{n}", rule=rule, windows=windows) for n, (rule, windows) in enumerate(RULES)],
    anchor=ANCHOR,
)
CALLS = tuple(
    dict.fromkeys(
        (call.function, call.inputs, call.parameters)
        for feature in FEATURES.features
        for call in plan_of(feature).calls
    )
)
"""Each TA-Lib function of the set once, as a program that only wants raw values calls it."""


def figures() -> Iterator[Figure]:
    """Measure history, then one more candle at a time."""
    candles, origin = _candles()
    history = FEATURES.compute(candles, step_ms=STEP_MS)
    valid = np.isfinite(history).all(axis=1)
    assert valid[FEATURES.lookback :].all(), "every row has features"
    notes: dict[str, float | str] = {
        "candles": origin,
        "rows": len(candles),
        "columns": FEATURES.size,
        "talib_calls": len(CALLS),
    }
    yield _over_history(candles, notes)
    yield from _online(candles, history, notes)


def _over_history(candles: Candles, notes: dict[str, float | str]) -> Figure:
    cpu: tuple[list[float], list[float]] = ([], [])

    def ours() -> object:
        return _timed(cpu[0], lambda: FEATURES.compute(candles, step_ms=STEP_MS))

    def raw() -> object:
        return _timed(cpu[1], lambda: _raw(candles))

    wall = [median(seconds) for seconds in interleaved(ours, raw, repetitions=REPETITIONS)]
    seconds, floor = (median(measured[1:]) for measured in cpu)
    return Figure(
        name=f"{FEATURES.size} features over a million candles",
        ours=seconds,
        floor=floor,
        unit="CPU s",
        floor_name=f"the {len(CALLS)} raw TA-Lib calls",
        goal=f"≤ {MOST} x",
        met=seconds <= MOST * floor,
        notes={
            **notes,
            "values_per_cpu_s": FEATURES.size * len(candles) / seconds,
            "wall_s": wall[0],
            "raw_wall_s": wall[1],
        },
    )


def _timed(seconds: list[float], call: Callable[[], object]) -> object:
    """CPU seconds, which other work on the machine hardly touches."""
    began = time.thread_time()
    done = call()
    seconds.append(time.thread_time() - began)
    return done


def _raw(candles: Candles) -> list[Any]:
    """Every output of every call, kept as a caller would."""
    return [
        getattr(talib, function)(*(getattr(candles, name) for name in inputs), *parameters)
        for function, inputs, parameters in CALLS
    ]


def _online(
    candles: Candles, history: np.ndarray, notes: dict[str, float | str]
) -> Iterator[Figure]:
    first_slot = int(candles.open_ms[0]) // STEP_MS
    begin = (first_slot // ANCHOR.every + 2) * ANCHOR.every - first_slot
    """Row of an anchor, so that the series is carried on for two weeks."""
    stretch = last_stretch(candles.take(slice(0, begin + 1)), ANCHOR, STEP_MS)
    assert stretch is not None
    twins = [Handles(FEATURES.features, stretch, FEATURES.clip) for _ in range(TWINS)]
    pushed: list[float] = []
    first_tries: list[float] = []
    wall: list[float] = []
    blocks = Blocks(FEATURES.features, FEATURES.clip)
    block = np.empty((FEATURES.size, 1), dtype=np.float32)
    windows: list[float] = []
    row, chunk = begin + 1, UPDATES // REPETITIONS
    gc.disable()  # the pauses of a collector that looks at a million objects of ours are not the stream's
    for _ in range(REPETITIONS):
        chosen = [candles.row(at) for at in range(row, row + chunk)]
        found: list[bytes] = []
        for candle in chosen:
            tries: list[float] = []
            rows: set[bytes] = set()
            for handles in twins:
                began, began_cpu = time.perf_counter(), time.thread_time()
                handles.push(candle)
                values = handles.row()
                tries.append((time.thread_time() - began_cpu) * 1e6)
                wall.append((time.perf_counter() - began) * 1e6)
                rows.add(values.tobytes())
            pushed.append(min(tries))
            first_tries.append(tries[0])
            found += rows
        assert found == [one.tobytes() for one in history[row : row + chunk]], "stream = history"
        for at in range(row, row + WINDOWS):
            seen = _window(candles.take(slice(at - WINDOW + 1, at + 1)))
            began = time.thread_time()
            blocks.fill(seen, block)
            windows.append((time.thread_time() - began) * 1e6)
        row += chunk
    gc.enable()
    p50, p99 = quantile(pushed, 0.5), quantile(pushed, 0.99)
    recomputed = quantile(windows, 0.5)
    name = f"one more candle, {FEATURES.size} features"
    yield Figure(
        name=f"{name}, p99",
        ours=p99,
        floor=SLOWEST_US,
        unit="CPU µs",
        floor_name="the goal",
        goal=f"≤ {SLOWEST_US:.0f} µs",
        met=p99 <= SLOWEST_US,
        notes={
            **notes,
            "p50_cpu_us": p50,
            "p99_cpu_us_of_one_try": quantile(first_tries, 0.99),
            "p50_wall_us": quantile(wall, 0.5),
            "p99_wall_us": quantile(wall, 0.99),
        },
    )
    yield Figure(
        name=f"{name}, p50",
        ours=p50,
        floor=recomputed,
        unit="CPU µs",
        floor_name=f"the same features anew from the last {WINDOW} candles",
        goal=f"≥ {QUICKER:.0f} x quicker",
        met=p50 * QUICKER <= recomputed,
        notes=notes,
    )
    yield _through_the_loop(candles, history, row, notes)


def _window(candles: Candles) -> Stretch:
    """A trailing window as one series whose last row alone is asked for: other bytes than history's."""
    last = len(candles) - 1
    return Stretch(
        candles=candles,
        first_slot=int(candles.open_ms[0]) // STEP_MS,
        first_row=last,
        is_real=np.ones(len(candles), dtype=np.bool_),
        at=np.array([last], dtype=np.int64),
    )


def _through_the_loop(
    candles: Candles, history: np.ndarray, row: int, notes: dict[str, float | str]
) -> Figure:
    """What a decision spends: the whole stored window compared with what was seen, then one more."""
    stream = FeatureStream(FEATURES, STEP_MS)
    observed: list[float] = []
    for at in range(row, row + 500):
        window = candles.take(slice(at + 1 - FEATURES.lookback, at + 1))
        began = time.perf_counter()
        values = stream.observe(window)
        observed.append((time.perf_counter() - began) * 1e6)
        assert values.tobytes() == history[at].tobytes()
    opened, carried = observed[0], observed[1:]
    return Figure(
        name="one more candle, its window compared",
        ours=quantile(carried, 0.5),
        floor=opened,
        unit="µs",
        floor_name="opening the series from the window",
        goal="≤ 0.2 x",
        met=quantile(carried, 0.5) <= 0.2 * opened,
        notes={**notes, "p99_us": quantile(carried, 0.99)},
    )


def _candles() -> tuple[Candles, str]:
    folder = os.environ.get("RAYDESK_DATA")
    found = sorted(Path(folder).rglob(TAPE)) if folder else []
    tape, origin = (_read(found[0]), TAPE) if found else (_generated(), "generated")
    times = -(-ROWS // len(tape))
    many = Candles.concat([tape] * times).take(slice(0, ROWS))
    open_ms = START_MS + STEP_MS * np.arange(ROWS, dtype=np.int64)
    return (
        Candles(
            open_ms=open_ms,
            open=many.open,
            high=many.high,
            low=many.low,
            close=many.close,
            volume=many.volume,
        ),
        origin,
    )


def _read(path: Path) -> Candles:
    table = pq.read_table(path)
    names = ("open", "high", "low", "close", "volume")
    columns = {name: table[name].to_numpy().astype(np.float64) for name in names}
    return Candles(open_ms=np.arange(table.num_rows, dtype=np.int64), **columns)


def _generated() -> Candles:
    rng = np.random.default_rng(7)
    close = 40_000.0 * np.cumprod(1.0 + rng.normal(0.0, 0.0008, ROWS // 8))
    open_ = np.concatenate([close[:1], close[:-1]])
    wick = np.abs(rng.normal(0.0, 0.0004, (2, len(close))))
    return Candles(
        open_ms=np.arange(len(close), dtype=np.int64),
        open=open_,
        high=np.maximum(open_, close) * (1.0 + wick[0]),
        low=np.minimum(open_, close) * (1.0 - wick[1]),
        close=close,
        volume=rng.gamma(2.0, 3.0, len(close)),
    )
