"""Where the series of a recursive feature begins: the same for a row live and in history.

The grid of candles is cut into epochs of `every` candles since 1970. The series of a row begins
`warm_up` candles before its epoch, whatever else is stored, so a value is a function of the candles
from there to the row and has a memory of at most `every + warm_up` candles.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.market.candles import Candles, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Part of a feature set's definition, all in candles.

    A hole of at most `most_filled` candles becomes flat candles without volume at the last close. A
    longer one ends the series: the next begins behind it, and its rows have no features before
    `warm_up` candles of it are there.
    """

    every: int
    warm_up: int
    most_filled: int

    @property
    def lookback(self) -> int:
        """Candles that say everything about one row, its own included.

        One `warm_up` more than the series is long: whether a series that does not begin at its
        anchor begins behind a hole, or only where reading began, is seen from an earlier candle.
        """
        return self.every + 2 * self.warm_up


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stretch:
    """One series without a hole, from its first candle on, N candles long."""

    candles: Candles
    """Filled ones included."""
    first_slot: int
    """Place of its first candle in the grid: open time over candle length."""
    first_row: int
    """From here on (in `candles`) rows have features: `warm_up`."""
    is_real: NDArray[np.bool_]
    """bool[N]: not filled in."""
    at: Ints
    """int64: place among the candles it was cut from of each real row from `first_row` on."""


def stretches(candles: Candles, anchor: Anchor, step_ms: int) -> Iterator[Stretch]:
    """Cut sorted candles into series, oldest first; only those that have a row with features.

    Every row that can have features is in one of them. Raises `BadInput` for candles that are not
    sorted, off the grid or not finite.
    """
    check_candles(candles, step_ms)
    if not len(candles):
        return
    first, last = (int(candles.open_ms[at]) // step_ms // anchor.every for at in (0, -1))
    for epoch in range(first, last + 1):
        yield from _of_epoch(candles, anchor, step_ms, epoch)


def last_stretch(candles: Candles, anchor: Anchor, step_ms: int) -> Stretch | None:
    """The series of the newest candle, or None where it has no features. Raises as `stretches`."""
    check_candles(candles, step_ms)
    if not len(candles):
        return None
    newest = int(candles.open_ms[-1]) // step_ms // anchor.every
    found = list(_of_epoch(candles, anchor, step_ms, newest))
    return found[-1] if found and int(found[-1].at[-1]) == len(candles) - 1 else None


def _of_epoch(candles: Candles, anchor: Anchor, step_ms: int, epoch: int) -> Iterator[Stretch]:
    begin = epoch * anchor.every
    start = begin - anchor.warm_up
    limits_ms = [(start - anchor.warm_up) * step_ms, (begin + anchor.every) * step_ms]
    low, high = np.searchsorted(candles.open_ms, limits_ms).tolist()
    seen = _slots(candles.open_ms[low:high], step_ms)
    if not len(seen) or seen[-1] < begin:
        return
    ends = np.flatnonzero(np.diff(seen) - 1 > anchor.most_filled) + 1
    edges = [0, *ends.tolist(), len(seen)]
    for number, (first, stop) in enumerate(pairwise(edges)):
        if number == 0 and seen[first] > start:
            continue  # it may begin where reading began
        first_slot = max(int(seen[first]), start)
        if seen[stop - 1] - first_slot >= anchor.warm_up:
            part = slice(low + first, low + stop)
            yield _stretch(candles, seen[first:stop], part, first_slot, anchor, step_ms)


def _slots(open_ms: Ints, step_ms: int) -> Ints:
    """Slots of rising open times on the grid."""
    if not len(open_ms):
        return open_ms
    first, last = int(open_ms[0]) // step_ms, int(open_ms[-1]) // step_ms
    if last - first == len(open_ms) - 1:
        return np.arange(first, last + 1)
    return open_ms // step_ms


def _stretch(  # noqa: PLR0917 - one place that puts a series together
    candles: Candles, inside: Ints, part: slice, first_slot: int, anchor: Anchor, step_ms: int
) -> Stretch:
    length = int(inside[-1]) - first_slot + 1
    skipped, valid = np.searchsorted(inside, [first_slot, first_slot + anchor.warm_up]).tolist()
    begin, end = int(part.start), int(part.stop)
    rows = slice(begin + skipped, end)
    if end - begin - skipped == length:
        whole, is_real = candles.take(rows), np.ones(length, dtype=np.bool_)
    else:
        whole, is_real = _filled(candles.take(part), inside, first_slot, length, step_ms)
    at: Ints = np.arange(begin + valid, end, dtype=np.int64)
    return Stretch(
        candles=whole,
        first_slot=first_slot,
        first_row=anchor.warm_up,
        is_real=is_real,
        at=at,
    )


def _filled(
    candles: Candles, slots: Ints, first_slot: int, length: int, step_ms: int
) -> tuple[Candles, NDArray[np.bool_]]:
    """Every slot of the grid, missing ones as flat candles; the first may be one."""
    grid = np.arange(first_slot, first_slot + length)
    source = np.searchsorted(slots, grid, side="right") - 1
    is_real = slots[source] == grid
    close = candles.close[source]
    filled = Candles(
        open_ms=grid * step_ms,
        open=np.where(is_real, candles.open[source], close),
        high=np.where(is_real, candles.high[source], close),
        low=np.where(is_real, candles.low[source], close),
        close=close,
        volume=np.where(is_real, candles.volume[source], 0.0),
    )
    return filled, is_real


def check_candles(candles: Candles, step_ms: int) -> None:
    """Raise `BadInput` naming the column unless candles rise on the grid and are finite."""
    for first in range(0, len(candles), _CHECKED):
        part = candles.take(slice(first, first + _CHECKED + 1))
        _check_grid(part.open_ms, step_ms)
        for name in ("open", "high", "low", "close", "volume"):
            column = getattr(part, name)
            with np.errstate(over="ignore", invalid="ignore"):
                if isfinite(float(column.sum())):  # that of all is, so they are; quick
                    continue
            odd = np.flatnonzero(~np.isfinite(column))
            if len(odd):
                open_ms = int(part.open_ms[odd[0]])
                raise BadInput(name, f"of the candle at {open_ms} was not finite: refetch it")


def _check_grid(open_ms: Ints, step_ms: int) -> None:
    if open_ms[0] % step_ms == 0 and bool((np.diff(open_ms) == step_ms).all()):
        return  # one step after another: most are, and to divide each takes longer
    off = open_ms[open_ms % step_ms != 0]
    if len(off):
        problem = f"{int(off[0])} was not on the grid of {step_ms} ms"
        raise BadInput("open_ms", f"{problem}: refetch it")
    if not bool(np.all(open_ms[1:] > open_ms[:-1])):
        raise BadInput("open_ms", "was not rising: sort the candles, each open time once")


_CHECKED = 16_384
"""Candles looked at at once: what is worked out about them stays in the processor's cache."""
