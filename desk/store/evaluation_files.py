"""The curves and tables of an evaluation as Parquet files, each under a hash that its report keeps."""

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow  # pyright: ignore[reportMissingTypeStubs] - pyarrow ships no types
from pyarrow import parquet  # pyright: ignore[reportMissingTypeStubs]

from desk.errors import NotFound, StoreCorrupt
from desk.evaluation.evidence import Evidence
from desk.evaluation.metrics import ClosedTrade
from desk.market.candles import Floats, Ints
from desk.store.folders import Folder, folder_of

EQUITY, TRADES, FOLDS, BASELINES, STRESS, THRESHOLDS = (
    "equity.parquet",
    "trades.parquet",
    "folds.parquet",
    "baselines.parquet",
    "stress.parquet",
    "threshold_curve.parquet",
)
_ID = re.compile(r"^ev-[0-9a-f]{20}$")
arrow: Any = pyarrow


class EvaluationFiles:
    """The files under one root folder (`evaluations` of `DESK_HOME` or `DESK_FILES`), a folder per evaluation."""

    def __init__(self, root: Path | Folder) -> None:
        self._root = folder_of(root)

    def write(self, evaluation_id: str, tables: Mapping[str, Any]) -> dict[str, str]:
        """Write Arrow tables by file name and return the sha256 of each; a repeat replaces them."""
        return {name: self._write(evaluation_id, name, table) for name, table in tables.items()}

    def read(self, evaluation_id: str, name: str, sha256: str) -> Any:
        """Read a table back. Raises `NotFound` for a missing file, `StoreCorrupt` for another one."""
        content = self._folder(evaluation_id).read(name)
        if content is None:
            raise NotFound("file of the evaluation", f"{evaluation_id}/{name}")
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise StoreCorrupt(
                f"{evaluation_id}/{name} had sha256 {found[:12]}…, its report says {sha256[:12]}…: "
                "evaluate again"
            )
        return _parquet.read_table(io.BytesIO(content))

    def _write(self, evaluation_id: str, name: str, table: Any) -> str:
        buffer = io.BytesIO()
        _parquet.write_table(table, buffer, compression="zstd")
        self._folder(evaluation_id).put(name, buffer.getvalue())
        return hashlib.sha256(buffer.getvalue()).hexdigest()

    def _folder(self, evaluation_id: str) -> Folder:
        if not _ID.match(evaluation_id):
            raise NotFound("evaluation", evaluation_id)
        return self._root.sub(evaluation_id)


def tables_of(
    evidence: Evidence,
    close_ms: Ints,
    equity: Floats,
    trades: Iterable[ClosedTrade],
    curves: Mapping[str, Floats],
) -> dict[str, Any]:
    """The files' tables. `close_ms` int64[T] and `equity` float64[T] are the engine's; each of
    `curves` float64[T] becomes a column beside them."""
    return {
        EQUITY: arrow.table({"close_ms": close_ms, "equity": equity, **curves}),
        TRADES: _rows([_trade(trade) for trade in trades]),
        FOLDS: _rows([_flat(asdict(fold)) for fold in evidence.folds]),
        BASELINES: _rows([_flat(asdict(one)) for one in evidence.baselines]),
        STRESS: _rows([_flat(asdict(one)) for one in evidence.stress]),
        THRESHOLDS: _rows([_flat(asdict(one)) for one in evidence.threshold_curve]),
    }


def _trade(trade: ClosedTrade) -> dict[str, Any]:
    return {
        "side": trade.side.value,
        "quantity": f"{trade.quantity:f}",
        "entry_price": f"{trade.entry_price:f}",
        "exit_price": f"{trade.exit_price:f}",
        "opened_ms": trade.opened_ms,
        "closed_ms": trade.closed_ms,
        "pnl": f"{trade.pnl:f}",
        "fees": f"{trade.fees:f}",
        "funding": f"{trade.funding:f}",
        "cause": trade.cause.value,
    }


def _rows(rows: Sequence[Mapping[str, Any]]) -> Any:
    return arrow.Table.from_pylist([dict(row) for row in rows])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """The outcome's figures beside the others."""
    return {**{name: value for name, value in row.items() if name != "outcome"}, **row["outcome"]}


_parquet: Any = parquet
