"""Decisions while a sweep has every CPU, beside the same desk without it.

A real `desk tune` runs on the desk's Ray, its trials placed as it places them: one CPU each, as many
at once as the machine has. For the idle blocks they stand still, as they do for a decision, so that both
kinds of block alternate and see the same machine. What is compared is the time from hearing of a candle
to the bytes of its order at the simulator, as in `bench.decision_path`.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import ray

from bench.figures import Figure, quantile
from bench.trading_desk import TradingDesk, next_order_s, trading
from desk.engines.standstill import Standstill
from desk.market.candles import Candles
from desk.store import server
from desk.store.valkey import ValkeyStore
from tests.processes import descendants
from tests.sweeps.homes import command, furnish, small, write

# isort: split
from actors.run_file import RunFile

SPEED = 60.0
BLOCKS = 16
"""Of each kind."""
BLOCK_CANDLES = 15
WARM_UP = 5
SETTLE_S = 1.0
"""After a change of the load, before the next block."""
MOST, MOST_S = 1.2, 1.5
MOST_FREE = 0.1
"""Of the machine's time that nobody used in loaded blocks; with more nothing was proved."""
IMPORTS_S = 10.0
"""CPU seconds of a trial after which it trains."""
ROWS = 20_000
STARTED_WITHIN_S = 240.0
NICENESS = 1
"""Trading runs at 0: whoever is above is learning."""


def figures() -> Iterator[Figure]:
    """The slow end of both, and its limit."""
    with trading(SPEED) as desk, _sweep() as sweep:
        idle, loaded, facts = _measure(desk, sweep)
    notes: dict[str, float | str] = {
        "samples": len(loaded),
        **facts,
        "idle_p50_ms": quantile(idle, 0.5) * 1e3,
        "loaded_p50_ms": quantile(loaded, 0.5) * 1e3,
    }
    mine, floor = (quantile(seconds, 0.99) * 1e3 for seconds in (loaded, idle))
    yield Figure(
        name="candle event to order bytes beside a sweep on every CPU, p99",
        ours=mine,
        floor=floor,
        unit="ms",
        floor_name="the same desk with the trials stopped",
        goal=f"<= {MOST:g} and < {MOST_S:g} s",
        met=mine <= MOST * floor and mine < MOST_S * 1e3,
        notes=notes,
    )


def _measure(
    desk: TradingDesk, sweep: list[int]
) -> tuple[list[float], list[float], dict[str, float]]:
    """Seconds of idle and of loaded decisions, and how the CPUs were used meanwhile."""
    found: dict[bool, list[float]] = {False: [], True: []}
    free_s = {False: 0.0, True: 0.0}
    wall_s = {False: 0.0, True: 0.0}
    trials_s = {False: 0.0, True: 0.0}
    open_ms = 0
    standing = Standstill()
    for _ in range(WARM_UP):
        open_ms, _ = next_order_s(desk, open_ms)
    for block in range(2 * BLOCKS):
        is_loaded = block % 2 == 1
        if is_loaded:
            standing.end()
        else:
            standing.begin()
        time.sleep(SETTLE_S)
        began_s, free_before_s, trials_before_s = time.monotonic(), _free_s(), _cpu_s(sweep)
        for _ in range(BLOCK_CANDLES):
            open_ms, seconds = next_order_s(desk, open_ms)
            if seconds is not None:
                found[is_loaded].append(seconds)
        wall_s[is_loaded] += time.monotonic() - began_s
        free_s[is_loaded] += _free_s() - free_before_s
        trials_s[is_loaded] += _cpu_s(sweep) - trials_before_s
    cpus = os.cpu_count() or 1
    free = free_s[True] / wall_s[True] / cpus
    assert free <= MOST_FREE, f"{free:.0%} of the CPUs were free beside the sweep"
    facts = {
        "cpus_of_trials": trials_s[True] / wall_s[True],
        "cpus_of_trials_when_idle": trials_s[False] / wall_s[False],
        "cpus_free_when_idle": free_s[False] / wall_s[False],
    }
    return found[False], found[True], facts


@contextlib.contextmanager
def _sweep() -> Generator[list[int]]:
    """A `desk tune` whose trials all train; gives their processes."""
    at_once = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as folder:
        home = Path(folder)
        running = server.start(home)
        store = ValkeyStore(running.url)
        store.load_functions()
        furnish(home, store, _walk())
        store.close()
        server.stop(running)
        RunFile.path(home).parent.mkdir(exist_ok=True)
        _run_file().write(home)
        budget = {
            "trials": 2 * at_once,
            "concurrent_trials": at_once,
            "steps_per_trial": 100_000_000,
            "checkpoint_every_steps": 50_000_000,
            "wall_minutes": 60,
        }
        space = {"learning_rate": {"kind": "loguniform", "low": 1e-5, "high": 1e-3}}
        fixed = {"lanes": 256, "minibatch": 4096, "hidden": [64, 64], "epochs": 4}
        file = write(home / "beside.yaml", small(budget=budget, space=space, fixed=fixed))
        log = (home / "tune.log").open("w+")
        process = subprocess.Popen(
            command("tune", str(file), "--json"),
            env={**os.environ, "DESK_HOME": folder, "PYTHONPATH": os.getcwd()},
            stdout=log,
            stderr=log,
        )
        try:
            yield _training(process, at_once, home / "tune.log")
        finally:
            for pid in _trials():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
            log.close()
            left = server.find(home)
            if left is not None:
                server.stop(left)


def _run_file() -> RunFile:
    """So that `desk tune` finds this Ray as it finds a running desk's."""
    address = str(ray.get_runtime_context().gcs_address)
    return RunFile(
        pid=os.getpid(),
        api_url="",
        venue_url="",
        venue_name="bench",
        store_url="",
        ray_address=address,
        ray_dashboard_url="",
        started_wall_ms=0,
    )


def _training(process: subprocess.Popen[bytes], at_once: int, log: Path) -> list[int]:
    """Processes of the trials, once all of them are busy."""
    until_s = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < until_s:
        found = _trials()
        time.sleep(1.0)
        if process.poll() is not None:
            raise RuntimeError(f"the sweep ended: {log.read_text()[-2000:]}")
        if sum(_cpu_s([pid]) >= IMPORTS_S for pid in found) >= at_once:
            return found
    raise TimeoutError(f"no {at_once} trials in {STARTED_WITHIN_S:g} s: {log.read_text()[-2000:]}")


def _trials() -> list[int]:
    """Ours that run behind trading."""
    found: list[int] = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if os.getpriority(os.PRIO_PROCESS, pid) >= NICENESS:
                found.append(pid)
    return sorted(found)


def _cpu_s(pids: list[int]) -> float:
    """Seconds of CPU that they have had."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def _free_s() -> float:
    """Seconds that the CPUs had nothing to do, all together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def _walk() -> Candles:
    rng = np.random.default_rng(7)
    close = np.round(40_000.0 * np.cumprod(1.0 + rng.normal(0.0, 0.0008, ROWS)), 1)
    return Candles(
        open_ms=1_700_000_040_000 // 60_000 * 60_000 + 60_000 * np.arange(ROWS, dtype=np.int64),
        open=close,
        high=np.round(close * 1.001, 1),
        low=np.round(close * 0.999, 1),
        close=close,
        volume=np.ones(ROWS),
    )
