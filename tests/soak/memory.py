"""Whether a process grows: the slope of its own memory over its calm hours."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

WARM_UP_S = 300.0
WARM_UP_FRACTION = 1 / 3
"""Of a process's life so far, whichever is more: what it fills once is no leak, and a leak shows in
what follows as well."""
LEAST_S = 600.0
"""Of watching after the warm-up: over less a slope says nothing."""
MOST_POINTS = 240
BIN_S = 120.0
"""Of each the least counts: between two rounds of a collector a process grows, and no leak is meant."""
HOUR_S, MB = 3_600.0, 1e6

type Reading = tuple[float, int]
"""Wall seconds, bytes."""


def slope_mb_per_hour(readings: Sequence[Reading]) -> float:
    """Median of the slopes between all pairs of readings (Theil 1950, Sen 1968), in 1e6 bytes per hour.

    A single step or spike does not move it. Raises `ValueError` for fewer than two readings.
    """
    if len(readings) < 2:
        raise ValueError(f"{len(readings)} readings were given, expected at least 2")
    step = -(-len(readings) // MOST_POINTS)
    at_s, size = np.array(readings[::step], dtype=float).T
    first, second = np.triu_indices(len(at_s), k=1)
    apart = at_s[second] - at_s[first]
    rises = (size[second] - size[first])[apart > 0] / apart[apart > 0]
    return float(np.median(rises)) * HOUR_S / MB


def lowest(readings: Sequence[Reading]) -> list[Reading]:
    """The least of each whole `BIN_S`, at its beginning."""
    bins: dict[int, int] = {}
    for at_s, size in readings:
        number = int((at_s - readings[0][0]) // BIN_S)
        bins[number] = min(size, bins.get(number, size))
    whole = sorted(bins)[:-1]
    return [(number * BIN_S, bins[number]) for number in whole]


@dataclass(slots=True)
class Watched:
    """Readings by process; a name may have had many."""

    readings: defaultdict[tuple[str, int], list[Reading]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def read(self, name: str, pid: int, at_s: float, size_bytes: int) -> None:
        """Take one reading."""
        self.readings[name, pid].append((at_s, size_bytes))

    def slopes(self) -> dict[str, dict[str, float]]:
        """Of each name, the process that lived longest; without those that were never watched enough."""
        return {
            name: {
                "slope_mb_per_hour": slope_mb_per_hour(lowest(warm)),
                "watched_s": _watched_s(warm),
                "first_mb": warm[0][1] / MB,
                "last_mb": warm[-1][1] / MB,
            }
            for name, warm in self._longest().items()
        }

    def series_mb(self) -> dict[str, list[float]]:
        """What the slopes were taken from: whether a process grows on or has grown once."""
        return {
            name: [round(size / MB, 2) for _, size in lowest(warm)]
            for name, warm in self._longest().items()
        }

    def _longest(self) -> dict[str, list[Reading]]:
        """By name the readings after its warm-up of the process that was watched longest."""
        found: dict[str, list[Reading]] = {}
        for (name, _pid), every in self.readings.items():
            since_s = every[0][0] + max(WARM_UP_S, _watched_s(every) * WARM_UP_FRACTION)
            warm = [reading for reading in every if reading[0] >= since_s]
            if warm and _watched_s(warm) >= max(LEAST_S, _watched_s(found.get(name, warm[:1]))):
                found[name] = warm
        return found


def _watched_s(readings: Sequence[Reading]) -> float:
    return readings[-1][0] - readings[0][0]
