"""What was measured of each release, one file in git per version: the newest run of each bench."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "releases"


def keep(bench: str, record: dict[str, Any], *, folder: Path = FOLDER, of: str = "") -> Path:
    """Put one bench's run in the place of its last one; returns the release's file."""
    path = folder / f"{of or version('raydesk')}.json"
    held: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    folder.mkdir(exist_ok=True)
    path.write_text(json.dumps(held | {bench: record}, indent=1, sort_keys=True) + "\n")
    return path


def all_of(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Runs by bench of every release, newest release first."""
    paths = sorted(folder.glob("*.json"), key=lambda path: _number(path.stem), reverse=True)
    return {path.stem: json.loads(path.read_text()) for path in paths}


def _number(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())
