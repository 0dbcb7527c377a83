"""The audit's copy in the history: Parquet files of 1,000 places each, with a manifest.

Nothing in it is ever deleted, so that it holds well over the 12 months for which the audit is kept.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from desk.runs import AuditEvent
from desk.store.codec import from_json, to_json
from desk.store.folders import Folder, folder_of
from desk.store.manifest import (
    Manifest,
    MonthFile,
    read_manifest,
    sweep,
    verified,
    write_manifest,
)

FOLDER = "audit"
FILE_ROWS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A file that is gone or does not have its recorded hash."""

    file: str
    first_seq: int


class AuditArchive:
    """The files under `history/audit` of `DESK_HOME` or `DESK_FILES`. Several processes may use it at once."""

    def __init__(self, history: Path | Folder) -> None:
        self._root = folder_of(history).sub(FOLDER)

    def append(self, rows: Sequence[AuditEvent]) -> None:
        """Keep rows; durable on return. Idempotent: what is there already stays as it is, so that a
        row that was changed in the store later differs from its copy."""
        blocks: dict[int, list[AuditEvent]] = {}
        for row in rows:
            blocks.setdefault(_block(row.seq), []).append(row)
        if not blocks:
            return
        with self._root.locked():
            manifest = read_manifest(self._root)
            sweep(self._root, manifest)
            for block, given in sorted(blocks.items()):
                self._merge(manifest, block, given)

    def last_seq(self) -> int:
        """Place of the last row; 0 of an empty archive. Of a damaged last file: that before it."""
        names = sorted(read_manifest(self._root).months)
        if not names:
            return 0
        held = self._rows(names[-1])
        return held[-1].seq if held else int(names[-1]) * FILE_ROWS

    def read(self) -> Iterator[AuditEvent]:
        """Every row in the order of places; those of a damaged file are left out."""
        for name in sorted(read_manifest(self._root).months):
            yield from self._rows(name) or ()

    def damaged(self) -> list[Damaged]:
        """Files whose rows are not to be believed."""
        manifest = read_manifest(self._root)
        return [
            Damaged(file=entry.file, first_seq=int(name) * FILE_ROWS + 1)
            for name, entry in sorted(manifest.months.items())
            if verified(self._root, entry) is None
        ]

    def _merge(self, manifest: Manifest, block: int, given: list[AuditEvent]) -> None:
        name = f"{block:09d}"
        held, entry = self._rows(name) or [], manifest.months.get(name)
        rows = {row.seq: row for row in (*given, *held)}
        if len(rows) == len(held):
            return
        merged = [rows[seq] for seq in sorted(rows)]
        content = _to_parquet(merged)
        sha256 = hashlib.sha256(content).hexdigest()
        stamps = [row.at_ms for row in merged]
        fresh = MonthFile(
            file=self._root.new_name(f"{name}-{sha256[:12]}"),
            rows=len(merged),
            min_open_ms=min(stamps),
            max_open_ms=max(stamps),
            sha256=sha256,
            sources=(FOLDER,),
            revision=1 if entry is None else entry.revision + 1,
        )
        self._root.put(fresh.file, content)
        manifest.months[name] = fresh
        write_manifest(self._root, manifest)
        if entry is not None and entry.file != fresh.file:
            self._root.remove(entry.file)

    def _rows(self, name: str) -> list[AuditEvent] | None:
        entry = read_manifest(self._root).months.get(name)
        content = None if entry is None else verified(self._root, entry)
        return None if content is None else _from_parquet(content)


def _block(seq: int) -> int:
    return (seq - 1) // FILE_ROWS


def _to_parquet(rows: Sequence[AuditEvent]) -> bytes:
    pa, pq = _pyarrow()
    columns = {
        "seq": [row.seq for row in rows],
        "at_ms": [row.at_ms for row in rows],
        "actor": [row.actor for row in rows],
        "action": [row.action for row in rows],
        "resource": [row.resource for row in rows],
        # The whole row as it was hashed; the columns before it are for those who search.
        "row": [to_json(AuditEvent, row) for row in rows],
    }
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content, compression="zstd")
    return content.getvalue()


def _from_parquet(content: bytes) -> list[AuditEvent]:
    pa, pq = _pyarrow()
    table = pq.ParquetFile(pa.BufferReader(content)).read(columns=["row"], use_threads=False)
    return [from_json(AuditEvent, row) for row in table.column("row").to_pylist()]


def _pyarrow() -> tuple[Any, Any]:
    # Untyped, and 50 ms of import that a process without an archive does not need.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
