"""How an account starts, is rewarded and ends; and which markets and numbers are refused for it."""

from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.learning.arrays import MarketArrays
from desk.learning.policy import LEVELS
from desk.learning.reward import DEFAULT_SCALE
from desk.market.candles import Ints
from desk.market.features import CLIP, Features
from desk.trading.intents import NO_PROTECTION, Protection, lots_to_hold


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeSpec:
    """How an account starts and when its episode ends. Money in USDT."""

    cash: float = 10_000.0
    size_quote: float = 10_000.0
    """Notional that a target of 1 means. Equal to the cash, a position's growth is the account's."""
    length: int = 1_440
    """Steps until an episode is truncated; a stretch of candles without a hole may end it earlier."""
    start_stride: int = 1
    """Candles from where one episode may begin to the next such place."""
    ruin_fraction: float = 0.1
    """Equity at or below this part of the cash terminates."""
    reward_scale: float = DEFAULT_SCALE
    levels: tuple[float, ...] = LEVELS
    """Target of each action, rising, from -1 to 1."""
    is_continuous: bool = False
    """The action is the target itself, one number from -1 to 1; `levels` are not used."""
    turnover_coefficient: float = 0.0
    """Reward lost for trading once the equity, in log-growth before scaling; fees come on top."""
    drawdown_coefficient: float = 0.0
    """Reward lost for a drawdown of all equity: of an episode it sums to this times its deepest one."""
    protection: Protection = NO_PROTECTION
    """Exits that every decided position gets, as fractions of the decided close."""
    leverage: int | None = None
    """Isolated margin: a position that loses it is liquidated and its episode terminated; None: never."""


def check_episode(arrays: MarketArrays, spec: EpisodeSpec) -> None:
    """Raise `BadInput` naming the first field with which no step could be taken."""
    check_spec(spec)
    _check_features(arrays)
    _check_order(arrays)
    check_sizes(arrays, spec)


def check_spec(spec: EpisodeSpec) -> None:
    """Raise `BadInput` naming the first number that fits no market."""
    _check_numbers(spec)
    _check_levels(spec)


def least_run(spec: EpisodeSpec) -> int:
    """Candles with features, one after another, that an episode needs to begin."""
    # An episode that could not last a quarter of its length would teach its own end.
    return max(spec.length // 4, 1) + 1


def split_at_holes(features: Features, open_ms: Ints, step_ms: int) -> Features:
    """Features float32[T, F] of candles, with none for a row behind missing candles: a copy if it has any.

    A set with an anchor fills short holes in, but no order can be filled on a candle that is missing: an
    episode ends before it and another may begin behind it.
    """
    behind = np.flatnonzero(np.diff(open_ms) > step_ms) + 1
    if not np.isfinite(features[behind]).any():
        return features
    split = features.copy()
    split[behind] = np.nan
    return split


def stretches(arrays: MarketArrays, spec: EpisodeSpec) -> tuple[Ints, Ints]:
    """Rows where an episode may start, and int64[T] the last row of each row's stretch.

    Raises `BadInput` where there are none.
    """
    segment_end = _segment_ends(arrays.ready)
    rows = np.arange(len(arrays))
    least = least_run(spec)
    starts = np.flatnonzero(segment_end - rows >= least - 1)
    if not len(starts):
        problem = f"{int(arrays.ready.sum())} of {len(arrays)} candles had features"
        raise BadInput("candles", f"{problem}, expected a run of {least} without a hole")
    return starts[:: spec.start_stride].astype(np.int64), segment_end


def _check_numbers(spec: EpisodeSpec) -> None:
    above_zero = ("cash", "size_quote", "length", "start_stride", "reward_scale")
    for name in (*above_zero, "ruin_fraction", "turnover_coefficient", "drawdown_coefficient"):
        value = getattr(spec, name)
        if not isfinite(value) or value < 0 or (value == 0 and name in above_zero):
            least = "above 0" if name in above_zero else "at least 0"
            raise BadInput(name, f"was {value}, expected a number {least}")


def _check_levels(spec: EpisodeSpec) -> None:
    levels = spec.levels
    is_inside = all(-1.0 <= level <= 1.0 for level in levels)  # false for what is no number
    if len(levels) < 2 or not is_inside or list(levels) != sorted(set(levels)):
        raise BadInput("levels", f"were {levels}, expected two or more rising numbers, -1 to 1")


def _check_features(arrays: MarketArrays) -> None:
    """A row has features or has none: all finite or all NaN, but for the warm-up."""
    features, ready = arrays.features, arrays.ready
    if np.isinf(features).any():
        row = int(np.flatnonzero(np.isinf(features).any(axis=1))[0])
        raise BadInput("features", f"were infinite in row {row}, expected finite numbers")
    seen = features[ready]
    if len(seen) and np.abs(seen).max() > CLIP:
        raise BadInput(
            "features", f"reached {np.abs(seen).max()}, expected at most {CLIP}: clip them"
        )
    is_torn = ~ready & ~np.isnan(features).all(axis=1)
    torn = np.flatnonzero(is_torn & (np.cumsum(ready) > 0))
    if len(torn):
        raise BadInput(
            "features",
            f"were NaN in a part of row {torn[0]} and of {len(torn) - 1} more, expected whole rows",
        )


def _check_order(arrays: MarketArrays) -> None:
    """Two rows with features may not have a hole between them: the second's would look across it."""
    steps = np.diff(arrays.open_ms)
    if len(steps) and steps.min() <= 0:
        raise BadInput("candles", "open times did not rise: sort them")
    ready = arrays.ready
    holes = np.flatnonzero((steps > arrays.step_ms) & ready[1:] & ready[:-1])
    if len(holes):
        first = int(arrays.open_ms[holes[0]])
        raise BadInput(
            "candles",
            f"after {first} and {len(holes) - 1} more there was a hole with features on both sides: "
            "compute features that know of holes, or backfill",
        )


def check_sizes(arrays: MarketArrays, spec: EpisodeSpec) -> None:
    """Raise `BadInput` unless every level but 0 is worth an order at every price."""
    rules, dearest = arrays.rules, int(arrays.columns.high.max())
    wanted = (1.0,) if spec.is_continuous else spec.levels
    for level in wanted:
        lots = lots_to_hold(
            level,
            spec.size_quote,
            dearest,
            0,
            rules.quote_per_tick_lot,
            rules.least_lots,
            rules.least_notional,
        )
        if level and not lots:
            raise BadInput(
                "size_quote",
                f"was {spec.size_quote}: {abs(level):g} of it is less than the least order of "
                f"{rules.least_lots} lots and {rules.least_notional:g} USDT at {dearest} ticks",
            )


def _segment_ends(ready: NDArray[np.bool_]) -> Ints:
    """Last row of the run of ready rows that each row belongs to; -1 for a row that is not ready."""
    rows = np.arange(len(ready))
    ends = np.where(ready & ~np.append(ready[1:], False), rows, len(ready))
    end = np.minimum.accumulate(ends[::-1])[::-1]
    return np.where(ready, end, -1).astype(np.int64)
