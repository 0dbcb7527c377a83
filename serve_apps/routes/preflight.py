"""What would be allowed, gate by gate, and the token that confirms it."""

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import Discriminator, Tag

from actors.limit_book import LimitBook
from actors.promoting import preflight_promotion
from serve_apps.context import ByVersion, Caller, Ctx
from serve_apps.problems import MISSING
from serve_apps.requests import (
    LimitsPreflightBody,
    PolicyPreflightBody,
    PromotePreflightBody,
    StartPreflightBody,
)
from serve_apps.routes.agents import start_ask
from serve_apps.routes.risk import Limits, asked_of, changes_of
from serve_apps.routes.versions import agent_of, pair_of
from serve_apps.schemas import (
    PreflightView,
    PromotionPreflightView,
    RiskPreflightView,
    StartGateView,
)
from serve_apps.views.agents import gate_row_view

router = APIRouter(tags=["operations"])


def _action(body: object) -> str:
    """What a preflight is for; a start when nothing is said."""
    if isinstance(body, dict):
        return str(body.get("action", "start"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - JSON
    return str(getattr(body, "action", "start"))


type PreflightBody = Annotated[
    Annotated[StartPreflightBody, Tag("start")]
    | Annotated[LimitsPreflightBody, Tag("risk-limits.edit")]
    | Annotated[PolicyPreflightBody, Tag("risk-policy.edit")]
    | Annotated[PromotePreflightBody, Tag("version.promote")],
    Discriminator(_action),
]


@router.post("/ops/preflight", responses=MISSING)
async def preflight(
    ctx: Ctx, by: ByVersion, book: Limits, body: PreflightBody
) -> PreflightView | RiskPreflightView | PromotionPreflightView:
    """Judge a live start, a promotion or a raise of limits without doing it.

    What may be done gets its 60 s token.
    """
    if isinstance(body, StartPreflightBody):
        return await _of_start(ctx, by, body)
    if isinstance(body, PromotePreflightBody):
        return await _of_promotion(ctx, by, body)
    return await _of_limits(by, book, body)


async def _of_limits(
    by: Caller, book: LimitBook, body: LimitsPreflightBody | PolicyPreflightBody
) -> RiskPreflightView:
    asked = asked_of(by, body)
    if isinstance(body, LimitsPreflightBody):
        edit, issued = await book.preflight_limits(body.set_id, changes_of(body), asked)
    else:
        edit, issued = await book.preflight_policy(body.account, changes_of(body), asked)
    return RiskPreflightView(
        action=body.action,
        key=edit.key,
        version=edit.version,
        raises=list(edit.raises),
        confirm_token=issued.token if issued else None,
        expires_at_ms=issued.expires_at_ms if issued else None,
    )


async def _of_promotion(ctx: Ctx, by: Caller, body: PromotePreflightBody) -> PromotionPreflightView:
    agent = await asyncio.to_thread(agent_of, ctx, by, body.agent_id, body.version_id)
    found = await preflight_promotion(
        ctx.store,
        ctx.clock,
        body.version_id,
        pair_of(agent, body.pair),
        actor=by.actor,
        trace_id=by.trace_id,
    )
    return PromotionPreflightView(
        action=body.action,
        agent_id=found.agent_id,
        version_id=found.version_id,
        pair=found.pair,
        active_version_id=found.active_version_id,
        evaluation_id=found.evaluation_id,
        allowed=found.allowed,
        gates=[gate_row_view(row) for row in found.gates],
        runs=list(found.run_ids),
        confirm_name=found.confirm_name,
        confirm_token=found.confirm_token,
        expires_at_ms=found.expires_at_ms,
    )


async def _of_start(ctx: Ctx, by: Caller, body: StartPreflightBody) -> PreflightView:
    found = await ctx.desk.preflight(
        body.agent_id, start_ask(body), actor=by.actor, trace_id=by.trace_id
    )
    return PreflightView(
        action=body.action,
        agent_id=found.agent_id,
        mode=found.mode.value,
        pair=found.pair,
        version_id=found.version_id,
        allowed=found.allowed,
        gates=[
            StartGateView(
                gate=gate.gate,
                passed=gate.passed,
                value=gate.value,
                threshold=gate.threshold,
                problem=gate.problem,
            )
            for gate in found.gates
        ],
        confirm_name=found.confirm_name,
        confirm_token=found.confirm_token,
        expires_at_ms=found.expires_at_ms,
    )
