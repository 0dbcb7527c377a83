"""Data sources: how fresh each is, and history on request."""

from typing import Literal

from fastapi import APIRouter

from actors.commands import BackfillAsk, FeedScope
from desk.errors import BadInput
from desk.ids import parse_pair
from desk.market.channel_messages import TELEGRAM
from desk.market.ingestion import BINGX
from desk.market.interval import parse_interval
from desk.market.signals import TRADINGVIEW
from serve_apps import lookups
from serve_apps.context import By, Caller, Context, Ctx
from serve_apps.parameters import AnyPair
from serve_apps.problems import MISSING
from serve_apps.requests import BackfillBody, SourceTurnBody
from serve_apps.schemas import JobView, Page, SourceTurnView, SourceView
from serve_apps.views.agents import job_view

router = APIRouter(tags=["data sources"])

type SourceName = Literal["bingx", "tradingview", "telegram"]
WITHOUT_HISTORY = {
    TELEGRAM: "a channel is read on from where it was left, `run` does that now",
    TRADINGVIEW: "its alerts come by webhook, and what was not sent cannot be fetched",
}


@router.get("/data-sources/status")
def list_sources(ctx: Ctx, pair: AnyPair = None) -> Page[SourceView]:
    """List the sources with the age of their newest event, by type, pair and interval."""
    wanted = parse_pair(pair) if pair else None
    found = [*lookups.sources(ctx), *lookups.signal_sources(ctx)]
    items = [view for view in found if wanted in {None, view.pair}]
    items.sort(key=lambda view: (view.source_type, view.source_id, view.pair, view.interval))
    return Page(items=items)


@router.post("/data-sources/backfill", status_code=202)
@router.post("/ingestion/bingx/backfill", status_code=202)
async def backfill(ctx: Ctx, by: By, body: BackfillBody | None = None) -> JobView:
    """Fetch history; answers a job at once. Candles that are stored already are written again."""
    return await _backfill(ctx, by, body or BackfillBody())


@router.post("/ops/ingestion/{source}/backfill", status_code=202)
async def backfill_source(
    ctx: Ctx, by: By, source: SourceName, body: BackfillBody | None = None
) -> JobView:
    """Fetch a source's history. Only the exchange keeps one that can be asked for: 422 for the others."""
    if source != BINGX:
        raise BadInput("source", f"was {source}: {WITHOUT_HISTORY[source]}")
    return await _backfill(ctx, by, body or BackfillBody())


@router.post("/ops/ingestion/{source}/{wish}", status_code=202)
async def turn_source(
    ctx: Ctx,
    by: By,
    source: SourceName,
    wish: Literal["run", "pause", "resume"],
    body: SourceTurnBody | None = None,
) -> SourceTurnView:
    """Poll a source now, stop polling it, or go on. Kept over restarts."""
    return await _turn(ctx, by, source, wish, body or SourceTurnBody())


@router.post("/ingestion/telegram/ingest", status_code=202, responses=MISSING)
async def ingest_telegram(ctx: Ctx, by: By) -> SourceTurnView:
    """Poll the channels now."""
    return await _turn(ctx, by, TELEGRAM, "run", SourceTurnBody())


@router.post("/ingestion/bingx/refresh", status_code=202, responses=MISSING)
async def refresh(ctx: Ctx, by: By, body: SourceTurnBody | None = None) -> SourceTurnView:
    """Poll the exchange now."""
    return await _turn(ctx, by, BINGX, "run", body or SourceTurnBody())


async def _turn(
    ctx: Context, by: Caller, source: str, wish: str, body: SourceTurnBody
) -> SourceTurnView:
    if source == BINGX:
        scope = FeedScope(source_type=body.source_type, pair=body.pair, interval=body.interval)
        turned = await ctx.desk.turn_feeds(
            wish, scope, dry_run=body.dry_run, actor=by.actor, trace_id=by.trace_id
        )
        return SourceTurnView(
            source=source,
            wish=wish,
            sources=turned.sources,
            runs=list(turned.run_ids),
            dry_run=body.dry_run,
        )
    for field in body.model_fields_set:
        raise BadInput(field, f"was given, but {source} is turned as a whole: leave it out")
    count = await ctx.desk.turn_source(source, wish, actor=by.actor, trace_id=by.trace_id)
    return SourceTurnView(source=source, wish=wish, sources=count)


async def _backfill(ctx: Context, by: Caller, body: BackfillBody) -> JobView:
    ask = BackfillAsk(
        pair=parse_pair(body.pair) if body.pair is not None else _only_pair(ctx),
        interval=parse_interval(body.interval or ctx.facts.intervals[0]),
        start_ms=body.start_ms,
        end_ms=body.end_ms,
        max_batches=body.max_batches,
    )
    if ask.start_ms is not None and ask.end_ms is not None and ask.start_ms >= ask.end_ms:
        raise BadInput("start_ms", f"was {ask.start_ms}, expected less than end_ms {ask.end_ms}")
    return job_view(await ctx.desk.backfill(ask, actor=by.actor, trace_id=by.trace_id))


def _only_pair(ctx: Context) -> str:
    if len(ctx.facts.pairs) != 1:
        raise BadInput("pair", f"was left out, expected one of {' '.join(ctx.facts.pairs)}")
    return ctx.facts.pairs[0]
