"""Other stores of candles, each doing what ours does: a year, the last 500, one more, the holes.

Every peer keeps its files in the folder given and answers with columns (nautilus with its bars, as
that is what it hands to a strategy).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.persistence.catalog.parquet import ParquetDataCatalog

from desk.market.candles import Candle, Candles, Ints

COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
LAST = 500
MINUTE_MS = 60_000
ARCTIC = "arcticdb==6.28.2"
ARCTIC_WAIT_S = 400.0


class DuckDB:
    """One table with a primary key in a database file."""

    def __init__(self, folder: Path, year: Candles, three_years: Ints) -> None:
        self._connection: Any = duckdb.connect(str(folder / "candles.duckdb"))
        self._connection.execute(
            "create table year (open_ms bigint primary key, open double, high double, low double,"
            " close double, volume double); create table three (open_ms bigint)"
        )
        columns = {name: getattr(year, name) for name in COLUMNS}  # noqa: F841 - named by the query
        open_ms = {"open_ms": three_years}  # noqa: F841
        self._connection.execute("insert into year select * from columns")
        self._connection.execute("insert into three select * from open_ms")
        self._connection.execute("checkpoint")

    def year(self, start_ms: int, end_ms: int) -> object:
        query = "select * from year where open_ms >= ? and open_ms < ? order by open_ms"
        return self._connection.execute(query, [start_ms, end_ms]).fetchnumpy()

    def last(self) -> object:
        query = f"select * from year order by open_ms desc limit {LAST}"
        return self._connection.execute(query).fetchnumpy()

    def upsert(self, candle: Candle) -> object:
        query = "insert or replace into year values (?, ?, ?, ?, ?, ?)"
        return self._connection.execute(query, list(candle))

    def gaps(self) -> object:
        query = (
            "select * from (select open_ms, lead(open_ms) over (order by open_ms) as next from three)"
            f" where next - open_ms > {MINUTE_MS}"
        )
        return self._connection.execute(query).fetchall()

    def close(self) -> None:
        self._connection.close()


class Catalog:
    """Nautilus' Parquet catalog."""

    _TYPE = BarType.from_str("BTCUSDT.BINGX-1-MINUTE-LAST-EXTERNAL")

    def __init__(self, folder: Path, year: Candles) -> None:
        self._catalog = ParquetDataCatalog(str(folder / "catalog"))
        self._catalog.write_data(self._bars(year))
        self._end_ms = int(year.open_ms[-1]) + MINUTE_MS

    def year(self) -> object:
        return self._catalog.bars(bar_types=[str(self._TYPE)])

    def last(self) -> object:
        start_ns = (self._end_ms - LAST * MINUTE_MS) * 1_000_000
        return self._catalog.bars(bar_types=[str(self._TYPE)], start=start_ns)

    def upsert(self, candle: Candle) -> object:
        return self._catalog.write_data(self._bars(Candles.of([candle])))

    def _bars(self, candles: Candles) -> list[Bar]:
        closes_ns = ((candles.open_ms + MINUTE_MS) * 1_000_000).astype(np.uint64)
        values = [np.array(getattr(candles, name)) for name in COLUMNS[1:]]
        return Bar.from_raw_arrays_to_list(self._TYPE, 2, 5, *values, closes_ns, closes_ns)


def arctic(folder: Path, year: Candles, three_years: Ints, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by name, measured by `bench/arctic_peer.py` in an environment of its own.

    Raises `OSError` with the reason where that environment cannot be had.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if not uv:
        raise OSError("there is no uv to make its environment: run it by `make bench`")
    tape = folder / "arctic.npz"
    columns = {name: getattr(year, name) for name in COLUMNS}
    np.savez(tape, three_years=three_years, **columns)  # pyright: ignore[reportArgumentType]
    script = str(Path(__file__).with_name("arctic_peer.py"))
    command = [uv, "run", "--quiet", "--isolated", "--no-project", "--python", "3.12"]
    command += ["--with", ARCTIC, "--with", "numpy", "python", script, str(tape), str(rounds)]
    apart = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"}
    }
    done = subprocess.run(
        command, env=apart, capture_output=True, text=True, timeout=ARCTIC_WAIT_S, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.strip().splitlines()[-1] if done.stderr else "it said nothing")
    return json.loads(done.stdout.splitlines()[-1])["ms"]
