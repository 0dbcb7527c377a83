"""Evaluation: the fast evaluator beside vectorbt and backtesting.py, our adapter beside the bare engine.

On the same candles and signals, in turns, equal trades or fills asserted before a ratio is told.
Seconds are of the processor, so that what else runs on the machine counts less; one core each.
Candles are real ones where `RAYDESK_DATA` names the folder of them, generated ones else.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench import nautilus_floor
from bench.figures import REPETITIONS, Figure, median
from desk.engines import nautilus
from desk.evaluation.cases import INSTRUMENT, random_plan
from desk.evaluation.fast import FastRun, decision_table, run_plan, sweep, walk_table
from desk.evaluation.plan import replay
from desk.learning.arrays import MarketArrays
from desk.learning.kernel import HOLD
from desk.learning.policy import LEVELS, load_policy, policy_card
from desk.learning.policy_lanes import forward_lanes
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.trading.fills import FillSpec
from desk.trading.tape import Market

TAPE = "binance_spot_BTCUSDT_1m_2025-05-20_2025-08-18.parquet"
STEP_MS = 60_000
START_MS = 1_704_067_200_000
"""2024-01-01."""
ROWS = 130_000
COLUMNS = 50
SLOW_PEER_ROWS = 20_000
NAUTILUS_ROWS = 10_000
YEAR = 525_600
WIDTH = 64
YEAR_GOAL_S = 3.0
CASH, SIZE = 100_000.0, 1_000.0
PEERS = ("vectorbt==1.0.*", "plotly<6", "backtesting==0.6.*")
PEER_WAIT_S = 400.0
LEAST_S = 0.5


def figures() -> Iterator[Figure]:
    """Measure on one core, ours and the others in turns."""
    candles, origin = _candles()
    notes: dict[str, float | str] = {"candles": origin, "seconds": "of the processor"}
    yield from _beside_peers(candles, notes)
    yield _a_year(candles, notes)
    yield _adapter(candles, notes)


class Spent(NamedTuple):
    """One repetition: processor seconds, and what was done."""

    cpu_s: float
    done: int


def _beside_peers(candles: Candles, notes: dict[str, float | str]) -> Iterator[Figure]:
    market = Market.of(candles, INSTRUMENT, FillSpec(slippage_bps=Decimal(0)))
    long = _signals(candles)
    arrays = MarketArrays.from_market(market, np.zeros((len(candles), 1), dtype=np.float32))
    tables = [_table(long[:, column]) for column in range(COLUMNS)]
    few = MarketArrays.from_market(
        Market.of(candles.take(slice(0, SLOW_PEER_ROWS)), INSTRUMENT, market.spec),
        np.zeros((SLOW_PEER_ROWS, 1), dtype=np.float32),
    )
    few_table = _table(long[:SLOW_PEER_ROWS, 0])

    room = _walk(arrays, tables[0])

    together, few_together = np.array(tables), few_table[None]

    def swept(on: MarketArrays, these: NDArray[np.int8]) -> int:
        return int(sweep(on, these, levels=LEVELS, size_quote=SIZE, cash=CASH).trade_count.sum())

    def walked() -> int:
        return sum(_entries(_walk(arrays, table, room)) for table in tables)

    def replayed() -> int:
        plans = (_walk(arrays, table, room).plan for table in tables)
        return sum(len(run_plan(arrays, plan, CASH).fills) // 2 for plan in plans)

    name = f"fast evaluator, {COLUMNS} columns of signals, candles/s"
    try:
        with _Peer(candles, long) as peer:
            ours, plans, full, theirs = _in_turns(
                lambda: _repeated(lambda: swept(arrays, together)),
                walked,
                replayed,
                lambda: peer.run("vectorbt", len(candles)),
            )
            slow, backtesting = _in_turns(
                lambda: _repeated(lambda: swept(few, few_together)),
                lambda: peer.run("backtesting.py", SLOW_PEER_ROWS),
            )
    except OSError as away:
        yield _not_measured(name, "vectorbt 1.0", "≥ 20 x peer", str(away))
        yield _not_measured(
            "fast evaluator, one column, candles/s", "backtesting.py", "told", str(away)
        )
        return
    done = len(candles) * COLUMNS
    yield _rate(name, done, (ours, theirs), "vectorbt 1.0", notes=notes, times=20.0)
    recorded = f"the same with plan and equity of each candle, {COLUMNS} columns, candles/s"
    yield _rate(recorded, done, (plans, theirs), "vectorbt 1.0", notes=notes)
    replays = f"the same, and every plan replayed with fills and fees, {COLUMNS} columns, candles/s"
    yield _rate(replays, done, (full, theirs), "vectorbt 1.0", notes=notes)
    one = "fast evaluator, one column, candles/s"
    yield _rate(one, SLOW_PEER_ROWS, (slow, backtesting), "backtesting.py 0.6", notes=notes)


def _a_year(candles: Candles, notes: dict[str, float | str]) -> Figure:
    year = _tiled(candles, YEAR)
    arrays = MarketArrays.from_market(
        Market.of(year, INSTRUMENT, FillSpec()), FEATURES_V1.compute(year)
    )
    sizes = (FEATURES_V1.size + 1, WIDTH, WIDTH, len(LEVELS))
    policy = load_policy(_card(), _tensors(sizes))
    forward = forward_lanes(policy)
    observed = np.zeros((YEAR, sizes[0]), dtype=np.float32)
    layers = [(np.ascontiguousarray(weight.T), bias) for weight, bias in policy.layers]

    def ours() -> int:
        table = decision_table(forward, arrays.features, LEVELS, 0.35, feature_limit=6.0)
        return len(_walk(arrays, table).plan)

    def bare() -> int:
        for _, first in itertools.product(range(3), range(0, YEAR, 4_096)):
            values = observed[first : first + 4_096]
            for number, (weight, bias) in enumerate(layers):
                values = (np.tanh(values) if number else values) @ weight + bias
        return YEAR

    mine, floor = _in_turns(ours, bare)
    seconds = median([one.cpu_s for one in mine])
    return Figure(
        name=f"a year of 1m candles through a {WIDTH} x {WIDTH} policy, one core",
        ours=seconds,
        floor=median([one.cpu_s for one in floor]),
        unit="s",
        floor_name="the bare matrix products of the same net",
        goal=f"≤ {YEAR_GOAL_S:.0f} s",
        met=seconds <= YEAR_GOAL_S,
        notes=notes | {"forward passes": float(3 * YEAR)},
    )


def _adapter(candles: Candles, notes: dict[str, float | str]) -> Figure:
    market = Market.of(candles.take(slice(0, NAUTILUS_ROWS)), INSTRUMENT, FillSpec())
    plan, cash = random_plan(market, seed=3, share=0.05, with_exits=True), Decimal(100_000)
    wanted = nautilus_floor.orders_of(market, plan, replay(market, plan, cash))

    ours, bare = _in_turns(
        lambda: len(nautilus.evaluate(market, plan, cash).fills),
        lambda: nautilus_floor.run(market, wanted, cash),
    )
    return _rate(
        f"NautilusTrader through our adapter, {ours[0].done:,} fills, candles/s",
        NAUTILUS_ROWS,
        (ours, bare),
        "bare engine, the same orders and data",
        notes=notes,
        times=0.8,
    )


# --- candles and signals --------------------------------------------------------------------------


def _candles() -> tuple[Candles, str]:
    path = Path(os.environ.get("RAYDESK_DATA", "")) / TAPE
    if path.is_file():
        table = pq.read_table(path)
        columns = {
            name: np.round(table[name].to_numpy()[:ROWS], 1)
            for name in ("open", "high", "low", "close", "volume")
        }
        return _on_grid(columns), f"real: {TAPE}"
    rng = np.random.default_rng(7)
    close = np.round(60_000.0 * np.exp(np.cumsum(rng.normal(0.0, 0.0006, ROWS))), 1)
    open_ = np.concatenate([close[:1], close[:-1]])
    reach = np.round(close * np.abs(rng.normal(0.0, 0.0003, ROWS)), 1)
    columns = {
        "open": open_,
        "high": np.maximum(open_, close) + reach,
        "low": np.minimum(open_, close) - reach,
        "close": close,
        "volume": rng.gamma(2.0, 3.0, ROWS),
    }
    return _on_grid(columns), "generated: set RAYDESK_DATA for real ones"


def _tiled(candles: Candles, rows: int) -> Candles:
    names = ("open", "high", "low", "close", "volume")
    return _on_grid({name: np.resize(getattr(candles, name), rows) for name in names})


def _on_grid(columns: dict[str, Any]) -> Candles:
    rows = len(columns["open"])
    return Candles(open_ms=START_MS + STEP_MS * np.arange(rows, dtype=np.int64), **columns)


def _signals(candles: Candles) -> NDArray[np.bool_]:
    """bool[T, C]: a fast mean of closes above a slow one; flat where a tape ends, as plans of ours."""
    sums = np.concatenate([[0.0], np.cumsum(candles.close)])
    long = np.zeros((len(candles), COLUMNS), dtype=np.bool_)
    for column, (fast, slow) in enumerate(itertools.product(range(10, 60, 5), range(60, 160, 20))):
        means = [(sums[span:] - sums[:-span]) / span for span in (fast, slow)]
        long[slow - 1 :, column] = means[0][slow - fast :] > means[1]
    for end in (SLOW_PEER_ROWS, len(candles)):
        long[end - 2 : end] = False
    return long


def _table(long: NDArray[np.bool_]) -> NDArray[np.int8]:
    """One column's entries and exits as decisions; in between what is held is held."""
    turns = np.flatnonzero(np.diff(long, prepend=False))
    row = np.full(len(long), HOLD, dtype=np.int8)
    row[turns] = np.where(long[turns], LEVELS.index(1.0), LEVELS.index(0.0))
    return np.tile(row, (3, 1))


def _walk(arrays: MarketArrays, table: NDArray[np.int8], into: FastRun | None = None) -> FastRun:
    return walk_table(arrays, table, levels=LEVELS, size_quote=SIZE, cash=CASH, into=into)


def _entries(run: FastRun) -> int:
    """Trades that a plan of `_table` began: it decides only where the signal turns."""
    return int(np.count_nonzero(run.plan.target_lots))


def _card() -> dict[str, Any]:
    return policy_card(
        version_id="bench", algorithm="none", is_baseline=False, hyperparameters={}, software={}
    )


def _tensors(sizes: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    rng, made = np.random.default_rng(7), dict[str, NDArray[np.float32]]()
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        weight = rng.normal(0.0, inputs**-0.5, (outputs, inputs))
        made[f"layers.{number}.weight"] = weight.astype(np.float32)
        made[f"layers.{number}.bias"] = np.zeros(outputs, dtype=np.float32)
    return made


# --- measuring ------------------------------------------------------------------------------------


def _in_turns(*calls: Callable[[], int | Spent]) -> list[list[Spent]]:
    """A B A B …, warm-up excluded; raises `AssertionError` unless they all did equally much."""
    spent: list[list[Spent]] = [[] for _ in calls]
    for repetition in range(1 + REPETITIONS):
        for number, call in enumerate(calls):
            began = time.process_time()
            done = call()
            if not isinstance(done, Spent):
                done = Spent(cpu_s=time.process_time() - began, done=done)
            if repetition:
                spent[number].append(done)
    counts = {one.done for of_call in spent for one in of_call}
    assert len(counts) == 1 or len(calls) == 1, f"they did not do equally much: {counts}"
    return spent


def _repeated(call: Callable[[], int]) -> Spent:
    """One of as many in a row as fill `LEAST_S`, as a peer's one run does: nobody is timed while caches fill."""
    began, times, done = time.process_time(), 0, 0
    while times == 0 or time.process_time() - began < LEAST_S:
        done, times = call(), times + 1
    return Spent(cpu_s=(time.process_time() - began) / times, done=done)


def _rate(
    name: str,
    candles: int,
    sides: tuple[list[Spent], list[Spent]],
    peer: str,
    *,
    notes: dict[str, float | str],
    times: float | None = None,
) -> Figure:
    """Ours and theirs, candles per second of the processor."""
    mine, other = (candles / median([one.cpu_s for one in side]) for side in sides)
    return Figure(
        name=name,
        ours=mine,
        floor=other,
        unit="/s",
        floor_name=peer,
        goal="told" if times is None else f"≥ {times:g} x peer",
        met=times is None or mine >= times * other,
        notes=notes | {"trades or fills": float(sides[0][0].done)},
    )


def _not_measured(name: str, peer: str, goal: str, why: str) -> Figure:
    nan = float("nan")
    return Figure(
        name=name,
        ours=nan,
        floor=nan,
        unit="/s",
        floor_name=f"{peer}, not measured: {why}",
        goal=goal,
        met=False,
    )


@dataclass(slots=True)
class _Peer:
    """`bench/evaluation_peer.py` in an environment of its own. Raises `OSError` where it cannot be had."""

    candles: Candles
    long: NDArray[np.bool_]
    _process: subprocess.Popen[str] | None = None
    _folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        uv = os.environ.get("UV") or shutil.which("uv")
        if not uv:
            raise OSError("there is no uv to make its environment: run it by `make bench`")
        self._folder = tempfile.TemporaryDirectory(prefix="rd-bench-")
        tape = Path(self._folder.name) / "tape.npz"
        prices = {name: getattr(self.candles, name) for name in ("open", "high", "low", "close")}
        np.savez(tape, long=self.long, **prices)  # pyright: ignore[reportArgumentType]
        command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", sys.executable]
        command += [word for peer in PEERS for word in ("--with", peer)]
        command += ["python", str(Path(__file__).with_name("evaluation_peer.py")), str(tape)]
        apart = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
        }
        self._process = subprocess.Popen(
            command, env=apart, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def run(self, name: str, rows: int) -> Spent:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{name} {rows}\n")
            process.stdin.flush()
        except BrokenPipeError as gone:
            raise OSError("its environment could not be made, or it broke: see above") from gone
        line = process.stdout.readline()
        if not line:
            raise OSError("its environment could not be made, or it broke: see above")
        answer = json.loads(line)
        return Spent(cpu_s=answer["cpu"], done=answer["trades"])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        wrong: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=10)
        if self._folder is not None:
            self._folder.cleanup()
