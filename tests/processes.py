"""Processes of a test's own session."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from desk.cli.processes import marked

HEAD_PARTS = ("start\0--head", "gcs_server", "raylet/raylet", "ray::")
"""What the command lines of Ray's head and of all that it starts have in them."""


def said_by(script: str, **started: Any) -> str:
    """What a Python script prints in a process of its own; `started` is how, as `subprocess.run` has it."""
    ran = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        **started,
    )
    return ran.stdout


def descendants(*pids: int) -> set[int]:
    """Every process that these started, and theirs."""
    children: dict[int, set[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(folder.name))
    found, left = set[int](), list(pids)
    while left:
        born = children.get(left.pop(), set())
        found |= born
        left += born
    return found


def processes_named(name: str) -> list[int]:
    """Ray workers of this test's own session with this title."""
    found: list[int] = []
    for pid in sorted(descendants(os.getpid())):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(name.encode()):
            found.append(pid)
    return found


def processes_of(home: Path) -> list[int]:
    """Every process that was started for this home, by its environment, and what those started: an agent of
    Ray's writes its title over its environment."""
    found = marked(f"DESK_HOME={home}")
    return sorted({*found, *descendants(*found)})


def command_of(pid: int) -> str:
    """The command line, its words apart by NUL; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


def head_of(home: Path) -> list[int]:
    """The head as a machine loses it: Ray's parent process and everything it keeps alive."""
    return [
        pid for pid in processes_of(home) if any(part in command_of(pid) for part in HEAD_PARTS)
    ]
