"""BingX's rows as our values: what each field means, where its name or sign misleads."""

from dataclasses import replace
from decimal import Decimal

import structlog

from desk.clock import MINUTE_MS
from desk.errors import BadInput, ProtocolError
from desk.ids import Pair, parse_pair
from desk.market import integrity
from desk.market.candles import Candle, Candles, sorted_unique
from desk.market.quarantine import MISSING_FIELD, WRONG_TYPE, RefusedRow, raw_text
from desk.trading.instruments import Instrument
from desk.trading.orders import (
    ExitKind,
    Side,
    VenueBalance,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from desk.venues.bingx_answers import Row, Success, described, is_list
from desk.venues.port import FundingRate, MarkPrice

_log = structlog.get_logger(__name__)

_SNOWFLAKE_EPOCH_MS = 1_288_834_974_657
_CANDLE_FIELDS = ("time", "open", "high", "low", "close", "volume")
_STATUS = {
    "NEW": VenueOrderStatus.OPEN,
    "PENDING": VenueOrderStatus.OPEN,
    "RUNNING": VenueOrderStatus.OPEN,
    "PARTIALLY_FILLED": VenueOrderStatus.PARTIAL,
    "FILLED": VenueOrderStatus.FILLED,
    "CANCELED": VenueOrderStatus.CANCELLED,
    "CANCELLED": VenueOrderStatus.CANCELLED,
    "FAILED": VenueOrderStatus.CANCELLED,
    "EXPIRED": VenueOrderStatus.EXPIRED,
}


_EXIT_KINDS = {
    "STOP_MARKET": ExitKind.STOP_LOSS,
    "STOP": ExitKind.STOP_LOSS,
    "TAKE_PROFIT_MARKET": ExitKind.TAKE_PROFIT,
    "TAKE_PROFIT": ExitKind.TAKE_PROFIT,
}


def created_ms(venue_order_id: str) -> int:
    """Return the market time at which the venue made an order id (they are snowflakes)."""
    return (int(venue_order_id) >> 22) + _SNOWFLAKE_EPOCH_MS


def instruments(answer: Success) -> dict[Pair, Instrument]:
    """Read the contracts quoted in USDT. A malformed row is left out and logged."""
    found: dict[Pair, Instrument] = {}
    rows = answer.rows()
    for row in rows:
        try:
            if _is_pair(row.text("symbol")):
                instrument = _instrument(row)
                found[instrument.pair] = instrument
        except ProtocolError as wrong:
            _log.warning("contract_row_refused", error=str(wrong))
    if not found:
        reason = f"none of {len(rows)} contract rows could be read"
        raise ProtocolError(answer.call, reason)
    return found


def _instrument(row: Row) -> Instrument:
    # where the venue does not say how much leverage it allows, only 1 is certain
    longs, shorts = row.integer("maxLongLeverage", 1), row.integer("maxShortLeverage", 1)
    return Instrument(
        pair=row.text("symbol"),
        tick=Decimal(1).scaleb(-row.integer("pricePrecision")),
        lot=Decimal(1).scaleb(-row.integer("quantityPrecision")),
        min_quantity=row.decimal("tradeMinQuantity"),
        min_notional=row.decimal("tradeMinUSDT"),
        maker_rate=row.decimal("makerFeeRate"),
        taker_rate=row.decimal("takerFeeRate"),
        max_leverage=min(longs, shorts),
        tradable=row.integer("status") == 1 and row.flag("apiStateOpen"),
    )


def _is_pair(symbol: str) -> bool:
    try:
        return parse_pair(symbol) == symbol
    except BadInput:
        return False


def candles(answer: Success, start_ms: int, end_ms: int) -> Candles:
    """Read dict or array rows with `start_ms <= open_ms < end_ms`: sorted, unique.

    What had to be put right for that is in `noted`; newest first, as the venue answers, is in order.

    A number that is not finite stays in its column: judging values is the integrity check's work.
    A row that cannot be read is among `refused`. Raises `ProtocolError` when none can be: an answer
    of another shape is no page without candles.
    """
    rows, refused, problem = list[Candle](), list[RefusedRow](), None
    for where, item in answer.items():
        try:
            rows.append(_candle(answer.call, where, item))
        except ProtocolError as unreadable:
            problem = problem or unreadable
            refused.append(RefusedRow(raw=raw_text(item), reason=_why_refused(item)))
    if problem is not None and not rows:
        raise problem
    read = Candles.of(rows)
    inside = (read.open_ms >= start_ms) & (read.open_ms < end_ms)
    noted = integrity.put_right(read.open_ms)
    return replace(sorted_unique(read.take(inside)), refused=tuple(refused), noted=noted)


def _candle(call: str, where: str, item: object) -> Candle:
    if is_list(item):
        item = dict(zip(_CANDLE_FIELDS, item, strict=False))
    row = Row.of(call, where, item)
    open_ms = row.integer("time")
    try:
        numbers = [float(row.text(key)) for key in _CANDLE_FIELDS[1:]]
    except ValueError:
        raise ProtocolError(call, f"{where} was {described(item)}, expected numbers") from None
    return Candle(open_ms, *numbers)


def _why_refused(item: object) -> str:
    """Whether a row lacks a field or holds one of another type."""
    if is_list(item):
        item = dict(zip(_CANDLE_FIELDS, item, strict=False))
    try:
        row = Row.of("", "", item)
    except ProtocolError:
        return WRONG_TYPE
    return WRONG_TYPE if all(row.has(key) for key in _CANDLE_FIELDS) else MISSING_FIELD


def mark_price(row: Row, at_ms: int) -> MarkPrice:
    """Read the premium index of one pair."""
    return MarkPrice(
        pair=row.text("symbol"),
        mark=row.decimal("markPrice"),
        index=row.decimal("indexPrice"),
        funding_rate=row.decimal("lastFundingRate"),
        next_funding_ms=row.integer("nextFundingTime"),
        at_ms=at_ms,
    )


def funding_rate(row: Row) -> FundingRate:
    """Read one settlement; the venue's stamps jitter by milliseconds around the minute."""
    half = MINUTE_MS // 2
    due_ms = (row.integer("fundingTime") + half) // MINUTE_MS * MINUTE_MS
    return FundingRate(pair=row.text("symbol"), due_ms=due_ms, rate=row.decimal("fundingRate"))


def order(row: Row) -> VenueOrder:
    """Read an order row. `executedQty` counts whatever the status says; commission is negative.

    A status the documents do not name leaves the order open, so that nobody stops watching it.
    """
    filled = row.decimal("executedQty", Decimal(0))
    trigger_price = row.decimal("stopPrice", Decimal(0))
    parent_id = row.text("triggerOrderId") if row.has("triggerOrderId") else "0"
    return VenueOrder(
        client_order_id=_client_order_id(row),
        venue_order_id=row.text("orderId", "orderID"),
        pair=row.text("symbol"),
        side=_side(row),
        status=_status(row, filled),
        quantity=row.decimal("origQty"),
        filled_quantity=filled,
        average_price=row.decimal("avgPrice", Decimal(0)),
        fees=-row.decimal("commission", Decimal(0)),
        reduce_only=row.flag("reduceOnly", default=False),
        updated_ms=row.integer("updateTime" if row.has("updateTime") else "time"),
        raw_status=row.text("status"),
        exit_kind=_EXIT_KINDS.get(row.text("type").upper()) if row.has("type") else None,
        trigger_price=trigger_price if trigger_price > 0 else None,
        parent_order_id="" if parent_id == "0" else parent_id,
    )


def _client_order_id(row: Row) -> str:
    for key in ("clientOrderId", "clientOrderID"):
        if row.has(key):
            return row.text(key).lower()
    return ""


def _side(row: Row) -> Side:
    match row.text("side").upper():
        case "BUY":
            return Side.BUY
        case "SELL":
            return Side.SELL
        case _:
            raise row.wrong("side", "BUY or SELL")


def _status(row: Row, filled: Decimal) -> VenueOrderStatus:
    raw = row.text("status").upper()
    status = _STATUS.get(raw)
    if status is None:
        _log.warning("order_status_unknown", status=raw, order=row.text("orderId", "orderID"))
        status = VenueOrderStatus.OPEN
    if status is VenueOrderStatus.OPEN and filled > 0:
        return VenueOrderStatus.PARTIAL
    return status


def positions(answer: Success) -> list[VenuePosition]:
    """Read the positions that are not flat; the amount is absolute, `positionSide` has the sign.

    Raises `ProtocolError` for two rows of one pair: only hedge mode has those.
    """
    held = [_position(row) for row in answer.rows()]
    found = [position for position in held if position.quantity != 0]
    pairs = [position.pair for position in found]
    if len(set(pairs)) != len(pairs):
        reason = f"two positions in one pair ({pairs}): the account must be in one-way mode"
        raise ProtocolError(answer.call, reason)
    return found


def _position(row: Row) -> VenuePosition:
    liquidation = row.decimal("liquidationPrice", Decimal(0))
    return VenuePosition(
        pair=row.text("symbol"),
        quantity=_signed_amount(row),
        average_price=row.decimal("avgPrice"),
        leverage=int(row.decimal("leverage")),
        unrealized_pnl=row.decimal("unrealizedProfit"),
        liquidation_price=liquidation if liquidation > 0 else None,
    )


def _signed_amount(row: Row) -> Decimal:
    amount = row.decimal("positionAmt")
    match row.text("positionSide").upper():
        case "LONG":
            return abs(amount)
        case "SHORT":
            return -abs(amount)
        case "BOTH":
            return amount
        case _:
            raise row.wrong("positionSide", "LONG, SHORT or BOTH")


def balance(answer: Success, asset: str) -> VenueBalance:
    """Read the row of the collateral asset. Raises `ProtocolError` if there is none."""
    for row in answer.rows():
        if row.has("asset") and row.text("asset") == asset:
            return VenueBalance(
                asset=asset,
                balance=row.decimal("balance"),
                equity=row.decimal("equity"),
                available=row.decimal("availableMargin"),
            )
    raise ProtocolError(answer.call, f"data had no row of the asset {asset}")
