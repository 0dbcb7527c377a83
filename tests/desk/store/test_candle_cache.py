"""The mapped cache: always what the history says, for readers and writers at once, never the truth."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.market.candles import Candles, sorted_unique
from desk.market.gaps import find_gaps
from desk.store.candle_cache import CandleCache
from desk.store.history import History

JUNE_MS = 1_748_736_000_000
MINUTE_MS = 60_000
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")
EVER = (0, 2**53)
type Series = Callable[..., Candles]


def _same(left: Candles, right: Candles) -> bool:
    return all(getattr(left, name).tobytes() == getattr(right, name).tobytes() for name in FIELDS)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def _files(root: Path) -> list[Path]:
    return sorted(root.glob("*/*/*.arrow"))


def test_reads_are_views_of_the_mapped_file(history: History, root: Path, series: Series):
    candles = series(90_000, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "backfill")
    cache = CandleCache(root, history)

    whole = cache.read("BTC-USDT", "1m", *EVER)

    assert _same(whole, candles)
    assert not whole.close.flags.owndata
    assert not whole.close.flags.writeable
    some = cache.read("BTC-USDT", "1m", JUNE_MS + MINUTE_MS, JUNE_MS + 3 * MINUTE_MS)
    assert _same(some, candles.take(slice(1, 3)))
    assert _same(cache.latest("BTC-USDT", "1m", 500), candles.take(slice(-500, None)))
    assert _same(cache.earliest("BTC-USDT", "1m", 500), candles.take(slice(0, 500)))
    assert _same(cache.latest("BTC-USDT", "1m", 10**6), candles)
    assert len(cache.latest("BTC-USDT", "1m", 0)) == 0
    assert len(_files(root)) == 1


def test_a_series_without_files_is_empty_and_a_hole_of_its_own(history: History, root: Path):
    cache = CandleCache(root, history)

    assert len(cache.read("BTC-USDT", "1m", *EVER)) == 0
    assert cache.gaps("BTC-USDT", "1m", 0, 10 * MINUTE_MS) == [(0, 9 * MINUTE_MS)]
    assert _files(root) == []
    with pytest.raises(BadInput):
        cache.latest("../BTC-USDT", "1m", 1)


@settings(max_examples=20)
@given(
    parts=st.lists(
        st.tuples(st.integers(0, 90), st.integers(1, 40), st.integers(0, 2), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    first=st.integers(-5, 100),
    span=st.integers(0, 100),
)
def test_after_any_writes_the_cache_is_the_history(
    parts: list[tuple[int, int, int, bool]],
    first: int,
    span: int,
    series: Series,
    tmp_path_factory: pytest.TempPathFactory,
):
    folder = tmp_path_factory.mktemp("cache")
    history = History(folder / "history")
    mine, others = (CandleCache(folder / "cache", history) for _ in range(2))
    start_ms = JUNE_MS + (first - 50) * MINUTE_MS
    wanted = (start_ms, start_ms + span * MINUTE_MS)
    for start, length, seed, is_read in parts:
        batch = series(length, start_ms=JUNE_MS + (start - 50) * MINUTE_MS, seed=seed)
        history.append("BTC-USDT", "1m", batch, "test")
        if is_read:
            others.read("BTC-USDT", "1m", *wanted)

    for cache in (mine, others):
        assert _same(cache.read("BTC-USDT", "1m", *wanted), history.read("BTC-USDT", "1m", *wanted))
        assert cache.gaps("BTC-USDT", "1m", *wanted) == find_gaps(
            history.read("BTC-USDT", "1m", *EVER).open_ms,
            "1m",
            start_ms=wanted[0],
            end_ms=wanted[1],
        )


def test_any_float64_is_read_back_bit_for_bit(history: History, root: Path):
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324, 0.1 + 0.2, 1e308])
    odd[1:2].view(np.uint64)[0] |= 7
    candles = Candles(open_ms=JUNE_MS + MINUTE_MS * np.arange(8), **dict.fromkeys(FIELDS[1:], odd))

    history.append("BTC-USDT", "1m", candles, "test")

    assert _same(history.read("BTC-USDT", "1m", *EVER), candles)
    assert _same(CandleCache(root, history).read("BTC-USDT", "1m", *EVER), candles)


def test_what_was_read_stays_whole_when_the_history_moves_on(
    history: History, root: Path, series: Series
):
    old, new = series(3_000, start_ms=JUNE_MS), series(3_000, start_ms=JUNE_MS, seed=2)
    history.append("BTC-USDT", "1m", old, "live")
    cache = CandleCache(root, history)
    before = cache.read("BTC-USDT", "1m", *EVER)

    history.append("BTC-USDT", "1m", new, "backfill")
    after = cache.read("BTC-USDT", "1m", *EVER)

    assert _same(before, old)
    assert _same(after, new)
    assert len(_files(root)) == 1


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "nonsense", "gone"])
def test_a_damaged_cache_is_made_anew(history: History, root: Path, series: Series, damage: str):
    candles = series(3_000, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")
    CandleCache(root, history).latest("BTC-USDT", "1m", 1)
    [file] = _files(root)
    content = bytearray(file.read_bytes())
    match damage:
        case "flipped":
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "emptied":
            file.write_bytes(b"")
        case "nonsense":
            file.write_bytes(b"ARROW1" + bytes(len(content) - 6))
        case _:
            file.unlink()

    with structlog.testing.capture_logs() as logs:
        found = CandleCache(root, history).read("BTC-USDT", "1m", *EVER)

    assert _same(found, candles)
    assert [line["event"] for line in logs] == (
        [] if damage == "gone" else ["candle_cache_damaged"]
    )
    assert _files(root) == [file]
    with structlog.testing.capture_logs() as logs:
        CandleCache(root, history).latest("BTC-USDT", "1m", 1)
    assert logs == []


@pytest.mark.catalogue("D17")
def test_a_damaged_month_leaves_the_cache_with_the_history(
    history: History, root: Path, tmp_path: Path, series: Series
):
    candles = series(90_000, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")
    entry = history.manifest("BTC-USDT", "1m").months["2025-07"]
    (tmp_path / "history" / "BTC-USDT" / "1m" / entry.file).write_bytes(b"half")
    cache = CandleCache(root, history)

    holes = cache.gaps("BTC-USDT", "1m", JUNE_MS, JUNE_MS + 90_000 * MINUTE_MS)

    assert holes == [(entry.min_open_ms, entry.max_open_ms)]
    history.append(
        "BTC-USDT", "1m", candles.between(entry.min_open_ms, entry.max_open_ms + 1), "healed"
    )
    assert _same(cache.read("BTC-USDT", "1m", *EVER), candles)


def test_the_least_recently_opened_series_makes_room(history: History, root: Path, series: Series):
    for pair in ("BTC-USDT", "ETH-USDT", "SOL-USDT"):
        history.append(pair, "1m", series(2_000, start_ms=JUNE_MS), "live")
    cache = CandleCache(root, history, most_bytes=250_000)
    cache.latest("BTC-USDT", "1m", 1)
    cache.latest("ETH-USDT", "1m", 1)
    kept = cache.read("BTC-USDT", "1m", *EVER)
    for file in _files(root):
        an_hour_ago = file.stat().st_mtime - 3_600
        os.utime(file, (an_hour_ago, an_hour_ago))
    CandleCache(root, history, most_bytes=250_000).latest("BTC-USDT", "1m", 1)

    cache.latest("SOL-USDT", "1m", 1)

    assert {file.parts[-3] for file in _files(root)} == {"BTC-USDT", "SOL-USDT"}
    assert len(kept) == 2_000
    assert len(cache.read("ETH-USDT", "1m", *EVER)) == 2_000


def test_a_cache_that_cannot_be_written_costs_no_candle(
    history: History, root: Path, series: Series, monkeypatch: pytest.MonkeyPatch
):
    candles = series(100, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("desk.store.candle_cache._write", full)
    with structlog.testing.capture_logs() as logs:
        found = CandleCache(root, history).read("BTC-USDT", "1m", *EVER)

    assert _same(found, candles)
    assert [line["event"] for line in logs] == ["candle_cache_unwritten"]


def _look(folder: Path, goal: int, answers: "multiprocessing.Queue[str]") -> None:
    cache = CandleCache(folder / "cache", History(folder / "history"))
    seen = 0
    while seen < goal:
        found = cache.read("BTC-USDT", "1m", *EVER)
        whole = np.array_equal(found.open_ms, JUNE_MS + MINUTE_MS * np.arange(len(found)))
        if len(found) < seen or not whole or not np.array_equal(found.close, found.open):
            answers.put(f"{seen} then {len(found)}")
            return
        seen = len(found)
    answers.put("sound")


def test_processes_that_read_while_another_writes_see_whole_and_growing_histories(
    tmp_path: Path, series: Series
):
    history, candles = History(tmp_path / "history"), series(600, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles.take(slice(0, 50)), "live")
    context = multiprocessing.get_context("forkserver")
    answers = context.Queue()
    readers = [context.Process(target=_look, args=(tmp_path, 600, answers)) for _ in range(2)]
    for reader in readers:
        reader.start()

    for start in range(50, 600, 50):
        history.append("BTC-USDT", "1m", candles.take(slice(start, start + 50)), "live")

    assert [answers.get(timeout=60) for _ in readers] == ["sound", "sound"]
    for reader in readers:
        reader.join(60)
    assert len(_files(tmp_path / "cache")) == 1
    assert _same(sorted_unique(candles), history.read("BTC-USDT", "1m", *EVER))
