"""The market of one pair: candles of every interval, the price now, and what was done to them."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bingx_sim.clock import DAY_MS, MINUTE_MS
from bingx_sim.generator import CLOSE, HIGH, LOW, MINUTES_PER_DAY, OPEN, VOLUME, Rows
from bingx_sim.instruments import Contract
from bingx_sim.intervals import LONGER, MINUTES, spans_backwards
from bingx_sim.path import Path, path_of

type Present = NDArray[np.bool_]


class DaySource(Protocol):
    """Where candles come from. `first_ms` is the open of the first minute there is."""

    first_ms: int

    def day(self, day: int) -> tuple[Rows, Present]:
        """The 1440 minutes of a day; a minute that is not present carries the price before it."""
        ...


@dataclass(frozen=True, slots=True)
class Bar:
    """One candle: prices in ticks, volume in steps."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int


@dataclass(slots=True)
class Shock:
    """From `at_ms` on every price is multiplied by `factor`."""

    at_ms: int
    factor: float


@dataclass(slots=True)
class Overlay:
    """What the control plane did to the candles of a pair."""

    shocks: list[Shock] = field(default_factory=list[Shock])
    edits: dict[int, tuple[int, int, int, int, int] | None] = field(
        default_factory=dict[int, tuple[int, int, int, int, int] | None]
    )
    """Minute number -> the row shown instead, or None for a candle the venue does not have."""


class PairMarket:
    """Candles and prices of one pair at any time, history included."""

    def __init__(self, contract: Contract, source: DaySource) -> None:
        self.contract = contract
        self.first_ms = source.first_ms
        self._source = source
        self.overlay = Overlay()
        self._days: OrderedDict[int, tuple[Rows, Present]] = OrderedDict()
        self._bars: OrderedDict[tuple[int, int], list[Bar]] = OrderedDict()

    # ---- what the control plane does ----

    def shock(self, at_ms: int, factor: float) -> None:
        self.overlay.shocks.append(Shock(at_ms=at_ms, factor=factor))
        self._forget()

    def edit(self, minute: int, row: tuple[int, int, int, int, int] | None) -> None:
        self.overlay.edits[minute] = row
        self._forget()

    def replace_overlay(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self._forget()

    def _forget(self) -> None:
        self._days.clear()
        self._bars.clear()

    # ---- prices ----

    def path(self, minute: int) -> Path:
        """The price path of a minute, shocks included, edits not: an edit is about the record."""
        row = self._source.day(minute // MINUTES_PER_DAY)[0][minute % MINUTES_PER_DAY]
        open_ms = minute * MINUTE_MS
        path = path_of([int(value) for value in row[:4]], open_ms)
        for shock in self.overlay.shocks:
            if shock.at_ms <= open_ms:
                path = Path(tuple((at, price * shock.factor) for at, price in path.vertices))
            elif shock.at_ms < open_ms + MINUTE_MS:
                path = path.shifted_from(shock.at_ms - open_ms, shock.factor)
        return path

    def extremes(self, minute: int) -> tuple[float, float]:
        """Lowest and highest price of a minute."""
        open_ms = minute * MINUTE_MS
        if any(shock.at_ms < open_ms + MINUTE_MS for shock in self.overlay.shocks):
            return self.path(minute).range_until(MINUTE_MS)
        row = self._source.day(minute // MINUTES_PER_DAY)[0][minute % MINUTES_PER_DAY]
        return int(row[LOW]), int(row[HIGH])

    def ticks_at(self, at_ms: int) -> int:
        """Last traded price, which is also the mark price, in ticks."""
        minute, offset = divmod(at_ms, MINUTE_MS)
        return max(1, round(self.path(minute).price_at(offset)))

    # ---- candles ----

    def minutes(self, day: int) -> tuple[Rows, Present]:
        """The minutes of a day as the venue records them, shocks and edits included."""
        found = self._days.get(day)
        if found is not None:
            return found
        rows, present = self._source.day(day)
        if self.overlay.shocks or self.overlay.edits:
            rows, present = self._overlaid(day, rows.copy(), present.copy())
        self._days[day] = rows, present
        if len(self._days) > 16:
            self._days.popitem(last=False)
        return rows, present

    def _overlaid(self, day: int, rows: Rows, present: Present) -> tuple[Rows, Present]:
        first = day * MINUTES_PER_DAY
        for shock in self.overlay.shocks:
            whole = min(max(-(-shock.at_ms // MINUTE_MS) - first, 0), MINUTES_PER_DAY)
            rows[whole:, :VOLUME] = np.maximum(np.rint(rows[whole:, :VOLUME] * shock.factor), 1)
        for shock in self.overlay.shocks:
            inside = shock.at_ms // MINUTE_MS - first
            if 0 <= inside < MINUTES_PER_DAY and shock.at_ms % MINUTE_MS:
                rows[inside, :VOLUME] = _whole(self.path(first + inside))
        for minute, row in self.overlay.edits.items():
            inside = minute - first
            if not 0 <= inside < MINUTES_PER_DAY:
                continue
            if row is None:
                present[inside] = False
            else:
                rows[inside] = row
                present[inside] = True
        return rows, present

    def bars(
        self, interval: str, *, start_ms: int, end_ms: int, limit: int, now_ms: int
    ) -> list[Bar]:
        """The newest `limit` candles that open in [start_ms, end_ms], newest first.

        The candle that holds `now_ms` is the forming one; nothing later exists.
        """
        if interval in LONGER:
            return self._long_bars(interval, start_ms, min(end_ms, now_ms), limit, now_ms)
        bars: list[Bar] = []
        day = min(end_ms, now_ms) // DAY_MS
        last_day = max(start_ms, self.first_ms, 0) // DAY_MS
        while day >= last_day and len(bars) < limit:
            for bar in reversed(self._day_bars(day, MINUTES[interval], now_ms)):
                if bar.open_ms < start_ms:
                    break
                if bar.open_ms <= end_ms and len(bars) < limit:
                    bars.append(bar)
            day -= 1
        return bars

    def _long_bars(
        self, interval: str, start_ms: int, end_ms: int, limit: int, now_ms: int
    ) -> list[Bar]:
        bars: list[Bar] = []
        for first, last in spans_backwards(interval, end_ms // DAY_MS):
            open_ms = first * DAY_MS
            if open_ms < start_ms or last * DAY_MS + DAY_MS <= self.first_ms or len(bars) >= limit:
                return bars
            days = [
                bar
                for day in range(first, min(last, now_ms // DAY_MS) + 1)
                for bar in self._day_bars(day, MINUTES_PER_DAY, now_ms)
            ]
            if days:
                bars.append(_merged(open_ms, days))
        return bars

    def _day_bars(self, day: int, length: int, now_ms: int) -> list[Bar]:
        """Candles of `length` minutes that open on a day, oldest first, none after `now_ms`."""
        today = now_ms // DAY_MS
        if day > today or (day + 1) * DAY_MS <= self.first_ms:
            return []
        cached = self._bars.get((day, length))
        if cached is not None and day < today:
            return cached
        rows, present = self.minutes(day)
        if day == today:
            rows, present = self._until_now(rows, present, now_ms)
        bars = _aggregated(day * DAY_MS, rows, present, length)
        if day < today and length >= 15:
            self._bars[day, length] = bars
            if len(self._bars) > 2_000:
                self._bars.popitem(last=False)
        return bars

    def _until_now(self, rows: Rows, present: Present, now_ms: int) -> tuple[Rows, Present]:
        minute, offset = divmod(now_ms, MINUTE_MS)
        inside = minute % MINUTES_PER_DAY
        rows, present = rows[: inside + 1].copy(), present[: inside + 1].copy()
        path = self.path(minute)
        low, high = path.range_until(offset)
        rows[inside, OPEN] = max(1, round(path.vertices[0][1]))
        rows[inside, HIGH] = max(1, round(high))
        rows[inside, LOW] = max(1, round(low))
        rows[inside, CLOSE] = max(1, round(path.price_at(offset)))
        rows[inside, VOLUME] = rows[inside, VOLUME] * offset // MINUTE_MS
        return rows, present


def _whole(path: Path) -> list[int]:
    low, high = path.range_until(MINUTE_MS)
    prices = (path.vertices[0][1], high, low, path.vertices[-1][1])
    return [max(1, round(price)) for price in prices]


def _merged(open_ms: int, bars: list[Bar]) -> Bar:
    return Bar(
        open_ms,
        bars[0].open,
        max(bar.high for bar in bars),
        min(bar.low for bar in bars),
        bars[-1].close,
        sum(bar.volume for bar in bars),
    )


def _aggregated(day_ms: int, rows: Rows, present: Present, length: int) -> list[Bar]:
    """Merge minutes into candles; a candle none of whose minutes is present does not exist."""
    whole = len(rows) // length if bool(present.all()) else 0
    bars = _merged_whole(day_ms, rows[: whole * length], length)
    for first in range(whole * length, len(rows), length):
        window = rows[first : first + length][present[first : first + length]]
        if len(window) > 0:
            opened, closed = int(window[0, OPEN]), int(window[-1, CLOSE])
            high, low = int(window[:, HIGH].max()), int(window[:, LOW].min())
            volume = int(window[:, VOLUME].sum())
            bars.append(Bar(day_ms + first * MINUTE_MS, opened, high, low, closed, volume))
    return bars


def _merged_whole(day_ms: int, rows: Rows, length: int) -> list[Bar]:
    """Merge windows of equal length without a hole."""
    windows = rows.reshape(-1, length, 5)
    merged = np.stack(
        (
            windows[:, 0, OPEN],
            windows[:, :, HIGH].max(axis=1, initial=0),
            windows[:, :, LOW].min(axis=1, initial=np.iinfo(np.int64).max),
            windows[:, -1, CLOSE],
            windows[:, :, VOLUME].sum(axis=1),
        ),
        axis=1,
    )
    step = length * MINUTE_MS
    return [Bar(day_ms + n * step, *row) for n, row in enumerate(merged.tolist())]
