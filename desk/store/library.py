"""The function library as the server gets it: the source with the table of legal moves filled in."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from desk.learning.versions import MOVES
from desk.trading.orders import TERMINAL, TRANSITIONS

VERSION = 5
"""Rises whenever an older program must not work with the newer functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """Source text of the functions, their version and the digest that tells two builds apart."""

    source: str
    version: int
    digest: str


@cache
def library() -> Library:
    """Read `functions/desk.lua` and put in the legal moves of orders and of versions."""
    template = files("desk.store").joinpath("functions/desk.lua").read_text("utf-8")
    legal = sorted(
        f"{before.value}>{after.value}"
        for before, targets in TRANSITIONS.items()
        for after in targets
    )
    moves = sorted(
        f"{before.value}>{after.value}" for before, targets in MOVES.items() for after in targets
    )
    source = (
        template.replace("@LEGAL@", _set(legal))
        .replace("@TERMINAL@", _set(sorted(state.value for state in TERMINAL)))
        .replace("@VERSION_MOVES@", _set(moves))
        .replace("@VERSION@", str(VERSION))
    )
    digest = hashlib.sha256(source.encode()).hexdigest()[:16]
    return Library(source=source.replace("@DIGEST@", digest), version=VERSION, digest=digest)


def _set(names: list[str]) -> str:
    return ", ".join(f"['{name}']=true" for name in names)
