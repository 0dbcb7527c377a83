"""When the next blow falls, and on whom: random, repeatable, and so that each process has calm hours.

In the first part whatever Ray itself runs dies too, and with each its whole head, which ends every
actor, and Serve's own: they grow by the hours of the wall, of which the longer rest has more. In the
second and the third the others die, half of them in each: the other half lives on, and its memory is watched.
"""

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = "Ray's head"
"""Everything that Ray runs, at once."""
PARTS = (0.0, 0.25, 0.625)
"""Where each part begins, of the whole."""
JITTER = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """Due so many wall seconds after the beginning."""

    at_s: float
    takes_head: bool
    with_fault: bool
    """Whether the exchange misbehaves meanwhile."""


def blows(seed: int, seconds: float, kills: int) -> list[Blow]:
    """Every kill of a soak, in order; `kills` >= 2, evenly spread but for a jitter. The first takes
    Ray's whole head."""
    if kills < 2:
        raise ValueError(f"kills was {kills}, expected at least 2")
    rng, apart = random.Random(seed), seconds / kills
    return [
        Blow(
            at_s=(number + 0.5 + JITTER * (rng.random() - 0.5)) * apart,
            takes_head=number == 0,
            with_fault=number > 0 and rng.random() < 1 / 3,
        )
        for number in range(kills)
    ]


def part_at(at_s: float, seconds: float) -> int:
    """Which part a moment is in: 0, 1 or 2."""
    return sum(at_s >= begin * seconds for begin in PARTS) - 1


def is_mortal(name: str, part: int, *, only_at_first: bool) -> bool:
    """Whether a process may be killed in that part; in the others it is left alone, and watched in the
    later two."""
    if part == 0:
        return True
    return not only_at_first and zlib.crc32(name.encode()) % 2 == part - 1


def choose(rng: random.Random, mortal: Sequence[str]) -> str | None:
    """One of those that may die now, each as likely as any other; None: there is none."""
    names = sorted(set(mortal))
    return rng.choice(names) if names else None
