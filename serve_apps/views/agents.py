"""Agents, runs, versions, decisions, evaluations and jobs as the API shows them."""

from collections.abc import Mapping, Sequence
from typing import Literal

from desk.evaluation.pnl_histogram import PnlHistogram
from desk.evaluation.promotion import PromotionVerdict
from desk.evaluation.promotion_rows import GateRow
from desk.evaluation.report import EvaluationReport
from desk.learning.versions import AgentVersion
from desk.runs import Agent, DecisionRecord, Job, JobStatus, PromotionGate, Run, RunStatus
from desk.store.port import Doc
from serve_apps.schemas import (
    AgentDetail,
    AgentSummary,
    DecisionView,
    EvaluationView,
    GateView,
    JobView,
    LearningView,
    PnlHistogramView,
    PromotionGateRowView,
    PromotionGateView,
    RunView,
    VersionView,
)
from serve_apps.views.provenance import evidence_view
from serve_apps.views.text import finite, json_object, money, money_if_set

type Versions = Mapping[str, Doc[AgentVersion]]
"""Every version, by id: what tells a baseline from a trained policy."""

ENDED = frozenset({RunStatus.STOPPED, RunStatus.FAILED})


def version_view(doc: Doc[AgentVersion], *, active_version_id: str) -> VersionView:
    """One version; `active` by the agent's pointer, whatever its status says."""
    version = doc.value
    return VersionView(
        version_id=version.version_id,
        agent_id=version.agent_id,
        name=version.name,
        algorithm=version.algorithm,
        baseline=version.is_baseline,
        status=version.status.value,
        active=version.version_id == active_version_id,
        artifact_uri=version.artifact_uri,
        artifact_sha256=version.artifact_sha256,
        artifact_bytes=version.artifact_bytes,
        feature_set_id=version.feature_set_id,
        dataset_id=version.dataset_id,
        dataset_sha256=version.dataset_sha256,
        training_start_ms=version.training_start_ms,
        training_end_ms=version.training_end_ms,
        seed=version.seed,
        hyperparameters=json_object(version.hyperparameters),
        software=dict(version.software),
        created_ms=version.created_ms,
        promoted_at_ms=version.promoted_at_ms,
        promoted_by_evaluation_id=version.promoted_by_evaluation_id,
        row_version=doc.version,
    )


def is_baseline(version_id: str, versions: Versions) -> bool:
    """Whether a version is the shipped rule; an unknown one is not claimed to be trained or not."""
    found = versions.get(version_id)
    return found is not None and found.value.is_baseline


def run_view(doc: Doc[Run], versions: Versions) -> RunView:
    """One run with what its version is."""
    run = doc.value
    version = versions.get(run.version_id)
    return RunView(
        run_id=run.run_id,
        agent_id=run.agent_id,
        account=run.account,
        mode=run.mode.value,
        pair=run.pair,
        interval=run.interval,
        version_id=run.version_id,
        algorithm=version.value.algorithm if version else "",
        baseline=is_baseline(run.version_id, versions),
        risk_limit_set_id=run.risk_limit_set_id,
        decision_threshold=run.decision_threshold,
        status=run.status.value,
        pause_reason=run.pause_reason,
        started_ms=run.started_ms,
        stopped_ms=run.stopped_ms,
        last_decided_open_ms=run.last_decided_open_ms,
        learning_enabled=run.learning_enabled,
        learning_window_minutes=run.learning_window_minutes,
        dataset_id=run.dataset_id,
        feature_set_id=run.feature_set_id,
        stop_loss_fraction=money_if_set(run.stop_loss_fraction),
        take_profit_fraction=money_if_set(run.take_profit_fraction),
        shadow=run.is_shadow,
        row_version=doc.version,
    )


def active_runs(runs: Sequence[Doc[Run]], agent_id: str) -> list[Doc[Run]]:
    """An agent's runs that have not ended, in the order given."""
    return [doc for doc in runs if doc.value.agent_id == agent_id and doc.value.status not in ENDED]


def agent_summary(doc: Doc[Agent], runs: Sequence[Doc[Run]], versions: Versions) -> AgentSummary:
    """One agent with its newest run; `runs` newest first."""
    agent = doc.value
    active = active_runs(runs, agent.agent_id)
    return AgentSummary(
        agent_id=agent.agent_id,
        name=agent.name,
        allowed_instruments=list(agent.allowed_instruments),
        active_version_id=agent.active_version_id,
        baseline=is_baseline(agent.active_version_id, versions),
        kill_switch=agent.kill_switch,
        kill_reason=agent.kill_reason,
        decision_threshold=agent.decision_threshold,
        min_confidence=agent.min_confidence,
        data_pause_lift=agent.data_pause_lift.value,
        current_run=run_view(active[0], versions) if active else None,
        row_version=doc.version,
    )


def agent_detail(
    doc: Doc[Agent],
    runs: Sequence[Doc[Run]],
    versions: Versions,
    verdict: PromotionVerdict | None,
) -> AgentDetail:
    """One agent; `verdict` is the promotion gate's on its active version, None without evaluation."""
    agent = doc.value
    summary = agent_summary(doc, runs, versions)
    version = versions.get(agent.active_version_id)
    current = summary.current_run
    return AgentDetail(
        **summary.model_dump(exclude={"current_run"}),
        current_run=current,
        active_runs=[run_view(run, versions) for run in active_runs(runs, agent.agent_id)],
        active_version=version_view(version, active_version_id=agent.active_version_id)
        if version
        else None,
        learning=LearningView(
            enabled=current is not None and current.learning_enabled,
            window_minutes=current.learning_window_minutes if current else None,
        ),
        promotion_gate=gate_view(agent.promotion_gate),
        promotion_gate_status="unknown" if verdict is None else _word(verdict),
        promotion_gate_reasons=list(verdict.reasons) if verdict else [],
        promotion_gate_evaluation_id=verdict.evaluation_id if verdict else None,
    )


def gate_view(gate: PromotionGate) -> PromotionGateView:
    """What an evaluation must reach."""
    return PromotionGateView(
        min_trades=gate.min_trades,
        min_win_rate=gate.min_win_rate,
        min_net_pnl=gate.min_net_pnl,
        max_drawdown=gate.max_drawdown,
    )


def _word(verdict: PromotionVerdict) -> Literal["pass", "fail"]:
    return "pass" if verdict.passed else "fail"


def decision_view(decision: DecisionRecord) -> DecisionView:
    """One decision without the observation itself, which only a replay needs."""
    return DecisionView(
        decision_id=decision.decision_id,
        run_id=decision.run_id,
        pair=decision.pair,
        interval=decision.interval,
        open_ms=decision.open_ms,
        decided_at_ms=decision.decided_at_ms,
        action=decision.action.value,
        hold_reason=decision.hold_reason,
        target=decision.target,
        confidence=finite(decision.confidence),
        version_id=decision.version_id,
        feature_set_id=decision.feature_set_id,
        observation_sha256=decision.observation_sha256,
        candles_sha256=decision.candles_sha256,
        reference_price=decision.reference_price,
        gates=[
            GateView(gate=gate.gate, passed=gate.passed, code=gate.code, detail=gate.detail)
            for gate in decision.gates
        ],
        warnings=list(decision.warnings),
        client_order_ids=list(decision.client_order_ids),
        dataset_id=decision.dataset_id,
        dataset_sha256=decision.dataset_sha256,
        latency_ms=dict(decision.latency_ms),
        evidence=evidence_view(decision.evidence),
        trace_id=decision.trace_id,
    )


def gate_row_view(row: GateRow) -> PromotionGateRowView:
    """One part of the promotion gate."""
    return PromotionGateRowView(
        gate=row.gate,
        passed=row.passed,
        value=row.value,
        threshold=row.threshold,
        problem=row.problem,
        margin=row.margin,
    )


def whole_evaluation_view(
    report: EvaluationReport, gates: Sequence[GateRow], spread: PnlHistogram | None
) -> EvaluationView:
    """One report with its promotion gate and the spread of its trades."""
    histogram = spread and PnlHistogramView(
        edges=[money(edge) for edge in spread.edges], counts=list(spread.counts)
    )
    rows = [gate_row_view(row) for row in gates]
    return evaluation_view(report).model_copy(update={"gates": rows, "pnl_histogram": histogram})


def evaluation_view(report: EvaluationReport, *, in_list: bool = False) -> EvaluationView:
    """One evaluation report; its evidence is left out in lists."""
    evidence = report.evidence
    return EvaluationView(
        evaluation_id=report.evaluation_id,
        agent_id=report.agent_id,
        version_id=report.version_id,
        baseline=report.is_baseline,
        pair=report.pair,
        interval=report.interval,
        period_start_ms=report.period_start_ms,
        period_end_ms=report.period_end_ms,
        decision_threshold=report.decision_threshold,
        stop_loss_fraction=report.stop_loss_fraction,
        take_profit_fraction=report.take_profit_fraction,
        leverage=report.leverage,
        engine=report.engine,
        candle_count=report.candle_count,
        trade_count=report.trade_count,
        win_rate=report.win_rate,
        net_pnl_after_fees=report.net_pnl_after_fees,
        fees=report.fees,
        funding=report.funding,
        starting_balance=report.starting_balance,
        final_balance=report.final_balance,
        max_drawdown=report.max_drawdown,
        sharpe=report.sharpe,
        exposure=report.exposure,
        buy_and_hold_pnl=report.buy_and_hold_pnl,
        parity_max_abs_diff=report.parity_max_abs_diff,
        fill_count=report.fill_count,
        verdict="pass" if report.verdict == "pass" else "fail",
        reasons=list(report.reasons),
        feature_set_id=report.feature_set_id,
        dataset_id=report.dataset_id,
        dataset_sha256=report.dataset_sha256,
        fill_spec_id=report.fill_spec_id,
        seed=report.seed,
        created_ms=report.created_ms,
        software=dict(report.software),
        deflated_sharpe=evidence.deflated_sharpe if evidence else None,
        overfitting_probability=evidence.overfitting_probability if evidence else None,
        evidence=None if in_list else evidence,
    )


def job_view(job: Job) -> JobView:
    """One job with its progress."""
    return JobView(
        job_id=job.job_id,
        kind=job.kind,
        status=job.status.value,
        created_ms=job.created_ms,
        updated_ms=job.updated_ms,
        done=job.done,
        total=job.total,
        fraction=min(job.done / job.total, 1.0) if job.total > 0 else None,
        unit=job.unit,
        rate_per_s=job.rate_per_s,
        remaining_s=(
            max(job.total - job.done, 0.0) / job.rate_per_s
            if job.status is JobStatus.RUNNING and job.total > 0 and job.rate_per_s > 0
            else None
        ),
        detail=job.detail,
        error=job.error,
        figures=dict(job.figures),
        arguments=json_object(job.arguments),
        result=json_object(job.result),
    )
