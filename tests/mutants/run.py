"""`python -m tests.mutants.run`: plant each fault in a copy of the tree and see who notices.

A mutant is killed when one of the layers below fails: storms with every part at work, storms without
the reconciler, directed runs, and the tests of the core. `--only NAME` runs one; the table goes to
standard output, the details to `bench/results/mutants.json`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import Progress

from tests.mutants.planted import PAIRS, PLANTED, SHIELDS, Mutant

PROJECT = Path(__file__).parents[2]
COPIED = ("desk", "actors", "bingx_sim", "serve_apps", "tune_configs", "tests", "docs")
SEEDS = int(os.environ.get("RAYDESK_MUTANT_SEEDS", "600"))
FIRST = 5_000_000
PATIENCE_S = 420
WANTED_SCORE = 0.95
TIMED_OUT = "timed out"

STORM = ["-m", "tests.dst.run", "--first", str(FIRST), "--count", str(SEEDS), "--stop-at-failure"]
PYTEST = ["-m", "pytest", "-q", "-x", "-p", "no:randomly", "-p", "no:cacheprovider"]
LAYERS = {
    "storms": STORM,
    "tests of the core": [
        *PYTEST,
        "tests/desk/trading",
        "tests/desk/test_ids.py",
        "tests/actors/test_order_executor.py",
        "tests/actors/test_placement.py",
        "tests/actors/test_risk_ledger.py",
        "tests/actors/test_reconciler.py",
        "tests/actors/test_control.py",
        "tests/contracts",
    ],
    "storms without the reconciler": [*STORM, "--without-reconciler"],
    "directed runs": [
        *PYTEST,
        "tests/dst/test_single_faults.py",
        "tests/dst/test_crash_points.py",
    ],
}
"""In the order in which they are asked: who is likely to notice soon comes first."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who noticed a mutant first; nobody: it survived."""

    name: str
    breaks: str
    killed_by: str
    evidence: str
    seconds: float


def planted(root: Path, mutant: Mutant) -> None:
    """Replace the text in a copy. Raises ValueError when it does not occur exactly once."""
    path = root / mutant.path
    text = path.read_text()
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.path} has its text {text.count(mutant.old)} times"
        )
    path.write_text(text.replace(mutant.old, mutant.new))


def copied(root: Path) -> None:
    for name in COPIED:
        shutil.copytree(
            PROJECT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "artifacts")
        )
    shutil.copy(PROJECT / "pyproject.toml", root)


def judged(name: str, mutants: Sequence[Mutant], breaks: str) -> Verdict:
    """Plant the faults in a fresh copy and ask layer after layer."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rd-mutant-") as folder:
        root = Path(folder)
        copied(root)
        for mutant in mutants:
            planted(root, mutant)
        killed_by, evidence = _first_killer(root)
    return Verdict(name, breaks, killed_by, evidence, round(time.monotonic() - began_s, 1))


def _first_killer(root: Path) -> tuple[str, str]:
    for layer, command in LAYERS.items():
        environment = os.environ | {
            "PYTHONPATH": str(root),
            "PYTHONDONTWRITEBYTECODE": "1",
            "RAYDESK_STORE_SEQUENCES": "100",
        }
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=root,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return f"{layer}: {TIMED_OUT}", f"not done in {PATIENCE_S} s"
        if done.returncode != 0:
            lines = (done.stdout + done.stderr).strip().splitlines()
            told = [line for line in lines if line.startswith(("seed ", "E  ", "FAILED"))]
            return layer, (told or lines or ["it failed"])[0][:300]
    return "", ""


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("--only", action="append", default=[], help="name of a mutant")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 2)
    given = parser.parse_args(words)
    work = [(one.name, [one], one.breaks) for one in PLANTED]
    by_name = {one.name: one for one in PLANTED}
    work += [
        (f"{name} without {shield}", [by_name[name], SHIELDS[shield]], by_name[name].breaks)
        for name, shield in PAIRS
    ]
    if given.only:
        work = [each for each in work if each[0] in given.only]
        if not work:
            parser.error(f"no mutant is named {', '.join(given.only)}")
    sound = judged("nothing planted", [], "")
    if sound.killed_by:
        parser.error(f"{sound.killed_by} fail without any mutant: {sound.evidence}")
    with ThreadPoolExecutor(given.workers) as pool, Progress() as progress:
        bar = progress.add_task("mutants", total=len(work))
        verdicts: list[Verdict] = []
        for job in as_completed([pool.submit(judged, *each) for each in work]):
            verdicts.append(job.result())
            progress.console.print(line_of(verdicts[-1]), highlight=False, soft_wrap=True)
            progress.advance(bar)
    return report(verdicts)


def line_of(verdict: Verdict) -> str:
    """Who noticed a mutant, and what it said."""
    said = verdict.killed_by or "SURVIVED"
    return f"{verdict.name:42} {said:30} {verdict.seconds:5.0f} s  {verdict.evidence[:110]}"


def report(verdicts: list[Verdict]) -> int:
    """Print the survivors and the score; exit status 1 below the wanted one.

    A layer that never ended counts as one that noticed, but is named: it may as well be a slow machine.
    """
    for verdict in verdicts:
        if not verdict.killed_by:
            sys.stdout.write(f"survived: {verdict.name}: {verdict.breaks}\n")
        if verdict.killed_by.endswith(TIMED_OUT):
            sys.stdout.write(f"timed out: {verdict.name}: {verdict.breaks}\n")
    killed = sum(bool(verdict.killed_by) for verdict in verdicts)
    score = killed / len(verdicts)
    sys.stdout.write(f"{killed} of {len(verdicts)} killed: {score:.1%}\n")
    results = PROJECT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    rows = [asdict(verdict) for verdict in verdicts]
    (results / "mutants.json").write_text(json.dumps({"score": score, "mutants": rows}, indent=1))
    return 0 if score >= WANTED_SCORE else 1


if __name__ == "__main__":
    sys.exit(main())
