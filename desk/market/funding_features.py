"""Funding of a perpetual as features: the last settled rate, its age, and what is usual of late.

A settlement counts from when it was known, not from when it was due: what a desk at work had read by
a candle's close. Memory is finite, so that a live reading of the last settlements and one of all
history give the same bytes. Where none is known, or the newest is too old, a row has no features.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from desk.clock import HOUR_MS, MINUTE_MS, to_iso
from desk.market.candles import Floats, Ints
from desk.market.signal_features import SignalMarks, Signals

FUNDING_SOURCE = "bingx:funding"
"""Its name among the sources of a feature set; no feed and no channel can have it."""
PUBLISHED_MS = MINUTE_MS
"""After it was due, a settlement that was read with history counts as known."""
LATE_MS = HOUR_MS
"""A settlement read later than this was read with history: nobody watched when it was due."""
CALM_RATE = 1e-4
"""Rate of a settlement (the venue's usual 1 bps) at which the feature `funding_rate` is a half."""
MAX_SETTLEMENTS = 270
"""Longest window: three months of settlements every eight hours."""
MAX_AGE_MIN = 2_880
USUAL_AGE_MIN = 540
"""An hour more than settlements are apart."""
FUNDING_HOURS = (1, 2, 3, 4, 6, 8, 12, 24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """One settled rate, as far as features look at it; times are market time."""

    due_ms: int
    rate: Decimal
    """A fraction of the notional; a positive one is paid by longs."""
    read_ms: int | None = None
    """When the desk read it; None: with history."""

    @property
    def known_ms(self) -> int:
        """From when on it was known: from the reading of a desk that watched, else from publication."""
        if self.read_ms is None or self.read_ms - self.due_ms > LATE_MS:
            return self.due_ms + PUBLISHED_MS
        return max(self.read_ms, self.due_ms)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FundingMarks(SignalMarks):
    """Settlements as they became known: `at_ms` from when on, `said_ms` when due, both rising; the
    side is the rate's sign."""

    rate: Floats
    """float64[N]."""


def settled(settlements: Iterable[Settlement]) -> FundingMarks:
    """Settlements of one pair, in any order, as they became known.

    One that became known after a later one is passed over: features look at the newest.
    """
    rows = sorted(settlements, key=lambda row: (row.known_ms, row.due_ms))
    kept: list[Settlement] = []
    for row in rows:
        if not kept or row.due_ms > kept[-1].due_ms:
            kept.append(row)
    rate: Floats = np.array([float(row.rate) for row in kept], dtype=np.float64)
    return FundingMarks(
        at_ms=np.array([row.known_ms for row in kept], dtype=np.int64),
        side=np.sign(rate).astype(np.int8),
        said_ms=np.array([row.due_ms for row in kept], dtype=np.int64),
        sha256=_sha256(kept),
        rate=rate,
    )


def holes(
    due_ms: Iterable[int], start_ms: int, end_ms: int, max_age_min: int
) -> tuple[int, int] | None:
    """The part of `[start_ms, end_ms)` from the first place to the last at which nothing was due for
    longer than `max_age_min`; None where there is none."""
    inside = sorted(one for one in due_ms if start_ms <= one < end_ms)
    edges = [start_ms, *inside, end_ms]
    found = [
        (left, right) for left, right in pairwise(edges) if right - left > max_age_min * MINUTE_MS
    ]
    return (found[0][0], found[-1][1]) if found else None


def _sha256(rows: Sequence[Settlement]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.known_ms} {row.due_ms} {row.rate.normalize():f}\n".encode())
    return digest.hexdigest()


# --- rules --------------------------------------------------------------------------------------

type _OfRates = Callable[[Floats, tuple[int, ...]], Floats]
"""From the rates of windows, float64[N, reach] oldest first, to a value each."""
type _OfTimes = Callable[[Ints, Ints, tuple[int, ...]], Floats]
"""From the time each row's settlement was due and the row's close, both ms, to a value each."""


def _last_rate(windows_of: Floats, _: tuple[int, ...]) -> Floats:
    return _softened(windows_of[:, -1])


def _mean_rate(windows_of: Floats, _: tuple[int, ...]) -> Floats:
    return _softened(_mean(windows_of))


def _zscore(windows_of: Floats, _: tuple[int, ...]) -> Floats:
    away = windows_of - _mean(windows_of)[:, None]
    deviation = np.sqrt(_mean(away * away))
    # Rates that are all the same have a mean that is off by a rounding, and no deviation.
    is_flat = windows_of.max(axis=1) == windows_of.min(axis=1)
    return np.where(is_flat, 0.0, away[:, -1] / np.where(is_flat, 1.0, deviation))


def _softened(rate: Floats) -> Floats:
    """From -1 to 1; a half where it is calm."""
    return rate / (np.abs(rate) + CALM_RATE)


def _mean(columns: Floats) -> Floats:
    """Means of rows, oldest value first: `mean` adds in an order that depends on the shape."""
    total = columns[:, 0].copy()
    for column in range(1, columns.shape[1]):
        total += columns[:, column]
    return total / columns.shape[1]


def _age(due_ms: Ints, close_ms: Ints, windows: tuple[int, ...]) -> Floats:
    age_ms = close_ms - due_ms
    return age_ms / (age_ms + windows[0] * HOUR_MS)


def _wait(_: Ints, close_ms: Ints, windows: tuple[int, ...]) -> Floats:
    step_ms = windows[0] * HOUR_MS
    return (step_ms - close_ms % step_ms) / step_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRule:
    """What a rule's window means, and which are allowed."""

    meaning: tuple[str, ...]
    allowed: Sequence[int] = ()
    of_rates: _OfRates | None = None
    of_times: _OfTimes | None = None


FUNDING_RULES: Mapping[str, FundingRule] = {
    "funding_rate": FundingRule(meaning=(), of_rates=_last_rate),
    "funding_mean": FundingRule(
        meaning=("settlements",), allowed=range(2, MAX_SETTLEMENTS + 1), of_rates=_mean_rate
    ),
    "funding_zscore": FundingRule(
        meaning=("settlements",), allowed=range(3, MAX_SETTLEMENTS + 1), of_rates=_zscore
    ),
    "funding_age": FundingRule(meaning=("hours",), allowed=range(1, 25), of_times=_age),
    "funding_wait": FundingRule(meaning=("hours",), allowed=FUNDING_HOURS, of_times=_wait),
}
"""By name. Rate and mean from -1 to 1 (a half at 1 bps); the z-score of the last rate among so many;
the age from 0 (just due) to 1, a half after so many hours; the part that is left of so many hours UTC
until the next settlement."""


# --- columns ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingColumn:
    """One column: a rule of `FUNDING_RULES` and its window."""

    rule: str
    windows: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The column's name, as `funding_mean_21`."""
        return "_".join([self.rule, *(str(window) for window in self.windows)])

    @property
    def reach(self) -> int:
        """Settlements a row looks at."""
        is_window = self.windows and FUNDING_RULES[self.rule].of_rates is not None
        return self.windows[0] if is_window else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingColumns:
    """The columns of a pair's funding, in order, and what they do without.

    A row has none of them where fewer settlements are known than the longest window, where the newest
    is older than `max_age_min`, or where two of the window are further apart.
    """

    columns: tuple[FundingColumn, ...]
    max_age_min: int = USUAL_AGE_MIN
    """Market minutes, from 1 to 2,880."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def reach(self) -> int:
        """Settlements a row looks at."""
        return max(column.reach for column in self.columns)

    @property
    def horizon_ms(self) -> int:
        """How long before a close the oldest of them may have been due."""
        return self.reach * self.max_age_min * MINUTE_MS

    def compute(self, marks: FundingMarks, close_ms: Ints) -> Floats:
        """Return float64[T, C] for the closes of candles, in any order; rows are finite or NaN."""
        row = np.searchsorted(marks.at_ms, close_ms, side="right") - 1
        found = np.full((len(close_ms), len(self.columns)), np.nan)
        known = self._is_known(marks, row, close_ms)
        row, close_ms = row[known], close_ms[known]
        if not len(row):
            return found
        for number, column in enumerate(self.columns):
            rule = FUNDING_RULES[column.rule]
            if rule.of_rates is not None:
                reach = column.reach
                by_settlement = rule.of_rates(
                    sliding_window_view(marks.rate, reach), column.windows
                )
                found[known, number] = by_settlement[row - (reach - 1)]
            elif rule.of_times is not None:
                found[known, number] = rule.of_times(marks.said_ms[row], close_ms, column.windows)
        return found

    def unknown(self, marks: FundingMarks, close_ms: int) -> str:
        """Why a row with this close has no columns; empty where it has them."""
        row = np.searchsorted(marks.at_ms, [close_ms], side="right") - 1
        if bool(self._is_known(marks, row, np.array([close_ms]))[0]):
            return ""
        count = int(row[0]) + 1
        if not count:
            return "no settlement of the pair was known"
        due_ms, most_ms = int(marks.said_ms[row[0]]), self.max_age_min * MINUTE_MS
        if close_ms - due_ms > most_ms:
            return f"the newest known settlement was due {to_iso(due_ms)}, more than {self.max_age_min} min before"
        if count < self.reach:
            return f"{count} settlements were known, {self.reach} are looked at"
        return f"one of the last {self.reach} settlements is missing: two were more than {self.max_age_min} min apart"

    def _is_known(self, marks: FundingMarks, row: Ints, close_ms: Ints) -> NDArray[np.bool_]:
        due_ms, most_ms = marks.said_ms, self.max_age_min * MINUTE_MS
        known = row >= self.reach - 1
        if not known.any():
            return known
        at = row[known]
        breaks = np.cumsum(np.diff(due_ms, prepend=due_ms[0]) > most_ms)
        known[known] = (close_ms[known] - due_ms[at] <= most_ms) & (
            breaks[at] == breaks[at - (self.reach - 1)]
        )
        return known


def marks_in(signals: Signals) -> FundingMarks:
    """The settlements among everything that was heard. Raises KeyError where there are none."""
    marks = signals[FUNDING_SOURCE]
    if not isinstance(marks, FundingMarks):
        raise TypeError(f"{FUNDING_SOURCE} was {type(marks).__name__}, expected FundingMarks")
    return marks
