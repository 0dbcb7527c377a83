"""Candle files: merged by open time, checked by hash, published in one step."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.market.candles import Candles, sorted_unique
from desk.store.candle_file import from_parquet, to_parquet
from desk.store.history import History

JUNE_MS = 1_748_736_000_000
FIELDS = ("open_ms", "open", "high", "low", "close", "volume")
type Series = Callable[..., Candles]


def _equal(left: Candles, right: Candles) -> bool:
    return all(np.array_equal(getattr(left, name), getattr(right, name)) for name in FIELDS)


def _all(history: History) -> Candles:
    return history.read("BTC-USDT", "1m", 0, 2**53)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "history")


def _month_file(history: History, tmp_path: Path, month: str) -> Path:
    entry = history.manifest("BTC-USDT", "1m").months[month]
    return tmp_path / "history" / "BTC-USDT" / "1m" / entry.file


def test_candles_come_back_bit_for_bit_from_a_file_per_month(
    history: History, tmp_path: Path, series: Series
):
    candles = series(90_000, start_ms=JUNE_MS - 60_000 * 1_000)

    assert history.append("BTC-USDT", "1m", candles, "backfill") == 90_000

    assert _equal(_all(history), candles)
    months = history.manifest("BTC-USDT", "1m").months
    assert list(months) == ["2025-05", "2025-06", "2025-07", "2025-08"]
    assert months["2025-05"].rows == 1_000
    assert months["2025-06"].min_open_ms == JUNE_MS
    assert months["2025-06"].max_open_ms == JUNE_MS + (30 * 1440 - 1) * 60_000
    assert history.bounds("BTC-USDT", "1m") == (
        int(candles.open_ms[0]),
        int(candles.open_ms[-1]),
        90_000,
    )
    files = {path.name for path in (tmp_path / "history" / "BTC-USDT" / "1m").glob("*.parquet")}
    assert files == {entry.file for entry in months.values()}


def test_ranges_are_half_open(history: History, series: Series):
    candles = series(100, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")

    found = history.read("BTC-USDT", "1m", JUNE_MS + 60_000, JUNE_MS + 3 * 60_000)

    assert _equal(found, candles.take(slice(1, 3)))
    assert len(history.read("ETH-USDT", "1m", 0, 2**53)) == 0
    assert history.bounds("ETH-USDT", "1m") is None
    assert history.series() == [("BTC-USDT", "1m")]


def test_appending_again_rewrites_nothing(history: History, tmp_path: Path, series: Series):
    candles = series(500, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")
    before = history.manifest("BTC-USDT", "1m")
    stamp = _month_file(history, tmp_path, "2025-06").stat().st_mtime_ns

    assert history.append("BTC-USDT", "1m", candles.take(slice(100, 200)), "backfill") == 0

    assert history.manifest("BTC-USDT", "1m") == before
    assert _month_file(history, tmp_path, "2025-06").stat().st_mtime_ns == stamp


def test_a_new_value_replaces_the_old_and_counts_as_a_revision(history: History, series: Series):
    old, new = series(500, start_ms=JUNE_MS), series(10, start_ms=JUNE_MS + 60_000, seed=2)
    history.append("BTC-USDT", "1m", old, "live")
    before = history.manifest("BTC-USDT", "1m")

    assert history.append("BTC-USDT", "1m", new, "backfill") == 10

    assert _equal(_all(history), sorted_unique(Candles.concat([old, new])))
    after = history.manifest("BTC-USDT", "1m")
    assert after.sha256 != before.sha256
    assert after.months["2025-06"].revision == 2
    assert after.months["2025-06"].sources == ("backfill", "live")


@settings(max_examples=10)
@given(
    batches=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3)), max_size=5
    )
)
def test_any_batches_leave_the_last_given_of_each_open_time(
    batches: list[tuple[int, int, int]], series: Series, tmp_path_factory: pytest.TempPathFactory
):
    history = History(tmp_path_factory.mktemp("history"))
    parts = [
        series(count, start_ms=JUNE_MS + (start - 30) * 60_000, seed=seed)
        for start, count, seed in batches
    ]

    for part in parts:
        history.append("BTC-USDT", "1m", part, "test")

    assert _equal(_all(history), sorted_unique(Candles.concat(parts)))


@pytest.mark.catalogue("D17")
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_moved_aside_and_its_month_can_be_fetched_again(
    history: History, tmp_path: Path, series: Series, damage: str
):
    candles = series(90_000, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles, "live")
    file = _month_file(history, tmp_path, "2025-07")
    content = file.read_bytes()
    match damage:
        case "flipped":
            file.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case _:
            file.unlink()

    with structlog.testing.capture_logs() as logs:
        found = _all(history)

    july = (candles.open_ms >= JUNE_MS + 30 * 86_400_000) & (
        candles.open_ms < JUNE_MS + 61 * 86_400_000
    )
    assert _equal(found, candles.take(~july))
    assert [line["event"] for line in logs] == ["history_file_damaged"]
    assert len(history.damaged("BTC-USDT", "1m")) == (0 if damage == "gone" else 1)
    assert "2025-07" not in history.manifest("BTC-USDT", "1m").months

    history.append("BTC-USDT", "1m", candles, "backfill")
    assert _equal(_all(history), candles)


def test_appending_to_a_damaged_month_keeps_the_given_rows(
    history: History, tmp_path: Path, series: Series
):
    candles = series(200, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles.take(slice(0, 100)), "live")
    _month_file(history, tmp_path, "2025-06").write_bytes(b"nonsense")

    history.append("BTC-USDT", "1m", candles.take(slice(100, 200)), "live")

    assert _equal(_all(history), candles.take(slice(100, 200)))
    assert len(history.damaged("BTC-USDT", "1m")) == 1


def test_a_damaged_manifest_is_moved_aside(history: History, tmp_path: Path, series: Series):
    history.append("BTC-USDT", "1m", series(10, start_ms=JUNE_MS), "live")
    (tmp_path / "history" / "BTC-USDT" / "1m" / "manifest.json").write_text('{"months": ')

    assert history.bounds("BTC-USDT", "1m") is None

    assert history.damaged("BTC-USDT", "1m") == ["manifest.json.damaged"]
    assert history.append("BTC-USDT", "1m", series(10, start_ms=JUNE_MS), "live") == 10


@pytest.mark.catalogue("D13")
def test_a_writer_that_dies_before_the_manifest_leaves_the_old_state(
    history: History, tmp_path: Path, series: Series, monkeypatch: pytest.MonkeyPatch
):
    first, second = series(100, start_ms=JUNE_MS), series(200, start_ms=JUNE_MS, seed=2)
    history.append("BTC-USDT", "1m", first, "live")

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr("desk.store.history.write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            history.append("BTC-USDT", "1m", second, "backfill")

    assert _equal(_all(history), first)
    history.append("BTC-USDT", "1m", second, "backfill")
    assert _equal(_all(history), second)


FLUSHES = """
import pathlib, sys
import numpy as np
from desk.market.candles import Candles
from desk.store.history import History
start, step = int(sys.argv[2]), 60_000
history = History(pathlib.Path(sys.argv[1]))
bounds = history.bounds("BTC-USDT", "1m")
first = 0 if bounds is None else (bounds[1] - start) // step + 1
print("ready", flush=True)
for at in range(first, 3_000, 20):
    open_ms = start + step * np.arange(at, at + 20)
    values = {name: open_ms / 1e3 for name in ("open", "high", "low", "close", "volume")}
    history.append("BTC-USDT", "1m", Candles(open_ms=open_ms, **values), "backfill")
    print(at + 20, flush=True)
"""


@pytest.mark.catalogue("D13")
def test_a_writer_killed_anywhere_leaves_whole_batches_and_goes_on_where_it_was(tmp_path: Path):
    start_ms = JUNE_MS - 1_500 * 60_000
    command = [sys.executable, "-c", FLUSHES, str(tmp_path), str(start_ms)]
    acknowledged = 0
    for wait_s in (0.0, 0.013, 0.034, 0.055):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(wait_s)
            writer.kill()
            said = writer.stdout.read().split()
        acknowledged = int(said[-1]) if said else acknowledged
        found = _all(History(tmp_path))
        assert len(found) % 20 == 0
        assert acknowledged <= len(found) <= acknowledged + 20
        assert found.open_ms.tolist() == [start_ms + 60_000 * n for n in range(len(found))]

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    history = History(tmp_path)
    assert len(_all(history)) == 3_000
    named = {entry.file for entry in history.manifest("BTC-USDT", "1m").months.values()}
    folder = tmp_path / "BTC-USDT" / "1m"
    assert {path.name for path in folder.iterdir()} == {*named, "manifest.json", ".lock"}


def test_writers_and_readers_at_once_see_whole_months(history: History, series: Series):
    candles = series(2_000, start_ms=JUNE_MS)
    history.append("BTC-USDT", "1m", candles.take(slice(0, 100)), "live")
    short: list[int] = []
    done = threading.Event()

    def read() -> None:
        seen = 0
        while not done.is_set():
            found = len(_all(history))
            if found < seen:
                short.append(found)
            seen = found

    def write(first: int) -> None:
        for start in range(first, 2_000, 200):
            history.append("BTC-USDT", "1m", candles.take(slice(start, start + 100)), "live")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 100)]
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    reader.join()

    assert short == []
    assert _equal(_all(history), candles)
    assert history.damaged("BTC-USDT", "1m") == []


def test_names_that_leave_the_root_are_refused(history: History, series: Series):
    for pair, interval in (("../BTC-USDT", "1m"), ("BTC-USDT", "../1m")):
        with pytest.raises(BadInput):
            history.append(pair, interval, series(1, start_ms=JUNE_MS), "live")


def test_reading_pays_for_pyarrow_only_when_there_are_files(tmp_path: Path):
    script = (
        "import sys, pathlib; from desk.store.history import History;"
        "from desk.store.candles import CandleArchive; from desk.store.connect import open_store;"
        "from desk.store.artifacts import Artifacts;"
        "History(pathlib.Path(sys.argv[1])).bounds('BTC-USDT', '1m');"
        "print([m for m in ('pyarrow', 'pandas', 'torch', 'ray') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"


finite = st.floats(allow_nan=False, allow_infinity=False)
cents = st.integers(-(10**9), 10**9).map(lambda n: n / 100)


@given(values=st.lists(st.one_of(finite, cents, st.just(-0.0)), max_size=20))
def test_any_prices_keep_every_bit_in_a_file(values: list[float]):
    column = np.array(values, dtype=np.float64)
    candles = Candles(
        open_ms=JUNE_MS + 60_000 * np.arange(len(values), dtype=np.int64),
        open=column,
        high=column,
        low=column,
        close=column,
        volume=column,
    )

    back = from_parquet(to_parquet(candles))

    assert back.close.tobytes() == column.tobytes()
    assert np.array_equal(back.open_ms, candles.open_ms)


def test_real_candles_take_a_dozen_bytes_each(tape: Callable[[str], Path]):
    import pyarrow.parquet as pq

    table = pq.read_table(tape("binance_spot_BTCUSDT_1m_2025-05-20_2025-08-18.parquet"))
    table = table.slice(0, 43_200)
    candles = Candles(
        open_ms=table.column("open_time").to_numpy().astype(np.int64),
        **{name: table.column(name).to_numpy() for name in FIELDS[1:]},
    )

    content = to_parquet(candles)

    assert len(content) < 14 * len(candles)
    assert _equal(from_parquet(content), candles)
