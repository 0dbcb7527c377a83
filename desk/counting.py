"""Counters and histograms of this process: a few additions in memory, which wait for nothing.

Labels come from small fixed sets; a family that would grow beyond `MOST_SERIES` gathers the rest under
`other`, so that no mistake of a caller fills the memory of an actor or of a Prometheus.
"""

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_SERIES = 500
OTHER = "other"

type Labels = tuple[str, ...]
type Values = tuple[float, ...]
"""Of a counter its sum; of a histogram how many fell into each bucket, the last without a bound, and
the sum of what was observed. Values of one family add up place by place."""
type Counts = Mapping[str, Mapping[Labels, Values]]
"""By family and labels."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One family. Thread-safe."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds, inclusive, ascending; none: it is a counter."""

    def count(self, *labels: str, by: float = 1.0) -> None:
        """Add to a counter; less than nothing, and what is no number, is nothing."""
        if by > 0:
            _HERE.add(self, labels, (by,))

    def observe(self, value: float, *labels: str) -> None:
        """Note a value of a histogram; what is no number falls into no bucket."""
        if value == value:  # noqa: PLR0124 - false for NaN
            found = [0.0] * (len(self.buckets) + 2)
            found[bisect_left(self.buckets, value)] = 1.0
            found[-1] = value
            _HERE.add(self, labels, tuple(found))


class _Here:
    """The counts of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, dict[Labels, Values]] = {}

    def add(self, meter: Meter, labels: Labels, values: Values) -> None:
        if len(labels) != len(meter.labels):
            raise ValueError(f"{meter.name} has the labels {meter.labels}, was given {labels}")
        with self._lock:
            series = self._series.setdefault(meter.name, {})
            if labels not in series and len(series) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            before = series.get(labels)
            series[labels] = values if before is None else _sum(before, values)

    def counts(self) -> Counts:
        with self._lock:
            return {name: dict(series) for name, series in self._series.items()}


_HERE = _Here()


def counted() -> Counts:
    """Everything that this process has counted since it began."""
    return _HERE.counts()


def added(first: Counts, second: Counts) -> Counts:
    """The sum of two counts; a series whose buckets are others by now is taken from `second` alone."""
    found = {name: dict(series) for name, series in first.items()}
    for name, series in second.items():
        into = found.setdefault(name, {})
        for labels, values in series.items():
            before = into.get(labels, ())
            into[labels] = _sum(before, values) if len(before) == len(values) else values
    return found


def since(now: Counts, before: Counts) -> Counts:
    """What one process counted between two readings; series without news are left out."""
    found: dict[str, Mapping[Labels, Values]] = {}
    for name, series in now.items():
        known = before.get(name, {})
        fresh = {
            labels: _sum(values, tuple(-value for value in known[labels]))
            if labels in known
            else values
            for labels, values in series.items()
            if known.get(labels) != values
        }
        if fresh:
            found[name] = fresh
    return found


def as_document(counts: Counts) -> dict[str, Any]:
    """Counts as the store keeps them."""
    return {
        name: [[list(labels), list(values)] for labels, values in series.items()]
        for name, series in counts.items()
    }


def from_document(document: Mapping[str, Any]) -> Counts:
    """Counts as they were before `as_document`."""
    return {
        name: {tuple(labels): tuple(values) for labels, values in rows}
        for name, rows in document.items()
    }


def _sum(first: Values, second: Values) -> Values:
    return tuple(a + b for a, b in zip(first, second, strict=True))
