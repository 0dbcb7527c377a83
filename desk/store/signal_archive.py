"""Receipts of signals that left the store, by source and day of arrival."""

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from desk.market.signals import SignalReceipt
from desk.store.day_archive import DayArchive, Placed

FOLDER = "signals"
_COLUMNS = ("source_kind", "external_id", "rev", "ts_received_ms", "ts_market_ms", "raw", "raw_ref")

type Row = Placed[SignalReceipt]
"""Arrival, ms UTC wall; key within the source, `{external_id}:{rev}`; the receipt."""


class SignalArchive(DayArchive[SignalReceipt]):
    """The files under `history/signals`. A file of them has at most 16 MB, at 16 KiB a receipt."""

    folder = FOLDER
    field = "source"

    def key_of(self, row: SignalReceipt) -> str:
        return key_of(row)

    def at_of(self, row: SignalReceipt) -> int:
        return row.ts_received_ms

    def origin_of(self, row: SignalReceipt) -> str:
        return row.source_kind

    def packed(self, rows: Sequence[SignalReceipt]) -> bytes:
        pa, pq = _pyarrow()
        kinds = {"rev": pa.int32(), "ts_received_ms": pa.int64(), "ts_market_ms": pa.int64()}
        fields = [pa.field(name, kinds.get(name, pa.binary())) for name in _COLUMNS]
        columns = {
            # Text as bytes: what came in may hold a lone surrogate, which Parquet's strings may not.
            name: [_stored(getattr(receipt, name)) for receipt in rows]
            for name in _COLUMNS
        }
        content = io.BytesIO()
        pq.write_table(pa.table(columns, schema=pa.schema(fields)), content, compression="zstd")
        return content.getvalue()

    def unpacked(self, content: bytes, series: str) -> list[SignalReceipt]:
        pa, pq = _pyarrow()
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
        return [
            SignalReceipt(
                source_kind=_text(row["source_kind"]),
                source_id=series,
                external_id=_text(row["external_id"]),
                rev=row["rev"],
                ts_received_ms=row["ts_received_ms"],
                ts_market_ms=row["ts_market_ms"],
                raw=_text(row["raw"]),
                raw_ref=_text(row["raw_ref"]),
            )
            for row in table.to_pylist()
        ]


def key_of(receipt: SignalReceipt) -> str:
    """Key of a receipt within its source."""
    return f"{receipt.external_id}:{receipt.rev}"


def _stored(value: str | int | None) -> bytes | int | None:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _pyarrow() -> tuple[Any, Any]:
    # Untyped, and 50 ms of import that pollers without an old receipt do not need.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
