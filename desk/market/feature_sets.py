"""Feature sets made by an operator: which definitions can be computed, and what each looks back on."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from desk.errors import BadInput
from desk.market.features import FEATURE_SETS, Feature, FeatureSet
from desk.market.signal_features import MAX_HALF_LIFE_MIN, SignalColumns

MAX_COLUMNS = 64
MAX_WINDOW = 1_440
"""Candles. A decision reads them all: a day of 1m candles."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_LEAST_LOOKBACK = 2
"""Two candles say how long one lasts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSetRecord:
    """A feature set that an operator made; never changed."""

    features: FeatureSet
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """What windows a rule takes, in candles."""

    meaning: tuple[str, ...] = ()
    least: int = 1
    reach: Callable[[tuple[int, ...]], int] = lambda windows: max(windows, default=1)
    """Candles one row looks at, its own included."""
    is_rising: bool = False
    """Whether the second window must be longer than the first."""


def _and_one(windows: tuple[int, ...]) -> int:
    """So many returns lie between one more closes."""
    return max(windows) + 1


_SHAPES: Mapping[str, _Shape] = {
    "scaled_return": _Shape(meaning=("span", "scale"), reach=_and_one),
    "volatility": _Shape(meaning=("span",), reach=_and_one),
    "volatility_change": _Shape(meaning=("fast", "slow"), reach=_and_one, is_rising=True),
    "close_zscore": _Shape(meaning=("span",), least=2),
    "trend": _Shape(meaning=("fast", "slow"), least=2, is_rising=True),
    "range_position": _Shape(meaning=("span",)),
    "volume_change": _Shape(meaning=("fast", "slow"), is_rising=True),
    "day_sine": _Shape(),
    "day_cosine": _Shape(),
}


def make_feature_set(
    name: str, features: Sequence[Feature], signals: Sequence[SignalColumns] = ()
) -> FeatureSet:
    """Check a definition and find its lookback; the same definition is the same set.

    Raises `BadInput` naming the field, as `features.3.windows`.
    """
    _check_name("name", name)
    if not features:
        raise BadInput("features", "was empty, expected at least one rule over candles")
    if (count := len(features) + 2 * len(signals)) > MAX_COLUMNS:
        raise BadInput("features", f"made {count} columns, expected at most {MAX_COLUMNS}")
    reach = _LEAST_LOOKBACK
    for number, feature in enumerate(features):
        _check_name(f"features.{number}.name", feature.name)
        reach = max(reach, _reach(f"features.{number}", feature))
    _check_unique("features", [feature.name for feature in features])
    for number, columns in enumerate(signals):
        _check_range(f"signals.{number}.half_life_min", columns.half_life_min, 1, MAX_HALF_LIFE_MIN)
    _check_unique("signals", [columns.source_id for columns in signals])
    made = FeatureSet(name=name, lookback=reach, features=tuple(features), signals=tuple(signals))
    return FEATURE_SETS.get(made.feature_set_id, made)


def _reach(field: str, feature: Feature) -> int:
    shape = _SHAPES.get(feature.rule)
    if shape is None:
        known = " ".join(_SHAPES)
        raise BadInput(f"{field}.rule", f"was {feature.rule!r}, expected one of {known}")
    windows = feature.windows
    if len(windows) != len(shape.meaning):
        wanted = ", ".join(shape.meaning) or "none"
        raise BadInput(
            f"{field}.windows", f"were {list(windows)}, {feature.rule} takes {wanted} (candles)"
        )
    for window in windows:
        _check_range(f"{field}.windows", window, shape.least, MAX_WINDOW)
    if shape.is_rising and windows[0] >= windows[1]:
        raise BadInput(f"{field}.windows", f"were {list(windows)}, expected the shorter one first")
    return shape.reach(windows)


def _check_name(field: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(
            field, f"was {name!r}, expected lower case letters, digits and _, at most 40 characters"
        )


def _check_range(field: str, number: int, least: int, most: int) -> None:
    if not least <= number <= most:
        raise BadInput(field, f"was {number}, expected from {least} to {most}")


def _check_unique(field: str, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        if name in names[:number]:
            raise BadInput(f"{field}.{number}", f"{name!r} was there before: leave it out")
