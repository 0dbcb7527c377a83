"""Evaluating a version in any process: a call that opens what it needs and leaves a report in the store."""

import gc
import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from actors.evaluation import EvaluateAsk, evaluate_version
from actors.study_period import Rates
from desk.clock import Clock, ManualClock
from desk.market.candles import Candles
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import Datasets
from desk.store.history import History
from desk.store.places import Home, shared_folder
from desk.store.valkey import ValkeyStore


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationTask:
    """An evaluation on a built dataset. `now_ms` stamps its report, so that a repeat is the same one."""

    home: Home
    store_url: str = field(repr=False)
    dataset_id: str
    ask: EvaluateAsk
    rates: Rates
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedTask:
    """The figures of its report; see `desk.evaluation.report.EvaluationReport`."""

    evaluation_id: str
    version_id: str
    decision_threshold: float
    start_ms: int
    end_ms: int
    verdict: str
    reasons: tuple[str, ...]
    trade_count: int
    sharpe: float
    max_drawdown: float
    net_pnl_after_fees: str
    parity_max_abs_diff: str
    pid: int
    """Of the process that evaluated."""
    resident_bytes: int
    """Its memory afterwards."""


def evaluate_task(task: EvaluationTask) -> EvaluatedTask:
    """Evaluate and keep the report. Raises what `evaluate_version` raises. Repeating it is harmless."""
    store = _store(task.store_url)
    clock: Clock = ManualClock(task.now_ms)
    report = evaluate_version(
        task.home,
        store,
        _candles(task.home, task.store_url, task.dataset_id),
        task.ask,
        clock=clock,
        rates=task.rates,
    )
    # NautilusTrader's engines are cycles of objects: until the collector comes round they pile up.
    gc.collect()
    return EvaluatedTask(
        evaluation_id=report.evaluation_id,
        version_id=report.version_id,
        decision_threshold=report.decision_threshold,
        start_ms=report.period_start_ms,
        end_ms=report.period_end_ms,
        verdict=report.verdict,
        reasons=report.reasons,
        trade_count=report.trade_count,
        sharpe=report.sharpe,
        max_drawdown=report.max_drawdown,
        net_pnl_after_fees=report.net_pnl_after_fees,
        parity_max_abs_diff=report.parity_max_abs_diff,
        pid=os.getpid(),
        resident_bytes=resident_bytes(),
    )


def resident_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@cache
def _store(store_url: str) -> ValkeyStore:
    """One connection a process."""
    return ValkeyStore(store_url)


_held: dict[str, Candles] = {}


def _candles(home: Home, store_url: str, dataset_id: str) -> Candles:
    """The dataset of the last task is kept: the next one most likely asks for it again."""
    if dataset_id not in _held:
        store = _store(store_url)
        history = History(shared_folder(home, "history", store))
        archive = CandleArchive(store, history, CandleCache(home / "cache", history))
        _held.clear()
        _held[dataset_id] = Datasets(shared_folder(home, "datasets"), store, archive).candles(
            dataset_id
        )
    return _held[dataset_id]
