"""The command line of the simulator."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn, cast, override

from bingx_sim.errors import BadOption
from bingx_sim.exchange import Habits
from bingx_sim.instruments import MOST_EXTRA
from bingx_sim.simulator import Plan

EARLIEST_MS = 1_293_840_000_000  # order ids count from the end of 2010
LATEST_MS = 4_102_444_800_000
DEFAULT_ACCOUNT = "sim-key:sim-secret:10000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Where to listen, what to run, which faults to begin with."""

    host: str
    port: int
    control_port: int
    ready_file: Path | None
    faults: dict[str, Any]
    plan: Plan


class _Parser(argparse.ArgumentParser):
    """A parser that reports a bad argument as one sentence."""

    @override
    def error(self, message: str) -> NoReturn:
        raise BadOption(message)


def parse(argv: Sequence[str]) -> Options:
    """Read the command line; anything wrong is a BadOption."""
    parser = _Parser(prog="bingx_sim", description="An exchange that speaks BingX's swap wire.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free port")
    add("--control-port", type=int, default=0, help="0 takes a free port")
    add("--speed", type=float, default=30.0, help="market seconds per wall second")
    add("--seed", type=int, default=7)
    add("--start-ms", type=int, help="market time at the start; default: the wall's")
    add("--edge", type=float, default=0.0, help="planted drift, in deviations of a minute")
    add("--tape", type=Path, action="append", default=[], help="Parquet file of 1m candles")
    add("--tape-pair", action="append", default=[], help="pair of the tape; default BTC-USDT")
    add("--tape-volume", choices=("auto", "coins", "usd"), default="auto")
    add("--account", action="append", default=[], help=f"key:secret:USDT, {DEFAULT_ACCOUNT}")
    add("--limits", choices=("on", "off"), default="on", help="request limits")
    add("--rate-budget", type=int, default=0, help="requests in 10 s the rate headers speak of")
    add("--extra-pairs", type=int, default=0, help="list so many made-up perpetuals more")
    add("--visibility-lag-ms", type=int, default=0, help="wall ms until an order can be queried")
    add("--state", type=Path, help="file that keeps the venue over a restart")
    add("--faults", type=Path, help="JSON file of fault rules")
    add("--ready-file", type=Path, help="file that gets the line with the URLs")
    chosen = parser.parse_args(argv)
    if chosen.seed < 0:
        raise BadOption(f"seed is {chosen.seed}; it must be 0 or more")
    if chosen.start_ms is not None and not EARLIEST_MS <= chosen.start_ms <= LATEST_MS:
        text = f"start-ms is {chosen.start_ms}; it must be milliseconds between 2011 and 2100"
        raise BadOption(text)
    for name, most in (("rate_budget", 1_000_000), ("extra_pairs", MOST_EXTRA)):
        if not 0 <= getattr(chosen, name) <= most:
            raise BadOption(f"{name} is {getattr(chosen, name)}; it must be 0 to {most}")
    for name in ("port", "control_port"):
        if not 0 <= getattr(chosen, name) <= 65_535:
            raise BadOption(f"{name} is {getattr(chosen, name)}; it must be 0 to 65535")
    plan = Plan(
        seed=chosen.seed,
        speed=chosen.speed,
        edge=chosen.edge,
        start_ms=chosen.start_ms,
        tapes=_tapes(chosen.tape, chosen.tape_pair or ["BTC-USDT"] * len(chosen.tape)),
        tape_volume=chosen.tape_volume,
        accounts=tuple(_account(text) for text in chosen.account or [DEFAULT_ACCOUNT]),
        limits=chosen.limits == "on",
        rate_budget=chosen.rate_budget,
        extra_pairs=chosen.extra_pairs,
        habits=Habits(visibility_lag_ms=chosen.visibility_lag_ms),
        state=chosen.state,
    )
    return Options(
        host=chosen.host,
        port=chosen.port,
        control_port=chosen.control_port,
        ready_file=chosen.ready_file,
        faults=_faults(chosen.faults),
        plan=plan,
    )


def _tapes(files: list[Path], pairs: list[str]) -> tuple[tuple[str, Path], ...]:
    if len(files) != len(pairs):
        raise BadOption(f"{len(files)} tapes but {len(pairs)} pairs; give --tape-pair for each")
    return tuple(zip(pairs, files, strict=True))


def _account(text: str) -> tuple[str, str, Decimal]:
    parts = text.split(":")
    try:
        key, secret, cash = parts[0], parts[1], Decimal(parts[2])
    except (IndexError, ArithmeticError):
        raise BadOption("an account must look like key:secret:USDT") from None
    if len(parts) != 3 or not key or not secret or not cash >= 0:
        raise BadOption("an account must look like key:secret:USDT")
    return key, secret, cash


def _faults(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {"rules": []}
    try:
        parsed: Any = json.loads(path.read_text())
    except (OSError, ValueError) as problem:
        raise BadOption(f"the fault plan {path} cannot be read: {problem}") from None
    if isinstance(parsed, list):
        return {"rules": cast("list[Any]", parsed)}
    if not isinstance(parsed, dict):
        raise BadOption(f"the fault plan {path} must be a JSON list of rules")
    return cast("dict[str, Any]", parsed)
