"""Limit sets of runs."""

from fastapi import APIRouter

from desk.store import kinds
from serve_apps.context import Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.schemas import Page, RiskLimitView
from serve_apps.views.ops import risk_limit_view

router = APIRouter(tags=["risk"])


@router.get("/risk-limits")
def list_risk_limits(ctx: Ctx, page: Paged) -> Page[RiskLimitView]:
    """List the limit sets, newest first."""
    docs, following = page_of(ctx.store, kinds.RISK_LIMITS, page)
    return Page(items=[risk_limit_view(doc) for doc in docs], next_cursor=following)
