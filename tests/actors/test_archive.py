"""Copying to the history: old decisions go there too, and a storage that is away is told and costs nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.market_time import clock_fact
from actors.parts import archive
from actors.wiring import Wiring
from desk.clock import DAY_MS, ClockAnchor
from desk.errors import FilesUnavailable
from desk.store import decision_history, kinds
from desk.store.decision_archive import DecisionArchive
from desk.store.memory import MemoryStore
from desk.wallclock import wall_ms
from tests.actors.stage import Stage

NOW_MS = 1_800_000_000_000
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


def test_a_round_moves_decisions_of_more_than_a_week_to_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_history, "KEPT_ROWS", 1)
    store = MemoryStore()
    anchor = ClockAnchor(market_ms=NOW_MS, wall_ms=wall_ms(), speed=1.0)
    store.put(kinds.STATE, "clock", clock_fact(anchor), at_ms=NOW_MS)
    scene = Stage(store)
    kind, ages = kinds.decisions_of_run(scene.run.run_id), (9, 8, 6, 0)
    first = scene.decide(0.0)
    store.delete(kind, first.decision_id)
    for days in ages:
        open_ms = NOW_MS - days * DAY_MS
        record = replace(first, decision_id=f"d{days}", open_ms=open_ms)
        store.put(kind, record.decision_id, record, at_ms=open_ms)
    wiring = Wiring(
        store_url="redis://nowhere", home=tmp_path, venue_url="", pairs=(), intervals=()
    )

    archive.copy_all(wiring, store)

    assert [doc.key for doc in store.list(kind)] == ["d0", "d6"]
    assert DecisionArchive(tmp_path / "history").rows(scene.run.run_id) == 2
