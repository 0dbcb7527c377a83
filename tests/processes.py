"""Processes of a test's own session."""

import os
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """Every process that this one started, and theirs."""
    children: dict[int, set[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, set()).add(int(folder.name))
    found, left = set[int](), [pid]
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
