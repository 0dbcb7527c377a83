"""Trainings and evaluations: starting them as jobs, and the stored reports."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query

from desk.errors import BadInput, NotFound
from desk.evaluation.report import EvaluationReport
from desk.evaluation.walk_forward import FoldPlan, Rows, cut_folds
from desk.ids import parse_pair
from desk.learning.baseline import check_rule
from desk.learning.study import Dataset
from desk.learning.training_spec import BC, RULE, training_spec
from desk.learning.training_window import EPISODE_CANDLES, check_is_dataset, check_length
from desk.market.features import FEATURES_V1
from desk.market.interval import interval_ms, parse_interval
from desk.store import kinds
from desk.store.feature_sets import find_feature_set
from desk.trading.intents import Protection
from serve_apps import lookups
from serve_apps.context import By, Context, Ctx
from serve_apps.desk_port import EvaluationAsk, TrainingAsk
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import AgentId, AnyPair, EvaluationId
from serve_apps.requests import EvaluationBody, TrainingBody
from serve_apps.routes.evaluation_files import pnl_spread
from serve_apps.schemas import EvaluationView, JobView, Page
from serve_apps.views.agents import evaluation_view, job_view, whole_evaluation_view

router = APIRouter(tags=["learning"])


@router.get("/agents/{agent_id}/evaluations")
def list_evaluations(
    ctx: Ctx,
    agent_id: AgentId,
    page: Paged,
    pair: AnyPair = None,
    agent_version_id: Annotated[str | None, Query(max_length=100)] = None,
) -> Page[EvaluationView]:
    """List an agent's evaluations, newest first."""
    lookups.agent(ctx.store, agent_id)
    wanted = parse_pair(pair) if pair else None

    def keep(report: EvaluationReport) -> bool:
        return (
            report.agent_id == agent_id
            and wanted in {None, report.pair}
            and agent_version_id in {None, report.version_id}
        )

    docs, following = page_of(ctx.store, kinds.EVALUATIONS, page, keep=keep)
    items = [evaluation_view(doc.value, in_list=True) for doc in docs]
    return Page(items=items, next_cursor=following)


@router.get("/agents/{agent_id}/evaluations/{evaluation_id}")
def read_evaluation(ctx: Ctx, agent_id: AgentId, evaluation_id: EvaluationId) -> EvaluationView:
    """Show one report, with its promotion gate row by row and the spread of its trades."""
    report = lookups.need(ctx.store, kinds.EVALUATIONS, evaluation_id, "evaluation").value
    if report.agent_id != agent_id:
        raise NotFound("evaluation", evaluation_id)
    gates = lookups.gate_rows_of(ctx.store, lookups.agent(ctx.store, agent_id).value, report)
    return whole_evaluation_view(report, gates, pnl_spread(ctx, report))


@router.post("/agents/{agent_id}/training", status_code=202)
async def train(ctx: Ctx, by: By, agent_id: AgentId, body: TrainingBody) -> JobView:
    """Train a new version; answers a job, whose result names the version."""
    ask = await asyncio.to_thread(_training, ctx, agent_id, body)
    job = await ctx.learning.start_training(ask, actor=by.actor, trace_id=by.trace_id)
    return job_view(job)


@router.post("/agents/{agent_id}/evaluations", status_code=202)
async def evaluate(ctx: Ctx, by: By, agent_id: AgentId, body: EvaluationBody) -> JobView:
    """Evaluate a version, by default the active one; answers a job, whose result names the report."""
    ask = await asyncio.to_thread(_evaluation, ctx, agent_id, body)
    job = await ctx.learning.start_evaluation(ask, actor=by.actor, trace_id=by.trace_id)
    return job_view(job)


def _training(ctx: Context, agent_id: str, body: TrainingBody) -> TrainingAsk:
    lookups.agent(ctx.store, agent_id)
    spec = training_spec(body.algorithm, body.parameters, steps=body.timesteps, seed=body.seed)
    pair, interval = parse_pair(body.pair), parse_interval(body.interval)
    bounds = ctx.candles.bounds(pair, interval)
    if bounds is None:
        raise BadInput("pair", f"{pair} has no stored {interval} candles: backfill it first")
    dataset = _dataset(ctx, body)
    wanted = body.feature_set_id or (
        dataset.feature_set_id if dataset else FEATURES_V1.feature_set_id
    )
    features = find_feature_set(ctx.store, wanted)
    if features is None:
        raise BadInput("feature_set_id", f"was {wanted}, expected one of GET /feature-sets")
    if spec.algorithm == BC or spec.warm_start == RULE:
        check_rule(features)
    given = (dataset.start_ms, dataset.end_ms) if dataset else (bounds[0], None)
    start_ms = body.start_ms if body.start_ms is not None else given[0]
    end_ms = body.end_ms if body.end_ms is not None else given[1]
    if end_ms is None:
        end_ms = bounds[1] + interval_ms(interval)
    _in_order("start_ms", start_ms, end_ms)
    if dataset is not None:
        check_is_dataset(
            dataset,
            pair=pair,
            interval=interval,
            start_ms=start_ms,
            end_ms=end_ms,
            feature_set_id=wanted,
        )
    check_length((end_ms - start_ms) // interval_ms(interval), features.lookback, EPISODE_CANDLES)
    return TrainingAsk(
        agent_id=agent_id,
        pair=pair,
        interval=interval,
        start_ms=start_ms,
        end_ms=end_ms,
        timesteps=body.timesteps,
        seed=body.seed,
        name=body.name,
        feature_set_id=wanted,
        levels=_rising(body.levels),
        protection=_protection(body),
        leverage=body.leverage,
        turnover_coefficient=body.turnover_coefficient,
        drawdown_coefficient=body.drawdown_coefficient,
        training=spec,
        dataset_id=body.dataset_id or "",
        most_missing_fraction=body.most_missing_fraction,
    )


def _dataset(ctx: Context, body: TrainingBody) -> Dataset | None:
    if body.dataset_id is None:
        return None
    return lookups.need(ctx.store, kinds.DATASETS, body.dataset_id, "dataset").value


def _evaluation(ctx: Context, agent_id: str, body: EvaluationBody) -> EvaluationAsk:
    agent = lookups.agent(ctx.store, agent_id).value
    _in_order("period_start_ms", body.period_start_ms, body.period_end_ms)
    version_id = body.agent_version_id or agent.active_version_id
    version = lookups.need(ctx.store, kinds.VERSIONS, version_id, "version").value
    if version.agent_id != agent_id:
        raise NotFound("version", version_id)
    if body.feature_set_id not in {None, version.feature_set_id}:
        raise BadInput(
            "feature_set_id", f"was {body.feature_set_id}, the version has {version.feature_set_id}"
        )
    ask = EvaluationAsk(
        agent_id=agent_id,
        version_id=version_id,
        pair=parse_pair(body.pair),
        interval=parse_interval(body.interval),
        start_ms=body.period_start_ms,
        end_ms=body.period_end_ms,
        decision_threshold=body.decision_threshold,
        protection=_protection(body),
        leverage=body.leverage,
        folds=_folds(body),
        trials=body.trials,
        most_missing_fraction=body.most_missing_fraction,
    )
    if body.dataset_id is not None:
        _expect_dataset(ctx, body.dataset_id, ask)
    return ask


def _folds(body: EvaluationBody) -> FoldPlan | None:
    """The plan, if the period could hold it: with holes in the candles it may still be refused."""
    if body.walk_forward is None:
        return None
    plan = FoldPlan(**body.walk_forward.model_dump())
    step = interval_ms(parse_interval(body.interval))
    rows = (body.period_end_ms - body.period_start_ms) // step
    cut_folds(rows, [Rows(0, rows)], plan)
    return plan


def _protection(body: TrainingBody | EvaluationBody) -> Protection:
    return Protection(
        stop_loss_fraction=body.stop_loss_fraction, take_profit_fraction=body.take_profit_fraction
    )


def _rising(levels: tuple[float, ...] | None) -> tuple[float, ...] | None:
    if levels is not None and list(levels) != sorted(set(levels)):
        raise BadInput("levels", f"were {levels}, expected rising numbers")
    return levels


def _expect_dataset(ctx: Context, dataset_id: str, ask: EvaluationAsk) -> None:
    """A dataset that is named must be the one the period will be cut from."""
    dataset = lookups.need(ctx.store, kinds.DATASETS, dataset_id, "dataset").value
    covers = (dataset.pair, dataset.interval, dataset.start_ms, dataset.end_ms)
    asked = (ask.pair, ask.interval, ask.start_ms, ask.end_ms)
    if covers != asked:
        raise BadInput("dataset_id", f"covers {covers}, asked was {asked}: leave it out")


def _in_order(field: str, start_ms: int, end_ms: int) -> None:
    if start_ms >= end_ms:
        raise BadInput(field, f"was {start_ms}, expected less than the end {end_ms}")
