"""The retry queue: which ingestion jobs failed, and what becomes of them."""

from typing import Literal

from fastapi import APIRouter

from actors import retry_queue
from actors.audit import note
from desk.market.retries import RetryItem
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import ByVersion, Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.parameters import RetryId
from serve_apps.schemas import Page, RetryView
from serve_apps.tagged import TaggedRoute
from serve_apps.views.ingestion import retry_view

router = APIRouter(tags=["ingestion"], route_class=TaggedRoute)


@router.get("/ops/retry-queue")
def list_retries(
    ctx: Ctx,
    page: Paged,
    status: Literal["waiting", "in_flight", "dead"] | None = None,
) -> Page[RetryView]:
    """List failed jobs that wait to be tried again, newest first; `dead` ones wait for you."""
    docs, following = page_of(
        ctx.store, kinds.RETRIES, page, keep=lambda item: status in {None, item.status.value}
    )
    return Page(items=[retry_view(doc) for doc in docs], next_cursor=following)


@router.post("/ops/retry-queue/{item_id}/retry")
def retry_item(ctx: Ctx, by: ByVersion, item_id: RetryId) -> RetryView:
    """Have it tried at once, with all its attempts again; 409 while an attempt is in flight."""
    doc = lookups.need(ctx.store, kinds.RETRIES, item_id, "retry item")
    by.expect(f"retry item {item_id}", doc.version)
    before, after = retry_queue.retry_now(ctx.store, item_id, now_ms=ctx.wall_ms())
    note(
        ctx.store,
        "retry.retry",
        f"retry/{item_id}",
        actor=by.actor,
        trace_id=by.trace_id,
        at_ms=ctx.clock.now_ms(),
        before=_fact(before),
        after=_fact(after),
    )
    return retry_view(lookups.need(ctx.store, kinds.RETRIES, item_id, "retry item"))


@router.post("/ops/retry-queue/{item_id}/discard")
def discard_item(ctx: Ctx, by: ByVersion, item_id: RetryId) -> RetryView:
    """Take it out of the queue for good; 409 while an attempt is in flight."""
    doc = lookups.need(ctx.store, kinds.RETRIES, item_id, "retry item")
    by.expect(f"retry item {item_id}", doc.version)
    item = retry_queue.discard(ctx.store, item_id, now_ms=ctx.wall_ms())
    note(
        ctx.store,
        "retry.discard",
        f"retry/{item_id}",
        actor=by.actor,
        trace_id=by.trace_id,
        at_ms=ctx.clock.now_ms(),
        before=_fact(item),
    )
    return retry_view(doc)


def _fact(item: RetryItem) -> dict[str, object]:
    return {
        "dedupe_key": item.dedupe_key,
        "status": item.status.value,
        "attempts": item.attempts,
    }
