"""Copying candles to the history: a storage that is away is told, and costs nothing."""

from pathlib import Path

import pytest

from actors.parts import archive
from actors.wiring import Wiring
from desk.errors import FilesUnavailable
from desk.store import kinds
from desk.store.memory import MemoryStore

LOST = FilesUnavailable("DESK_FILES: writing s3://b/p did not end in 60 s: see whether it is there")


def test_a_bucket_that_is_away_is_told_and_resolved_by_the_next_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    wiring = Wiring(
        store_url="redis://nowhere", home=tmp_path, venue_url="", pairs=(), intervals=()
    )
    answers = iter([LOST, OSError("read-only file system"), 7])

    def copy(_wiring: Wiring, _store: object) -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(archive, "copy_all", copy)

    for told in (str(LOST), "read-only file system"):
        assert archive.copy_or_tell(wiring, store, now_ms=lambda: 1_000) == 0
        [alert] = [doc.value for doc in store.list(kinds.ALERTS)]
        assert (alert.code, alert.status) == ("files_unavailable", "open")
        assert told in alert.detail
        assert "stay in the store" in alert.detail
    assert archive.copy_or_tell(wiring, store, now_ms=lambda: 2_000) == 7
    [alert] = [doc.value for doc in store.list(kinds.ALERTS)]
    assert (alert.status, alert.count) == ("resolved", 2)
