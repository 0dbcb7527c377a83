"""Whether a version may become the active one: by its own evaluation, on the pair it shall trade."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from desk.evaluation.gates import LIQUIDATED, Parity, PromotionGate, judge
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair

NOT_EVALUATED = "not_evaluated_on_pair"
OTHER_FEATURES = "evaluated_on_another_feature_set"
OTHER_DATASET = "evaluation_dataset_changed"
VERDICT_FAIL = "evaluation_failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionVerdict:
    """`reasons` is empty exactly when the version may be promoted."""

    reasons: tuple[str, ...]
    evaluation_id: str
    """The evaluation that decided; empty when there was none."""
    dataset_id: str = ""
    dataset_sha256: str = ""
    """Of the candles that this evaluation looked at, as its report says."""

    @property
    def passed(self) -> bool:
        return not self.reasons


def judge_promotion(
    version_id: str,
    feature_set_id: str,
    pair: Pair,
    reports: Iterable[EvaluationReport],
    gate: PromotionGate,
) -> PromotionVerdict:
    """Judge by the newest evaluation of exactly this version on exactly this pair.

    Its own verdict must be pass, and its figures must meet the gate as it stands now. Reports of
    other versions and pairs count for nothing.
    """
    own = [one for one in reports if one.version_id == version_id and one.pair == pair]
    if not own:
        return PromotionVerdict(reasons=(NOT_EVALUATED,), evaluation_id="")
    newest = max(own, key=lambda report: (report.created_ms, report.evaluation_id))
    return judge_report(newest, feature_set_id, gate)


def judge_report(
    report: EvaluationReport, feature_set_id: str, gate: PromotionGate
) -> PromotionVerdict:
    """Judge by this very report, as if it were the newest of its version on its pair."""
    reasons = dict.fromkeys(
        [*report.reasons, *judge(_Figures(report), _parity(report), gate).reasons]
    )
    if report.feature_set_id != feature_set_id:
        reasons[OTHER_FEATURES] = None
    if report.verdict != "pass" and not reasons:
        reasons[VERDICT_FAIL] = None
    return PromotionVerdict(
        reasons=tuple(reasons),
        evaluation_id=report.evaluation_id,
        dataset_id=report.dataset_id,
        dataset_sha256=report.dataset_sha256,
    )


def on_dataset(verdict: PromotionVerdict, recorded_sha256: str | None) -> PromotionVerdict:
    """The verdict beside the dataset on record, None where there is none: a report on other candles
    than those says nothing."""
    if not verdict.evaluation_id or verdict.dataset_sha256 == recorded_sha256:
        return verdict
    return replace(verdict, reasons=(*verdict.reasons, OTHER_DATASET))


@dataclass(frozen=True, slots=True)
class _Figures:
    """A stored report as the gate reads it."""

    report: EvaluationReport

    @property
    def trade_count(self) -> int:
        return self.report.trade_count

    @property
    def win_rate(self) -> float:
        return self.report.win_rate

    @property
    def net_pnl_after_fees(self) -> Decimal:
        return Decimal(self.report.net_pnl_after_fees)

    @property
    def max_drawdown(self) -> float:
        return self.report.max_drawdown

    @property
    def is_liquidated(self) -> bool:
        return LIQUIDATED in self.report.reasons


def _parity(report: EvaluationReport) -> Parity:
    """The difference in money; one in the number of fills is among the report's reasons already."""
    return Parity(
        max_abs_diff=Decimal(report.parity_max_abs_diff),
        engine_fills=report.fill_count,
        twin_fills=report.fill_count,
    )
