"""When the next blow falls, and on whom: random, repeatable, and so that each process has calm hours."""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = "Ray's head"
"""Everything that Ray runs, at once: it ends every actor, so it falls at the beginning of each half."""
HEAD_AT = 0.04
"""Of a half, after its beginning."""
JITTER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """Due so many wall seconds after the beginning."""

    at_s: float
    takes_head: bool
    with_fault: bool
    """Whether the exchange misbehaves meanwhile."""


def blows(seed: int, seconds: float, kills: int) -> list[Blow]:
    """Every kill of a soak, in order; `kills` >= 2, evenly spread but for a jitter.

    The first of each half takes Ray's whole head: what was started after it is watched for its memory.
    """
    if kills < 2:
        raise ValueError(f"kills was {kills}, expected at least 2")
    rng, half, apart = random.Random(seed), seconds / 2, seconds / kills
    heads = [HEAD_AT * half, half + HEAD_AT * half]
    others = [
        (number + 0.5 + JITTER * (rng.random() - 0.5)) * apart
        for number in range(kills - len(heads))
    ]
    found = [Blow(at_s=at_s, takes_head=True, with_fault=False) for at_s in heads] + [
        Blow(
            at_s=at_s * kills / (kills - len(heads)),
            takes_head=False,
            with_fault=rng.random() < 1 / 3,
        )
        for at_s in others
    ]
    return sorted(found, key=lambda blow: blow.at_s)


def is_mortal(name: str, half: int) -> bool:
    """Whether a process may be killed in the first half (0) or the second (1): in the other one it is
    left alone, and its memory is watched."""
    return zlib.crc32(name.encode()) % 2 == half


def choose(rng: random.Random, names: Sequence[str], half: int) -> str | None:
    """One of those that may die now, each as likely as any other; None: there is none."""
    mortal = sorted(name for name in set(names) if is_mortal(name, half))
    return rng.choice(mortal) if mortal else None
