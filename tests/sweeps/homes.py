"""A home with a store, an instrument and a built dataset: what a sweep needs, and nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from actors.sweep_data import SweepPlace
from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.valkey import ValkeyStore
from tests.learning.conftest import INSTRUMENT, MINUTE_MS

PROJECT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "name": "small",
    "kind": "training",
    "dataset": {"pair": "BTC-USDT", "interval": "1m"},
    "fixed": {
        "lanes": 32,
        "steps_per_lane": 32,
        "minibatch": 512,
        "hidden": [8],
        "epochs": 1,
        "episode_candles": 200,
    },
    "space": {"learning_rate": {"kind": "choice", "values": [0.0003, 0.003]}},
    "search": {"kind": "random", "seed": 3},
    "budget": {
        "trials": 2,
        "steps_per_trial": 4096,
        "checkpoint_every_steps": 2048,
        "wall_minutes": 10,
        "concurrent_trials": 1,
    },
    "metric": "net_return",
    "validation": {"folds": 2, "train_fraction": 0.6},
    "finalists": 1,
}


def small(**changes: Any) -> dict[str, Any]:
    """A sweep of seconds; mappings are merged one level deep."""
    made = dict(SMALL)
    for name, value in changes.items():
        is_merged = isinstance(value, Mapping) and name in {"budget", "fixed", "validation"}
        made[name] = {**made[name], **value} if is_merged else value
    return made


def write(path: Path, sweep: Mapping[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(dict(sweep), sort_keys=False))
    return path


def place_of(home: Path, store: ValkeyStore) -> SweepPlace:
    history = History(home / "history")
    return SweepPlace(
        home=home,
        store=store,
        candles=CandleArchive(store, history, CandleCache(home / "cache", history)),
        store_url=store.url,
    )


def furnish(home: Path, store: ValkeyStore, candles: Candles, *, skip: int = 300) -> Dataset:
    """Keep instrument and candles, and build a dataset on all but the first rows."""
    now_ms = int(candles.open_ms[-1]) + MINUTE_MS
    anchor = {"market_ms": now_ms, "wall_ms": int(time.time() * 1000), "speed": 1.0}
    store.put(kinds.STATE, "clock", anchor, at_ms=now_ms)
    store.put(kinds.INSTRUMENTS, "BTC-USDT", INSTRUMENT, at_ms=now_ms)
    History(home / "history").append("BTC-USDT", "1m", candles, "test")
    place = place_of(home, store)
    ask = DatasetAsk(
        pair="BTC-USDT",
        interval="1m",
        start_ms=int(candles.open_ms[skip]),
        end_ms=now_ms,
        features=FEATURES_V1,
    )
    return Datasets(home / "datasets", store, place.candles).build(ask, now_ms=now_ms)


def environment(home: Path) -> dict[str, str]:
    """Of a `desk` command on a home; Ray's settings of the test process are left out."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "DESK_HOME": str(home), "PYTHONPATH": str(PROJECT)}


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from desk.cli.application import main; main()", *words]


def run_desk(home: Path, *words: str, within_s: float = 280.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words),
        env=environment(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
