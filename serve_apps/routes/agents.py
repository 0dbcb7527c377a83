"""Agents: what they are, their runs, decisions and versions, and the commands of a run's life."""

import asyncio

from fastapi import APIRouter

from actors.commands import StartRun
from desk.ids import parse_pair
from desk.runs import Mode
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import By, ByVersion, Caller, Context, Ctx
from serve_apps.paging import Paged, Place, Windowed, page_of, page_rows
from serve_apps.parameters import AgentId, RunId
from serve_apps.requests import ReasonBody, StartBody, StopBody
from serve_apps.schemas import (
    AgentDetail,
    AgentSummary,
    DecisionView,
    Page,
    RunView,
)
from serve_apps.tagged import TaggedRoute
from serve_apps.views import agents as views

router = APIRouter(tags=["agents"], route_class=TaggedRoute)


@router.get("/agents")
def list_agents(ctx: Ctx, page: Paged) -> Page[AgentSummary]:
    """List the agents, each with its current run."""
    docs, following = page_of(ctx.store, kinds.AGENTS, page)
    runs, versions = lookups.runs(ctx.store), lookups.versions(ctx.store)
    items = [views.agent_summary(doc, runs, versions) for doc in docs]
    return Page(items=items, next_cursor=following)


@router.get("/agents/{agent_id}")
def read_agent(ctx: Ctx, agent_id: AgentId) -> AgentDetail:
    """Show an agent: current run, active version, learning, kill switch, promotion gate."""
    doc = lookups.agent(ctx.store, agent_id)
    runs, versions = lookups.runs(ctx.store), lookups.versions(ctx.store)
    verdict = lookups.gate_of_active_version(ctx.store, doc.value, runs)
    return views.agent_detail(doc, runs, versions, verdict)


@router.get("/agents/{agent_id}/runs")
def list_runs(ctx: Ctx, agent_id: AgentId, page: Paged) -> Page[RunView]:
    """List an agent's runs, newest first."""
    lookups.agent(ctx.store, agent_id)
    docs, following = page_of(
        ctx.store, kinds.RUNS, page, keep=lambda run: run.agent_id == agent_id
    )
    versions = lookups.versions(ctx.store)
    return Page(items=[views.run_view(doc, versions) for doc in docs], next_cursor=following)


@router.get("/agents/{agent_id}/runs/{run_id}/decisions")
def list_decisions(
    ctx: Ctx, agent_id: AgentId, run_id: RunId, page: Paged, window: Windowed
) -> Page[DecisionView]:
    """List a run's decisions, newest first; the bounds are open times of candles."""
    lookups.run_of_agent(ctx.store, agent_id, run_id)
    docs, following = page_rows(
        lambda before_ms, count: ctx.decisions.docs(
            run_id, start_ms=window.start_ms, before_ms=before_ms, limit=count
        ),
        place_of=lambda doc: Place(doc.at_ms, doc.key),
        keep=lambda _: True,
        asked=page,
        end_ms=window.end_ms,
    )
    return Page(items=[views.decision_view(doc.value) for doc in docs], next_cursor=following)


@router.post("/agents/{agent_id}/start", status_code=201)
async def start_run(ctx: Ctx, by: By, agent_id: AgentId, body: StartBody) -> RunView:
    """Start a run; every gate of a start is checked by the desk."""
    run = await ctx.desk.start_run(agent_id, start_ask(body), actor=by.actor, trace_id=by.trace_id)
    return await _stored_run(ctx, run.run_id)


def start_ask(body: StartBody) -> StartRun:
    """What the body of a start, or of its preflight, asks for."""
    return StartRun(
        mode=Mode(body.mode),
        pair=parse_pair(body.pair),
        risk_limit_set_id=body.risk_limit_set_id,
        version_id=body.version_id,
        decision_threshold=body.decision_threshold,
        learning_enabled=body.learning_enabled,
        learning_window_minutes=body.learning_window_minutes,
        dataset_id=body.dataset_id,
        feature_set_id=body.feature_set_id,
        stop_loss_fraction=body.stop_loss_fraction,
        take_profit_fraction=body.take_profit_fraction,
        shadow=body.shadow,
        confirm_token=body.confirm_token,
        confirm_name=body.confirm_name,
    )


@router.post("/agents/{agent_id}/pause")
async def pause_run(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: ReasonBody | None = None
) -> RunView:
    """Pause the agent's run: no new entries, positions stay, exits still pass."""
    await _expect_current(ctx, by, agent_id)
    reason = (body or ReasonBody()).reason
    run = await ctx.desk.pause_run(agent_id, reason, actor=by.actor, trace_id=by.trace_id)
    return await _stored_run(ctx, run.run_id)


@router.post("/agents/{agent_id}/resume")
async def resume_run(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: ReasonBody | None = None
) -> RunView:
    """Resume a paused run."""
    await _expect_current(ctx, by, agent_id)
    reason = (body or ReasonBody()).reason
    run = await ctx.desk.resume_run(agent_id, reason, actor=by.actor, trace_id=by.trace_id)
    return await _stored_run(ctx, run.run_id)


@router.post("/agents/{agent_id}/stop")
async def stop_run(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: StopBody | None = None
) -> RunView:
    """Stop the agent's run; `flatten` closes its position reduce-only."""
    await _expect_current(ctx, by, agent_id)
    ask = body or StopBody()
    run = await ctx.desk.stop_run(
        agent_id, ask.reason, flatten=ask.flatten, actor=by.actor, trace_id=by.trace_id
    )
    return await _stored_run(ctx, run.run_id)


async def _expect_current(ctx: Context, by: Caller, agent_id: str) -> None:
    """Check `If-Match` against the row of the run that the command is about."""

    def check() -> None:
        lookups.agent(ctx.store, agent_id)
        doc = lookups.current_run(ctx.store, agent_id)
        if doc is not None:
            by.expect(f"run {doc.value.run_id}", doc.version)

    await asyncio.to_thread(check)


async def _stored_run(ctx: Context, run_id: str) -> RunView:
    def read() -> RunView:
        doc = lookups.need(ctx.store, kinds.RUNS, run_id, "run")
        return views.run_view(doc, lookups.versions(ctx.store))

    return await asyncio.to_thread(read)
