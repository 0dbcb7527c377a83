"""Feature sets made by an operator: which definitions can be computed, and what each looks back on."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from desk.errors import BadInput
from desk.market.anchors import Anchor
from desk.market.feature_rules import Feature
from desk.market.features import FEATURE_SETS, FeatureSet
from desk.market.funding_features import FUNDING_RULES, MAX_AGE_MIN, FundingColumns
from desk.market.indicators import INDICATORS
from desk.market.recursive import warm_up_of
from desk.market.signal_features import MAX_HALF_LIFE_MIN, SignalColumns

MAX_COLUMNS = 64
MAX_WINDOW = 1_440
"""Candles. A decision reads them all: a day of 1m candles."""
MAX_EVERY = 20_160
"""Candles between two anchors: two weeks of 1m candles."""
MAX_WARM_UP = 5_000
"""With the former at most 30,160 candles of lookback, of the 43,200 that stay in the store."""
MAX_FILLED = 60
MAX_BARS = 240
"""Candles in a bar of an indicator: four hours of 1m candles."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_EXAMPLE = "every 10080, warm_up 1000, most_filled 3"
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
    name: str,
    features: Sequence[Feature],
    signals: Sequence[SignalColumns] = (),
    anchor: Anchor | None = None,
    funding: FundingColumns | None = None,
) -> FeatureSet:
    """Check a definition and find its lookback; the same definition is the same set.

    Indicators need an anchor, and with one all of the set is computed on series that begin there.
    Raises `BadInput` naming the field, as `features.3.windows`.
    """
    _check_name("name", name)
    if not features:
        raise BadInput("features", "was empty, expected at least one rule over candles")
    of_funding = 0 if funding is None else len(funding.columns)
    if (count := len(features) + 2 * len(signals) + of_funding) > MAX_COLUMNS:
        raise BadInput("features", f"made {count} columns, expected at most {MAX_COLUMNS}")
    if anchor is not None:
        _check_range("anchor.every", anchor.every, 1, MAX_EVERY)
        _check_range("anchor.warm_up", anchor.warm_up, 1, MAX_WARM_UP)
        _check_range("anchor.most_filled", anchor.most_filled, 0, MAX_FILLED)
    reach = _LEAST_LOOKBACK
    for number, feature in enumerate(features):
        field = f"features.{number}"
        _check_name(f"{field}.name", feature.name)
        needed = _reach(field, feature)
        reach = max(reach, needed)
        _check_anchor(field, feature, anchor, needed - 1)
    _check_unique("features", [feature.name for feature in features])
    for number, columns in enumerate(signals):
        _check_range(f"signals.{number}.half_life_min", columns.half_life_min, 1, MAX_HALF_LIFE_MIN)
    _check_unique("signals", [columns.source_id for columns in signals])
    if funding is not None:
        _check_funding(funding)
        for number, feature in enumerate(features):
            if feature.name in funding.names:
                taken = f"was {feature.name!r}, which is a column of funding: name it otherwise"
                raise BadInput(f"features.{number}.name", taken)
    made = FeatureSet(
        name=name,
        lookback=reach if anchor is None else anchor.lookback,
        features=tuple(features),
        gap_policy="reject" if anchor is None else "fill",
        signals=tuple(signals),
        anchor=anchor,
        funding=funding,
    )
    return FEATURE_SETS.get(made.feature_set_id, made)


def _reach(field: str, feature: Feature) -> int:
    """Candles one row of a feature needs, its own included."""
    shape = _SHAPES.get(feature.rule)
    indicator = INDICATORS.get(feature.rule)
    known = shape or indicator
    if known is None:
        rules = " ".join([*_SHAPES, *INDICATORS])
        raise BadInput(f"{field}.rule", f"was {feature.rule!r}, expected one of {rules}")
    windows = feature.windows
    if len(windows) != len(known.meaning):
        wanted = ", ".join(known.meaning) or "none"
        unit = "candles" if indicator is None else "bars"
        raise BadInput(
            f"{field}.windows", f"were {list(windows)}, {feature.rule} takes {wanted} ({unit})"
        )
    for window in windows:
        _check_range(f"{field}.windows", window, known.least, MAX_WINDOW)
    if known.is_rising and windows[0] >= windows[1]:
        raise BadInput(f"{field}.windows", f"were {list(windows)}, expected the shorter one first")
    _check_range(f"{field}.bars", feature.bars, 1, 1 if indicator is None else MAX_BARS)
    return warm_up_of(feature) + 1 if shape is None else shape.reach(windows)


def _check_anchor(field: str, feature: Feature, anchor: Anchor | None, warm_up: int) -> None:
    if anchor is None:
        if feature.rule in INDICATORS:
            raise BadInput(
                "anchor", f"was not given, {field} ({feature.rule}) needs one: as {_EXAMPLE}"
            )
    elif warm_up > anchor.warm_up:
        raise BadInput(
            "anchor.warm_up",
            f"was {anchor.warm_up}, {field} ({feature.name}) needs at least {warm_up} candles",
        )


def _check_funding(funding: FundingColumns) -> None:
    if not funding.columns:
        raise BadInput("funding.columns", f"were empty, expected some of {' '.join(FUNDING_RULES)}")
    for number, column in enumerate(funding.columns):
        field = f"funding.columns.{number}"
        rule = FUNDING_RULES.get(column.rule)
        if rule is None:
            known = " ".join(FUNDING_RULES)
            raise BadInput(f"{field}.rule", f"was {column.rule!r}, expected one of {known}")
        if len(column.windows) != len(rule.meaning):
            wanted = ", ".join(rule.meaning) or "none"
            raise BadInput(
                f"{field}.windows", f"were {list(column.windows)}, {column.rule} takes {wanted}"
            )
        for window in column.windows:
            if window not in rule.allowed:
                allowed = rule.allowed
                words = (
                    f"from {allowed.start} to {allowed.stop - 1}"
                    if isinstance(allowed, range)
                    else f"one of {' '.join(str(each) for each in allowed)}"
                )
                raise BadInput(f"{field}.windows", f"was {window}, expected {words}")
    _check_unique("funding.columns", list(funding.names))
    _check_range("funding.max_age_min", funding.max_age_min, 1, MAX_AGE_MIN)


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
