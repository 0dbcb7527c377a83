"""Which code decides what a training or an evaluation comes to: a hash of it."""

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

_DESK = Path(__file__).parents[1]
_FOLDERS = ("market", "trading", "learning", "evaluation", "engines")
_NO_MATTER = ("sweep", "tuning", "tasks", "sources", "private_ray")
"""Beginnings of the names of files that only say what is run, and in which order."""
_RELEASES = ("ray", "torch", "numpy", "numba", "nautilus_trader")


@cache
def code_sha256() -> str:
    """Hash of the files and of the releases they stand on. Any change of one makes another hash."""
    digest = hashlib.sha256()
    for folder in _FOLDERS:
        for path in sorted((_DESK / folder).glob("*.py")):
            if not path.name.startswith(_NO_MATTER):
                digest.update(f"{folder}/{path.name}\0".encode())
                digest.update(path.read_bytes())
    digest.update("\n".join(f"{name} {version(name)}" for name in _RELEASES).encode())
    return digest.hexdigest()
