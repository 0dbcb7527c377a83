"""BingX's tickers, order books, public trades and open interest as our values."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation

import structlog

from desk.errors import ProtocolError
from desk.ids import Pair
from desk.venues.bingx_answers import Row, Success, described, is_list
from desk.venues.port import OpenInterest, OrderBook, PublicTrade, RecentTrades, Ticker

log = structlog.stdlib.get_logger()

DEPTH_LEVELS = (5, 10, 20, 50, 100, 500, 1000)
TRADES_PER_CALL = 1000

type Level = tuple[Decimal, Decimal]


def by_pair[T](answer: Success, read: Callable[[Row], T]) -> dict[Pair, T]:
    """Read a row for each pair, or the one row of an answer about one pair.

    A malformed row is left out and logged; raises `ProtocolError` when none could be read.
    """
    rows = answer.rows() if is_list(answer.data) else [answer.row()]
    found: dict[Pair, T] = {}
    for row in rows:
        try:
            found[row.text("symbol")] = read(row)
        except ProtocolError as wrong:
            log.warning("quote_row_refused", error=str(wrong))
    if not found:
        raise ProtocolError(answer.call, f"none of {len(rows)} rows could be read")
    return found


def ticker(row: Row) -> Ticker:
    """Read one ticker; `priceChangePercent` comes with or without its sign."""
    return Ticker(
        pair=row.text("symbol"),
        last=_positive(row, "lastPrice"),
        bid=_positive(row, "bidPrice"),
        bid_quantity=row.decimal("bidQty", Decimal(0)),
        ask=_positive(row, "askPrice"),
        ask_quantity=row.decimal("askQty", Decimal(0)),
        open=_positive(row, "openPrice"),
        high=_positive(row, "highPrice"),
        low=_positive(row, "lowPrice"),
        volume=row.decimal("volume"),
        quote_volume=row.decimal("quoteVolume"),
        change_fraction=_percent(row, "priceChangePercent") / 100,
        at_ms=row.integer("closeTime"),
    )


def open_interest(row: Row) -> OpenInterest:
    """Read the open interest of one pair."""
    quote = row.decimal("openInterest")
    if quote < 0:
        raise row.wrong("openInterest", "a number of at least 0")
    return OpenInterest(pair=row.text("symbol"), quote=quote, at_ms=row.integer("time"))


def order_book(answer: Success, pair: Pair) -> OrderBook:
    """Read a snapshot from the lists in coins: the plain ones may count in contracts.

    The venue's order is not relied upon. Raises `ProtocolError` for an empty side or a crossed book.
    """
    row = answer.row()
    bids = sorted(_levels(row, "bidsCoin"), reverse=True)
    asks = sorted(_levels(row, "asksCoin"))
    if not bids or not asks:
        raise ProtocolError(answer.call, "a side of the order book was empty")
    if bids[0][0] >= asks[0][0]:
        problem = f"the best bid was {bids[0][0]} and the best ask {asks[0][0]}: a crossed book"
        raise ProtocolError(answer.call, problem)
    return OrderBook(pair=pair, bids=tuple(bids), asks=tuple(asks), at_ms=row.integer("T"))


def recent_trades(answer: Success, pair: Pair) -> RecentTrades:
    """Read public trades in any order; one without an id is named by what it says."""
    found: dict[str, PublicTrade] = {}
    for row in answer.rows():
        trade = PublicTrade(
            trade_id=_trade_id(row),
            price=_positive(row, "price"),
            quantity=row.decimal("qty"),
            is_buyer_maker=row.flag("isBuyerMaker"),
            at_ms=row.integer("time"),
        )
        found[trade.trade_id] = trade
    ordered = sorted(found.values(), key=lambda trade: (trade.at_ms, trade.trade_id))
    return RecentTrades(pair=pair, trades=tuple(ordered))


def _trade_id(row: Row) -> str:
    for key in ("id", "fillId"):
        if row.has(key):
            return row.text(key)
    return ":".join(row.text(key) for key in ("time", "price", "qty"))


def _positive(row: Row, key: str) -> Decimal:
    number = row.decimal(key)
    if number <= 0:
        raise row.wrong(key, "a number above 0")
    return number


def _percent(row: Row, key: str) -> Decimal:
    try:
        number = Decimal(row.text(key).removesuffix("%"))
    except InvalidOperation:
        raise row.wrong(key, "a percentage") from None
    if not number.is_finite():
        raise row.wrong(key, "a finite percentage")
    return number


def _levels(row: Row, key: str) -> list[Level]:
    levels = row.fields.get(key)
    if not is_list(levels):
        raise row.wrong(key, "a list of levels")
    return [_level(row.call, f"{row.where}.{key}[{at}]", level) for at, level in enumerate(levels)]


def _level(call: str, where: str, level: object) -> Level:
    if is_list(level) and len(level) >= 2:
        named = Row(call, where, {"price": level[0], "quantity": level[1]})
        price, quantity = _positive(named, "price"), named.decimal("quantity")
        if quantity >= 0:
            return price, quantity
    raise ProtocolError(call, f"{where} was {described(level)}, expected [price, coins]")
