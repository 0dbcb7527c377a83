"""The API's reader over store and files gives what the archive gives."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market.candles import Candle, Candles
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.memory import MemoryStore
from serve_apps.stored_candles import StoredCandles
from tests.serve_apps.scene import PAIR

minutes = st.sets(st.integers(0, 60), max_size=30)


def candles(at: set[int]) -> Candles:
    rows = [Candle(m * MINUTE_MS, 1.0, 2.0, 0.5, 1.5, float(m)) for m in sorted(at)]
    return Candles.of(rows)


@given(minutes, minutes, st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_places_read_as_one(
    tmp_path_factory: pytest.TempPathFactory, old: set[int], hot: set[int], start: int, end: int
) -> None:
    store, history = MemoryStore(), History(tmp_path_factory.mktemp("history"))
    history.append(PAIR, "1m", candles(old), "test")
    store.write_candles(PAIR, "1m", candles(hot))
    reader, archive = StoredCandles(store, history), CandleArchive(store, history)

    found = reader.read(PAIR, "1m", start * MINUTE_MS, end * MINUTE_MS)

    wanted = archive.read(PAIR, "1m", start * MINUTE_MS, end * MINUTE_MS)
    # The store alone answers for its own span: a hole in it is a hole, even if a file fills it.
    from_hot = bool(hot) and start >= min(hot)
    expected = [m for m in wanted.open_ms.tolist() if not from_hot or m // MINUTE_MS in hot]
    assert found.open_ms.tolist() == expected
    assert reader.bounds(PAIR, "1m") == archive.bounds(PAIR, "1m")


def test_a_new_candle_counts_without_looking_at_the_files_again(tmp_path: Path) -> None:
    store, history = MemoryStore(), History(tmp_path)
    history.append(PAIR, "1m", candles({0, 1, 2, 3}), "test")
    store.write_candles(PAIR, "1m", candles({2, 3, 4}))
    reader = StoredCandles(store, history)
    assert reader.bounds(PAIR, "1m") == (0, 4 * MINUTE_MS, 5)

    history.read = None  # pyright: ignore[reportAttributeAccessIssue]  # a read now would fail
    store.write_candles(PAIR, "1m", candles({5}))

    assert reader.bounds(PAIR, "1m") == (0, 5 * MINUTE_MS, 6)
