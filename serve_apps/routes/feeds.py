"""TradingView feeds: their sync now, and what it found."""

from fastapi import APIRouter

from actors.signal_status import status_key
from desk.market.feed_readings import FeedReading
from desk.market.signals import TRADINGVIEW
from desk.store import kinds
from serve_apps.context import By, Context, Ctx
from serve_apps.problems import MISSING
from serve_apps.schemas import AlertCounts, FeedSyncView, Page, SourceTurnView

router = APIRouter(tags=["data sources"])


@router.post("/ingestion/tradingview/sync", status_code=202, responses=MISSING)
async def sync_tradingview(ctx: Ctx, by: By) -> SourceTurnView:
    """Sync the feeds now."""
    count = await ctx.desk.turn_source(TRADINGVIEW, "run", actor=by.actor, trace_id=by.trace_id)
    return SourceTurnView(source=TRADINGVIEW, wish="run", sources=count)


@router.get("/ingestion/tradingview/sync")
def list_syncs(ctx: Ctx) -> Page[FeedSyncView]:
    """List the feeds with what their last sync counted, and what arrived since."""
    sources = sorted(dict(ctx.facts.feeds.token_hashes))
    return Page(items=[_view(ctx, source_id) for source_id in sources])


def _view(ctx: Context, source_id: str) -> FeedSyncView:
    found = ctx.store.get(kinds.FEED_READINGS, source_id)
    reading = found.value if found else FeedReading(source_id=source_id, read_to_ms=0)
    row = ctx.store.get(kinds.SOURCES, status_key(TRADINGVIEW, source_id))
    return FeedSyncView(
        source_id=source_id,
        enabled=row is None or row.value.enabled,
        synced_ms=reading.synced_ms,
        route_ms=reading.route_ms,
        newest_ms=reading.newest_ms,
        last=AlertCounts.model_validate(reading.last, from_attributes=True),
        since=AlertCounts.model_validate(reading.since, from_attributes=True),
    )
