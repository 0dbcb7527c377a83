"""Bars of several candles, made of closed candles only and aligned to the grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from desk.market.anchors import Stretch
from desk.market.candles import Floats, Ints

_EACH_ITS_OWN: Ints = np.empty(0, dtype=np.int64)

type Inputs = tuple[str, ...]
"""Columns an indicator is called with: `open` … `volume`, or `filled`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bars:
    """float64[B] columns of whole bars, oldest first, and which of them a row sees last."""

    size: int
    """Candles in a bar."""
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    filled: Floats
    """How many of its candles were filled in, as a fraction."""
    newest: Ints
    """int64[R]: the newest bar that had closed with each row; -1 before the first. Empty where a bar
    is a candle: each row's own."""

    def columns(self, names: Inputs) -> tuple[Floats, ...]:
        """The columns of these names."""
        return tuple(getattr(self, name) for name in names)


class BarsOf:
    """The bars of one stretch by size, each made once; rows are those from `first_row` on."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._made: dict[int, Bars] = {}

    def __getitem__(self, size: int) -> Bars:
        if size not in self._made:
            self._made[size] = self._candles if size == 1 else self._grouped(size)
        return self._made[size]

    @cached_property
    def _candles(self) -> Bars:
        stretch, candles = self._stretch, self._stretch.candles
        return Bars(
            size=1,
            open=candles.open,
            high=candles.high,
            low=candles.low,
            close=candles.close,
            volume=candles.volume,
            filled=(~stretch.is_real).astype(np.float64),
            newest=_EACH_ITS_OWN,
        )

    def _grouped(self, size: int) -> Bars:
        stretch, one = self._stretch, self._candles
        skipped = -stretch.first_slot % size
        count = max((len(one.close) - skipped) // size, 0)
        grid = slice(skipped, skipped + count * size)

        def of(column: Floats) -> Floats:
            return column[grid].reshape(count, size)

        slots = stretch.first_slot + np.arange(stretch.first_row, len(one.close))
        first_bar = (stretch.first_slot + skipped) // size
        return Bars(
            size=size,
            open=of(one.open)[:, 0].copy(),
            high=of(one.high).max(axis=1, initial=-np.inf),
            low=of(one.low).min(axis=1, initial=np.inf),
            close=of(one.close)[:, -1].copy(),
            volume=_added(of(one.volume)),
            filled=_added(of(one.filled)) / size,
            newest=np.maximum((slots + 1) // size - 1 - first_bar, -1),
        )


def _added(columns: Floats) -> Floats:
    """Sums of rows, oldest value first: `sum` adds in an order that depends on the length."""
    total = columns[:, 0].copy()
    for column in range(1, columns.shape[1]):
        total += columns[:, column]
    return total
