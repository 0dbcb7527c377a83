"""Receipts of signals in both stores."""

from dataclasses import replace
from pathlib import Path

import pytest

from desk.market.signals import SignalReceipt, receive
from desk.store import signals
from desk.store.folders import LocalFolder
from desk.store.kinds import signals_of
from desk.store.manifest import MonthFile, read_manifest
from desk.store.port import Store
from desk.store.signal_archive import SignalArchive


def test_a_repeat_leaves_the_first_receipt(any_store: Store) -> None:
    body = b'{"timenow": "2026-01-01T00:00:00Z"}'
    at_ms = 1_800_000_000_000
    first = receive("main", body, received_ms=at_ms)
    assert signals.append(any_store, first)
    assert not signals.append(any_store, receive("main", body, received_ms=at_ms + 1))
    [kept] = any_store.list(signals_of("main"))
    assert (kept.value, kept.version) == (first, 1)


AT_MS = 1_800_000_000_000


def receipts(count: int, *, at_ms: int = AT_MS) -> list[SignalReceipt]:
    return [receive("main", b"text %d" % number, received_ms=at_ms) for number in range(count)]


def entries(history: Path) -> list[MonthFile]:
    return list(read_manifest(LocalFolder(history / "signals" / "main")).months.values())


def test_the_store_keeps_the_newest_and_search_finds_the_rest_in_the_archive(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "MAX_KEPT", 5)
    archive = SignalArchive(tmp_path)
    for number in range(12):
        signals.append(any_store, receive("main", b"%d" % number, received_ms=AT_MS + number))

    assert signals.archive_and_trim(any_store, archive, "main", now_ms=AT_MS + 12) == 7
    kept = any_store.list(signals_of("main"))
    assert [doc.value.raw for doc in kept] == ["11", "10", "9", "8", "7"]
    page = signals.search(any_store, "main", start_ms=AT_MS, end_ms=AT_MS + 12, archive=archive)
    assert [signal.text for signal in page.signals] == [str(n) for n in range(11, -1, -1)]
    assert page.scanned == 12


def test_trimming_moves_what_is_too_old_and_too_many(
    any_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = SignalArchive(tmp_path)
    for receipt in receipts(4):
        signals.append(any_store, receipt)
    signals.append(any_store, receive("main", b"old", received_ms=AT_MS - 1))
    monkeypatch.setattr(signals, "MAX_KEPT", 3)

    def trim(after_ms: int) -> int:
        return signals.archive_and_trim(
            any_store, archive, "main", now_ms=AT_MS + signals.KEPT_MS + after_ms
        )

    assert [trim(0), trim(0), len(any_store.list(signals_of("main"))), trim(1)] == [2, 0, 3, 3]
    assert len(list(archive.read("main", 0, AT_MS + 1))) == 5


def test_a_crash_between_archive_and_trim_doubles_nothing(any_store: Store, tmp_path: Path) -> None:
    archive = SignalArchive(tmp_path)
    for receipt in receipts(4):
        signals.append(any_store, receipt)
    archive.append("main", receipts(3))  # and then the process was killed

    def found() -> list[str]:
        page = signals.search(any_store, "main", start_ms=0, end_ms=AT_MS + 1, archive=archive)
        return sorted(signal.text for signal in page.signals)

    whole = ["text 0", "text 1", "text 2", "text 3"]
    assert found() == whole
    now_ms = AT_MS + signals.KEPT_MS + 1
    assert signals.archive_and_trim(any_store, archive, "main", now_ms=now_ms) == 4
    assert found() == whole
    assert sum(entry.rows for entry in entries(tmp_path)) == 4


def test_an_archive_that_does_not_take_them_leaves_receipts_in_the_store(
    any_store: Store, tmp_path: Path
) -> None:
    for receipt in receipts(2):
        signals.append(any_store, receipt)
    (tmp_path / "signals").write_text("no folder")
    with pytest.raises(OSError, match="signals"):
        signals.archive_and_trim(
            any_store, SignalArchive(tmp_path), "main", now_ms=AT_MS + signals.KEPT_MS + 1
        )
    assert len(any_store.list(signals_of("main"))) == 2


def test_pages_give_every_revision_of_a_message_once(any_store: Store) -> None:
    [first] = receipts(1)
    for rev in range(1, 13):
        signals.append(any_store, replace(first, rev=rev))

    found: list[int] = []
    after = None
    while True:
        page = signals.search(any_store, "main", start_ms=0, end_ms=AT_MS + 1, limit=1, after=after)
        found += [signal.rev for signal in page.signals]
        if not page.truncated:
            break
        after = page.last
    assert sorted(found) == list(range(1, 13))


def test_keys_beyond_follow_the_order_of_the_list(any_store: Store) -> None:
    for receipt in receipts(6):
        signals.append(any_store, receipt)
    kind = signals_of("main")
    keys = [doc.key for doc in any_store.list(kind)]
    assert any_store.keys_beyond(kind, 2) == keys[2:]
    assert any_store.keys_beyond(kind, 2, limit=3) == keys[2:5]
    assert any_store.keys_beyond(kind, 6) == []
    assert any_store.keys_beyond(kind, 0, limit=0) == []
