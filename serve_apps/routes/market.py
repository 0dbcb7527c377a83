"""Market data: which pairs and series are stored, and candles as columns."""

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Query, Response

from desk.errors import BadInput, NotFound
from desk.ids import parse_pair
from desk.market.candles import Candles, Floats, Ints
from desk.market.interval import ALL_INTERVALS, Interval, interval_ms, parse_interval
from serve_apps import lookups
from serve_apps.arrow import ALSO_ARROW, Accept, arrow_answer, is_asked, table_of
from serve_apps.candle_pages import CandlePage, newer_page, older_page, sources_of
from serve_apps.context import Context, Ctx
from serve_apps.paging import Moment, Windowed
from serve_apps.parameters import OneInterval, OnePair
from serve_apps.problems import MISSING
from serve_apps.schemas import (
    CandleColumns,
    MarketPairView,
    MarketSeriesStatus,
    MarketStatusView,
    Page,
    StoredSeries,
)

router = APIRouter(tags=["market data"])


@router.get(
    "/market-data/candles",
    response_model=CandleColumns,
    responses=MISSING | ALSO_ARROW,
)
def read_candles(
    ctx: Ctx,
    pair: OnePair,
    interval: OneInterval,
    window: Windowed,
    *,
    before_ms: Moment = None,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_500,
    accept: Accept = "",
) -> Response:
    """Read candles: the newest, the newest before `before_ms`, or the oldest from `start_ms` on.

    An interval that is not stored is built from the longest stored one that divides it.
    """
    wanted, step = parse_pair(pair), parse_interval(interval)
    if before_ms is not None and (window.start_ms is not None or window.end_ms is not None):
        raise BadInput("before_ms", "was given with start_ms or end_ms: give one or the other")
    _expect_known(ctx, wanted)
    if window.start_ms is None:
        bound = before_ms if before_ms is not None else window.end_ms
        page = older_page(ctx.candles, wanted, step, before_ms=bound, limit=limit)
    else:
        page = newer_page(
            ctx.candles,
            wanted,
            step,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            limit=limit,
        )
    if is_asked(accept):
        return arrow_answer(table_of(_by_name(page.candles)))
    return Response(_columns(page).model_dump_json(), media_type="application/json")


@router.get("/market-data/pairs")
def list_pairs(ctx: Ctx) -> Page[MarketPairView]:
    """List the configured pairs with what is stored of each and in which steps it trades."""
    return Page(items=[_pair_view(ctx, pair) for pair in ctx.facts.pairs])


@router.get("/market-data/status")
def read_status(ctx: Ctx) -> MarketStatusView:
    """Show the market clock and how far each configured series reaches."""
    strip = lookups.strip(ctx, lookups.runs(ctx.store))
    items = [
        _series_status(ctx, pair, interval, strip.market_now_ms)
        for pair in ctx.facts.pairs
        for interval in ctx.facts.intervals
    ]
    return MarketStatusView(**strip.model_dump(), items=items)


def _columns(page: CandlePage) -> CandleColumns:
    # The rows come from the store's own arrays: checking 30,000 numbers again costs more than reading.
    return CandleColumns.model_construct(
        t=page.candles.open_ms.tolist(),
        o=page.candles.open.tolist(),
        h=page.candles.high.tolist(),
        l=page.candles.low.tolist(),
        c=page.candles.close.tolist(),
        v=page.candles.volume.tolist(),
        more=page.more,
        forming=page.forming,
    )


def _by_name(candles: Candles) -> dict[str, Floats | Ints]:
    return {
        "open_ms": candles.open_ms,
        "open": candles.open,
        "high": candles.high,
        "low": candles.low,
        "close": candles.close,
        "volume": candles.volume,
    }


def _expect_known(ctx: Context, pair: str) -> None:
    """A pair that is neither configured nor stored is a 404, not an empty chart."""
    if pair in ctx.facts.pairs:
        return
    if all(ctx.candles.bounds(pair, interval) is None for interval in ALL_INTERVALS):
        raise NotFound("pair", f"{pair}; configured are {' '.join(ctx.facts.pairs)}")


def _pair_view(ctx: Context, pair: str) -> MarketPairView:
    stored = [
        StoredSeries(interval=interval, earliest_ms=bounds[0], latest_ms=bounds[1], count=bounds[2])
        for interval in ALL_INTERVALS
        if (bounds := ctx.candles.bounds(pair, interval)) is not None
    ]
    has = {series.interval for series in stored}
    instrument = lookups.instrument(ctx.store, pair)
    return MarketPairView(
        pair=pair,
        stored=stored,
        intervals=[name for name in ALL_INTERVALS if has & set(sources_of(name))],
        price_precision=_decimals(instrument.tick) if instrument else 2,
        quantity_precision=_decimals(instrument.lot) if instrument else 4,
        tick=str(instrument.tick) if instrument else None,
        lot=str(instrument.lot) if instrument else None,
    )


def _series_status(ctx: Context, pair: str, interval: Interval, now_ms: int) -> MarketSeriesStatus:
    bounds = ctx.candles.bounds(pair, interval)
    closed_ms = bounds[1] + interval_ms(interval) if bounds else None
    return MarketSeriesStatus(
        pair=pair,
        interval=interval,
        earliest_ms=bounds[0] if bounds else None,
        latest_ms=bounds[1] if bounds else None,
        count=bounds[2] if bounds else 0,
        lag_ms=max(now_ms - closed_ms, 0) if closed_ms is not None else None,
    )


def _decimals(step: Decimal) -> int:
    """Decimal places of a tick or lot: 0.10 has one."""
    exponent = step.normalize().as_tuple().exponent
    return max(-int(exponent), 0)
