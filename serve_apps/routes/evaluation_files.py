"""Evaluations side by side, and the curves and trades of one."""

from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from desk.errors import BadInput, NotFound, StoreCorrupt
from desk.evaluation.by_pair import Together, by_pair, together
from desk.evaluation.pnl_histogram import PnlHistogram, pnl_histogram
from desk.evaluation.report import EvaluationReport
from desk.evaluation.tearsheet import extremes
from desk.market.candles import Ints
from desk.store import kinds
from desk.store.evaluation_files import EQUITY, TRADES
from serve_apps import lookups
from serve_apps.arrow import ALSO_ARROW, Accept, arrow_answer, is_asked
from serve_apps.context import Context, Ctx
from serve_apps.parameters import AgentId, EvaluationId
from serve_apps.schemas import (
    EquityView,
    EvaluationComparison,
    EvaluationDelta,
    EvaluationTrade,
    Page,
    TogetherView,
)
from serve_apps.views.agents import evaluation_view
from serve_apps.views.text import money

MOST_COMPARED = 20
router = APIRouter(tags=["learning"])


@router.get("/agents/{agent_id}/evaluations/compare")
def compare_evaluations(
    ctx: Ctx, agent_id: AgentId, ids: Annotated[str, Query(min_length=1, max_length=2_000)]
) -> EvaluationComparison:
    """Put reports beside the first of `ids`, which are separated by commas; deltas of money are exact."""
    wanted = list(dict.fromkeys(one.strip() for one in ids.split(",") if one.strip()))
    if not 2 <= len(wanted) <= MOST_COMPARED:
        raise BadInput("ids", f"were {len(wanted)}, expected 2 to {MOST_COMPARED} different ones")
    reports = [_report(ctx, agent_id, one) for one in wanted]
    seen = {(one.dataset_sha256, one.fill_spec_id, one.period_start_ms) for one in reports}
    return EvaluationComparison(
        items=[evaluation_view(report, in_list=True) for report in reports],
        deltas=[_delta(report, reports[0]) for report in reports[1:]],
        same_candles=len(seen) == 1,
        by_pair={pair: _together(found) for pair, found in by_pair(reports).items()},
        total=_together(together(reports)),
    )


@router.get(
    "/agents/{agent_id}/evaluations/{evaluation_id}/equity",
    response_model=EquityView,
    responses=ALSO_ARROW,
)
def read_equity(
    ctx: Ctx,
    agent_id: AgentId,
    evaluation_id: EvaluationId,
    points: Annotated[int, Query(ge=2, le=5_000)] = 1_000,
    accept: Accept = "",
) -> EquityView | Response:
    """Equity of the version and of what it is compared with, thinned to about so many closes.

    Of each stretch of the version's curve the lowest and highest value are kept. Arrow is not thinned.
    """
    table = _table(ctx, _report(ctx, agent_id, evaluation_id), EQUITY)
    if is_asked(accept):
        return arrow_answer(table)
    columns: dict[str, Any] = {name: table.column(name).to_numpy() for name in table.column_names}
    at: Ints = extremes(columns["equity"], points)
    close_ms = columns.pop("close_ms")[at]
    return EquityView(
        evaluation_id=evaluation_id,
        close_ms=close_ms.tolist(),
        curves={
            name: [round(value, 4) for value in curve[at].tolist()]
            for name, curve in columns.items()
        },
    )


@router.get(
    "/agents/{agent_id}/evaluations/{evaluation_id}/trades",
    response_model=Page[EvaluationTrade],
    responses=ALSO_ARROW,
)
def list_evaluation_trades(
    ctx: Ctx,
    agent_id: AgentId,
    evaluation_id: EvaluationId,
    *,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    cursor: Annotated[str | None, Query(max_length=12, pattern=r"^\d+$")] = None,
    accept: Accept = "",
) -> Page[EvaluationTrade] | Response:
    """The trades that the engine made of the version's decisions, oldest first; as Arrow all of them."""
    table = _table(ctx, _report(ctx, agent_id, evaluation_id), TRADES)
    if is_asked(accept):
        return arrow_answer(table)
    first = int(cursor or 0)
    # A table without trades has no columns either, and a slice of one is as long as it is asked to be.
    left = max(table.num_rows - first, 0)
    rows: list[dict[str, Any]] = table.slice(first, min(limit, left)).to_pylist()
    following = first + limit
    return Page(
        items=[EvaluationTrade(**row) for row in rows],
        next_cursor=str(following) if following < table.num_rows else None,
    )


def _report(ctx: Context, agent_id: str, evaluation_id: str) -> EvaluationReport:
    report = lookups.need(ctx.store, kinds.EVALUATIONS, evaluation_id, "evaluation").value
    if report.agent_id != agent_id:
        raise NotFound("evaluation", evaluation_id)
    return report


def pnl_spread(ctx: Context, report: EvaluationReport) -> PnlHistogram | None:
    """How the results of its trades are spread; None where no trades are kept.

    Files that are gone or damaged leave a report readable: whoever asks for its trades is told.
    """
    try:
        table = _table(ctx, report, TRADES)
    except (NotFound, StoreCorrupt):
        return None
    if not table.num_rows:
        return pnl_histogram(())
    return pnl_histogram([Decimal(text) for text in table.column("pnl").to_pylist()])


def _table(ctx: Context, report: EvaluationReport, name: str) -> Any:
    sha256 = report.evidence.files.get(name) if report.evidence else None
    if ctx.evaluations is None or sha256 is None:
        raise NotFound("file of the evaluation", f"{report.evaluation_id}/{name}")
    return ctx.evaluations.read(report.evaluation_id, name, sha256)


def _together(found: Together) -> TogetherView:
    return TogetherView(
        evaluations=found.evaluations,
        passed=found.passed,
        candle_count=found.candle_count,
        trade_count=found.trade_count,
        win_rate=found.win_rate,
        net_pnl_after_fees=money(found.net_pnl_after_fees),
        fees=money(found.fees),
        funding=money(found.funding),
        deepest_drawdown=found.deepest_drawdown,
        exposure=found.exposure,
    )


def _delta(report: EvaluationReport, first: EvaluationReport) -> EvaluationDelta:
    return EvaluationDelta(
        evaluation_id=report.evaluation_id,
        net_pnl_after_fees=_less(report.net_pnl_after_fees, first.net_pnl_after_fees),
        fees=_less(report.fees, first.fees),
        sharpe=report.sharpe - first.sharpe,
        max_drawdown=report.max_drawdown - first.max_drawdown,
        win_rate=report.win_rate - first.win_rate,
        trade_count=report.trade_count - first.trade_count,
        exposure=report.exposure - first.exposure,
    )


def _less(amount: str, other: str) -> str:
    return money(Decimal(amount) - Decimal(other))
