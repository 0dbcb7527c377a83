"""Copying hot candles to the history, in a process of its own: the trading plane loads no Parquet."""

import importlib
from typing import Any

import ray
import structlog

from actors.parts.foundation import open_store
from actors.wiring import Wiring

log = structlog.stdlib.get_logger()


@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def archive_candles(wiring: Wiring) -> int:
    """Flush every series of the desk; returns how many rows of the history changed.

    Its process ends with the call: what it loaded would else stay resident.
    """
    candles: Any = importlib.import_module("desk.store.candles")
    history: Any = importlib.import_module("desk.store.history")
    archive = candles.CandleArchive(open_store(wiring), history.History(wiring.home / "history"))
    changed = sum(
        archive.flush(pair, interval) for pair in wiring.pairs for interval in wiring.intervals
    )
    log.info("candles_archived", rows=changed)
    return changed
