"""Nautilus evaluations as tasks on Ray: two processes beside one, and what three hundred in a row leave behind.

The same evaluations of the shipped trend rule, each a period of its own, through the whole path: store,
dataset, decisions, Nautilus, report. Efficiency is the rate of two processes over twice that of one, in
turns, on an otherwise idle machine; how busy it was is in the notes. `RAYDESK_EVALUATIONS` says how many
evaluations in a row memory is watched over (default 300).
"""

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np

from actors.evaluation import EvaluateAsk
from actors.evaluation_tasks import EvaluatedTask, EvaluationTask, evaluate_task
from actors.study_period import Period
from actors.version_registry import ensure_baseline
from bench.figures import Figure, median
from desk.engines.private_ray import private_ray
from desk.engines.tasks import Failed, run_tasks
from desk.evaluation.cases import INSTRUMENT
from desk.learning.study import Dataset
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.store import server
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets
from desk.store.history import History
from desk.store.valkey import ValkeyStore
from desk.wallclock import monotonic_s

PROCESSES = 2
REPETITIONS = 3
ROWS = 20_160
"""Two weeks of 1m candles an evaluation."""
STEP_MS = 60_000
START_MS = 1_704_067_200_000
"""2024-01-01."""
TASKS = 8
"""In each measured round."""
EFFICIENCY_GOAL, GROWTH_GOAL = 0.85, 0.05
SETTLED_SHARE = 0.1
"""Part of a process's evaluations after which its memory counts: imports and caches come before."""


def figures() -> Iterator[Figure]:
    """Measure on as many CPUs as there are processes."""
    cpus = os.cpu_count() or 1
    with _desk() as tasks, private_ray(PROCESSES):
        _round(tasks(PROCESSES * 2), PROCESSES)  # imports, compiled rules, open stores
        alone, together = list[float](), list[float]()
        for _ in range(REPETITIONS):
            alone.append(_rate(tasks(TASKS), 1))
            together.append(_rate(tasks(TASKS), PROCESSES))
        one, two = median(alone), median(together)
        efficiency = two / (PROCESSES * one)
        yield Figure(
            name=f"Nautilus evaluations on Ray, {PROCESSES} processes, parallel efficiency",
            ours=efficiency,
            floor=1.0,
            unit="",
            floor_name="twice the rate of one process",
            goal=f"≥ {EFFICIENCY_GOAL}",
            met=efficiency >= EFFICIENCY_GOAL and cpus >= PROCESSES,
            notes={
                "evaluations/s, one process": one,
                "evaluations/s, all": two,
                "candles each": float(ROWS),
                "load": os.getloadavg()[0],
                "cpus": float(cpus),
            },
        )
        count = int(os.environ.get("RAYDESK_EVALUATIONS", "300"))
        growth, workers = memory_growth(_round(tasks(count), PROCESSES))
        yield Figure(
            name=f"resident memory of a process over {count} evaluations in a row, growth",
            ours=growth,
            floor=GROWTH_GOAL,
            unit="",
            floor_name="the bound",
            goal=f"≤ {GROWTH_GOAL:.0%} per process",
            met=growth <= GROWTH_GOAL,
            notes={"processes": float(workers)},
        )


def memory_growth(done: Sequence[EvaluatedTask]) -> tuple[float, int]:
    """Largest growth of a process's resident memory once it had settled, and how many there were."""
    by_pid: dict[int, list[int]] = {}
    for one in done:
        by_pid.setdefault(one.pid, []).append(one.resident_bytes)
    growths = [_growth(sizes) for sizes in by_pid.values()]
    return max(growths), len(growths)


def _growth(sizes: Sequence[int]) -> float:
    """From the median just after settling to that of the end: single readings are noise."""
    settled = sizes[int(len(sizes) * SETTLED_SHARE) :]
    part = max(len(settled) // 10, 1)
    return (
        median([float(size) for size in settled[-part:]])
        / median([float(size) for size in settled[:part]])
        - 1.0
    )


def _rate(tasks: Sequence[EvaluationTask], concurrent: int) -> float:
    began_s = monotonic_s()
    _round(tasks, concurrent)
    return len(tasks) / (monotonic_s() - began_s)


def _round(tasks: Sequence[EvaluationTask], concurrent: int) -> list[EvaluatedTask]:
    done: list[EvaluatedTask] = []

    def told(number: int, result: EvaluatedTask | Failed) -> None:
        if isinstance(result, Failed):
            raise AssertionError(f"evaluation {number} failed: {result.error}")
        done.append(result)

    run_tasks(evaluate_task, tasks, concurrent=concurrent, told=told)
    return done


@dataclass(slots=True)
class _Tasks:
    """Makes evaluations, no two alike: each decides by a threshold of its own."""

    home: Path
    store_url: str
    dataset: Dataset
    version_id: str
    made: int = 0

    def __call__(self, count: int) -> list[EvaluationTask]:
        period = Period(
            pair=self.dataset.pair,
            interval=self.dataset.interval,
            start_ms=self.dataset.start_ms,
            end_ms=self.dataset.end_ms,
            instrument=INSTRUMENT,
        )
        self.made += count
        return [
            EvaluationTask(
                home=self.home,
                store_url=self.store_url,
                dataset_id=self.dataset.dataset_id,
                ask=EvaluateAsk(
                    period=period,
                    version_id=self.version_id,
                    cash=Decimal(10_000),
                    size_quote=Decimal(1_000),
                    decision_threshold=0.4 + 1e-6 * (self.made - number),
                ),
                rates=(),
                now_ms=1,
            )
            for number in range(count)
        ]


@contextmanager
def _desk() -> Generator[_Tasks]:
    """A home with a store, candles and the baseline."""
    home = Path(tempfile.mkdtemp(prefix="rd-bench-"))
    running = server.start(home)
    store = ValkeyStore(running.url)
    try:
        store.load_functions()
        candles = _candles(ROWS + FEATURES_V1.lookback)
        history = History(home / "history")
        history.append(INSTRUMENT.pair, "1m", candles, "bench")
        archive = CandleArchive(store, history, CandleCache(home / "cache", history))
        ask = DatasetAsk(
            pair=INSTRUMENT.pair,
            interval="1m",
            start_ms=int(candles.open_ms[-ROWS]),
            end_ms=int(candles.open_ms[-1]) + STEP_MS,
            features=FEATURES_V1,
        )
        dataset = Datasets(home / "datasets", store, archive).build(ask, now_ms=ask.end_ms)
        version = ensure_baseline(home, store, "desk", 1)
        yield _Tasks(home, running.url, dataset, version.version_id)
    finally:
        store.close()
        server.stop(running)
        shutil.rmtree(home, ignore_errors=True)


def _candles(rows: int) -> Candles:
    rng = np.random.default_rng(7)
    close = np.round(60_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0006, rows))), 1)
    open_ = np.concatenate([close[:1], close[:-1]])
    reach = np.round(close * np.abs(rng.normal(0.0, 0.0003, rows)), 1)
    return Candles(
        open_ms=START_MS + STEP_MS * np.arange(rows, dtype=np.int64),
        open=open_,
        high=np.maximum(open_, close) + reach,
        low=np.minimum(open_, close) - reach,
        close=close,
        volume=rng.gamma(2.0, 3.0, rows),
    )
