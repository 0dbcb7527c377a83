"""Definitions of feature sets: what can be computed, how far it looks back, and what is refused."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.market.candles import Candles
from desk.market.feature_sets import MAX_COLUMNS, make_feature_set
from desk.market.features import FEATURES_V1, RULES, Feature
from desk.market.signal_features import SignalColumns

WINDOWS = {
    "scaled_return": 2,
    "volatility": 1,
    "volatility_change": 2,
    "close_zscore": 1,
    "trend": 2,
    "range_position": 1,
    "volume_change": 2,
    "day_sine": 0,
    "day_cosine": 0,
}


@st.composite
def rules(draw: st.DrawFn) -> tuple[str, tuple[int, ...]]:
    rule = draw(st.sampled_from(sorted(RULES)))
    windows = draw(
        st.lists(st.integers(2, 40), min_size=WINDOWS[rule], max_size=WINDOWS[rule], unique=True)
    )
    return rule, tuple(sorted(windows))


@given(chosen=st.lists(rules(), min_size=1, max_size=6), seed=st.integers(0, 9))
@settings(max_examples=80)
def test_a_lookback_is_just_enough_and_what_lies_before_it_changes_nothing(
    walk: Callable[..., Candles], chosen: list[tuple[str, tuple[int, ...]]], seed: int
) -> None:
    features = make_feature_set(
        "mine",
        [Feature(name=f"f{n}", rule=rule, windows=w) for n, (rule, w) in enumerate(chosen)],
    )
    candles = walk(120, seed=seed)

    history = features.compute(candles)

    assert np.isfinite(history[features.lookback - 1 :]).all()
    assert features.observe(candles.take(slice(60, None))).tobytes() == history[-1].tobytes()
    other = Candles.concat([walk(120 - features.lookback, seed=seed + 1), candles]).take(
        slice(-features.lookback, None)
    )
    assert features.observe(other).tobytes() == history[-1].tobytes()


def test_the_definition_of_the_built_in_set_is_the_built_in_set() -> None:
    assert make_feature_set("v1", FEATURES_V1.features) is FEATURES_V1


def test_order_windows_and_half_life_make_another_set() -> None:
    first, second = FEATURES_V1.features[:2]
    signal = SignalColumns(source_id="telegram:a", half_life_min=30)
    definitions: list[tuple[list[Feature], list[SignalColumns]]] = [
        ([first, second], []),
        ([second, first], []),
        ([first, replace(second, windows=(6, 60))], []),
        ([first, second], [signal]),
        ([first, second], [replace(signal, half_life_min=31)]),
        ([first, second], [replace(signal, source_id="telegram:b")]),
    ]

    made = {
        make_feature_set("mine", features, signals).feature_set_id
        for features, signals in definitions
    }

    assert len(made) == 6


GOOD = Feature(name="trend", rule="trend", windows=(5, 20))


@pytest.mark.parametrize(
    ("field", "name", "features", "signals"),
    [
        ("name", "Mine", [GOOD], []),
        ("name", "", [GOOD], []),
        ("features", "mine", [], []),
        ("features", "mine", [replace(GOOD, name=f"f{n}") for n in range(MAX_COLUMNS + 1)], []),
        ("features.0.name", "mine", [replace(GOOD, name="a b")], []),
        ("features.1.rule", "mine", [GOOD, replace(GOOD, name="x", rule="__import__")], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(5,))], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(20, 5))], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(20, 20))], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(1, 5))], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(-1, 5))], []),
        ("features.0.windows", "mine", [replace(GOOD, windows=(5, 1_441))], []),
        ("features.0.windows", "mine", [Feature(name="d", rule="day_sine", windows=(1,))], []),
        ("features.1", "mine", [GOOD, GOOD], []),
        ("signals.0.half_life_min", "mine", [GOOD], [("a", 0)]),
        ("signals.0.half_life_min", "mine", [GOOD], [("a", 1_441)]),
        ("signals.1", "mine", [GOOD], [("a", 5), ("a", 6)]),
    ],
)
def test_what_cannot_be_computed_is_refused_by_its_field(
    field: str, name: str, features: list[Feature], signals: list[tuple[str, int]]
) -> None:
    columns = [SignalColumns(source_id=one, half_life_min=minutes) for one, minutes in signals]

    with pytest.raises(BadInput) as refused:
        make_feature_set(name, features, columns)

    assert refused.value.field == field
