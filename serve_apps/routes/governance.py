"""What an agent may do: its config, kill switch, promotion gate and source policies."""

from fastapi import APIRouter

from actors.agent_book import change_agent
from actors.signal_status import SIGNAL_TYPES
from actors.source_book import CANDLES, FUNDING, THRESHOLDS_S
from actors.store_calls import stored
from desk.agent_config import with_config, with_gate, with_policies
from desk.errors import BadInput
from desk.runs import Agent, SourcePolicy, agent_kill_reason
from desk.store.port import Doc
from serve_apps import lookups
from serve_apps.context import ByVersion, Context, Ctx
from serve_apps.parameters import AgentId
from serve_apps.requests import (
    AgentConfigBody,
    Body,
    KillBody,
    PromotionGateBody,
    SourcePoliciesBody,
)
from serve_apps.schemas import (
    AgentConfigView,
    AgentKillView,
    PolicyName,
    PromotionGatesView,
    SourcePoliciesView,
)
from serve_apps.tagged import TaggedRoute
from serve_apps.views.agents import gate_view

router = APIRouter(tags=["governance"], route_class=TaggedRoute)

REQUIRABLE = frozenset(THRESHOLDS_S) - {CANDLES}
"""Types of which each pair has one row; candles are required anyway."""
FORBIDDABLE = frozenset({FUNDING, *SIGNAL_TYPES})


@router.patch("/agents/{agent_id}/config")
async def write_config(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: AgentConfigBody
) -> AgentConfigView:
    """Change what is given; runs take it with their next candle, a pair that is taken off pauses them."""
    _expect_some(body)
    await change_agent(
        ctx.store,
        ctx.clock,
        agent_id,
        lambda agent: with_config(
            agent,
            tradable=ctx.facts.pairs,
            name=body.name,
            allowed_instruments=body.allowed_instruments,
            min_confidence=body.min_confidence,
            decision_threshold=body.decision_threshold,
            data_pause_lift=body.data_pause_lift,
        ),
        action="agent.config",
        actor=by.actor,
        trace_id=by.trace_id,
        expected_version=by.expected_version,
    )
    return _config(await _agent(ctx, agent_id))


@router.get("/agents/{agent_id}/promotion-gates")
async def read_gates(ctx: Ctx, agent_id: AgentId) -> PromotionGatesView:
    """Show what an evaluation must reach before its version may be promoted."""
    return _gates(await _agent(ctx, agent_id))


@router.patch("/agents/{agent_id}/promotion-gates")
async def write_gates(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: PromotionGateBody
) -> PromotionGatesView:
    """Change the figures that are given; live starts are judged by them from now on."""
    _expect_some(body)
    await change_agent(
        ctx.store,
        ctx.clock,
        agent_id,
        lambda agent: with_gate(
            agent,
            min_trades=body.min_trades,
            min_win_rate=body.min_win_rate,
            min_net_pnl=body.min_net_pnl,
            max_drawdown=body.max_drawdown,
        ),
        action="agent.promotion_gates",
        actor=by.actor,
        trace_id=by.trace_id,
        expected_version=by.expected_version,
    )
    return _gates(await _agent(ctx, agent_id))


@router.get("/agents/{agent_id}/source-policies")
async def read_policies(ctx: Ctx, agent_id: AgentId) -> SourcePoliciesView:
    """Show for each type of source whether the agent needs it, requires it or may not look at it."""
    return _policies(await _agent(ctx, agent_id))


@router.patch("/agents/{agent_id}/source-policies")
async def write_policies(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: SourcePoliciesBody
) -> SourcePoliciesView:
    """Change the policies of the types that are named."""
    await change_agent(
        ctx.store,
        ctx.clock,
        agent_id,
        lambda agent: with_policies(
            agent, body.policies, requirable=REQUIRABLE, forbiddable=FORBIDDABLE
        ),
        action="agent.source_policies",
        actor=by.actor,
        trace_id=by.trace_id,
        expected_version=by.expected_version,
    )
    return _policies(await _agent(ctx, agent_id))


@router.get("/agents/{agent_id}/kill-switch")
async def read_kill_switch(ctx: Ctx, agent_id: AgentId) -> AgentKillView:
    """Show the agent's own switch, and those of the accounts."""
    return await _kill(ctx, agent_id)


@router.post("/agents/{agent_id}/kill-switch")
async def turn_kill_switch(
    ctx: Ctx, by: ByVersion, agent_id: AgentId, body: KillBody
) -> AgentKillView:
    """Stop the agent: its runs pause, its entries end; `on` false lifts it, with a reason."""
    doc = await _agent(ctx, agent_id)
    by.expect(f"agent {agent_id}", doc.version)
    stopped = await ctx.desk.kill_agent(
        agent_id,
        on=body.on,
        reason=body.reason or ("operator" if body.on else ""),
        flatten=body.flatten,
        actor=by.actor,
        trace_id=by.trace_id,
    )
    return await _kill(ctx, agent_id, runs_stopped=stopped)


def _expect_some(body: Body) -> None:
    if not body.model_dump(exclude_none=True):
        raise BadInput("body", "was empty: give at least one field to change")


async def _agent(ctx: Context, agent_id: str) -> Doc[Agent]:
    return await stored(lambda: lookups.agent(ctx.store, agent_id))


def _config(doc: Doc[Agent]) -> AgentConfigView:
    agent = doc.value
    return AgentConfigView(
        agent_id=agent.agent_id,
        name=agent.name,
        allowed_instruments=list(agent.allowed_instruments),
        min_confidence=agent.min_confidence,
        decision_threshold=agent.decision_threshold,
        data_pause_lift=agent.data_pause_lift.value,
        row_version=doc.version,
    )


def _gates(doc: Doc[Agent]) -> PromotionGatesView:
    gate = gate_view(doc.value.promotion_gate)
    return PromotionGatesView(agent_id=doc.key, row_version=doc.version, **gate.model_dump())


def _policies(doc: Doc[Agent]) -> SourcePoliciesView:
    chosen = doc.value.source_policies
    shown: dict[str, PolicyName] = {
        name: chosen.get(name, SourcePolicy.AS_NEEDED).value
        for name in sorted(REQUIRABLE | FORBIDDABLE)
    }
    shown[CANDLES] = SourcePolicy.REQUIRED.value
    return SourcePoliciesView(agent_id=doc.key, policies=shown, row_version=doc.version)


async def _kill(ctx: Context, agent_id: str, *, runs_stopped: int = 0) -> AgentKillView:
    doc = await _agent(ctx, agent_id)

    def of_accounts() -> dict[str, str | None]:
        return {name: ctx.store.kill_reason(name) for name in ctx.facts.accounts}

    reason = agent_kill_reason(doc.value)
    return AgentKillView(
        agent_id=agent_id,
        on=reason is not None,
        reason=reason or "",
        accounts=await stored(of_accounts),
        runs_stopped=runs_stopped,
        row_version=doc.version,
    )
