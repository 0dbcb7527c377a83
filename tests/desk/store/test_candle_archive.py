"""Hot candles and history read as one series."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.market.candles import Candles, sorted_unique
from desk.store.candle_cache import CandleCache
from desk.store.candles import HOT_CANDLES, HOT_MINUTES, CandleArchive, hot_window_ms
from desk.store.history import History
from desk.store.memory import MemoryStore

JUNE_MS = 1_748_736_000_000
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")
type Series = Callable[..., Candles]


def _equal(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


@pytest.fixture
def places(tmp_path: Path) -> tuple[MemoryStore, History]:
    return MemoryStore(), History(tmp_path)


def test_the_stores_candle_wins_over_the_history(
    places: tuple[MemoryStore, History], series: Series
):
    store, history = places
    old, hot = series(100, start_ms=JUNE_MS), series(50, start_ms=JUNE_MS + 90 * 60_000, seed=2)
    history.append("BTC-USDT", "1m", old, "backfill")
    store.write_candles("BTC-USDT", "1m", hot)
    archive = CandleArchive(store, history)

    found = archive.read("BTC-USDT", "1m", 0, 2**53)

    assert _equal(found, Candles.concat([old.take(slice(0, 90)), hot]))
    assert archive.bounds("BTC-USDT", "1m") == (JUNE_MS, int(hot.open_ms[-1]), 140)
    assert _equal(archive.last("BTC-USDT", "1m", 60), found.take(slice(-60, None)))
    assert _equal(archive.last("BTC-USDT", "1m", 1_000), found)


def test_an_empty_archive_has_nothing(places: tuple[MemoryStore, History]):
    archive = CandleArchive(*places)

    assert archive.bounds("BTC-USDT", "1m") is None
    assert len(archive.read("BTC-USDT", "1m", 0, 2**53)) == 0
    assert len(archive.last("BTC-USDT", "1m", 5)) == 0
    assert archive.flush("BTC-USDT", "1m") == 0


def test_flushing_keeps_the_hot_window_and_loses_no_candle(
    places: tuple[MemoryStore, History], series: Series
):
    store, history = places
    candles = series(HOT_CANDLES + 3_000, start_ms=JUNE_MS, interval="5m")
    store.write_candles("BTC-USDT", "5m", candles)
    archive = CandleArchive(store, history)

    assert archive.flush("BTC-USDT", "5m") == len(candles)

    assert _equal(archive.read("BTC-USDT", "5m", 0, 2**53), candles)
    assert _equal(history.read("BTC-USDT", "5m", 0, 2**53), candles)
    bounds = store.candle_bounds("BTC-USDT", "5m")
    assert bounds is not None
    assert HOT_CANDLES <= bounds[2] < HOT_CANDLES + 480
    assert archive.flush("BTC-USDT", "5m") == 0


def test_a_late_healed_candle_reaches_the_history_with_the_next_flush(
    places: tuple[MemoryStore, History], series: Series
):
    store, history = places
    candles = series(300, start_ms=JUNE_MS)
    archive = CandleArchive(store, history)
    store.write_candles("BTC-USDT", "1m", candles.take(np.arange(300) != 100))
    archive.flush("BTC-USDT", "1m")

    store.write_candles("BTC-USDT", "1m", candles.take(slice(100, 101)))

    assert archive.flush("BTC-USDT", "1m") == 1
    assert _equal(history.read("BTC-USDT", "1m", 0, 2**53), candles)


class _Busy(MemoryStore):
    """A store into which a backfill writes old candles while the flush is at the files."""

    def __init__(self, late: Candles) -> None:
        super().__init__()
        self.late = late

    def drop_candles(
        self, pair: str, interval: str, before_ms: int, *, expected: int | None = None
    ) -> int:
        self.write_candles(pair, interval, self.late)
        return super().drop_candles(pair, interval, before_ms, expected=expected)


@pytest.mark.catalogue("D13")
def test_old_candles_written_during_a_flush_leave_the_store_only_with_the_next(
    tmp_path: Path, series: Series
):
    candles = series(HOT_CANDLES + 3_000, start_ms=JUNE_MS, interval="5m")
    store, history = _Busy(candles.take(slice(0, 500))), History(tmp_path)
    store.write_candles("BTC-USDT", "5m", candles.take(slice(500, None)))
    archive = CandleArchive(store, history)

    archive.flush("BTC-USDT", "5m")

    assert _equal(archive.read("BTC-USDT", "5m", 0, 2**53), candles)
    archive.flush("BTC-USDT", "5m")
    assert _equal(history.read("BTC-USDT", "5m", 0, 2**53), candles)
    bounds = store.candle_bounds("BTC-USDT", "5m")
    assert bounds is not None
    assert bounds[2] < HOT_CANDLES + 480


def test_the_hot_window_is_thirty_days_of_minutes():
    assert hot_window_ms("1m") == 30 * 86_400_000
    assert HOT_MINUTES == 43_200
    assert hot_window_ms("1h") == 2_000 * 3_600_000


@settings(max_examples=25)
@given(
    parts=st.lists(
        st.tuples(st.booleans(), st.integers(0, 40), st.integers(1, 30), st.integers(0, 2)),
        max_size=6,
    ),
    count=st.integers(0, 60),
    is_mapped=st.booleans(),
)
def test_both_places_together_are_one_series(
    parts: list[tuple[bool, int, int, int]],
    count: int,
    is_mapped: bool,
    series: Series,
    tmp_path_factory: pytest.TempPathFactory,
):
    store, history = MemoryStore(), History(tmp_path_factory.mktemp("history"))
    old, hot = list[Candles](), list[Candles]()
    for is_hot, start, length, seed in parts:
        candles = series(length, start_ms=JUNE_MS + start * 60_000, seed=seed)
        if is_hot:
            store.write_candles("BTC-USDT", "1m", candles)
        else:
            history.append("BTC-USDT", "1m", candles, "test")
        (hot if is_hot else old).append(candles)
    cache = CandleCache(tmp_path_factory.mktemp("cache"), history) if is_mapped else None
    archive = CandleArchive(store, history, cache)

    everything = sorted_unique(Candles.concat(old + hot))

    assert _equal(archive.read("BTC-USDT", "1m", 0, 2**53), everything)
    assert _equal(
        archive.last("BTC-USDT", "1m", count),
        everything.take(slice(max(len(everything) - count, 0), None)),
    )
    bounds = archive.bounds("BTC-USDT", "1m")
    assert (bounds[2] if bounds else 0) == len(everything)
