"""Columns of candles: the one bulk form in which market data travels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from desk.market.interval import Interval, close_ms
from desk.market.quarantine import RefusedRow

type Floats = NDArray[np.float64]
type Ints = NDArray[np.int64]


class Candle(NamedTuple):
    """One bar. `open_ms` is its first millisecond UTC; volume is in coins."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candles:
    """Columns of equal length N, normally oldest first.

    `open_ms` int64[N]; `open`, `high`, `low`, `close`, `volume` float64[N].
    """

    open_ms: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    refused: tuple[RefusedRow, ...] = ()
    """Only of a batch as it came: rows of it that could not be read, for the quarantine."""
    noted: tuple[str, ...] = ()
    """Only of a batch as it came: codes of what was put right in it while it was read."""

    def __len__(self) -> int:
        return len(self.open_ms)

    def row(self, index: int) -> Candle:
        """The candle at an index (negative counts from the end)."""
        return Candle(
            int(self.open_ms[index]),
            float(self.open[index]),
            float(self.high[index]),
            float(self.low[index]),
            float(self.close[index]),
            float(self.volume[index]),
        )

    def take(self, index: slice | NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """The rows selected by a slice, an index array or a mask."""
        return type(self)(
            open_ms=self.open_ms[index],
            open=self.open[index],
            high=self.high[index],
            low=self.low[index],
            close=self.close[index],
            volume=self.volume[index],
            refused=self.refused,
            noted=self.noted,
        )

    def between(self, start_ms: int, end_ms: int) -> Self:
        """Rows with `start_ms <= open_ms < end_ms`; the rows must be sorted."""
        first, last = np.searchsorted(self.open_ms, [start_ms, end_ms])
        return self.take(slice(int(first), int(last)))

    def equals(self, other: "Candles") -> bool:
        """Whether all rows are the same, to the bit of their values."""
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("open_ms", "open", "high", "low", "close", "volume")
        )

    @classmethod
    def of(cls, rows: Sequence[Candle]) -> Self:
        """Columns of a few rows."""
        values = np.array([row[1:] for row in rows], dtype=np.float64).reshape(len(rows), 5)
        return cls(
            open_ms=np.array([row.open_ms for row in rows], dtype=np.int64),
            open=values[:, 0].copy(),
            high=values[:, 1].copy(),
            low=values[:, 2].copy(),
            close=values[:, 3].copy(),
            volume=values[:, 4].copy(),
        )

    @classmethod
    def empty(cls) -> Self:
        """No candles."""
        return cls.of([])

    @classmethod
    def concat(cls, parts: Sequence["Candles"]) -> Self:
        """All rows of the parts, in the order given."""
        if not parts:
            return cls.empty()
        return cls(
            open_ms=np.concatenate([part.open_ms for part in parts]),
            open=np.concatenate([part.open for part in parts]),
            high=np.concatenate([part.high for part in parts]),
            low=np.concatenate([part.low for part in parts]),
            close=np.concatenate([part.close for part in parts]),
            volume=np.concatenate([part.volume for part in parts]),
            refused=tuple(dict.fromkeys(row for part in parts for row in part.refused)),
            noted=tuple(dict.fromkeys(code for part in parts for code in part.noted)),
        )


def closed_only(candles: Candles, interval: Interval, now_ms: int) -> Candles:
    """Drop every candle whose close time is after `now_ms`: the forming one is never stored."""
    return candles.take(close_ms(candles.open_ms, interval) <= now_ms)


def sorted_unique(candles: Candles) -> Candles:
    """Sort by open time; of rows with one open time the last given wins."""
    newest_first = candles.take(slice(None, None, -1))
    _, first_seen = np.unique(newest_first.open_ms, return_index=True)
    return newest_first.take(first_seen)
