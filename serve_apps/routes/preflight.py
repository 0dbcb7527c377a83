"""What would be allowed, gate by gate, and the token that confirms it."""

from typing import Annotated

from fastapi import APIRouter
from pydantic import Discriminator, Tag

from actors.limit_book import LimitBook
from serve_apps.context import ByVersion, Caller, Ctx
from serve_apps.problems import MISSING
from serve_apps.requests import LimitsPreflightBody, PolicyPreflightBody, StartPreflightBody
from serve_apps.routes.agents import start_ask
from serve_apps.routes.risk import Limits, asked_of, changes_of
from serve_apps.schemas import PreflightView, RiskPreflightView, StartGateView

router = APIRouter(tags=["operations"])


def _action(body: object) -> str:
    """What a preflight is for; a start when nothing is said."""
    if isinstance(body, dict):
        return str(body.get("action", "start"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - JSON
    return str(getattr(body, "action", "start"))


type PreflightBody = Annotated[
    Annotated[StartPreflightBody, Tag("start")]
    | Annotated[LimitsPreflightBody, Tag("risk-limits.edit")]
    | Annotated[PolicyPreflightBody, Tag("risk-policy.edit")],
    Discriminator(_action),
]


@router.post("/ops/preflight", responses=MISSING)
async def preflight(
    ctx: Ctx, by: ByVersion, book: Limits, body: PreflightBody
) -> PreflightView | RiskPreflightView:
    """Judge a live start or a raise of limits without doing it; what may be done gets its 60 s token."""
    if isinstance(body, StartPreflightBody):
        return await _of_start(ctx, by, body)
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
