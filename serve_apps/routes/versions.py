"""Versions of an agent's policy: which there are, and which one is to be active."""

import asyncio

from fastapi import APIRouter

from actors.promoting import confirm_promotion
from actors.promotion import promote_version, rollback_version
from desk.errors import BadInput, NotFound
from desk.ids import parse_pair
from desk.runs import Agent
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import ByVersion, Caller, Context, Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import AgentId, VersionId
from serve_apps.problems import GateRefused
from serve_apps.requests import PromoteBody
from serve_apps.schemas import Page, PromotionAnswer, VersionView
from serve_apps.tagged import TaggedRoute
from serve_apps.views.agents import version_view

router = APIRouter(tags=["versions"], route_class=TaggedRoute)


@router.get("/agents/{agent_id}/versions")
def list_versions(ctx: Ctx, agent_id: AgentId, page: Paged) -> Page[VersionView]:
    """List an agent's versions, newest first."""
    active = lookups.agent(ctx.store, agent_id).value.active_version_id
    docs, following = page_of(
        ctx.store, kinds.VERSIONS, page, keep=lambda version: version.agent_id == agent_id
    )
    items = [version_view(doc, active_version_id=active) for doc in docs]
    return Page(items=items, next_cursor=following)


@router.post("/agents/{agent_id}/versions/{version_id}/promote")
async def promote(
    ctx: Ctx,
    by: ByVersion,
    agent_id: AgentId,
    version_id: VersionId,
    body: PromoteBody | None = None,
) -> PromotionAnswer:
    """Make a version the active one if its own evaluation on the pair passes the gate; else 409.

    Who is logged in on the pages confirms it by the token of a preflight.
    """
    ask = body or PromoteBody()
    agent = await asyncio.to_thread(agent_of, ctx, by, agent_id, version_id)
    pair = pair_of(agent, ask.pair)
    if by.by_cookie or ask.confirm_token:
        await confirm_promotion(
            ctx.store,
            version_id,
            pair,
            confirm_name=ask.confirm_name,
            confirm_token=ask.confirm_token,
            trace_id=by.trace_id,
        )
    verdict = await asyncio.to_thread(
        promote_version,
        ctx.store,
        version_id,
        pair=pair,
        actor=by.actor,
        now_ms=ctx.clock.now_ms(),
        trace_id=by.trace_id,
    )
    if not verdict.passed:
        raise GateRefused(", ".join(verdict.reasons))
    return PromotionAnswer(
        agent_id=agent_id,
        active_version_id=version_id,
        previous_version_id=agent.active_version_id,
        evaluation_id=verdict.evaluation_id,
    )


@router.post("/agents/{agent_id}/versions/{version_id}/rollback")
def roll_back(ctx: Ctx, by: ByVersion, agent_id: AgentId, version_id: VersionId) -> PromotionAnswer:
    """Make a version that was promoted before the active one again."""
    agent = agent_of(ctx, by, agent_id, version_id)
    rollback_version(
        ctx.store,
        version_id,
        actor=by.actor,
        now_ms=ctx.clock.now_ms(),
        trace_id=by.trace_id,
    )
    version = lookups.need(ctx.store, kinds.VERSIONS, version_id, "version").value
    return PromotionAnswer(
        agent_id=agent_id,
        active_version_id=version_id,
        previous_version_id=agent.active_version_id,
        evaluation_id=version.promoted_by_evaluation_id,
    )


def agent_of(ctx: Context, by: Caller, agent_id: str, version_id: str) -> Agent:
    """The agent as the caller saw it; raises `NotFound` if the version is another agent's."""
    doc = lookups.agent(ctx.store, agent_id)
    by.expect(f"agent {agent_id}", doc.version)
    version = lookups.need(ctx.store, kinds.VERSIONS, version_id, "version")
    if version.value.agent_id != agent_id:
        raise NotFound("version", version_id)
    return doc.value


def pair_of(agent: Agent, asked: str | None) -> str:
    """The pair the version shall trade; the only allowed one when it is left out."""
    if asked is not None:
        return parse_pair(asked)
    if len(agent.allowed_instruments) != 1:
        allowed = " ".join(agent.allowed_instruments)
        raise BadInput("pair", f"was left out, expected one of {allowed}")
    return agent.allowed_instruments[0]
