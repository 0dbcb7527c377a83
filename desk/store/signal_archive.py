"""Receipts of signals that left the store: Parquet files by source and day of arrival, with a manifest.

A day is several files once it has many receipts, so that none is rewritten without bound.
"""

import hashlib
import heapq
import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from desk.errors import BadInput
from desk.market.signals import SignalReceipt
from desk.store.folders import Folder, folder_of
from desk.store.manifest import (
    Manifest,
    MonthFile,
    read_manifest,
    set_aside,
    sweep,
    verified,
    write_manifest,
)

FOLDER = "signals"
MOST_ROWS = 1_000
"""Of one file: 16 MB at 16 KiB a receipt, what one change rewrites and one read holds."""
_COLUMNS = ("source_kind", "external_id", "rev", "ts_received_ms", "ts_market_ms", "raw", "raw_ref")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_:@+-]{0,63}")
_REMEDY = "restore the file from a backup: its receipts are nowhere else"

type Row = tuple[int, str, SignalReceipt]
"""Arrival, ms UTC wall; key within the source, `{external_id}:{rev}`; the receipt."""


class SignalArchive:
    """The files under `history/signals` of `DESK_HOME` or `DESK_FILES`. Several processes may use it at once.

    A file that is missing or does not have its recorded hash is moved aside, logged as an error and
    named by `lost`; it is never taken for an empty one.
    """

    def __init__(self, history: Path | Folder) -> None:
        self._root = folder_of(history).sub(FOLDER)

    def append(self, source_id: str, receipts: list[SignalReceipt]) -> None:
        """Keep receipts of one source; durable on return. Receipts that its newest file of the day
        has already change nothing; `read` gives any other repeat once, too."""
        if not receipts:
            return
        folder = self._folder(source_id)
        with folder.locked():
            manifest = read_manifest(folder)
            sweep(folder, manifest)
            days: dict[str, list[SignalReceipt]] = {}
            for receipt in receipts:
                days.setdefault(_day(receipt.ts_received_ms), []).append(receipt)
            for day, given in sorted(days.items()):
                self._merge(source_id, folder, manifest, day, given)

    def read(self, source_id: str, start_ms: int, before_ms: int) -> Iterator[Row]:
        """Receipts that arrived in `[start_ms, before_ms)`, newest first, then by key downwards, each
        once. Opens only files of that time, one after the other as they are needed."""
        folder = self._folder(source_id)
        waiting = sorted(
            (entry.max_open_ms, name)
            for name, entry in read_manifest(folder).months.items()
            if entry.min_open_ms < before_ms and entry.max_open_ms >= start_ms
        )
        held: list[tuple[_Downwards, SignalReceipt]] = []
        last = None
        while waiting or held:
            if waiting and (not held or waiting[-1][0] >= held[0][0].row[0]):
                for receipt in self._load(source_id, waiting.pop()[1]):
                    if start_ms <= receipt.ts_received_ms < before_ms:
                        row = (receipt.ts_received_ms, key_of(receipt))
                        heapq.heappush(held, (_Downwards(row), receipt))
                continue
            order, receipt = heapq.heappop(held)
            if order.row != last:
                last = order.row
                yield *order.row, receipt

    def lost(self, source_id: str, start_ms: int, before_ms: int) -> list[str]:
        """Days (`2026-01-31`) of which receipts of that time are damaged or gone."""
        return sorted(
            {
                _day(entry.min_open_ms)
                for entry in read_manifest(self._folder(source_id)).lost.values()
                if entry.min_open_ms < before_ms and entry.max_open_ms >= start_ms
            }
        )

    def _merge(
        self,
        source_id: str,
        folder: Folder,
        manifest: Manifest,
        day: str,
        given: list[SignalReceipt],
    ) -> None:
        parts = sorted(name for name in (*manifest.months, *manifest.lost) if _is_of(name, day))
        number = int(parts[-1][len(day) + 1 :]) if parts else 1
        entry = manifest.months.get(f"{day}.{number:05d}")
        known = None if entry is None else verified(folder, entry)
        if entry is not None and known is None:
            set_aside(folder, manifest, f"{day}.{number:05d}", remedy=_REMEDY)
        stored = [] if known is None else _from_parquet(known, source_id)
        if len(stored) >= MOST_ROWS or (parts and known is None):
            number, stored, entry = number + 1, [], None
        rows = {key_of(receipt): receipt for receipt in (*given, *stored)}
        if len(rows) == len(stored):
            return
        merged = sorted(rows.values(), key=lambda row: (row.ts_received_ms, key_of(row)))
        content = _to_parquet(merged)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{day}.{number:05d}"
        fresh = MonthFile(
            file=folder.new_name(f"{name}-{sha256[:12]}"),
            rows=len(merged),
            min_open_ms=merged[0].ts_received_ms,
            max_open_ms=merged[-1].ts_received_ms,
            sha256=sha256,
            sources=tuple(sorted({row.source_kind for row in merged})),
            revision=1 if entry is None else entry.revision + 1,
        )
        folder.put(fresh.file, content)
        manifest.months[name] = fresh
        write_manifest(folder, manifest)
        if entry is not None and entry.file != fresh.file:
            folder.remove(entry.file)

    def _load(self, source_id: str, name: str) -> list[SignalReceipt]:
        """The receipts of a file as the manifest names it now; none if it had to be set aside."""
        folder = self._folder(source_id)
        entry = read_manifest(folder).months.get(name)
        content = None if entry is None else verified(folder, entry)
        if entry is not None and content is None:
            # Rewritten between the two reads, or damaged: only who has the lock can tell.
            with folder.locked():
                manifest = read_manifest(folder)
                entry = manifest.months.get(name)
                content = None if entry is None else verified(folder, entry)
                if entry is not None and content is None:
                    set_aside(folder, manifest, name, remedy=_REMEDY)
        return [] if content is None else _from_parquet(content, source_id)

    def _folder(self, source_id: str) -> Folder:
        if not _SOURCE.fullmatch(source_id):
            raise BadInput("source", f"was {source_id!r}, expected letters, digits and _ : @ + -")
        return self._root.sub(source_id)


class _Downwards:
    """An arrival and a key that sort newest first."""

    def __init__(self, row: tuple[int, str]) -> None:
        self.row = row

    def __lt__(self, other: "_Downwards") -> bool:
        return self.row > other.row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Downwards) and self.row == other.row

    __hash__ = None  # pyright: ignore[reportAssignmentType] - compared, never a key


def key_of(receipt: SignalReceipt) -> str:
    """Key of a receipt within its source."""
    return f"{receipt.external_id}:{receipt.rev}"


def _is_of(name: str, day: str) -> bool:
    return name.startswith(f"{day}.")


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()


def _to_parquet(receipts: list[SignalReceipt]) -> bytes:
    pa, pq = _pyarrow()
    kinds = {"rev": pa.int32(), "ts_received_ms": pa.int64(), "ts_market_ms": pa.int64()}
    fields = [pa.field(name, kinds.get(name, pa.binary())) for name in _COLUMNS]
    rows = {
        # Text as bytes: what came in may hold a lone surrogate, which Parquet's strings may not.
        name: [_stored(getattr(receipt, name)) for receipt in receipts]
        for name in _COLUMNS
    }
    content = io.BytesIO()
    pq.write_table(pa.table(rows, schema=pa.schema(fields)), content, compression="zstd")
    return content.getvalue()


def _from_parquet(content: bytes, source_id: str) -> list[SignalReceipt]:
    pa, pq = _pyarrow()
    table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    return [
        SignalReceipt(
            source_kind=_text(row["source_kind"]),
            source_id=source_id,
            external_id=_text(row["external_id"]),
            rev=row["rev"],
            ts_received_ms=row["ts_received_ms"],
            ts_market_ms=row["ts_market_ms"],
            raw=_text(row["raw"]),
            raw_ref=_text(row["raw_ref"]),
        )
        for row in table.to_pylist()
    ]


def _stored(value: str | int | None) -> bytes | int | None:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _pyarrow() -> tuple[Any, Any]:
    # Untyped, and 50 ms of import that pollers without an old receipt do not need.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
