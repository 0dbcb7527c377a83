"""Features: the same live and in history, blind to the future, honest about holes."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.market.candles import Candles
from desk.market.features import (
    FEATURES_V1,
    NON_FINITE,
    OUT_OF_DISTRIBUTION,
    check,
)

LOOKBACK = FEATURES_V1.lookback
Walk = Callable[..., Candles]


def column(matrix: np.ndarray, name: str) -> np.ndarray:
    return matrix[..., FEATURES_V1.index(name)]


@given(end=st.integers(LOOKBACK, 700), start=st.integers(0, 400), seed=st.integers(0, 50))
@settings(max_examples=40)
def test_regression_2_any_split_of_history_gives_the_same_bytes(
    walk: Walk, end: int, start: int, seed: int
) -> None:
    candles = walk(700, seed=seed)
    history = FEATURES_V1.compute(candles)

    part = candles.take(slice(min(start, end - LOOKBACK), end))

    assert FEATURES_V1.compute(part)[-1].tobytes() == history[end - 1].tobytes()
    assert FEATURES_V1.observe(part).tobytes() == history[end - 1].tobytes()


@given(at=st.integers(LOOKBACK, 399), seed=st.integers(0, 50))
@settings(max_examples=30)
def test_regression_9_no_later_candle_changes_an_earlier_row(
    walk: Walk, at: int, seed: int
) -> None:
    candles = walk(400, seed=seed)
    other = walk(400, seed=seed + 1)
    before = FEATURES_V1.compute(candles)

    after = FEATURES_V1.compute(
        Candles.concat([candles.take(slice(0, at)), other.take(slice(at, None))])
    )

    assert after[:at].tobytes() == before[:at].tobytes()
    assert after[at:].tobytes() != before[at:].tobytes()


def test_online_equals_history_on_a_month_of_real_candles(tape: Callable[[str], object]) -> None:
    table = pq.read_table(tape("btc_perp_1m_2022-01.parquet"))
    columns = {name: table[name].to_numpy().copy() for name in table.column_names}
    candles = Candles(open_ms=columns.pop("open_time"), **columns)

    began_s = time.process_time()
    history = FEATURES_V1.compute(candles)
    took_s = time.process_time() - began_s

    for end in range(LOOKBACK, len(candles), 997):
        assert FEATURES_V1.observe(candles.take(slice(0, end))).tobytes() == (
            history[end - 1].tobytes()
        )
    assert np.isfinite(history[LOOKBACK - 1 :]).all()
    assert took_s < 1.0


def test_the_first_lookback_has_no_features(walk: Walk) -> None:
    matrix = FEATURES_V1.compute(walk(LOOKBACK + 5))

    assert matrix.shape == (LOOKBACK + 5, FEATURES_V1.size)
    assert matrix.dtype == np.float32
    assert np.isnan(matrix[: LOOKBACK - 1]).all()
    assert np.isfinite(matrix[LOOKBACK - 1 :]).all()
    assert np.isnan(FEATURES_V1.observe(walk(LOOKBACK - 1))).all()
    assert FEATURES_V1.compute(Candles.empty()).shape == (0, FEATURES_V1.size)


def test_a_row_that_looks_across_a_hole_has_no_features(walk: Walk) -> None:
    candles = walk(3 * LOOKBACK)
    hole = LOOKBACK + 10
    keep = np.arange(len(candles)) != hole

    matrix = FEATURES_V1.compute(candles.take(keep))

    whole = np.isfinite(matrix).all(axis=1)
    assert whole.tolist() == [
        LOOKBACK - 1 <= row < hole or row >= hole + LOOKBACK - 1 for row in range(len(matrix))
    ]


def test_a_flat_market_is_neutral_and_finite(walk: Walk) -> None:
    candles = walk(LOOKBACK)
    price = np.full(LOOKBACK, 21.73)
    flat = replace(
        candles, open=price, high=price, low=price, close=price, volume=np.zeros(LOOKBACK)
    )

    row = FEATURES_V1.observe(flat)

    by_market = [not name.startswith("day_") for name in FEATURES_V1.names]
    assert row[by_market].tolist() == [0.0] * sum(by_market)
    assert np.isfinite(row).all()


def test_features_do_not_depend_on_the_unit_of_price_and_volume(walk: Walk) -> None:
    candles = walk(LOOKBACK + 50)
    cheaper = Candles(
        open_ms=candles.open_ms,
        open=candles.open / 1024.0,
        high=candles.high / 1024.0,
        low=candles.low / 1024.0,
        close=candles.close / 1024.0,
        volume=candles.volume * 1024.0,
    )

    assert FEATURES_V1.compute(cheaper).tobytes() == FEATURES_V1.compute(candles).tobytes()


def test_each_feature_is_what_its_name_says(walk: Walk) -> None:
    candles = walk(LOOKBACK, seed=3)
    close, returns = candles.close, np.diff(candles.close) / candles.close[:-1]

    row = FEATURES_V1.observe(candles)

    volatility_60 = np.sqrt(np.mean(returns[-60:] ** 2))
    expected = {
        "return_1": returns[-1] / volatility_60,
        "return_15": (close[-1] / close[-16] - 1.0) / (volatility_60 * np.sqrt(15.0)),
        "close_zscore_60": (close[-1] - close[-60:].mean()) / close[-60:].std(),
        "trend_60_240": (close[-60:].mean() - close.mean()) / close.std(),
        "range_position_240": 2.0
        * (close[-1] - candles.low.min())
        / (candles.high.max() - candles.low.min())
        - 1.0,
        "volume_change_15_240": (candles.volume[-15:].mean() - candles.volume.mean())
        / (candles.volume[-15:].mean() + candles.volume.mean()),
    }
    for name, value in expected.items():
        assert column(row, name) == pytest.approx(value, abs=1e-6), name


def test_the_id_names_the_definition() -> None:
    same = replace(FEATURES_V1)
    reordered = replace(FEATURES_V1, features=FEATURES_V1.features[::-1])
    revised = replace(FEATURES_V1, revision=FEATURES_V1.revision + 1)

    assert same.feature_set_id == FEATURES_V1.feature_set_id
    assert len({FEATURES_V1.feature_set_id, reordered.feature_set_id, revised.feature_set_id}) == 3
    assert len(set(FEATURES_V1.names)) == FEATURES_V1.size == 16


def test_bad_values_are_refused_before_a_policy_sees_them(walk: Walk) -> None:
    candles = walk(LOOKBACK)
    row = FEATURES_V1.observe(candles)
    broken = candles.close.copy()
    broken[-100] = np.nan

    assert check(row, 6.0) is None
    assert check(FEATURES_V1.observe(replace(candles, close=broken)), 6.0) == NON_FINITE
    assert check(np.array([0.0, np.inf], dtype=np.float32), 6.0) == NON_FINITE
    assert check(np.array([0.0, -6.5], dtype=np.float32), 6.0) == OUT_OF_DISTRIBUTION
