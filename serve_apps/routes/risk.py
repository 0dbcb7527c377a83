"""Limits: sets of runs, guardrails of accounts, and the circuit breaker."""

from typing import Annotated

from fastapi import APIRouter, Depends

from actors.limit_book import Asked, LimitBook
from desk.store import kinds
from desk.trading.limit_changes import Changes
from desk.trading.limits import RiskLimitSet
from serve_apps.context import By, ByVersion, Caller, Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import LimitSetId
from serve_apps.problems import MISSING
from serve_apps.requests import (
    ActivateBody,
    BreakerResetBody,
    LimitsBody,
    LimitsEditBody,
    PolicyBody,
)
from serve_apps.schemas import AccountRiskView, BreakerView, Page, RiskLimitView
from serve_apps.tagged import TaggedRoute
from serve_apps.views.ops import risk_limit_view
from serve_apps.views.risk import read_account_risk

router = APIRouter(tags=["risk"], route_class=TaggedRoute)
CONFIRMING = frozenset({"action", "set_id", "account", "version", "confirm_token"})
"""Fields of a body that are no change."""


def limit_book(ctx: Ctx) -> LimitBook:
    """The book of limits over this API's store."""
    return LimitBook(ctx.store, ctx.clock, ctx.facts.accounts)


Limits = Annotated[LimitBook, Depends(limit_book)]


@router.get("/risk-limits")
def list_risk_limits(ctx: Ctx, page: Paged) -> Page[RiskLimitView]:
    """List the limit sets, newest first."""
    docs, following = page_of(ctx.store, kinds.RISK_LIMITS, page)
    return Page(items=[risk_limit_view(doc) for doc in docs], next_cursor=following)


@router.get("/risk-limits/{set_id}/revisions")
def list_revisions(ctx: Ctx, page: Paged, set_id: LimitSetId) -> Page[RiskLimitView]:
    """List the revisions of a set that were replaced, the last one first."""
    docs, following = page_of(ctx.store, kinds.revisions_of(kinds.RISK_LIMITS, set_id), page)
    items = [risk_limit_view(doc).model_copy(update={"row_version": int(doc.key)}) for doc in docs]
    return Page(items=items, next_cursor=following)


@router.post("/risk-limits", status_code=201)
async def create_limits(by: By, book: Limits, body: LimitsBody) -> RiskLimitView:
    """Store a new set; it is active once it is activated."""
    fresh = RiskLimitSet(**body.model_dump(), effective_from_ms=0, active=False)
    return risk_limit_view(await book.create(fresh, asked_of(by, None)))


@router.patch("/risk-limits/{set_id}")
async def edit_limits(
    by: ByVersion, book: Limits, set_id: LimitSetId, body: LimitsEditBody
) -> RiskLimitView:
    """Write the next revision of a set; loosening one in use needs a preflight's token."""
    return risk_limit_view(await book.edit(set_id, changes_of(body), asked_of(by, body)))


@router.post("/risk-limits/{set_id}/activate")
async def activate_limits(
    by: ByVersion, book: Limits, set_id: LimitSetId, body: ActivateBody | None = None
) -> RiskLimitView:
    """Let runs start with a set."""
    return risk_limit_view(await book.activate(set_id, asked_of(by, body)))


@router.patch("/ops/trading/risk", responses=MISSING)
async def edit_policy(ctx: Ctx, by: ByVersion, book: Limits, body: PolicyBody) -> AccountRiskView:
    """Change an account's guardrails; loosening one needs a preflight's token."""
    await book.edit_policy(body.account, changes_of(body), asked_of(by, body))
    return read_account_risk(ctx, body.account)


@router.post("/ops/trading/circuit-breaker/reset", responses=MISSING)
async def reset_breaker(by: By, book: Limits, body: BreakerResetBody) -> BreakerView:
    """End a cool-down early; while a loss guardrail is reached it trips again at the next mark."""
    after = await book.reset_breaker(body.account, body.reason, asked_of(by, None))
    until_ms = after.cooldown_until_ms or None
    return BreakerView(account=body.account, state=after.state.value, cooldown_until_ms=until_ms)


def changes_of(body: LimitsEditBody | PolicyBody) -> Changes:
    """What a body would change."""
    return body.model_dump(exclude=set(CONFIRMING), exclude_none=True)


def asked_of(by: Caller, body: LimitsEditBody | PolicyBody | ActivateBody | None) -> Asked:
    """Who asks, and which revision they saw: by the body, or by `If-Match`."""
    version = body.version if body is not None else None
    return Asked(
        actor=by.actor,
        trace_id=by.trace_id,
        version=by.expected_version if version is None else version,
        confirm_token=getattr(body, "confirm_token", ""),
    )
