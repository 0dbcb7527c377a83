"""What the venue publishes beside candles: the newest that was read of each pair."""

from collections.abc import Callable

from fastapi import APIRouter

from desk.errors import NotFound
from desk.ids import Pair, parse_pair
from desk.store import kinds
from desk.store.port import Kind
from desk.venues.port import FundingRate, MarkPrice, OpenInterest, OrderBook, Ticker
from serve_apps.context import Context, Ctx
from serve_apps.paging import Paged, Windowed, page_of
from serve_apps.parameters import AnyPair, OnePair
from serve_apps.problems import MISSING
from serve_apps.schemas import (
    FundingRateView,
    MarkIndexView,
    OpenInterestView,
    OrderBookView,
    Page,
    TickerView,
)

router = APIRouter(tags=["market data"])


@router.get("/market-data/funding-rates", responses=MISSING)
def list_funding_rates(
    ctx: Ctx, pair: OnePair, asked: Paged, window: Windowed
) -> Page[FundingRateView]:
    """List settled funding rates of a pair, newest first."""
    kind = kinds.funding_rates(_known(ctx, pair))
    docs, cursor = page_of(ctx.store, kind, asked, window=window)
    return Page(items=[_funding_view(doc.value) for doc in docs], next_cursor=cursor)


@router.get("/market-data/mark-index", responses=MISSING)
def list_marks(ctx: Ctx, pair: AnyPair = None) -> Page[MarkIndexView]:
    """Show mark and index price with the current funding rate."""
    return Page(items=_newest(ctx, kinds.MARKS, pair, _mark_view))


@router.get("/market-data/open-interest", responses=MISSING)
def list_open_interest(ctx: Ctx, pair: AnyPair = None) -> Page[OpenInterestView]:
    """Show what all open positions are worth."""
    return Page(items=_newest(ctx, kinds.OPEN_INTEREST, pair, _interest_view))


@router.get("/market-data/ticker", responses=MISSING)
def list_tickers(ctx: Ctx, pair: AnyPair = None) -> Page[TickerView]:
    """Show the last 24 hours and the best quotes."""
    return Page(items=_newest(ctx, kinds.TICKERS, pair, _ticker_view))


@router.get("/market-data/orderbook", responses=MISSING)
def read_order_book(ctx: Ctx, pair: OnePair) -> OrderBookView:
    """Show the newest snapshot of a pair's order book."""
    known = _known(ctx, pair)
    doc = ctx.store.get(kinds.ORDER_BOOKS, known)
    if doc is None:
        raise NotFound("order book", f"{known}: none was read yet")
    return _book_view(doc.value)


def _newest[T, V](ctx: Context, kind: Kind[T], pair: str | None, view: Callable[[T], V]) -> list[V]:
    pairs = ctx.facts.pairs if pair is None else (_known(ctx, pair),)
    docs = (ctx.store.get(kind, name) for name in pairs)
    return [view(doc.value) for doc in docs if doc is not None]


def _known(ctx: Context, pair: str) -> Pair:
    wanted = parse_pair(pair)
    if wanted not in ctx.facts.pairs:
        raise NotFound("pair", f"{wanted}; configured are {' '.join(ctx.facts.pairs)}")
    return wanted


def _funding_view(rate: FundingRate) -> FundingRateView:
    return FundingRateView(pair=rate.pair, due_ms=rate.due_ms, rate=str(rate.rate))


def _mark_view(seen: MarkPrice) -> MarkIndexView:
    return MarkIndexView(
        pair=seen.pair,
        mark_price=str(seen.mark),
        index_price=str(seen.index),
        funding_rate=str(seen.funding_rate),
        next_funding_ms=seen.next_funding_ms,
        at_ms=seen.at_ms,
    )


def _interest_view(seen: OpenInterest) -> OpenInterestView:
    return OpenInterestView(pair=seen.pair, open_interest=str(seen.quote), at_ms=seen.at_ms)


def _ticker_view(seen: Ticker) -> TickerView:
    return TickerView(
        pair=seen.pair,
        last=str(seen.last),
        bid=str(seen.bid),
        bid_quantity=str(seen.bid_quantity),
        ask=str(seen.ask),
        ask_quantity=str(seen.ask_quantity),
        open=str(seen.open),
        high=str(seen.high),
        low=str(seen.low),
        volume=str(seen.volume),
        quote_volume=str(seen.quote_volume),
        change_fraction=str(seen.change_fraction),
        at_ms=seen.at_ms,
    )


def _book_view(seen: OrderBook) -> OrderBookView:
    return OrderBookView(
        pair=seen.pair,
        bids=[(str(price), str(coins)) for price, coins in seen.bids],
        asks=[(str(price), str(coins)) for price, coins in seen.asks],
        at_ms=seen.at_ms,
    )
