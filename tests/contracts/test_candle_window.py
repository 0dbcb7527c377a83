"""A window that is carried on is what the store would answer, whatever happens to the series meanwhile."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from desk.clock import MINUTE_MS
from desk.market.anchors import Anchor
from desk.market.candles import Candles
from desk.market.feature_rules import Feature
from desk.market.feature_sets import make_feature_set
from desk.market.feature_stream import FeatureStream
from desk.store.candle_window import CandleWindow
from desk.store.layout import CHUNK_CANDLES
from desk.store.port import Store

type Walk = Callable[..., Candles]
PAIR = "BTC-USDT"
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")
COUNT = 700
MOVING = make_feature_set(
    "moving",
    [
        Feature(name="rsi", rule="rsi", windows=(5,)),
        Feature(name="macd", rule="macd_histogram", windows=(5, 9, 4, 6), bars=3),
        Feature(name="range", rule="range_position", windows=(9,)),
    ],
    anchor=Anchor(every=360, warm_up=120, most_filled=2),
)


def is_equal(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


def put(store: Store, candles: Candles) -> None:
    store.write_candles(PAIR, "1m", candles)


def repainted(candles: Candles, row: int) -> Candles:
    one = candles.take(slice(row, row + 1))
    return replace(one, volume=one.volume + 1.0)


@pytest.fixture
def series(walk: Walk) -> Candles:
    """Two and a half chunks of 1m candles, of which the first 900 are stored by the tests."""
    return walk(1_250)


def test_what_is_appended_is_all_that_is_read(
    any_store: Store, series: Candles, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(any_store, series.take(slice(0, 900)))
    window = CandleWindow(any_store, PAIR, "1m")
    window.newest(COUNT)
    read: list[int] = []
    asked = any_store.candles_after

    def counted(pair: str, interval: str, first_ms: int, last_ms: int) -> object:
        found = asked(pair, interval, first_ms, last_ms)
        read.append(len(found.candles) if found else 0)
        return found

    monkeypatch.setattr(any_store, "candles_after", counted)
    for end in range(901, 1_250, 3):
        # As a poller does: the newest ones over again, and what is new.
        put(any_store, series.take(slice(end - 6, end)))
        assert is_equal(window.newest(COUNT), any_store.last_candles(PAIR, "1m", COUNT))

    assert window.read_whole == 1
    assert max(read) <= 4, "the last one that was seen, and the new ones"
    assert len(window.newest(COUNT)) == COUNT


@pytest.mark.parametrize("row", [210, 480, 700, 898, 899])
def test_a_candle_of_the_window_that_is_put_right_is_read(
    any_store: Store, series: Candles, row: int
) -> None:
    put(any_store, series.take(slice(0, 900)))
    window = CandleWindow(any_store, PAIR, "1m")
    before = window.newest(COUNT)

    put(any_store, repainted(series, row))
    after = window.newest(COUNT)

    assert is_equal(after, any_store.last_candles(PAIR, "1m", COUNT))
    assert not is_equal(after, before)
    assert window.read_whole == 2
    window.newest(COUNT)
    assert window.read_whole == 2, "and only once"


def test_a_hole_that_is_healed_and_an_older_candle_of_a_short_window_are_read(
    any_store: Store, series: Candles
) -> None:
    keep = np.ones(900, dtype=np.bool_)
    keep[:300] = keep[500:503] = False
    put(any_store, series.take(slice(0, 900)).take(keep))
    window = CandleWindow(any_store, PAIR, "1m")
    assert len(window.newest(COUNT)) == 597

    put(any_store, series.take(slice(501, 502)))
    assert is_equal(window.newest(COUNT), any_store.last_candles(PAIR, "1m", COUNT))
    put(any_store, series.take(slice(299, 300)))
    assert is_equal(window.newest(COUNT), any_store.last_candles(PAIR, "1m", COUNT))

    assert len(window.newest(COUNT)) == 599
    assert window.read_whole == 3


def test_what_is_older_than_the_window_costs_nothing(any_store: Store, series: Candles) -> None:
    put(any_store, series.take(slice(300, 1_200)))
    window = CandleWindow(any_store, PAIR, "1m")
    window.newest(CHUNK_CANDLES // 2)

    put(any_store, series.take(slice(0, 300)))  # a backfill goes on
    put(any_store, repainted(series, 310))
    window.newest(CHUNK_CANDLES // 2)

    assert window.read_whole == 1


def test_another_count_a_trim_and_another_life_of_the_series_are_read(
    any_store: Store, series: Candles
) -> None:
    put(any_store, series)
    window = CandleWindow(any_store, PAIR, "1m")
    window.newest(1_200)
    any_store.drop_candles(PAIR, "1m", int(series.open_ms[600]))
    assert is_equal(window.newest(1_200), any_store.last_candles(PAIR, "1m", 1_200))
    assert len(window.newest(1_200)) < 1_200
    assert len(window.newest(100)) == 100

    any_store.drop_candles(PAIR, "1m", 1 << 52)
    assert len(window.newest(100)) == 0
    other = replace(series, volume=series.volume + 1.0)
    for first in (0, 400, 800):
        put(any_store, other.take(slice(first, first + 450)))
    assert is_equal(window.newest(100), any_store.last_candles(PAIR, "1m", 100))


@pytest.mark.parametrize("seed", range(4))
def test_over_any_sequence_of_changes_window_and_features_are_those_of_the_store(
    any_store: Store, series: Candles, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    missing = set(rng.choice(np.arange(320, 640), size=3, replace=False).tolist())
    keep = np.array([row not in missing for row in range(640)])
    put(any_store, series.take(slice(0, 640)).take(keep))
    window = CandleWindow(any_store, PAIR, "1m")
    stream, end, steps = FeatureStream(MOVING, MINUTE_MS), 640, 0

    while end < len(series) and steps < 60:
        steps += 1
        match rng.integers(0, 10):
            case 0:
                row = int(rng.integers(max(end - 650, 0), end))
                series.volume[row] += 1.0
                if row not in missing:
                    put(any_store, series.take(slice(row, row + 1)))
            case 1 if missing:
                row = missing.pop()
                put(any_store, series.take(slice(row, row + 1)))
            case 2:
                any_store.drop_candles(PAIR, "1m", int(series.open_ms[max(end - 640, 0)]))
            case 3:
                missing.add(end)
                end += 1
            case _:
                more = int(rng.integers(1, 25))
                rows = [row for row in range(end - 3, min(end + more, 1_250)) if row not in missing]
                put(any_store, series.take(np.array(rows)))
                end = min(end + more, 1_250)
        seen = window.newest(MOVING.lookback)
        stored = any_store.last_candles(PAIR, "1m", MOVING.lookback)
        assert is_equal(seen, stored)
        row = stream.observe(seen)
        assert row.tobytes() == MOVING.observe(stored, step_ms=MINUTE_MS).tobytes()

    assert 1 < window.read_whole < steps
