"""How a bench measures and what it hands back."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REPETITIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured thing. `ratio` is ours over the floor (or peer); `goal` says which side is good."""

    name: str
    ours: float
    floor: float
    unit: str
    floor_name: str
    goal: str
    met: bool
    notes: dict[str, float | str] = field(default_factory=dict[str, float | str])

    @property
    def ratio(self) -> float:
        """Ours divided by the floor."""
        return self.ours / self.floor if self.floor else float("nan")


def interleaved(
    *calls: Callable[[], object],
    repetitions: int = REPETITIONS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Run the calls A B A B …; returns the seconds of each, warm-up excluded.

    `time.process_time` as the clock counts the seconds of CPU of this process.
    """
    for call in calls:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repetitions):
        for index, call in enumerate(calls):
            began = clock()
            call()
            seconds[index].append(clock() - began)
    return seconds


def median(values: Sequence[float]) -> float:
    """Median of a few repetitions."""
    return statistics.median(values)


def quantile(values: Sequence[float], fraction: float) -> float:
    """Quantile by nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
