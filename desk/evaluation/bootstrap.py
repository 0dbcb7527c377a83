"""How sure a figure is: intervals from many histories drawn out of the one that happened."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from desk.errors import BadInput
from desk.market.candles import Floats, Ints

REPLICATIONS = 1_000
LEVEL = 0.95
_CELLS = 2_000_000
"""Numbers of resampled histories in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure and where it lies in so many of 100 histories, by percentiles."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """Intervals of several figures over the same histories."""

    figures: Mapping[str, Interval]
    block_length: float
    """Mean length of a block, in observations."""
    observations: int


def block_length(values: Floats) -> float:
    """Mean block length for the stationary bootstrap of float64[N], from 1 to N / 3.

    Politis and White, Automatic Block-Length Selection for the Dependent Bootstrap, Econometric
    Reviews 23 (2004), §3.2, as corrected by Patton, Politis and White, ibid. 28 (2009).
    """
    count = len(values)
    if count < 8 or float(np.ptp(values)) <= 1e-12:
        return 1.0
    centred = values - values.mean()
    quiet_run = max(5, math.ceil(math.sqrt(math.log10(count))))
    furthest = math.ceil(math.sqrt(count)) + quiet_run
    furthest = min(furthest, count - 1)
    covariance = np.array(
        [float(centred[lag:] @ centred[: count - lag]) / count for lag in range(furthest + 1)]
    )
    band = 2.0 * math.sqrt(math.log10(count) / count)
    is_loud = np.abs(covariance[1:] / covariance[0]) > band
    reach = min(2 * _memory(is_loud, quiet_run), furthest)
    lags = np.arange(1, reach + 1)
    weights = _flat_top(lags / reach)
    slope = 2.0 * float((weights * lags * covariance[1 : reach + 1]).sum())
    spectrum = float(covariance[0]) + 2.0 * float((weights * covariance[1 : reach + 1]).sum())
    if spectrum <= 0.0 or slope == 0.0:
        return 1.0
    best = (slope**2 / spectrum**2) ** (1 / 3) * count ** (1 / 3)
    longest = min(math.ceil(3 * math.sqrt(count)), math.ceil(count / 3))
    return float(min(max(best, 1.0), longest))


def stationary_rows(
    count: int, mean_length: float, histories: int, rng: np.random.Generator
) -> Ints:
    """Rows int64[histories, count] by which to draw histories: blocks from anywhere, of geometric
    length, that go on at the beginning after the end (Politis and Romano, The Stationary Bootstrap,
    Journal of the American Statistical Association 89, 1994)."""
    if count < 1 or mean_length < 1.0:
        raise BadInput("blocks", f"were {mean_length} long of {count} rows, expected at least 1")
    begins = rng.random((histories, count)) < 1.0 / mean_length
    begins[:, 0] = True
    fresh = rng.integers(0, count, (histories, count))
    column = np.arange(count)
    began = np.maximum.accumulate(np.where(begins, column, 0), axis=1)
    return (np.take_along_axis(fresh, began, axis=1) + column - began) % count


def intervals(
    values: Floats,
    figures: Mapping[str, Callable[[Floats], Floats]],
    *,
    seed: int,
    replications: int = REPLICATIONS,
) -> Intervals:
    """Interval of each figure, a function from float64[H, N] histories to float64[H].

    The same seed gives the same intervals. Of no observations there are none.
    """
    count = len(values)
    if count == 0:
        return Intervals(figures={}, block_length=0.0, observations=0)
    mean_length, rng = block_length(values), np.random.default_rng(seed)
    drawn: dict[str, list[Floats]] = {name: [] for name in figures}
    left, most = replications, max(_CELLS // count, 1)
    while left > 0:
        histories = values[stationary_rows(count, mean_length, min(left, most), rng)]
        for name, figure in figures.items():
            drawn[name].append(figure(histories))
        left -= most
    tail = 100.0 * (1.0 - LEVEL) / 2.0
    return Intervals(
        figures={
            name: _interval(figure(values[None])[0], np.concatenate(drawn[name]), tail)
            for name, figure in figures.items()
        },
        block_length=mean_length,
        observations=count,
    )


def _interval(estimate: float, drawn: Floats, tail: float) -> Interval:
    low, high = np.percentile(drawn, [tail, 100.0 - tail])
    return Interval(estimate=float(estimate), low=float(low), high=float(high))


def _memory(is_loud: np.ndarray, quiet_run: int) -> int:
    """The first lag, from 1 on, from which on so many in a row are quiet; the last lag where none is."""
    for lag in range(len(is_loud) - quiet_run + 1):
        if not is_loud[lag : lag + quiet_run].any():
            return lag + 1
    return len(is_loud)


def _flat_top(fractions: Floats) -> Floats:
    """1 up to a half, then falling to 0 at 1."""
    return np.clip(2.0 * (1.0 - np.abs(fractions)), 0.0, 1.0)
