"""Rolling windows whose bytes depend on nothing but the candles inside the window.

Each window is added up oldest value first, for one row as for a million, and no running sum is
carried from row to row. That is why a feature computed live on its trailing window equals the one
computed over all history, bit for bit. Only operations that IEEE 754 rounds exactly are used
(plus, minus, times, divided by, square root, comparisons), so that the processor makes no difference either.
"""

from collections.abc import Callable
from functools import cached_property

import numpy as np

from desk.market.candles import Candles, Floats

FEW_ROWS = 16
"""Up to this many rows one pass per window is quicker than one pass per lag."""


class Rows:
    """The candles that have `lookback - 1` candles before them, each with its windows.

    Every method returns one float64 per such row, oldest row first.
    """

    def __init__(self, candles: Candles, lookback: int) -> None:
        self.candles = candles
        self._first = lookback - 1
        self._count = len(candles) - self._first
        self._offset_means: dict[int, Floats] = {}
        self._deviations: dict[int, Floats] = {}
        self._volatilities: dict[int, Floats] = {}

    @cached_property
    def close(self) -> Floats:
        """Close of the row."""
        return self.lag(self.candles.close, 0)

    def lag(self, column: Floats, candles: int) -> Floats:
        """The column's value `candles` candles before the row."""
        return column[self._first - candles : self._first - candles + self._count]

    def mean(self, column: Floats, size: int) -> Floats:
        """Mean of the last `size` values."""
        return self._total(column, size, lambda values, _: values) / size

    def offset_mean(self, size: int) -> Floats:
        """Mean close of the last `size` candles, minus the row's close: exactly 0 in a flat market."""
        if size not in self._offset_means:
            total = self._total(
                self.candles.close, size, lambda values, row: values - self.close[row]
            )
            self._offset_means[size] = total / size
        return self._offset_means[size]

    def deviation(self, size: int) -> Floats:
        """Standard deviation (of the population) of the last `size` closes."""
        if size not in self._deviations:
            center = self.close + self.offset_mean(size)
            total = self._total(
                self.candles.close, size, lambda values, row: _square(values - center[row])
            )
            self._deviations[size] = np.sqrt(total / size)
        return self._deviations[size]

    def volatility(self, size: int) -> Floats:
        """Root mean square of the last `size` one-candle returns."""
        if size not in self._volatilities:
            total = self._total(self._returns, size, lambda values, _: _square(values))
            self._volatilities[size] = np.sqrt(total / size)
        return self._volatilities[size]

    def highest(self, size: int) -> Floats:
        """Highest high of the last `size` candles."""
        return self._extreme(self.candles.high, size, np.maximum)

    def lowest(self, size: int) -> Floats:
        """Lowest low of the last `size` candles."""
        return self._extreme(self.candles.low, size, np.minimum)

    @cached_property
    def _returns(self) -> Floats:
        close = self.candles.close
        returns = np.zeros_like(close)  # the first candle has none, and no full window reaches it
        returns[1:] = (close[1:] - close[:-1]) / close[:-1]
        return returns

    def _total(
        self, column: Floats, size: int, term: Callable[[Floats, slice | int], Floats]
    ) -> Floats:
        if self._count <= FEW_ROWS:
            totals = np.empty(self._count)
            for row in range(self._count):
                last = self._first + row
                totals[row] = np.add.accumulate(term(column[last - size + 1 : last + 1], row))[-1]
            return totals
        every = slice(None)
        total = term(self.lag(column, size - 1), every).copy()
        for candles in range(size - 2, -1, -1):
            total += term(self.lag(column, candles), every)
        return total

    def _extreme(self, column: Floats, size: int, pick: np.ufunc) -> Floats:
        if self._count <= FEW_ROWS:
            ends = range(self._first + 1, self._first + 1 + self._count)
            return np.array([pick.reduce(column[end - size : end]) for end in ends])
        best = self.lag(column, 0)
        for candles in range(1, size):
            best = pick(best, self.lag(column, candles))
        return best


def _square(values: Floats) -> Floats:
    return values * values


def evenly_spaced(candles: Candles, lookback: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether the `lookback` candles that end at a row stand at one distance: no hole; bool[T].

    False for the first `lookback - 1` rows.
    """
    even = np.zeros(len(candles), dtype=np.bool_)
    if len(candles) < lookback:
        return even
    steps = np.diff(candles.open_ms)
    breaks = np.concatenate([[0, 0], np.cumsum(steps[1:] != steps[:-1])])[: len(candles)]
    even[lookback - 1 :] = breaks[lookback - 1 :] == breaks[1 : len(candles) - lookback + 2]
    return even
