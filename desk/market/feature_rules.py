"""One column of a feature set, and the rules that look at a window of candles and at nothing before it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from desk.clock import DAY_MS, MINUTE_MS
from desk.market.candles import Floats
from desk.market.rolling import Rows

CALM_VOLATILITY = 1e-3
"""Return per candle (10 bps) at which the feature `volatility` is a half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column: a rule (of this module or an indicator) and its windows, in bars."""

    name: str
    rule: str
    windows: tuple[int, ...] = ()
    bars: int = 1
    """Candles in a bar, closed bars on the grid only; more than one only for indicators."""


type Rule = Callable[[Rows, tuple[int, ...]], Floats]


def _scaled_return(rows: Rows, windows: tuple[int, ...]) -> Floats:
    span, scale = windows
    past = rows.lag(rows.candles.close, span)
    return _per((rows.close - past) / past, rows.volatility(scale) * math.sqrt(span))


def _volatility(rows: Rows, windows: tuple[int, ...]) -> Floats:
    level = rows.volatility(windows[0])
    return level / (level + CALM_VOLATILITY)


def _volatility_change(rows: Rows, windows: tuple[int, ...]) -> Floats:
    return _balance(rows.volatility(windows[0]), rows.volatility(windows[1]))


def _close_zscore(rows: Rows, windows: tuple[int, ...]) -> Floats:
    return _per(-rows.offset_mean(windows[0]), rows.deviation(windows[0]))


def _trend(rows: Rows, windows: tuple[int, ...]) -> Floats:
    fast, slow = windows
    return _per(rows.offset_mean(fast) - rows.offset_mean(slow), rows.deviation(slow))


def _range_position(rows: Rows, windows: tuple[int, ...]) -> Floats:
    low, high = rows.lowest(windows[0]), rows.highest(windows[0])
    return _per((rows.close - low) - (high - rows.close), high - low)


def _volume_change(rows: Rows, windows: tuple[int, ...]) -> Floats:
    volume = rows.candles.volume
    return _balance(rows.mean(volume, windows[0]), rows.mean(volume, windows[1]))


def _time_of_day(wave: Floats) -> Rule:
    def rule(rows: Rows, _: tuple[int, ...]) -> Floats:
        open_ms = rows.candles.open_ms[-len(rows.close) :]
        return wave[open_ms % DAY_MS // MINUTE_MS]

    return rule


def _per(values: Floats, scale: Floats) -> Floats:
    """Values in units of a scale; 0 where a flat market has no scale. NaN stays NaN."""
    return np.where(scale == 0.0, 0.0, values / scale)


def _balance(part: Floats, whole: Floats) -> Floats:
    """From -1 to 1: how much more one of two non-negative levels is than the other."""
    return _per(part - whole, part + whole)


_ANGLES = [2.0 * math.pi * minute / (DAY_MS // MINUTE_MS) for minute in range(DAY_MS // MINUTE_MS)]

RULES: Mapping[str, Rule] = {
    "scaled_return": _scaled_return,
    "volatility": _volatility,
    "volatility_change": _volatility_change,
    "close_zscore": _close_zscore,
    "trend": _trend,
    "range_position": _range_position,
    "volume_change": _volume_change,
    "day_sine": _time_of_day(np.array([math.sin(angle) for angle in _ANGLES])),
    "day_cosine": _time_of_day(np.array([math.cos(angle) for angle in _ANGLES])),
}
