"""What would be allowed, gate by gate, and the token that confirms it."""

from fastapi import APIRouter

from serve_apps.context import By, Ctx
from serve_apps.requests import StartPreflightBody
from serve_apps.routes.agents import start_ask
from serve_apps.schemas import PreflightView, StartGateView

router = APIRouter(tags=["ops"])


@router.post("/ops/preflight")
async def preflight(ctx: Ctx, by: By, body: StartPreflightBody) -> PreflightView:
    """Judge a start without starting; a live one that would be allowed gets its 60 s token."""
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
