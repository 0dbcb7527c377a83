"""Compiled rules that were kept on disk are those of the sources beside them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import desk

ASK = "from desk.learning import kernel; print(kernel._lots_to_hold(1.0, 100.0, 100, 96, 0.01, 1, 0.0))"


def held_by(tree: Path) -> int:
    """What a position of 96 lots becomes where 100 are wanted, by the compiled rules of a tree."""
    found = subprocess.run(
        [sys.executable, "-c", ASK],
        env=os.environ | {"PYTHONPATH": str(tree)},
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(found.stdout)


def test_a_rule_changed_in_another_file_is_compiled_anew(tmp_path: Path) -> None:
    whole = Path(desk.__file__).parent
    shutil.copytree(whole, tmp_path / "desk", ignore=shutil.ignore_patterns("__pycache__"))
    intents = tmp_path / "desk" / "trading" / "intents.py"
    before = held_by(tmp_path), held_by(tmp_path)
    kept = list(tmp_path.rglob("*.nbc"))

    text = intents.read_text("utf-8")
    intents.write_text(text.replace("REBALANCE_BAND = 0.2", "REBALANCE_BAND = 0.01"), "utf-8")

    assert kept
    assert before == (96, 96)
    assert held_by(tmp_path) == 100
