"""Indicators with an anchor: the same bytes in history and candle by candle, blind to the future."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.errors import BadInput
from desk.market.anchors import Anchor, last_stretch, stretches
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.market.features import Features, FeatureSet
from desk.market.indicators import INDICATORS
from desk.market.recursive import warm_up_of
from desk.market.signal_features import Heard, SignalColumns, marks_of

type Walk = Callable[..., Candles]
type Candidates = list[tuple[int, int]]

COUNT = 420
ANCHOR = Anchor(every=90, warm_up=70, most_filled=2)
WINDOWS = {0: (), 1: (5,), 2: (6, 9), 3: (4, 7, 3), 4: (4, 7, 3, 5)}
ALL = [
    Feature(name=rule, rule=rule, windows=WINDOWS[len(known.meaning)])
    for rule, known in INDICATORS.items()
]
SOME_BARS = [
    Feature(name="rsi_5_3", rule="rsi", windows=(5,), bars=3),
    Feature(name="ema_distance_4", rule="ema_distance", windows=(3, 4), bars=4),
    Feature(name="obv_change_3", rule="obv_change", windows=(4,), bars=3),
    Feature(name="macd_5", rule="macd_histogram", windows=(2, 3, 2, 3), bars=5),
    Feature(name="filled_share_3", rule="filled_share", windows=(3,), bars=3),
]
OF_WINDOWS = [
    Feature(name="return", rule="scaled_return", windows=(3, 10)),
    Feature(name="day_sine", rule="day_sine"),
]
EVERYTHING = make_feature_set("all", [*ALL, *SOME_BARS, *OF_WINDOWS], anchor=ANCHOR)


def without(candles: Candles, holes: Candidates) -> Candles:
    """Candles with holes of (place, length) in them; the first and the last stay."""
    keep = np.ones(len(candles), dtype=np.bool_)
    for place, length in holes:
        keep[1 + place : 1 + place + length] = False
    keep[-1] = True
    return candles.take(keep)


def history_of(features: FeatureSet, candles: Candles) -> Features:
    return features.compute(candles, step_ms=MINUTE_MS)


holes = st.lists(
    st.tuples(st.integers(0, COUNT - 20), st.sampled_from([1, 1, 2, 2, 3, 5, 12])), max_size=5
)


@given(seed=st.integers(0, 30), holes=holes, first=st.integers(1, COUNT - 60))
@settings(max_examples=15)
def test_a_stream_gives_the_bytes_of_history_however_it_was_split(
    walk: Walk, seed: int, holes: Candidates, first: int
) -> None:
    candles = without(walk(COUNT, seed=seed), holes)
    history = history_of(EVERYTHING, candles)
    stream = FeatureStream(EVERYTHING, MINUTE_MS)
    at, rng = min(first, len(candles)), np.random.default_rng(seed)

    while at <= len(candles):
        seen = candles.take(slice(max(at - ANCHOR.lookback, 0), at))
        row = stream.observe(seen)
        assert row.tobytes() == history[at - 1].tobytes(), at
        if rng.random() < 0.03:
            stream = FeatureStream(EVERYTHING, MINUTE_MS)  # a restart
        at += int(rng.choice([1, 1, 1, 2, 7]))


@given(seed=st.integers(0, 30), holes=holes, cut=st.integers(0, COUNT - 1))
@settings(max_examples=40)
def test_history_read_from_further_back_changes_no_row(
    walk: Walk, seed: int, holes: Candidates, cut: int
) -> None:
    candles = without(walk(COUNT, seed=seed), holes)
    whole = history_of(EVERYTHING, candles)
    begin_ms = int(candles.open_ms[0]) + cut * MINUTE_MS
    later = candles.between(begin_ms, int(candles.open_ms[-1]) + 1)

    part = history_of(EVERYTHING, later)

    same = whole[len(whole) - len(part) :]
    is_given = np.isfinite(part).all(axis=1)
    assert part[is_given].tobytes() == same[is_given].tobytes()
    has_lookback = later.open_ms >= begin_ms + (ANCHOR.lookback - 1) * MINUTE_MS
    assert part[has_lookback].tobytes() == same[has_lookback].tobytes()


@given(seed=st.integers(0, 30), holes=holes, at=st.integers(ANCHOR.lookback, COUNT - 1))
@settings(max_examples=30)
def test_regression_9_nothing_later_changes_an_earlier_row_of_any_rule(
    walk: Walk, seed: int, holes: Candidates, at: int
) -> None:
    candles = without(walk(COUNT, seed=seed), holes)
    at = min(at, len(candles) - 1)
    other = walk(COUNT, seed=seed + 1)
    later = other.between(int(candles.open_ms[at]), int(other.open_ms[-1]) + 1)
    before = history_of(EVERYTHING, candles)

    after = history_of(EVERYTHING, Candles.concat([candles.take(slice(0, at)), later]))

    assert after[:at].tobytes() == before[:at].tobytes()


def test_every_rule_has_a_finite_value_after_the_least_warm_up(walk: Walk) -> None:
    candles = walk(1_200)
    for feature in [*ALL, *SOME_BARS, replace(ALL[5], name="adx", windows=(14,), bars=7)]:
        warm_up = max(warm_up_of(feature), 1)
        anchor = Anchor(every=97, warm_up=warm_up, most_filled=0)
        features = make_feature_set("one", [feature], anchor=anchor)

        matrix = history_of(features, candles)

        slots = candles.open_ms // MINUTE_MS
        known = slots >= (slots[0] + anchor.lookback) // 97 * 97
        assert np.isfinite(matrix[known]).all(), feature
        assert float(np.abs(matrix[known]).max()) <= features.clip, feature


def test_values_do_not_depend_on_the_unit_of_price_and_volume(walk: Walk) -> None:
    candles = walk(COUNT)
    cheaper = Candles(
        open_ms=candles.open_ms,
        open=candles.open / 1024.0,
        high=candles.high / 1024.0,
        low=candles.low / 1024.0,
        close=candles.close / 1024.0,
        volume=candles.volume * 1024.0,
    )

    found, expected = history_of(EVERYTHING, cheaper), history_of(EVERYTHING, candles)

    assert np.allclose(found, expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert float(np.nanmean(np.abs(expected), axis=0).max()) < 3.0


def test_a_bar_is_seen_only_once_it_has_closed(walk: Walk) -> None:
    features = make_feature_set("bars", SOME_BARS[1:2], anchor=ANCHOR)
    candles = walk(COUNT)
    values = history_of(features, candles)[:, 0]
    slots = candles.open_ms // MINUTE_MS

    changed = np.flatnonzero(np.isfinite(values[:-1]) & (values[1:] != values[:-1])) + 1

    closes = (slots[changed] + 1) % 4 == 0
    begins = slots[changed] % ANCHOR.every == 0  # a new series
    assert len(changed) > 50
    assert (closes | begins).all()


def test_a_short_hole_is_filled_and_told_of_and_a_long_one_begins_anew(walk: Walk) -> None:
    candles = walk(COUNT)
    told = make_feature_set("told", ALL[-1:], anchor=ANCHOR)
    assert told.names == ("filled_share",)
    slots = candles.open_ms // MINUTE_MS
    begin = int(np.flatnonzero(slots % ANCHOR.every == 0)[2])
    short, long = without(candles, [(begin + 19, 2)]), without(candles, [(begin + 4, 3)])

    shares = history_of(told, short)[:, 0]
    values = history_of(told, long)[:, 0]

    assert shares[begin + 20] == np.float32(0.4)
    assert shares[begin + 25] == 0.0
    assert np.isfinite(values[begin : begin + 5]).all()
    behind = values[begin + 5 :]
    assert np.isnan(behind[: ANCHOR.warm_up]).all()
    assert np.isfinite(behind[ANCHOR.warm_up :]).all()
    begun = [int(one.candles.open_ms[0]) for one in stretches(long, ANCHOR, MINUTE_MS)]
    assert int(long.open_ms[begin + 5]) in begun


def test_a_series_whose_beginning_is_not_known_has_no_features(walk: Walk) -> None:
    candles = walk(COUNT)
    newest = int(candles.open_ms[-1]) // MINUTE_MS
    anchor_ms = (newest // ANCHOR.every * ANCHOR.every - ANCHOR.warm_up) * MINUTE_MS
    whole = candles.between(anchor_ms, int(candles.open_ms[-1]) + 1)

    assert last_stretch(whole, ANCHOR, MINUTE_MS) is not None
    assert last_stretch(whole.take(slice(1, None)), ANCHOR, MINUTE_MS) is None
    assert np.isnan(EVERYTHING.observe(whole.take(slice(1, None)), step_ms=MINUTE_MS)).all()
    assert np.isfinite(EVERYTHING.observe(whole, step_ms=MINUTE_MS)).all()


def test_a_candle_that_was_put_right_opens_the_series_anew(walk: Walk) -> None:
    candles = walk(COUNT)
    newest = int(candles.open_ms[-1]) // MINUTE_MS % ANCHOR.every
    assert newest > 5, "not at an anchor"
    stream = FeatureStream(EVERYTHING, MINUTE_MS)
    stream.observe(candles.take(slice(0, -2)))
    volume = candles.volume.copy()
    volume[-8] += 1.0
    healed = replace(candles, volume=volume)

    stream.observe(candles.take(slice(0, -1)))
    assert stream.reopened == 1
    row = stream.observe(healed)

    assert stream.reopened == 2
    assert row.tobytes() == history_of(EVERYTHING, healed)[-1].tobytes()
    assert row.tobytes() != history_of(EVERYTHING, candles)[-1].tobytes()


def test_signals_stand_beside_indicators_as_beside_windows(walk: Walk) -> None:
    candles = walk(COUNT)
    close_ms = candles.open_ms + MINUTE_MS
    said = marks_of(
        [
            Heard(at_ms=int(close_ms[row]), external_id=str(row), rev=1, side=1)
            for row in (200, 300, 410)
        ]
    )
    columns = SignalColumns(source_id="a", half_life_min=5)
    features = make_feature_set("said", ALL[:2], [columns], ANCHOR)
    history = features.compute(candles, {"a": said}, step_ms=MINUTE_MS)
    stream = FeatureStream(features, MINUTE_MS)

    for end in range(400, COUNT + 1):
        row = stream.observe(candles.take(slice(0, end)), {"a": said})
        assert row.tobytes() == history[end - 1].tobytes()

    assert history[410, features.index("signal_side:a")] == 1.0
    assert np.isnan(history[np.isnan(history[:, 0])]).all()


def broken(column: str, value: float) -> Callable[[Candles], Candles]:
    def spoil(candles: Candles) -> Candles:
        values = getattr(candles, column).copy()
        values[-3] = value
        return replace(candles, **{column: values})

    return spoil


def newest_first(candles: Candles) -> Candles:
    return candles.take(slice(None, None, -1))


def newest_twice(candles: Candles) -> Candles:
    return Candles.concat([candles, candles.take(slice(-1, None))])


def off_the_grid(candles: Candles) -> Candles:
    return replace(candles, open_ms=candles.open_ms + 1)


@pytest.mark.parametrize(
    ("field", "spoil"),
    [
        ("close", broken("close", np.nan)),
        ("volume", broken("volume", np.inf)),
        ("open_ms", newest_first),
        ("open_ms", newest_twice),
        ("open_ms", off_the_grid),
    ],
)
def test_candles_no_series_can_be_made_of_are_refused_by_their_column(
    walk: Walk, field: str, spoil: Callable[[Candles], Candles]
) -> None:
    candles = walk(COUNT)
    stream = FeatureStream(EVERYTHING, MINUTE_MS)
    before = stream.observe(candles.take(slice(0, -3)))

    with pytest.raises(BadInput) as refused:
        history_of(EVERYTHING, spoil(candles))
    with pytest.raises(BadInput) as refused_live:
        stream.observe(spoil(candles))

    assert (refused.value.field, refused_live.value.field) == (field, field)
    assert np.isfinite(before).all()
    row = stream.observe(candles)
    assert row.tobytes() == history_of(EVERYTHING, candles)[-1].tobytes()


def test_a_set_with_an_anchor_must_be_told_how_long_a_candle_lasts(walk: Walk) -> None:
    with pytest.raises(ValueError, match="step_ms"):
        EVERYTHING.compute(walk(10))


GOOD = Feature(name="rsi", rule="rsi", windows=(14,))


@pytest.mark.parametrize(
    ("field", "features", "anchor"),
    [
        ("anchor", [GOOD], None),
        ("anchor.every", [GOOD], replace(ANCHOR, every=0)),
        ("anchor.every", [GOOD], replace(ANCHOR, every=20_161)),
        ("anchor.warm_up", [GOOD], replace(ANCHOR, warm_up=5_001)),
        ("anchor.warm_up", [GOOD], replace(ANCHOR, warm_up=13)),
        ("anchor.warm_up", [replace(GOOD, bars=5)], ANCHOR),
        ("anchor.warm_up", [Feature(name="v", rule="volatility", windows=(71,))], ANCHOR),
        ("anchor.most_filled", [GOOD], replace(ANCHOR, most_filled=-1)),
        ("anchor.most_filled", [GOOD], replace(ANCHOR, most_filled=61)),
        ("features.0.windows", [replace(GOOD, windows=(1,))], ANCHOR),
        ("features.0.windows", [replace(GOOD, windows=(14, 3))], ANCHOR),
        ("features.0.windows", [Feature(name="m", rule="macd", windows=(9, 9, 3, 5))], ANCHOR),
        ("features.0.bars", [replace(GOOD, bars=0)], ANCHOR),
        ("features.0.bars", [replace(GOOD, bars=241)], ANCHOR),
        ("features.0.bars", [replace(OF_WINDOWS[0], bars=2)], ANCHOR),
        ("features.0.rule", [replace(GOOD, rule="eval")], ANCHOR),
    ],
)
def test_what_cannot_be_computed_is_refused_by_its_field(
    field: str, features: Sequence[Feature], anchor: Anchor | None
) -> None:
    with pytest.raises(BadInput) as refused:
        make_feature_set("mine", features, anchor=anchor)

    assert refused.value.field == field


def test_anchor_gap_policy_and_bars_are_part_of_the_id() -> None:
    anchors = [
        ANCHOR,
        replace(ANCHOR, every=91),
        replace(ANCHOR, warm_up=71),
        replace(ANCHOR, most_filled=3),
    ]
    made = {make_feature_set("mine", ALL[:1], anchor=anchor).feature_set_id for anchor in anchors}
    made.add(make_feature_set("mine", [replace(ALL[0], bars=2)], anchor=ANCHOR).feature_set_id)

    assert len(made) == 5
