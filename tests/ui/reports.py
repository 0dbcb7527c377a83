"""Evaluation reports as the pages show them: with evidence, curves and trades, and an older one without."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from desk.clock import HOUR_MS, MINUTE_MS
from desk.evaluation.bootstrap import Interval
from desk.evaluation.evidence import FoldResult
from desk.evaluation.metrics import ClosedTrade
from desk.evaluation.report import EvaluationReport
from desk.store import kinds
from desk.store.evaluation_files import EvaluationFiles, tables_of
from desk.store.memory import MemoryStore
from desk.trading.fills import FillCause
from desk.trading.orders import Side
from tests.desk.evaluation.test_gate_evidence import GOOD, outcome
from tests.serve_apps.test_learning import WEIGHED, report
from tests.ui.conftest import NOW_MS, PAIR

CLOSES = 60


def traded(number: int, *, since_ms: int, every_ms: int = 2 * HOUR_MS) -> ClosedTrade:
    """One of a row of trades: buys win 2 and sells lose 1 USDT."""
    side = Side.BUY if number % 2 == 0 else Side.SELL
    opened_ms = since_ms + number * every_ms
    return ClosedTrade(
        side=side,
        quantity=Decimal("0.0200"),
        entry_price=Decimal(40_000 + number),
        exit_price=Decimal(40_100),
        opened_ms=opened_ms,
        closed_ms=opened_ms + every_ms // 12,
        pnl=Decimal(2) if side is Side.BUY else Decimal(-1),
        fees=Decimal("0.4"),
        funding=Decimal(0),
        cause=FillCause.TAKE_PROFIT,
    )


def put_reports(
    store: MemoryStore,
    files: EvaluationFiles,
    *,
    trades: Sequence[ClosedTrade] = (),
    is_in_sample: bool = False,
    older_pair: str = PAIR,
    **changes: Any,
) -> EvaluationReport:
    """A report with evidence, and an older one that has only figures; returns the first.

    `trades` are those of the first; its equity has an hour of closes from the epoch on.
    """
    fold = FoldResult(
        number=0,
        pair=PAIR,
        train_start_ms=NOW_MS,
        train_end_ms=NOW_MS,
        test_start_ms=NOW_MS,
        test_end_ms=NOW_MS + 1,
        is_in_sample=is_in_sample,
        candle_count=CLOSES,
        win_rate=0.5,
        outcome=outcome("12.5"),
    )
    sure = {"net_pnl": Interval(estimate=100.0, low=-3.5, high=250.0)}
    evidence = replace(GOOD, folds=(fold,), intervals=sure, trials=9)
    close_ms = np.arange(1, CLOSES + 1, dtype=np.int64) * MINUTE_MS
    equity = 10_000.0 + np.sin(np.arange(float(CLOSES)))
    tables = tables_of(evidence, close_ms, equity, trades, {"hold": equity + 5.0})
    evidence = replace(evidence, files=files.write(WEIGHED, tables))
    weighed = replace(report(WEIGHED, NOW_MS), evidence=evidence, **changes)
    for one in (weighed, replace(report("older", NOW_MS - 1), pair=older_pair)):
        store.put(kinds.EVALUATIONS, one.evaluation_id, one, at_ms=one.created_ms)
    return weighed
