"""The environment: steps per CPU second of one core, beside other people's and beside a plain copy.

1,024 lanes, 36 float32 features, fees, slippage and funding, random actions. Ours and the peers'
rounds alternate, on the same candles; CPU seconds, so that a busy machine counts for nobody.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from bench.candles import TAPE
from bench.figures import REPETITIONS, Figure, median
from bench.instrument import BTC
from desk.clock import MINUTE_MS
from desk.learning.arrays import MarketArrays
from desk.learning.env import TradingVectorEnv
from desk.learning.episode import EpisodeSpec
from desk.market.candles import Candles
from desk.market.features import Features
from desk.store.tape import read_tape
from desk.trading.fills import FillSpec
from desk.trading.intents import Protection
from desk.trading.tape import Market

LANES, FEATURES, ROWS = 1_024, 36, 130_000
STEPS = 2_000
"""Calls of `step` in one of our rounds: it takes about as long as a peer's."""
COPY_BYTES = 1 << 25
STEP_BYTES = 4 * FEATURES + 8 * 8 + 4 * (FEATURES + 1)
"""What a step cannot do without: a row of features, a candle, an observation."""
PEERS = (
    ("gym-anytrading", "2.0.0", "gymnasium<1.2", 20_000, 100.0),
    ("gym-trading-env", "0.3.5", "gymnasium<1.2", 6_000, 400.0),
)
PEER_START_S = 400.0
PEER_ROUND_S = 120.0
EXITS = EpisodeSpec(
    protection=Protection(stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.02")),
    leverage=10,
)


def figures() -> Iterator[Figure]:
    """Measure ours, ours with exits, the copy and every peer that can be had, in turns."""
    candles, features, origin = _data()
    rates = [(int(at_ms), Decimal("0.0001")) for at_ms in candles.open_ms[::480]]
    market = Market.of(candles, BTC, FillSpec(), rates)
    arrays = MarketArrays.from_market(market, features)
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as folder:
        tape = Path(folder) / "tape.npz"
        columns = {name: getattr(candles, name) for name in _COLUMNS}
        np.savez(tape, features=features, **columns)  # pyright: ignore[reportArgumentType]
        peers = [_Peer.start(*peer, tape) for peer in PEERS]
        try:
            yield from _measured(arrays, peers, origin)
        finally:
            for peer in peers:
                peer.stop()


def _measured(arrays: MarketArrays, peers: list["_Peer"], origin: str) -> Iterator[Figure]:
    source = np.ones(COPY_BYTES // 8)
    target = source.copy()
    rounds: list[Callable[[], float]] = [
        _steps(arrays, EpisodeSpec()),
        _steps(arrays, EXITS),
        lambda: _copied(source, target),
        *(peer.round for peer in peers),
    ]
    for each in rounds:
        each()
    per_s: list[list[float]] = [[] for _ in rounds]
    for _ in range(REPETITIONS):
        for number, each in enumerate(rounds):
            per_s[number].append(each())
    ours, exits, copied, *others = (median(each) for each in per_s)
    notes: dict[str, float | str] = {
        "candles": origin,
        "lanes": LANES,
        "features": FEATURES,
        "load": os.getloadavg()[0],
    }
    for peer, theirs in zip(peers, others, strict=True):
        name = f"{peer.name} {peer.release}"
        yield Figure(
            name="environment steps per CPU second",
            ours=ours,
            floor=theirs,
            unit="/s",
            floor_name=f"{name}, not measured: {peer.why}" if peer.why else name,
            goal=f"≥ {peer.least:g} x peer",
            met=bool(ours >= peer.least * theirs),  # false for a peer that is away: NaN
            notes=notes,
        )
    yield Figure(
        name="environment beside a plain copy of a step's bytes",
        ours=ours,
        floor=copied,
        unit="/s",
        floor_name=f"memory copy, {STEP_BYTES * copied / 1e9:.1f} GB/s read and written",
        goal="told",
        met=True,
        notes=notes,
    )
    yield Figure(
        name="environment with stop, take-profit and leverage",
        ours=exits,
        floor=ours,
        unit="/s",
        floor_name="ours without",
        goal="told",
        met=True,
        notes=notes,
    )


def _steps(arrays: MarketArrays, spec: EpisodeSpec) -> Callable[[], float]:
    """A round of random actions; the last one sends fees and funding through every lane."""
    env = TradingVectorEnv(arrays, LANES, spec)
    env.reset(seed=1)
    actions = np.random.default_rng(5).integers(0, len(spec.levels), (64, LANES))

    def measure() -> float:
        began = time.process_time()
        for number in range(STEPS):
            env.step(actions[number % len(actions)])
        taken = time.process_time() - began
        if not (np.abs(env.terms()["fees"]).sum() > 0 and (env.equity() != spec.cash).any()):
            raise ValueError("nothing was traded: the round measured something else")
        return STEPS * LANES / taken

    return measure


def _copied(source: np.ndarray, target: np.ndarray) -> float:
    began = time.process_time()
    for _ in range(10):
        np.copyto(target, source)
    return 10 * 2 * COPY_BYTES / STEP_BYTES / (time.process_time() - began)


@dataclass
class _Peer:
    """A peer in a process and an environment of its own; `why` says why it is away."""

    name: str
    release: str
    least: float
    process: subprocess.Popen[str] | None = None
    why: str = ""

    @classmethod
    def start(  # noqa: PLR0917 - one row of PEERS
        cls, name: str, release: str, beside: str, steps: int, least: float, tape: Path
    ) -> "_Peer":
        peer = cls(name, release, least)
        uv = os.environ.get("UV") or shutil.which("uv")
        if not uv:
            peer.why = "there is no uv to make its environment: run it by `make bench`"
            return peer
        command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", "3.12"]
        for package in (f"{name}=={release}", beside, "numpy<2.3", "pandas<3"):
            command += ["--with", package]
        script = str(Path(__file__).with_name("env_peer.py"))
        apart = {
            key: value
            for key, value in os.environ.items()
            if key not in {"PYTHONPATH", "VIRTUAL_ENV"}
        }
        peer.process = subprocess.Popen(
            [*command, "python", script, name, str(tape), str(steps)],
            env=apart,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        peer._answer(PEER_START_S)
        return peer

    def round(self) -> float:
        """Steps per CPU second; NaN for a peer that is away."""
        if self.why or self.process is None or self.process.stdin is None:
            return float("nan")
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        done = self._answer(PEER_ROUND_S)
        return done["steps"] / done["cpu_s"] if done else float("nan")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def _answer(self, wait_s: float) -> dict[str, Any]:
        """Its next line. A peer that ends or takes too long is away from then on."""
        process = self.process
        if process is None or process.stdout is None or process.stderr is None:
            return {}
        watch = threading.Timer(wait_s, process.kill)
        watch.start()
        try:
            line = process.stdout.readline()
        finally:
            watch.cancel()
        if line:
            return json.loads(line)
        said = process.stderr.read().strip().splitlines()
        self.why = said[-1] if said else f"it said nothing for {wait_s:g} s"
        return {}


_COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")


def _data() -> tuple[Candles, Features, str]:
    path = Path(os.environ.get("RAYDESK_DATA", "")) / TAPE
    is_real = path.is_file()
    rng = np.random.default_rng(7)
    candles = _real(path) if is_real else _generated(rng)
    features = rng.normal(0.0, 1.0, (len(candles), FEATURES)).clip(-5.0, 5.0)
    origin = f"real: {TAPE}" if is_real else "generated: set RAYDESK_DATA for real ones"
    return candles, features.astype(np.float32), origin


def _real(path: Path) -> Candles:
    """Its candles one after another: a hole would end the lanes' episodes and not the peers'."""
    candles = read_tape(path).take(slice(0, ROWS))
    start_ms = int(candles.open_ms[0])
    values = {name: getattr(candles, name) for name in _COLUMNS[1:]}
    return Candles(open_ms=start_ms + MINUTE_MS * np.arange(len(candles), dtype=np.int64), **values)


def _generated(rng: np.random.Generator) -> Candles:
    close = np.round(60_000.0 * np.cumprod(1.0 + rng.normal(0.0, 0.0005, ROWS)), 1)
    open_ = np.concatenate([close[:1], close[:-1]])
    return Candles(
        open_ms=1_672_531_200_000 + MINUTE_MS * np.arange(ROWS, dtype=np.int64),
        open=open_,
        high=np.round(np.maximum(open_, close) + 5.0, 1),
        low=np.round(np.minimum(open_, close) - 5.0, 1),
        close=close,
        volume=np.round(rng.gamma(2.0, 3.0, ROWS), 4),
    )
