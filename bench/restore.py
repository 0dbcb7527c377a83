"""A large desk brought back from a copy into an empty folder, its state proved the same.

Fifty pairs with a month of 1m candles in the store, a quarter of a million decisions with what they
rested on, and a gigabyte of history: what a desk of that size has after some months. Beside it what
no restoring can do without: the same files copied.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Figure
from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.runs import Action, DecisionRecord, GateResult
from desk.store import kinds, server
from desk.store.backup import back_up, restore
from desk.store.codec import to_json
from desk.store.valkey import ValkeyStore

PAIRS, CANDLES = 50, 43_200
DECISIONS = 250_000
FILES, FILE_BYTES = 1_000, 1 << 20
START_MS = 1_700_000_040_000
AT_ONCE = 2_000
MOST_S = 300.0


def figures() -> Iterator[Figure]:
    """Make the desk, copy it, bring it back."""
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as folder:
        home, copy, new = (Path(folder) / name for name in ("home", "copy", "new"))
        running = server.start(home)
        try:
            _fill(running.url)
        finally:
            server.stop(running)
        _write_history(home)
        made = back_up(home, copy, release="bench")
        shutil.rmtree(home)
        began = time.perf_counter()
        shutil.copytree(copy, Path(folder) / "copied")
        copied_s = time.perf_counter() - began
        shutil.rmtree(Path(folder) / "copied")
        began = time.perf_counter()
        brought = restore(copy, new)  # raises where the state is not the one that was copied
        restored_s = time.perf_counter() - began
        assert brought.state_sha256 == made.state_sha256 != ""
        yield Figure(
            name="a large desk restored and proved the same",
            ours=restored_s,
            floor=copied_s,
            unit="s",
            floor_name="its files copied",
            goal=f"≤ {MOST_S:.0f} s",
            met=restored_s <= MOST_S,
            notes={
                "rows": made.rows,
                "bytes": made.total_bytes,
                "pairs": PAIRS,
                "candles": PAIRS * CANDLES,
                "decisions": DECISIONS,
            },
        )


def _fill(url: str) -> None:
    store = ValkeyStore(url)
    store.load_functions()
    try:
        for number in range(PAIRS):
            store.write_candles(f"P{number}-USDT", "1m", _candles(number))
        _write_decisions(store)
    finally:
        store.close()


def _candles(seed: int) -> Candles:
    close = 100.0 * np.cumprod(1.0 + np.random.default_rng(seed).normal(0.0, 0.001, CANDLES))
    return Candles(
        open_ms=START_MS + MINUTE_MS * np.arange(CANDLES, dtype=np.int64),
        open=close,
        high=close * 1.001,
        low=close * 0.999,
        close=close,
        volume=close,
    )


def _write_decisions(store: ValkeyStore) -> None:
    """As `put` leaves them, many in one sending: a durable write each would take a quarter of an hour."""
    client: Any = store.connection.bulk
    kind = kinds.decisions_of_run("bench")
    first = DecisionRecord(
        decision_id="d",
        run_id="bench",
        pair="P0-USDT",
        interval="1m",
        open_ms=START_MS,
        decided_at_ms=START_MS,
        action=Action.HOLD,
        hold_reason="low_confidence",
        target=0.0,
        confidence=0.4,
        version_id="v1",
        feature_set_id="v1-1",
        observation_sha256="0" * 64,
        candles_sha256="0" * 64,
        reference_price="100.0",
        gates=tuple(GateResult(gate=f"gate_{n}", passed=True, detail="") for n in range(8)),
        trace_id="tr",
        latency_ms={"total": 12.5},
        observation=tuple(np.random.default_rng(1).normal(size=37).tolist()),
    )
    for numbers in batched(range(DECISIONS), AT_ONCE):
        pipeline = client.pipeline(transaction=False)
        for number in numbers:
            key, at_ms = f"d{number:07d}", START_MS + number * MINUTE_MS
            row = to_json(kind.type, replace(first, decision_id=key, open_ms=at_ms))
            pipeline.hset(f"doc:{kind.name}/{key}", mapping={"v": 1, "at_ms": at_ms, "row": row})
            pipeline.zadd(f"docx:{kind.name}", {key: at_ms})
        pipeline.execute()


def _write_history(home: Path) -> None:
    rng = np.random.default_rng(2)
    for number in range(FILES):
        path = home / "history" / f"P{number % PAIRS}-USDT" / f"{number:04d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(FILE_BYTES))
