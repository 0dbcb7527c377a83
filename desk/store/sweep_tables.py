"""What a sweep came to as Parquet bytes, with what it rests on in the file itself."""

import io
import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from desk.evaluation.overfitting import Overfitting
from desk.learning.sweep_results import LeaderboardRow, SweepRecord, TriedPolicy

_RESULTS = {
    "task_key": "string",
    "version_id": "string",
    "decision_threshold": "float64",
    "start_ms": "int64",
    "end_ms": "int64",
    "evaluation_id": "string",
    "verdict": "string",
    "trade_count": "int64",
    "sharpe": "float64",
    "max_drawdown": "float64",
    "net_pnl_after_fees": "string",
    "parity_max_abs_diff": "string",
}


def leaderboard_parquet(
    record: SweepRecord, rows: Sequence[LeaderboardRow], tried: Sequence[TriedPolicy]
) -> bytes:
    """A row a trial, best first. Lists are by seed; `parameters` is JSON, as they differ by sweep."""
    by_trial: dict[str, list[TriedPolicy]] = {}
    for one in tried:
        by_trial.setdefault(one.trial_key, []).append(one)
    lines = [
        {
            "sweep_id": record.sweep_id,
            "rank": row.rank,
            "trial": row.number,
            "trial_key": row.trial_key,
            "status": row.status.value,
            "steps": row.steps,
            "metric": record.metric,
            "score": row.score,
            "fold_scores": [list(scores) for scores in row.fold_scores],
            "sharpe": list(row.sharpe),
            "candle_sharpe": [one.candle_sharpe for one in by_trial.get(row.trial_key, [])],
            "block_returns": [list(one.block_returns) for one in by_trial.get(row.trial_key, [])],
            "parameters": json.dumps(dict(row.point), sort_keys=True, default=list),
            "version_id": row.version_id,
        }
        for row in rows
    ]
    pa, _ = _pyarrow()
    numbers = pa.list_(pa.float64())
    types = {
        **dict.fromkeys(("sweep_id", "trial_key", "status", "metric"), pa.string()),
        **dict.fromkeys(("parameters", "version_id"), pa.string()),
        **dict.fromkeys(("rank", "trial", "steps"), pa.int64()),
        "score": pa.float64(),
        **dict.fromkeys(("fold_scores", "block_returns"), pa.list_(numbers)),
        **dict.fromkeys(("sharpe", "candle_sharpe"), numbers),
    }
    names = list(lines[0]) if lines else list(types)
    return _bytes(lines, {name: types[name] for name in names}, record)


def results_parquet(record: SweepRecord) -> bytes:
    """A row an evaluation, in the order versions, thresholds, periods."""
    pa, _ = _pyarrow()
    types = {name: getattr(pa, kind)() for name, kind in _RESULTS.items()}
    lines = [{name: getattr(one, name) for name in _RESULTS} for one in record.results]
    return _bytes(lines, types, record)


def _bytes(
    lines: Sequence[Mapping[str, Any]], types: Mapping[str, Any], record: SweepRecord
) -> bytes:
    pa, pq = _pyarrow()
    origin = {
        "sweep_id": record.sweep_id,
        "spec_sha256": record.spec_sha256,
        "dataset_id": record.dataset_id,
        "data_sha256": record.data_sha256,
        "code_sha256": record.code_sha256,
        "feature_set_id": record.feature_set_id,
        **_overfitting(record.overfitting),
    }
    table = pa.Table.from_pylist(list(lines), schema=pa.schema(types, metadata=origin))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _overfitting(found: Overfitting | None) -> dict[str, str]:
    """Of the whole sweep; `null` as JSON where there is none, with the reason."""
    if found is None:
        return {}
    return {
        "overfitting_probability": json.dumps(found.probability),
        "overfitting_reason": found.reason,
    }


def _pyarrow() -> tuple[Any, Any]:
    # Imported where it is used, as in `desk.store.candle_file`: it costs a process 60 MB.
    return import_module("pyarrow"), import_module("pyarrow.parquet")
