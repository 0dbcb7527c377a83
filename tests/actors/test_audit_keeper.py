"""The audit's copy in the history, what leaves the store, and what tells that somebody meddled."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors import audit_keeper
from actors.audit import append_row
from actors.audit_keeper import check_all, check_store, keep_audit
from desk.audit_chain import Link, first_break, sealed
from desk.cli.application import app
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.audit_archive import AuditArchive
from desk.store.layout import audit_key
from desk.store.memory import MemoryStore
from desk.store.port import Store
from desk.store.valkey import ValkeyStore

NOW_MS = 1_700_000_000_000


def make_row(number: int, **changes: object) -> AuditEvent:
    row = AuditEvent(
        audit_id=f"a{number}",
        actor="operator",
        action="run.pause",
        resource="run/r1",
        at_ms=NOW_MS + number,
        before={"status": "running"},
        after={"n": number},
    )
    return replace(row, **changes)


def written(store: Store, count: int, *, first: int = 0) -> list[AuditEvent]:
    return [append_row(store, make_row(n)) for n in range(first, first + count)]


def overwrite(store: Store, seq: int, row: AuditEvent) -> None:
    store.put(kinds.AUDIT, audit_key(seq), row, at_ms=row.at_ms)


@pytest.fixture
def archive(tmp_path: Path) -> AuditArchive:
    return AuditArchive(tmp_path)


def test_rows_are_copied_once_and_old_ones_leave_the_store(
    archive: AuditArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_keeper, "KEPT_ROWS", 30)
    store, rows = MemoryStore(), list[AuditEvent]()
    for _ in range(3):
        rows += written(store, 700, first=len(rows))
        assert keep_audit(store, archive, now_ms=NOW_MS).broken is None

    head = store.audit_head()
    assert list(archive.read()) == rows
    assert (head.seq, head.trimmed_seq, head.rows) == (2_100, 2_070, 30)
    assert (
        first_break(archive.read(), start=Link(), end=Link(seq=2_100, sha256=head.sha256)) is None
    )
    assert check_all(store, archive).broken is check_store(store).broken is None

    keep_audit(store, archive, now_ms=NOW_MS + audit_keeper.KEPT_MS + 10_000)
    assert store.audit_head().rows == 0
    assert check_all(store, archive).broken is check_store(store).broken is None
    assert written(store, 1, first=5_000)[0].seq == 2_101
    assert check_all(store, archive).broken is check_store(store).broken is None


def test_rows_of_a_release_before_the_chain_are_taken_into_it(archive: AuditArchive) -> None:
    store = MemoryStore()
    for number in range(3):
        old = make_row(number)
        store.put(kinds.UNCHAINED_AUDIT, old.audit_id, old, at_ms=old.at_ms)

    keep_audit(store, archive, now_ms=NOW_MS)

    assert [row.audit_id for row in archive.read()] == ["a0", "a1", "a2"]
    assert store.list(kinds.UNCHAINED_AUDIT) == []
    assert check_all(store, archive).broken is None


def changed(store: Store, rows: list[AuditEvent]) -> None:
    overwrite(store, 3, replace(rows[2], actor="nobody"))


def removed(store: Store, rows: list[AuditEvent]) -> None:
    store.delete(kinds.AUDIT, audit_key(3))


def exchanged(store: Store, rows: list[AuditEvent]) -> None:
    overwrite(store, 3, rows[3])
    overwrite(store, 4, rows[2])


def sealed_again(store: Store, rows: list[AuditEvent]) -> None:
    before = Link(seq=2, sha256=rows[1].sha256)
    overwrite(store, 3, sealed(replace(rows[2], actor="nobody"), before))


def inserted(store: Store, rows: list[AuditEvent]) -> None:
    overwrite(store, 9_999, make_row(77))


MEDDLING = {"changed": changed, "removed": removed, "exchanged": exchanged, "sealed": sealed_again}


@pytest.mark.parametrize("meddle", [*MEDDLING.values(), inserted])
@pytest.mark.parametrize("is_copied", [False, True])
def test_meddling_with_the_stores_rows_is_found_and_nothing_is_trimmed(
    archive: AuditArchive,
    meddle: Callable[[Store, list[AuditEvent]], None],
    is_copied: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = MemoryStore()
    rows = written(store, 6)
    if is_copied:
        keep_audit(store, archive, now_ms=NOW_MS)
    meddle(store, rows)
    monkeypatch.setattr(audit_keeper, "KEPT_ROWS", 0)

    found = keep_audit(store, archive, now_ms=NOW_MS)

    assert found.broken is not None
    assert found.broken.seq in {3, 4, 7}
    assert check_store(store).broken is not None
    assert store.audit_head().trimmed_seq == 0


def test_an_end_that_was_cut_off_with_the_head_is_known_by_the_copy(archive: AuditArchive) -> None:
    whole, cut = MemoryStore(), MemoryStore()
    written(whole, 5)
    keep_audit(whole, archive, now_ms=NOW_MS)
    written(cut, 3)

    broken = check_all(cut, archive).broken

    assert check_store(cut).broken is None
    assert broken is not None
    assert (broken.seq, "history" in broken.problem) == (4, True)


def test_a_damaged_file_of_the_history_is_named(archive: AuditArchive, tmp_path: Path) -> None:
    store = MemoryStore()
    written(store, 3)
    keep_audit(store, archive, now_ms=NOW_MS)
    [file] = (tmp_path / "audit").glob("*.parquet")
    file.write_bytes(file.read_bytes()[:-7])

    broken = check_all(store, archive).broken

    assert broken is not None
    assert file.name in broken.problem


def test_verify_names_the_first_bad_row_and_fails(store: ValkeyStore, tmp_path: Path) -> None:
    terminal = CliRunner(env={"DESK_HOME": str(tmp_path), "REDIS_URL": store.url})
    rows = written(store, 4)

    whole = terminal.invoke(app, ["audit", "verify", "--json"])
    changed(store, rows)
    broken = terminal.invoke(app, ["audit", "verify"])

    assert whole.exit_code == 0, whole.output
    assert json.loads(whole.stdout) == {"rows": 4, "first_bad_row": None, "problem": ""}
    assert broken.exit_code == 1
    assert "row 3 was changed" in broken.output
