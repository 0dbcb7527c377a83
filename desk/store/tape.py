"""Candles and funding rates from a single Parquet file, checked as strictly as those from a venue."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow  # pyright: ignore[reportMissingTypeStubs] - pyarrow ships no types
from numpy.typing import NDArray
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

from desk.clock import MINUTE_MS
from desk.errors import BadInput
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, interval_ms
from desk.venues.port import FundingRate

arrow: Any = pyarrow
PRICES = ("open", "high", "low", "close")


def read_tape(
    path: Path,
    *,
    interval: Interval = "1m",
    drop_off_tick: Decimal | None = None,
    volume_in_quote: bool = False,
) -> Candles:
    """Read candles: `open_time` int64 ms UTC, `open high low close volume` float64. Raises `BadInput`.

    Rows must rise in time on the interval's grid, be finite, positive and consistent; holes are
    kept. `drop_off_tick` removes rows whose prices are no multiples of it: lines that a source drew
    over an outage. `volume_in_quote` divides volume by close, for files that count money, not coins.
    """
    table = _read(path, ("open_time", *PRICES, "volume"))
    candles = Candles(
        open_ms=_column(table, "open_time", np.int64),
        open=_column(table, "open", np.float64),
        high=_column(table, "high", np.float64),
        low=_column(table, "low", np.float64),
        close=_column(table, "close", np.float64),
        volume=_column(table, "volume", np.float64),
    )
    _check(path, candles, interval)
    if volume_in_quote:
        in_coins = candles.volume / candles.close
        candles = Candles(
            open_ms=candles.open_ms,
            open=candles.open,
            high=candles.high,
            low=candles.low,
            close=candles.close,
            volume=in_coins,
        )
    return candles if drop_off_tick is None else candles.take(on_tick(candles, drop_off_tick))


def read_funding_tape(path: Path, pair: Pair) -> list[FundingRate]:
    """Read settlements: `funding_time` int64 ms UTC, rounded here to the minute, `rate` float64."""
    table = _read(path, ("funding_time", "rate"))
    stamps = _column(table, "funding_time", np.int64)
    rates = _column(table, "rate", np.float64)
    due_ms = (stamps + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
    if not np.isfinite(rates).all() or (np.diff(due_ms) <= 0).any():
        raise BadInput("tape", f"{path.name}: expected finite rates at rising times")
    return [
        FundingRate(pair=pair, due_ms=int(due), rate=Decimal(str(rate)))
        for due, rate in zip(due_ms.tolist(), rates.tolist(), strict=True)
    ]


def on_tick(candles: Candles, tick: Decimal) -> NDArray[np.bool_]:
    """Whether all four prices are multiples of the tick; bool[N]."""
    fits = np.ones(len(candles), dtype=np.bool_)
    for column in (candles.open, candles.high, candles.low, candles.close):
        ticks = column / float(tick)
        fits &= np.abs(ticks - np.round(ticks)) < 1e-6
    return fits


def _read(path: Path, columns: Sequence[str]) -> Any:
    files: Any = parquet
    try:
        table: Any = files.read_table(path)
    except (OSError, arrow.ArrowException) as wrong:
        raise BadInput("tape", f"{path} could not be read as Parquet: {wrong}") from wrong
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise BadInput("tape", f"{path.name} had no column {missing[0]}, expected {columns}")
    return table


def _column[T: np.generic](table: Any, name: str, kind: type[T]) -> NDArray[T]:
    """A writable copy."""
    return np.array(table[name].to_numpy(), dtype=kind)


def _check(path: Path, candles: Candles, interval: Interval) -> None:
    if not len(candles):
        raise BadInput("tape", f"{path.name} had no rows")
    open_, high, low, close = candles.open, candles.high, candles.low, candles.close
    faults = {
        "times on the interval's grid": candles.open_ms % interval_ms(interval) == 0,
        "rising times": np.diff(candles.open_ms, prepend=candles.open_ms[0] - 1) > 0,
        "prices above 0": low > 0,
        "low ≤ open, close ≤ high": (low <= np.minimum(open_, close))
        & (np.maximum(open_, close) <= high)
        & np.isfinite(high),
        "a finite volume of 0 or more": (candles.volume >= 0) & np.isfinite(candles.volume),
    }
    for expected, fine in faults.items():
        if not fine.all():
            row = int(np.argmin(fine))
            raise BadInput(
                "tape", f"{path.name} row {row} was {candles.row(row)}, expected {expected}"
            )
