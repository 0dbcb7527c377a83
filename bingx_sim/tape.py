"""A recorded market as a source of days: a Parquet file of 1m candles mapped onto the clock."""

import subprocess
import sys
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bingx_sim.clock import MINUTE_MS
from bingx_sim.errors import BadOption
from bingx_sim.generator import CLOSE, HIGH, LOW, MINUTES_PER_DAY, OPEN, VOLUME, Rows
from bingx_sim.instruments import Contract
from bingx_sim.market import DaySource, Present

COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
USD_VOLUME = 100_000.0
"""A median minute above this is taken for a notional: no listed coin trades so many pieces."""
HISTORY_SHARE = 0.6


class TapeSource:
    """Replay a tape: its first part is history, the rest follows the start.

    The shift is a whole number of days, so that funding and hours of the day keep their places.
    After the tape's end `after` goes on, scaled to the last price.
    """

    def __init__(
        self, contract: Contract, path: Path, *, start_ms: int, volume: str, after: DaySource
    ) -> None:
        times, columns = _read(path)
        minutes = times // MINUTE_MS
        split = int(minutes[0]) + int((minutes[-1] - minutes[0]) * HISTORY_SHARE)
        days = round((start_ms // MINUTE_MS - split) / MINUTES_PER_DAY)
        self._first = int(minutes[0]) + days * MINUTES_PER_DAY
        self.first_ms = self._first * MINUTE_MS
        place = (minutes - minutes[0]).astype(np.int64)
        self._rows = _filled(contract, place, columns, volume)
        self._present: Present = np.zeros(len(self._rows), dtype=np.bool_)
        self._present[place] = True
        self._after = after
        self._scale = self._scale_of_sequel()
        self.day = lru_cache(maxsize=32)(self._day)

    def _day(self, day: int) -> tuple[Rows, Present]:
        begin = day * MINUTES_PER_DAY - self._first
        rows, present = self._after.day(day)
        rows = rows.copy()
        rows[:, : CLOSE + 1] = np.maximum(np.rint(rows[:, : CLOSE + 1] * self._scale), 1)
        present = present.copy()
        present[: max(0, min(-begin, MINUTES_PER_DAY))] = False
        first, last = max(begin, 0), min(begin + MINUTES_PER_DAY, len(self._rows))
        if first < last:
            rows[first - begin : last - begin] = self._rows[first:last]
            present[first - begin : last - begin] = self._present[first:last]
        return rows, present

    def _scale_of_sequel(self) -> float:
        end = self._first + len(self._rows)
        rows, _ = self._after.day(end // MINUTES_PER_DAY)
        return float(self._rows[-1, CLOSE]) / float(rows[end % MINUTES_PER_DAY, OPEN])


def _read(path: Path) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Read the columns in a process of its own: pyarrow would double this one's memory for good."""
    if not path.is_file():
        raise BadOption(f"there is no tape {path}")
    reader = (sys.executable, "-m", "bingx_sim.parquet_reader", str(path), *COLUMNS)
    done = subprocess.run(reader, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        text = f"the tape {path} cannot be read as Parquet with the columns {', '.join(COLUMNS)}"
        raise BadOption(f"{text}: {reason[-1]}")
    arrays = np.load(BytesIO(done.stdout))
    times = arrays["open_time"].astype(np.int64)
    if len(times) < MINUTES_PER_DAY:
        raise BadOption(f"the tape {path} has {len(times)} rows; at least one day is needed")
    if bool((np.diff(times) <= 0).any()) or bool((times % MINUTE_MS != 0).any()):
        text = f"the tape {path} must be sorted by open_time, without duplicates, on whole minutes"
        raise BadOption(text)
    return times, {name: arrays[name].astype(np.float64) for name in COLUMNS[1:]}


def _filled(
    contract: Contract,
    place: NDArray[np.int64],
    columns: dict[str, NDArray[np.float64]],
    volume: str,
) -> Rows:
    """Rows on the full minute grid; a missing minute is flat at the close before it."""
    scale, pieces = 10.0**contract.price_precision, 10.0**contract.quantity_precision
    coins = columns["volume"]
    if volume == "usd" or (volume == "auto" and float(np.median(coins)) > USD_VOLUME):
        coins = coins / columns["close"]
    known = np.empty((len(place), 5), dtype=np.int64)
    for column, name in ((OPEN, "open"), (HIGH, "high"), (LOW, "low"), (CLOSE, "close")):
        known[:, column] = np.maximum(np.rint(columns[name] * scale), 1)
    known[:, VOLUME] = np.rint(coins * pieces)
    grid = np.arange(int(place[-1]) + 1)
    latest = np.searchsorted(place, grid, side="right") - 1
    rows = known[latest]
    absent = place[latest] != grid
    rows[absent, OPEN : CLOSE + 1] = rows[absent, CLOSE, None]
    rows[absent, VOLUME] = 0
    return rows
