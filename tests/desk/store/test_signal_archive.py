"""Receipts in Parquet: order, pages, days, damage."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from desk.clock import DAY_MS
from desk.errors import BadInput
from desk.market.signals import SignalReceipt, receive
from desk.store import day_archive, signals
from desk.store.folders import LocalFolder
from desk.store.history import History
from desk.store.manifest import read_manifest
from desk.store.memory import MemoryStore
from desk.store.signal_archive import SignalArchive

AT_MS = 1_800_000_000_000 // DAY_MS * DAY_MS


def receipt(number: int, at_ms: int) -> SignalReceipt:
    return receive("main", b"text %d" % number, received_ms=at_ms)


@pytest.mark.parametrize("ts_market_ms", [None, 7])
def test_a_receipt_comes_back_as_it_went_in(tmp_path: Path, ts_market_ms: int | None) -> None:
    kept = replace(receipt(1, AT_MS), ts_market_ms=ts_market_ms, raw="lone \ud800 surrogate")
    archive = SignalArchive(tmp_path)

    archive.append("main", [kept])

    assert [row for _, _, row in archive.read("main", 0, 2 * AT_MS)] == [kept]


def texts(archive: SignalArchive, start_ms: int = 0, before_ms: int = 2 * AT_MS) -> list[str]:
    return [row.raw for _, _, row in archive.read("main", start_ms, before_ms)]


@example(batches=[[1], [2], [1]], bounds=(0, 41), most_rows=1)
@settings(max_examples=30)
@given(
    batches=st.lists(st.lists(st.integers(0, 40), max_size=12), max_size=6),
    bounds=st.tuples(st.integers(0, 41), st.integers(0, 41)),
    most_rows=st.integers(1, 5),
)
def test_any_batches_come_back_newest_first_each_once(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    bounds: tuple[int, int],
    most_rows: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_archive, "MOST_ROWS", most_rows)
        archive = SignalArchive(tmp_path_factory.mktemp("history"))
        hour_ms = DAY_MS // 12
        for batch in batches:
            archive.append("main", [receipt(n, AT_MS + n // 2 * hour_ms) for n in batch])
        start_ms, before_ms = (AT_MS + bound * hour_ms for bound in bounds)
        rows = list(archive.read("main", start_ms, before_ms))

    everything = {n for batch in batches for n in batch}
    wanted = {n for n in everything if start_ms <= AT_MS + n // 2 * hour_ms < before_ms}
    assert sorted(row.raw for _, _, row in rows) == sorted(f"text {n}" for n in wanted)
    places = [(at_ms, key) for at_ms, key, _ in rows]
    assert places == sorted(set(places), reverse=True)
    assert all(row == receipt(int(row.raw[5:]), at_ms) for at_ms, _, row in rows)


def test_only_days_of_the_window_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = SignalArchive(tmp_path)
    archive.append("main", [receipt(day, AT_MS + day * DAY_MS) for day in range(5)])
    opened: list[str] = []
    load = archive._load
    monkeypatch.setattr(
        archive, "_load", lambda folder, name: opened.append(name) or load(folder, name)
    )
    assert texts(archive, AT_MS + 2 * DAY_MS, AT_MS + 3 * DAY_MS) == ["text 2"]
    assert opened == ["2027-01-17.00001"]
    opened.clear()
    next(archive.read("main", 0, 2 * AT_MS))
    assert len(opened) == 1


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_day_is_set_aside_and_named_and_the_others_stay(
    tmp_path: Path, damage: str
) -> None:
    archive = SignalArchive(tmp_path)
    archive.append("main", [receipt(day, AT_MS + day * DAY_MS) for day in range(3)])
    [file] = (tmp_path / "signals" / "main").glob("2027-01-16*.parquet")
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])

    assert texts(archive) == ["text 2", "text 0"]
    assert archive.lost("main", 0, 2 * AT_MS) == ["2027-01-16"]
    assert archive.lost("main", 0, AT_MS + DAY_MS) == []
    assert file.with_name(f"{file.name}.damaged").exists() == (damage == "cut")

    # Later receipts of that day get a file of their own, and the loss stays named.
    archive.append("main", [receipt(9, AT_MS + DAY_MS)])
    assert texts(archive) == ["text 2", "text 9", "text 0"]
    assert archive.lost("main", 0, 2 * AT_MS) == ["2027-01-16"]


def test_a_repeat_rewrites_nothing_and_hostile_text_comes_back_as_it_was(tmp_path: Path) -> None:
    archive = SignalArchive(tmp_path)
    hostile = replace(receipt(1, AT_MS), raw="\0\ud800 <script> \u202e")
    archive.append("main", [hostile])
    [before] = read_manifest(LocalFolder(tmp_path / "signals" / "main")).months.values()
    archive.append("main", [hostile])
    [after] = read_manifest(LocalFolder(tmp_path / "signals" / "main")).months.values()
    assert (before, texts(archive)) == (after, [hostile.raw])


def test_a_writer_that_dies_before_the_manifest_leaves_the_old_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = SignalArchive(tmp_path)
    archive.append("main", [receipt(1, AT_MS)])

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as crash:
        crash.setattr(day_archive, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            archive.append("main", [receipt(2, AT_MS)])
    assert texts(archive) == ["text 1"]
    archive.append("main", [receipt(2, AT_MS)])
    assert sorted(texts(archive)) == ["text 1", "text 2"]
    assert len(list((tmp_path / "signals" / "main").glob("*.parquet"))) == 1


def test_a_search_pages_over_store_and_archive_within_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "SCAN_BUDGET", 7)
    store, archive = MemoryStore(), SignalArchive(tmp_path)
    for number in range(40):
        one = receipt(number, AT_MS + number // 3 * DAY_MS)
        signals.append(store, one)
        if number < 25:
            archive.append("main", [one])
        if number < 20:
            store.delete(signals.signals_of("main"), signals.key_of(one))

    found: list[str] = []
    after = None
    while True:
        page = signals.search(
            store, "main", start_ms=0, end_ms=2 * AT_MS, limit=5, after=after, archive=archive
        )
        assert page.scanned <= 7
        found += [signal.text for signal in page.signals]
        if not page.truncated:
            break
        after = page.last
    assert sorted(found) == sorted(f"text {number}" for number in range(40))
    days = [int(text[5:]) // 3 for text in found]
    assert days == sorted(days, reverse=True)


def test_signals_are_no_series_of_candles_and_a_source_is_no_path(tmp_path: Path) -> None:
    archive = SignalArchive(tmp_path)
    archive.append("main", [receipt(1, AT_MS)])
    assert History(tmp_path).series() == []
    with pytest.raises(BadInput, match="source"):
        archive.append("../main", [receipt(1, AT_MS)])
    assert list(archive.read("other", 0, AT_MS)) == []
    assert not (tmp_path / "signals" / "other").exists()
