"""Ingestion: the runs that read each source, and how each source does as a whole."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from actors.names import CANDLE_POLLER, FEED_POLLER, SIGNAL_POLLER
from actors.retry_attempts import TELEGRAM_SYNC
from actors.watch import LATE, UP
from desk.clock import HOUR_MS, MINUTE_MS
from desk.ids import parse_pair
from desk.market.channel_messages import TELEGRAM
from desk.market.ingestion import BINGX, IngestionRun
from desk.market.interval import parse_interval
from desk.market.retries import MAX_ITEMS, RetryStatus
from desk.market.signals import TRADINGVIEW
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import Context, Ctx
from serve_apps.paging import Paged, Windowed, page_of
from serve_apps.parameters import AnyInterval, AnyPair
from serve_apps.schemas import IngestionRunView, IngestionSourceView, Page, SourceView
from serve_apps.views.ingestion import run_view

router = APIRouter(tags=["ingestion"])

SOURCES: tuple[Literal["bingx", "tradingview", "telegram"], ...] = (BINGX, TRADINGVIEW, TELEGRAM)
WORKERS = {
    BINGX: (CANDLE_POLLER.name, FEED_POLLER.name),
    TELEGRAM: (SIGNAL_POLLER.name,),
    TRADINGVIEW: (),
}
RECENT = 2_000
"""Runs looked at for the figures of the last hour."""
Status = Literal["running", "done", "failed", "cancelled"]


@router.get("/ops/ingestion/runs")
@router.get("/data-sources/runs")
def list_ingestion_runs(
    ctx: Ctx,
    page: Paged,
    window: Windowed,
    *,
    source: Annotated[str | None, Query(max_length=64)] = None,
    pair: AnyPair = None,
    interval: AnyInterval = None,
    status: Status | None = None,
) -> Page[IngestionRunView]:
    """List runs, newest first; `source` is a source, one of its types, or the id of a channel."""
    wanted = parse_pair(pair) if pair else None
    step = parse_interval(interval) if interval else None

    def keep(run: IngestionRun) -> bool:
        return (
            source in {None, run.source, run.source_type, run.source_id}
            and wanted in {None, run.pair}
            and step in {None, run.interval}
            and status in {None, run.status.value}
        )

    docs, following = page_of(ctx.store, kinds.INGESTION, page, window=window, keep=keep)
    return Page(items=[run_view(doc.value) for doc in docs], next_cursor=following)


@router.get("/ops/ingestion/status")
@router.get("/ingestion/status")
def read_ingestion(ctx: Ctx) -> Page[IngestionSourceView]:
    """Show each source: status rows, workers, its last run, and what waits to be tried again."""
    rows = [*lookups.sources(ctx), *lookups.signal_sources(ctx)]
    recent = [doc.value for doc in ctx.store.list(kinds.INGESTION, limit=RECENT)]
    return Page(items=[_source(ctx, source, rows, recent) for source in SOURCES])


def source_of_type(source_type: str) -> str:
    """The source that delivers a type of data."""
    return source_type if source_type in {TELEGRAM, TRADINGVIEW} else BINGX


def _source(
    ctx: Context,
    source: Literal["bingx", "tradingview", "telegram"],
    rows: list[SourceView],
    recent: list[IngestionRun],
) -> IngestionSourceView:
    ours = [row for row in rows if source_of_type(row.source_type) == source]
    runs = [run for run in recent if run.source == source]
    now_ms = ctx.clock.now_ms() if source == BINGX else ctx.wall_ms()
    actors = [
        doc.value
        for doc in ctx.store.list(kinds.ACTORS, limit=lookups.MANY)
        if doc.value.role in WORKERS[source]
    ]
    alive = [
        one
        for one in actors
        if one.status in {UP, LATE}
        and ctx.wall_ms() - one.last_heartbeat_wall_ms <= lookups.POLLER_PATIENCE_MS
    ]
    failed = [
        doc.value.status
        for doc in ctx.store.list(kinds.RETRIES, limit=MAX_ITEMS)
        if (TELEGRAM if doc.value.job_type == TELEGRAM_SYNC else BINGX) == source
    ]
    fresh = sum(run.new for run in runs if now_ms - run.updated_ms <= HOUR_MS)
    counts = {name: sum(row.status == name for row in ours if row.enabled) for name in STATUSES}
    return IngestionSourceView(
        source=source,
        enabled=sum(row.enabled for row in ours),
        paused=sum(not row.enabled for row in ours),
        workers_alive=len(alive),
        workers=len(actors),
        **counts,
        last_run=run_view(max(runs, key=lambda run: run.updated_ms)) if runs else None,
        rows_per_min=fresh * MINUTE_MS / HOUR_MS,
        retries_waiting=sum(one is not RetryStatus.DEAD for one in failed),
        retries_dead=sum(one is RetryStatus.DEAD for one in failed),
        next_sync_ms=None,
    )


STATUSES = ("ok", "stale", "unavailable")
