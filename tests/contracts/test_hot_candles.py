"""Hot candles in the store."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.store.memory import MemoryStore
from desk.store.port import Store

START_MS = 1_700_000_040_000
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")


def _candles(slots: list[int], seed: int = 0, interval: str = "1m") -> Candles:
    step = interval_ms(interval)
    values = np.random.default_rng(seed).random((5, len(slots)))
    return Candles(
        open_ms=START_MS // step * step + step * np.array(slots, dtype=np.int64),
        open=values[0],
        high=values[1],
        low=values[2],
        close=values[3],
        volume=values[4],
    )


def _equal(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


def test_candles_come_back_bit_for_bit(any_store: Store):
    candles = _candles(list(range(1500)))

    assert any_store.write_candles("BTC-USDT", "1m", candles) == 1500

    found = any_store.read_candles("BTC-USDT", "1m", 0, 2**53)
    assert _equal(found, candles)
    assert (found.open_ms.dtype, found.close.dtype) == (np.int64, np.float64)
    assert any_store.candle_bounds("BTC-USDT", "1m") == (
        START_MS,
        START_MS + 1499 * 60_000,
        1500,
    )


def test_writing_again_changes_nothing_and_a_new_value_replaces_the_old(any_store: Store):
    any_store.write_candles("BTC-USDT", "5m", _candles([0, 1, 2], seed=1, interval="5m"))
    repainted = _candles([1, 2, 3], seed=2, interval="5m")

    assert any_store.write_candles("BTC-USDT", "5m", repainted) == 1
    assert any_store.write_candles("BTC-USDT", "5m", repainted) == 0

    assert _equal(any_store.last_candles("BTC-USDT", "5m", 3), repainted)
    bounds = any_store.candle_bounds("BTC-USDT", "5m")
    assert bounds is not None
    assert bounds[2] == 4


def test_an_empty_series_has_no_bounds_and_no_candles(any_store: Store):
    assert any_store.candle_bounds("ETH-USDT", "1m") is None
    assert len(any_store.read_candles("ETH-USDT", "1m", 0, 2**53)) == 0
    assert len(any_store.last_candles("ETH-USDT", "1m", 5)) == 0
    assert any_store.write_candles("ETH-USDT", "1m", Candles.empty()) == 0
    assert any_store.drop_candles("ETH-USDT", "1m", 2**53) == 0


def test_the_last_candles_reach_over_holes(any_store: Store):
    candles = _candles([0, 5, 2_000, 9_000, 9_001])
    any_store.write_candles("BTC-USDT", "1m", candles)

    for count in range(7):
        found = any_store.last_candles("BTC-USDT", "1m", count)
        assert _equal(found, candles.take(slice(max(5 - count, 0), None)))


@pytest.mark.parametrize("count", [1, 11, 12, 499, 500, 961, 4_000])
def test_the_last_candles_are_as_many_as_wanted_however_full_their_chunks_are(
    any_store: Store, count: int
):
    whole, scattered = range(12_000, 12_970), range(0, 12_000, 700)
    candles = _candles([*scattered, *whole])
    any_store.write_candles("BTC-USDT", "1m", candles)

    found = any_store.last_candles("BTC-USDT", "1m", count)

    assert _equal(found, candles.take(slice(max(len(candles) - count, 0), None)))


def test_a_candle_without_a_price_is_refused_and_nothing_of_its_batch_is_kept(any_store: Store):
    candles = _candles(list(range(300)))
    candles.open[250] = 0.0

    with pytest.raises(ValueError, match="open: was 0"):
        any_store.write_candles("BTC-USDT", "1m", candles)

    assert any_store.candle_bounds("BTC-USDT", "1m") is None


def test_dropping_forgets_whole_chunks_and_keeps_the_bounds_true(any_store: Store):
    candles = _candles(list(range(0, 2_000, 3)))
    any_store.write_candles("BTC-USDT", "1m", candles)
    cut_ms = START_MS + 1_000 * 60_000

    dropped = any_store.drop_candles("BTC-USDT", "1m", cut_ms)

    left = any_store.read_candles("BTC-USDT", "1m", 0, 2**53)
    assert dropped + len(left) == len(candles)
    assert dropped > 0
    assert _equal(left.between(cut_ms, 2**53), candles.between(cut_ms, 2**53))
    bounds = (int(left.open_ms[0]), int(left.open_ms[-1]), len(left))
    assert any_store.candle_bounds("BTC-USDT", "1m") == bounds
    assert any_store.drop_candles("BTC-USDT", "1m", 2**52, expected=10**6) == 0
    any_store.drop_candles("BTC-USDT", "1m", 2**52)
    assert any_store.candle_bounds("BTC-USDT", "1m") is None


@pytest.mark.catalogue("D02")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.tuples(st.lists(st.integers(0, 1_200), max_size=12), st.integers(0, 5)), max_size=4
    ),
    start=st.integers(-10, 1_300),
    length=st.integers(0, 1_300),
)
def test_any_batches_in_any_order_read_alike_from_both_stores(store, batches, start, length):
    store.connection.money.flushall()
    memory = MemoryStore()

    for slots, seed in batches:
        candles = _candles(slots, seed)
        assert store.write_candles("BTC-USDT", "1m", candles) == memory.write_candles(
            "BTC-USDT", "1m", candles
        )

    bounds = START_MS + start * 60_000, START_MS + (start + length) * 60_000
    assert _equal(
        store.read_candles("BTC-USDT", "1m", *bounds),
        memory.read_candles("BTC-USDT", "1m", *bounds),
    )
    assert store.candle_bounds("BTC-USDT", "1m") == memory.candle_bounds("BTC-USDT", "1m")


@pytest.mark.parametrize(("interval", "first"), [("3d", 20_001), ("1w", 19_999), ("1M", 19_997)])
def test_candles_that_the_venue_anchors_come_back_at_their_own_times(
    any_store: Store, interval: str, first: int
):
    days = first + np.array([0, 31, 60, 91, 700], dtype=np.int64)
    candles = replace(_candles([0, 1, 2, 3, 4]), open_ms=days * 86_400_000)

    any_store.write_candles("BTC-USDT", interval, candles)

    assert _equal(any_store.read_candles("BTC-USDT", interval, 0, 2**53), candles)
    assert _equal(any_store.last_candles("BTC-USDT", interval, 2), candles.take(slice(3, None)))
    assert any_store.candle_bounds("BTC-USDT", interval) == (
        int(candles.open_ms[0]),
        int(candles.open_ms[-1]),
        5,
    )
