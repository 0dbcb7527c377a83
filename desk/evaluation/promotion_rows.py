"""The promotion gate row by row: what each part of it measured, what it asks for, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from desk.evaluation import gates
from desk.evaluation.evidence import Evidence
from desk.evaluation.gates import PromotionGate
from desk.evaluation.promotion import (
    NOT_EVALUATED,
    OTHER_DATASET,
    OTHER_FEATURES,
    PromotionVerdict,
)
from desk.evaluation.report import EvaluationReport

_REMEDIES = {
    NOT_EVALUATED: "evaluate it on this pair first",
    OTHER_FEATURES: "evaluate it again, on the features that it was made on",
    OTHER_DATASET: "the candles changed since: evaluate it again",
    gates.INSUFFICIENT_TRADES: "evaluate a longer period",
    gates.PARITY_BROKEN: "two engines disagree: do not trust its figures, evaluate it again",
}
_OTHERWISE = "evaluate another period, or train another version"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """One part of the gate. It is passed exactly when no reason stands in it."""

    gate: str
    value: str
    threshold: str
    margin: str = ""
    """Signed distance to the threshold, above zero where there is room; empty where none is measured."""
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reasons

    @property
    def problem(self) -> str:
        """The codes with their remedies; empty when it is passed."""
        return "; ".join(f"{code}: {_REMEDIES.get(code, _OTHERWISE)}" for code in self.reasons)


def gate_rows(
    verdict: PromotionVerdict, report: EvaluationReport | None, gate: PromotionGate
) -> tuple[GateRow, ...]:
    """Every part of the gate for a verdict and the report that it was made of; None: there was none.

    Each reason of the verdict stands in exactly one row, so that all rows are passed exactly when
    the verdict is; a code that no part knows, as of a newer release, stands with the evaluation.
    """
    rows = [] if report is None else _of_report(report, gate)
    known = {code for _, codes in rows for code in codes}
    told = tuple(code for code in verdict.reasons if code not in known)
    own = report.evaluation_id if report else "none"
    first = GateRow(gate="evaluation", value=own, threshold="one of its own", reasons=told)
    return (first, *(_with(row, codes, verdict.reasons) for row, codes in rows))


type _Row = tuple[GateRow, tuple[str, ...]]
"""A row before it is judged, and the codes that fail it."""


def _of_report(report: EvaluationReport, gate: PromotionGate) -> list[_Row]:
    net = Decimal(report.net_pnl_after_fees)
    least_net = Decimal(str(gate.min_net_pnl))
    rows: list[_Row] = [
        (
            GateRow(gate="feature_set", value=report.feature_set_id, threshold="the version's"),
            (OTHER_FEATURES,),
        ),
        (
            GateRow(gate="dataset", value=report.dataset_id, threshold="as it is on record"),
            (OTHER_DATASET,),
        ),
        (
            GateRow(
                gate="trades",
                value=str(report.trade_count),
                threshold=f"at least {gate.min_trades}",
                margin=f"{report.trade_count - gate.min_trades:+d}",
            ),
            (gates.INSUFFICIENT_TRADES,),
        ),
        (
            GateRow(
                gate="win_rate",
                value=_percent(report.win_rate),
                threshold=f"at least {_percent(gate.min_win_rate)}",
                margin=_percent(report.win_rate - gate.min_win_rate, sign="+"),
            ),
            (gates.LOW_WIN_RATE,),
        ),
        (
            GateRow(
                gate="net_pnl_after_fees",
                value=f"{net:.2f} USDT",
                threshold=f"more than {least_net:.2f} USDT",
                margin=f"{net - least_net:+.2f} USDT",
            ),
            (gates.NO_PROFIT,),
        ),
        (
            GateRow(
                gate="max_drawdown",
                value=_percent(report.max_drawdown),
                threshold=f"at most {_percent(gate.max_drawdown)}",
                margin=_percent(gate.max_drawdown - report.max_drawdown, sign="+"),
            ),
            (gates.DEEP_DRAWDOWN,),
        ),
        (
            GateRow(
                gate="liquidation",
                value="liquidated" if gates.LIQUIDATED in report.reasons else "none",
                threshold="none",
            ),
            (gates.LIQUIDATED,),
        ),
        (
            GateRow(
                gate="parity",
                value=f"{Decimal(report.parity_max_abs_diff):f} USDT",
                threshold=f"at most {gates.PARITY_LIMIT:f} USDT",
                margin=f"{gates.PARITY_LIMIT - Decimal(report.parity_max_abs_diff):+f} USDT",
            ),
            (gates.PARITY_BROKEN,),
        ),
    ]
    return rows + (_of_evidence(report.evidence, net) if report.evidence else [])


def _of_evidence(weighed: Evidence, net: Decimal) -> list[_Row]:
    overfit = weighed.overfitting_probability
    stressed = next(
        (each for each in weighed.stress if each.cost_multiple == gates.STRESS_MULTIPLE), None
    )
    better = gates.better_baselines(weighed, net)
    return [
        (
            GateRow(
                gate="deflated_sharpe",
                value=f"{weighed.deflated_sharpe:.3f}",
                threshold=f"at least {gates.MIN_DEFLATED_SHARPE:g}",
                margin=f"{weighed.deflated_sharpe - gates.MIN_DEFLATED_SHARPE:+.3f}",
            ),
            (gates.LOW_DEFLATED_SHARPE,),
        ),
        (
            GateRow(
                gate="overfitting_probability",
                value="not measurable" if overfit is None else f"{overfit:.3f}",
                threshold=f"at most {gates.MAX_OVERFITTING_PROBABILITY:g}",
                margin=""
                if overfit is None
                else f"{gates.MAX_OVERFITTING_PROBABILITY - overfit:+.3f}",
            ),
            (gates.LIKELY_OVERFIT,),
        ),
        (
            GateRow(
                gate=f"net_pnl_at_costs_x{gates.STRESS_MULTIPLE}",
                value=f"{Decimal(stressed.outcome.net_pnl_after_fees):.2f} USDT"
                if stressed
                else "not measured",
                threshold="more than 0.00 USDT",
                margin=f"{Decimal(stressed.outcome.net_pnl_after_fees):+.2f} USDT"
                if stressed
                else "",
            ),
            (gates.COSTS_EAT_IT,),
        ),
        (
            GateRow(
                gate="baselines",
                value=", ".join(better) or "none did better",
                threshold="none did better",
            ),
            (gates.WORSE_THAN_BASELINE,),
        ),
    ]


def _with(row: GateRow, codes: Sequence[str], reasons: Sequence[str]) -> GateRow:
    return replace(row, reasons=tuple(code for code in reasons if code in codes))


def _percent(fraction: float, *, sign: str = "") -> str:
    return f"{fraction * 100:{sign}.2f} %"
