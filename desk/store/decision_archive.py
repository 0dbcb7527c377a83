"""Decisions that left the store, by run and day of their candle."""

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from desk.runs import DecisionRecord
from desk.store.codec import from_json, to_json
from desk.store.day_archive import DayArchive

FOLDER = "decisions"


class DecisionArchive(DayArchive[DecisionRecord]):
    """The files under `history/decisions`: a run's decisions by the open time of their candles."""

    folder = FOLDER
    field = "run_id"

    def key_of(self, row: DecisionRecord) -> str:
        return row.decision_id

    def at_of(self, row: DecisionRecord) -> int:
        return row.open_ms

    def origin_of(self, row: DecisionRecord) -> str:
        return row.version_id or "none"

    def packed(self, rows: Sequence[DecisionRecord]) -> bytes:
        pa, pq = _pyarrow()
        columns = {
            "open_ms": [row.open_ms for row in rows],
            "decision_id": [row.decision_id for row in rows],
            "pair": [row.pair for row in rows],
            "action": [row.action.value for row in rows],
            "hold_reason": [row.hold_reason for row in rows],
            "version_id": [row.version_id for row in rows],
            # The whole row as the store had it; the columns before it are for those who search.
            "row": [to_json(DecisionRecord, row) for row in rows],
        }
        content = io.BytesIO()
        pq.write_table(pa.table(columns), content, compression="zstd")
        return content.getvalue()

    def unpacked(self, content: bytes, series: str) -> list[DecisionRecord]:
        pa, pq = _pyarrow()
        table = pq.ParquetFile(pa.BufferReader(content)).read(columns=["row"], use_threads=False)
        return [from_json(DecisionRecord, row) for row in table.column("row").to_pylist()]


def _pyarrow() -> tuple[Any, Any]:
    # Untyped, and 50 ms of import that a process without an archive does not need.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
