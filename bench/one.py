"""One bench in a process of its own: `python -m bench.one NAME FILE` writes its figures there as JSON."""

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path


def main(name: str, file: str) -> int:
    """Measure and write."""
    figures = importlib.import_module(f"bench.{name}").figures()
    Path(file).write_text(json.dumps([asdict(figure) for figure in figures]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
