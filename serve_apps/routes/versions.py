"""Versions of an agent's policy: which there are, and which one is to be active."""

from fastapi import APIRouter

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
def promote(
    ctx: Ctx,
    by: ByVersion,
    agent_id: AgentId,
    version_id: VersionId,
    body: PromoteBody | None = None,
) -> PromotionAnswer:
    """Make a version the active one if its own evaluation on the pair passes the gate; else 409."""
    agent = _agent_of(ctx, by, agent_id, version_id)
    verdict = promote_version(
        ctx.store,
        version_id,
        pair=_pair(agent, body),
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
    agent = _agent_of(ctx, by, agent_id, version_id)
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


def _agent_of(ctx: Context, by: Caller, agent_id: str, version_id: str) -> Agent:
    """The agent as the caller saw it; raises `NotFound` if the version is another agent's."""
    doc = lookups.agent(ctx.store, agent_id)
    by.expect(f"agent {agent_id}", doc.version)
    version = lookups.need(ctx.store, kinds.VERSIONS, version_id, "version")
    if version.value.agent_id != agent_id:
        raise NotFound("version", version_id)
    return doc.value


def _pair(agent: Agent, body: PromoteBody | None) -> str:
    """The pair the version shall trade; the only allowed one when it is left out."""
    if body is not None and body.pair is not None:
        return parse_pair(body.pair)
    if len(agent.allowed_instruments) != 1:
        allowed = " ".join(agent.allowed_instruments)
        raise BadInput("pair", f"was left out, expected one of {allowed}")
    return agent.allowed_instruments[0]
