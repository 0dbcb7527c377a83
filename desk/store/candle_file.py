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
    of the size); any other column as float64.
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
    pa, pq = _pyarrow()
    table = pq.read_table(pa.BufferReader(content), use_threads=False)
    columns: dict[str, Floats] = {}
    for name in COLUMNS:
        values = table.column(name).to_numpy()
        notes: dict[bytes, bytes] = table.schema.field(name).metadata or {}
        if b"decimals" in notes:
            # Both operands are exact, so the quotient is the double nearest to the decimal.
            values = values / 10.0 ** int(notes[b"decimals"])
        columns[name] = np.ascontiguousarray(values, dtype=np.float64)
    return Candles(open_ms=np.ascontiguousarray(table.column("open_ms").to_numpy()), **columns)


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
