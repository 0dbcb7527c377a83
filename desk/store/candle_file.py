"""Candles as Parquet bytes: open times as deltas, prices as whole multiples where that is exact."""

import io
from importlib import import_module
from typing import Any

import numpy as np

from desk.market.candles import Candles, Floats

COLUMNS = ("open", "high", "low", "close", "volume")
_MOST_DECIMALS = 8
_EXACT = 2**53


def to_parquet(candles: Candles) -> bytes:
    """Write candles; `from_parquet` returns the very same values.

    A column whose values are all `n / 10**d` with a small d is stored as the integers n (a third
    of the size); any other column as float64, with every bit it has.
    """
    pa, pq = _pyarrow()
    fields: list[Any] = [pa.field("open_ms", pa.int64())]
    arrays: list[Any] = [pa.array(candles.open_ms)]
    encodings = {"open_ms": "DELTA_BINARY_PACKED"}
    for name in COLUMNS:
        values: Floats = getattr(candles, name)
        decimals = _exact_decimals(values)
        if decimals is None:
            fields.append(pa.field(name, pa.float64()))
            arrays.append(pa.array(values))
            encodings[name] = "BYTE_STREAM_SPLIT"
        else:
            fields.append(pa.field(name, pa.int64(), metadata={"decimals": str(decimals)}))
            arrays.append(pa.array(np.rint(values * 10.0**decimals).astype(np.int64)))
            encodings[name] = "DELTA_BINARY_PACKED"
    table = pa.Table.from_arrays(arrays, schema=pa.schema(fields))
    content = io.BytesIO()
    pq.write_table(
        table, content, compression="zstd", use_dictionary=False, column_encoding=encodings
    )
    return content.getvalue()


def from_parquet(content: bytes) -> Candles:
    """Read what `to_parquet` wrote."""
    table = _table(content)
    found = blank(table.num_rows)
    _fill(table, found)
    return found


def from_parquet_into(content: bytes, into: Candles) -> None:
    """Read what `to_parquet` wrote into columns that are there; raises `ValueError` if the rows differ."""
    table = _table(content)
    if table.num_rows != len(into):
        raise ValueError(f"the file has {table.num_rows} rows, expected {len(into)}")
    _fill(table, into)


def blank(rows: int) -> Candles:
    """Columns of that length whose values are still to be written.

    From pyarrow's pool, which keeps pages for the next read: fresh ones cost as much as decoding.
    """
    pa, _ = _pyarrow()

    def column(kind: Any) -> Any:
        return np.frombuffer(pa.allocate_buffer(8 * rows), dtype=kind)

    return Candles(
        open_ms=column(np.int64),
        open=column(np.float64),
        high=column(np.float64),
        low=column(np.float64),
        close=column(np.float64),
        volume=column(np.float64),
    )


def _table(content: bytes) -> Any:
    pa, pq = _pyarrow()
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)


def _fill(table: Any, into: Candles) -> None:
    into.open_ms[:] = _flat(table, "open_ms")
    for name in COLUMNS:
        target: Floats = getattr(into, name)
        notes: dict[bytes, bytes] = table.schema.field(name).metadata or {}
        if b"decimals" in notes:
            # Both operands are exact, so the quotient is the double nearest to the decimal.
            np.divide(_flat(table, name), 10.0 ** int(notes[b"decimals"]), out=target)
        else:
            target[:] = _flat(table, name)


def _flat(table: Any, name: str) -> Any:
    column = table.column(name)
    return column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()


def _exact_decimals(values: Floats) -> int | None:
    for decimals in range(_MOST_DECIMALS + 1):
        scale = 10.0**decimals
        whole = np.rint(values * scale)
        if not np.all(np.abs(whole) < _EXACT):
            return None
        if np.array_equal(whole / scale, values) and not np.any(np.signbit(whole) & (whole == 0)):
            return decimals
    return None


def _pyarrow() -> tuple[Any, Any]:
    # Imported where it is used: processes that only touch hot candles must not pay 60 MB for it.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
