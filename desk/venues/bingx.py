"""BingX's USDT perpetuals behind the Venue port: one-way mode, isolated margin, one account.

Prices, times and traps are those of BingX's documents; every answer passes the guard of
`bingx_answers` before a value is read, and every refusal the table of `bingx_errors`.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal

import structlog

from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS, ClockAnchor
from desk.errors import (
    BadInput,
    Banned,
    OutcomeUnknown,
    ProtocolError,
    VenueRejected,
    VenueUnavailable,
    WriteBanned,
)
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval, interval_ms, parse_interval
from desk.trading.instruments import Instrument
from desk.trading.orders import (
    Fill,
    Order,
    Side,
    VenueBalance,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from desk.venues import bingx_fills, bingx_parse, bingx_quotes
from desk.venues.bingx_answers import Answer, Row, Success, is_list
from desk.venues.bingx_errors import Meaning, Placed, Refusal, cancel_error, read_error, write_error
from desk.venues.bingx_reads import BingxReads
from desk.venues.bingx_wire import BanBook, BingxConfig, BingxWire, Parameters
from desk.venues.port import (
    FundingRate,
    MarkPrice,
    OpenInterest,
    OrderBook,
    RecentTrades,
    Ticker,
)
from desk.venues.turns import TurnBook
from desk.wallclock import monotonic_s, wall_ms

CANDLES_PER_CALL = 1440
ORDERS_PER_CALL = 1000
HISTORY_WINDOW_MS = 7 * DAY_MS
WORKING_PRICE = "MARK_PRICE"
"""What triggers exits: a wick of the last trade must not."""
_FUNDING_PER_CALL = 1000
_TRADE_WAITS_S = (0.2, 0.5)
_ONE_WAY_MAX_AGE_S = 60.0

_log = structlog.get_logger(__name__)

type BookedFills = Callable[[str], Sequence[Fill]]


class BingxVenue:
    """`MarketData` and `TradingVenue` over HTTP; picklable, connects on first use in a process.

    `booked_fills` (client order id → what is booked, as `Store.fills_of_order`) lets an order whose
    trades the venue does not list be booked by its growing total; without it only at its end.
    `fill_patience_s` is how long the trades may lag behind the order before that is done.
    `bans` and `turns` are shared by every process behind one address; without `turns` this one keeps
    to its static share of the address's budget.
    """

    def __init__(
        self,
        config: BingxConfig,
        booked_fills: BookedFills | None = None,
        fill_patience_s: float = 20.0,
        bans: BanBook | None = None,
        turns: TurnBook | None = None,
    ) -> None:
        self._config = config
        self._bans = bans
        self._turns = turns
        self._booked_fills = booked_fills
        self._fill_patience_s = fill_patience_s
        self._wire = BingxWire(config, bans)
        self._reads = BingxReads(self._wire, turns)
        self._one_way_at_s = float("-inf")

    def __reduce__(self) -> tuple[type["BingxVenue"], tuple[object, ...]]:
        return (
            BingxVenue,
            (
                self._config,
                self._booked_fills,
                self._fill_patience_s,
                self._bans,
                self._turns,
            ),
        )

    async def close(self) -> None:
        await self._wire.close()

    # --- market data --------------------------------------------------------------------------

    async def server_clock(self) -> ClockAnchor:
        return await self._wire.server_clock()

    async def instruments(self) -> dict[Pair, Instrument]:
        return bingx_parse.instruments(
            await self._reads.public("swapV2PublicGetQuoteContracts", {})
        )

    async def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Ask with both bounds: with one, a venue that answers the newest rows loses the middle."""
        step_ms = interval_ms(parse_interval(interval))
        count = -(-(end_ms - start_ms) // step_ms)
        if not 0 < count <= CANDLES_PER_CALL:
            problem = f"spans {count} candles of {interval}, expected 1 to {CANDLES_PER_CALL}"
            raise BadInput("end_ms", f"{problem}: page with desk.venues.pager")
        bounds = {"startTime": max(start_ms - 1, 0), "endTime": end_ms - 1}
        asked = {"symbol": pair, "interval": interval, "limit": CANDLES_PER_CALL, **bounds}
        answer = await self._reads.public("swapV3PublicGetQuoteKlines", asked)
        return bingx_parse.candles(answer, start_ms, end_ms)

    async def mark_price(self, pair: Pair) -> MarkPrice:
        answer = await self._reads.public("swapV2PublicGetQuotePremiumIndex", {"symbol": pair})
        rows = answer.rows() if is_list(answer.data) else [answer.row()]
        now_ms = await self._market_now_ms()
        for row in rows:
            if row.text("symbol") == pair:
                return bingx_parse.mark_price(row, now_ms)
        raise ProtocolError(answer.call, f"data had no row of {pair}")

    async def mark_prices(self) -> dict[Pair, MarkPrice]:
        answer = await self._reads.public("swapV2PublicGetQuotePremiumIndex", {})
        now_ms = await self._market_now_ms()
        return bingx_quotes.by_pair(answer, lambda row: bingx_parse.mark_price(row, now_ms))

    async def tickers(self) -> dict[Pair, Ticker]:
        answer = await self._reads.public("swapV2PublicGetQuoteTicker", {})
        return bingx_quotes.by_pair(answer, bingx_quotes.ticker)

    async def open_interest(self, pair: Pair) -> OpenInterest:
        answer = await self._reads.public("swapV2PublicGetQuoteOpenInterest", {"symbol": pair})
        found = bingx_quotes.open_interest(answer.row())
        if found.pair != pair:
            raise ProtocolError(answer.call, f"asked for {pair}, the answer was {found.pair}")
        return found

    async def order_book(self, pair: Pair, levels: int = 20) -> OrderBook:
        if levels not in bingx_quotes.DEPTH_LEVELS:
            raise BadInput("levels", f"was {levels}, expected one of {bingx_quotes.DEPTH_LEVELS}")
        asked: Parameters = {"symbol": pair, "limit": levels}
        answer = await self._reads.public("swapV2PublicGetQuoteDepth", asked)
        return bingx_quotes.order_book(answer, pair)

    async def recent_trades(self, pair: Pair, limit: int = 100) -> RecentTrades:
        if not 1 <= limit <= bingx_quotes.TRADES_PER_CALL:
            raise BadInput("limit", f"was {limit}, expected 1 to {bingx_quotes.TRADES_PER_CALL}")
        asked: Parameters = {"symbol": pair, "limit": limit}
        answer = await self._reads.public("swapV2PublicGetQuoteTrades", asked)
        return bingx_quotes.recent_trades(answer, pair)

    async def funding_rates(self, pair: Pair, start_ms: int, end_ms: int) -> list[FundingRate]:
        found: dict[int, FundingRate] = {}
        until_ms = end_ms + MINUTE_MS
        while True:
            bounds = {"startTime": max(start_ms - MINUTE_MS, 0), "endTime": until_ms}
            asked = {"symbol": pair, "limit": _FUNDING_PER_CALL, **bounds}
            answer = await self._reads.public("swapV2PublicGetQuoteFundingRate", asked)
            page = [bingx_parse.funding_rate(row) for row in answer.rows()]
            fresh = {rate.due_ms: rate for rate in page if rate.due_ms not in found}
            found |= fresh
            if len(page) < _FUNDING_PER_CALL or not fresh:
                break
            until_ms = min(fresh)
        return [found[due_ms] for due_ms in sorted(found) if start_ms <= due_ms < end_ms]

    # --- orders -------------------------------------------------------------------------------

    async def submit(self, order: Order) -> str:
        """Send one order, signed with its `sent_wall_ms`: `recv_window_ms` after that stamp the
        venue refuses it, however late it arrives. An older stamp is not sent at all.
        """
        endpoint = "swapV2PrivatePostTradeOrder"
        stamp_ms = self._stamp(endpoint, order)
        answer = await self._write(endpoint, _order_parameters(order), stamp_ms)
        if isinstance(answer, Refusal):
            raise write_error(answer)
        try:
            return _accepted_id(answer.row("order"), order.client_order_id)
        except ProtocolError as unclear:
            raise OutcomeUnknown(unclear.call, unclear.reason) from unclear

    async def look_up(self, pair: Pair, client_order_id: str) -> VenueOrder | None:
        endpoint = "swapV2PrivateGetTradeOrder"
        asked = {"symbol": pair, "clientOrderId": client_order_id}
        answer = await self._wire.read(endpoint, asked, private=True)
        if isinstance(answer, Refusal):
            if answer.meaning is Meaning.ORDER_NOT_SEEN:
                return None
            raise read_error(answer)
        order = bingx_parse.order(answer.row("order"))
        if order.client_order_id != client_order_id.lower():
            problem = f"asked for {client_order_id}, the answer was {order.client_order_id!r}"
            raise ProtocolError(endpoint, problem)
        return order

    async def order_by_id(self, pair: Pair, venue_order_id: str) -> VenueOrder | None:
        endpoint = "swapV2PrivateGetTradeOrder"
        asked = {"symbol": pair, "orderId": venue_order_id}
        answer = await self._wire.read(endpoint, asked, private=True)
        if isinstance(answer, Refusal):
            if answer.meaning is Meaning.ORDER_NOT_SEEN:
                return None
            raise read_error(answer)
        order = bingx_parse.order(answer.row("order"))
        if order.venue_order_id != venue_order_id:
            problem = f"asked for {venue_order_id}, the answer was {order.venue_order_id}"
            raise ProtocolError(endpoint, problem)
        return order

    async def cancel(self, pair: Pair, client_order_id: str) -> None:
        await self._cancel({"symbol": pair, "clientOrderID": client_order_id})

    async def cancel_by_id(self, pair: Pair, venue_order_id: str) -> None:
        await self._cancel({"symbol": pair, "orderId": venue_order_id})

    async def place_stop(
        self, pair: Pair, side: Side, quantity: Decimal, stop_price: Decimal
    ) -> str:
        asked = {
            "symbol": pair,
            "side": side.value.upper(),
            "positionSide": "BOTH",
            "type": "STOP_MARKET",
            "quantity": _plain(quantity),
            "stopPrice": _plain(stop_price),
            "workingType": WORKING_PRICE,
            "reduceOnly": "true",
        }
        answer = await self._write("swapV2PrivatePostTradeOrder", asked)
        if isinstance(answer, Refusal):
            raise write_error(answer)
        try:
            return answer.row("order").text("orderId", "orderID")
        except ProtocolError as unclear:
            raise OutcomeUnknown(unclear.call, unclear.reason) from unclear

    async def get_ready(self) -> None:
        await self._wire.get_ready()

    async def cancel_all_after(self, timeout_s: int | None) -> None:
        """The wire counts in seconds, other than ccxt's own method."""
        if timeout_s is not None and not 10 <= timeout_s <= 120:
            raise BadInput("timeout_s", f"was {timeout_s}, expected 10 to 120")
        asked: Parameters = {"type": "CLOSE"}
        if timeout_s is not None:
            asked = {"type": "ACTIVATE", "timeOut": timeout_s}
        answer = await self._write("swapV2PrivatePostTradeCancelAllAfter", asked)
        if isinstance(answer, Refusal):
            raise write_error(answer)

    async def open_orders(self, pair: Pair | None = None) -> list[VenueOrder]:
        asked = {} if pair is None else {"symbol": pair}
        answer = await self._reads.private("swapV2PrivateGetTradeOpenOrders", asked)
        return [bingx_parse.order(row) for row in answer.rows("orders")]

    async def orders_between(self, pair: Pair, start_ms: int, end_ms: int) -> list[VenueOrder]:
        """Split the range while the venue answers a full page: it does not say what it left out."""
        if not 0 < end_ms - start_ms <= HISTORY_WINDOW_MS:
            problem = f"spans {end_ms - start_ms} ms, expected more than 0 and at most 7 days"
            raise BadInput("end_ms", problem)
        bounds = {"startTime": start_ms, "endTime": end_ms - 1}
        asked = {"symbol": pair, "limit": ORDERS_PER_CALL, **bounds}
        answer = await self._reads.private("swapV1PrivateGetTradeFullOrder", asked)
        found = [bingx_parse.order(row) for row in answer.rows("orders")]
        middle_ms = (start_ms + end_ms) // 2
        if len(found) >= ORDERS_PER_CALL and start_ms < middle_ms:
            found += await self.orders_between(pair, start_ms, middle_ms)
            found += await self.orders_between(pair, middle_ms, end_ms)
        unique = {order.venue_order_id: order for order in found}
        return sorted(unique.values(), key=lambda order: int(order.venue_order_id))

    async def fills(self, pair: Pair, order: VenueOrder) -> list[Fill]:
        """Return the venue's trades if they add up to the order, else fills by its growing total.

        Raises `VenueUnavailable` while the trades lag behind the order.
        """
        if order.filled_quantity <= 0:
            return []
        booked = await self._booked(order)
        if not bingx_fills.is_booked_by_total(booked):
            trades = await self._fills_by_trades(pair, order)
            if trades is not None:
                return trades
            await self._check_total_may_be_booked(order)
            _log.warning("order_booked_by_total", order=order.venue_order_id, pair=pair)
        return bingx_fills.from_total(order, booked)

    # --- account ------------------------------------------------------------------------------

    async def positions(self) -> list[VenuePosition]:
        """Read them all; also checks the position mode once a minute, as hedge rows mislead."""
        if monotonic_s() - self._one_way_at_s > _ONE_WAY_MAX_AGE_S and await self.is_hedged():
            raise ProtocolError("positions", "the account was in hedge mode, expected one-way mode")
        return bingx_parse.positions(await self._reads.private("swapV2PrivateGetUserPositions", {}))

    async def balance(self) -> VenueBalance:
        answer = await self._reads.private("swapV3PrivateGetUserBalance", {})
        return bingx_parse.balance(answer, self._config.collateral_asset)

    async def prepare(self, pair: Pair, leverage: int) -> None:
        """Bring a pair to isolated margin and this leverage; what is so already is not sent."""
        if await self.is_hedged():
            message = "the account is in hedge mode: switch BingX to one-way mode"
            raise VenueRejected("prepare", "", "hedge_mode", message)
        await self._set(
            ("swapV2PrivateGetTradeMarginType", "swapV2PrivatePostTradeMarginType"),
            {"symbol": pair, "marginType": "ISOLATED"},
            lambda row: row.text("marginType").upper() == "ISOLATED",
        )
        await self._set(
            ("swapV2PrivateGetTradeLeverage", "swapV2PrivatePostTradeLeverage"),
            {"symbol": pair, "side": "BOTH", "leverage": leverage},
            lambda row: row.integer("longLeverage") == row.integer("shortLeverage") == leverage,
        )

    # --- inside -------------------------------------------------------------------------------

    async def _cancel(self, asked: Parameters) -> None:
        answer = await self._write("swapV2PrivateDeleteTradeOrder", asked)
        if isinstance(answer, Refusal):
            raise cancel_error(answer)
        try:
            answer.row("order")
        except ProtocolError as unclear:
            raise OutcomeUnknown(unclear.call, unclear.reason) from unclear

    async def _write(
        self, endpoint: str, parameters: Parameters, stamp_ms: int | None = None
    ) -> Answer:
        try:
            answer = await self._wire.write(endpoint, parameters, signed_wall_ms=stamp_ms)
        except Banned as banned:
            raise WriteBanned(banned.call, banned.reason) from banned
        except VenueUnavailable as unclear:
            raise OutcomeUnknown(unclear.call, unclear.reason) from unclear
        if isinstance(answer, Refusal) and answer.meaning in (Meaning.THROTTLED, Meaning.BUSY):
            self._reads.back_off()
        return answer

    def _stamp(self, endpoint: str, order: Order) -> int | None:
        if not order.sent_wall_ms:
            return None
        now_ms = wall_ms()
        age_ms = now_ms - order.sent_wall_ms
        if age_ms > self._config.recv_window_ms:
            problem = f"stamped {age_ms} ms ago, longer than the receive window: not sent"
            raise OutcomeUnknown(endpoint, problem)
        return min(order.sent_wall_ms, now_ms)

    async def _market_now_ms(self) -> int:
        return (await self._wire.anchor()).market_at(wall_ms())

    async def _booked(self, order: VenueOrder) -> Sequence[Fill]:
        if self._booked_fills is None or not order.client_order_id:
            return ()
        return await asyncio.to_thread(self._booked_fills, order.client_order_id)

    async def _fills_by_trades(self, pair: Pair, order: VenueOrder) -> list[Fill] | None:
        for wait_s in (*_TRADE_WAITS_S, None):
            found = bingx_fills.from_trades(await self._trades(pair, order), order)
            if found is not None or wait_s is None:
                return found
            await asyncio.sleep(wait_s)
        return None

    async def _trades(self, pair: Pair, order: VenueOrder) -> list[Row]:
        """The history is asked up to 9 hours late because its own times are 8 hours off."""
        start_ms = bingx_parse.created_ms(order.venue_order_id) - MINUTE_MS
        last_ms = max(order.updated_ms, start_ms) + 9 * HOUR_MS
        rows: list[Row] = []
        while start_ms < last_ms:
            end_ms = min(start_ms + HISTORY_WINDOW_MS - 1, last_ms)
            rows += await self._trades_between(pair, order, start_ms, end_ms)
            start_ms = end_ms + 1
        return [row for row in rows if row.text("orderId") == order.venue_order_id]

    async def _trades_between(
        self, pair: Pair, order: VenueOrder, start_ms: int, end_ms: int
    ) -> list[Row]:
        page, rows = 1, list[Row]()
        while True:
            answer = await self._reads.private(
                "swapV2PrivateGetTradeFillHistory",
                {
                    "symbol": pair,
                    "orderId": order.venue_order_id,
                    "startTs": start_ms,
                    "endTs": end_ms,
                    "pageIndex": page,
                    "pageSize": ORDERS_PER_CALL,
                },
            )
            found = answer.rows("fill_history_orders")
            rows += found
            if len(found) < ORDERS_PER_CALL:
                return rows
            page += 1

    async def _check_total_may_be_booked(self, order: VenueOrder) -> None:
        anchor = await self._wire.anchor()
        age_s = anchor.wall_seconds(anchor.market_at(wall_ms()) - order.updated_ms)
        is_final = order.status not in (VenueOrderStatus.OPEN, VenueOrderStatus.PARTIAL)
        if age_s < self._fill_patience_s or (self._booked_fills is None and not is_final):
            reason = f"the trades of order {order.venue_order_id} do not add up to it yet"
            raise VenueUnavailable("fills", reason)

    async def is_hedged(self) -> bool:
        """Whether the account is in hedge mode, which is refused everywhere."""
        answer = await self._reads.private("swapV1PrivateGetPositionSideDual", {})
        is_hedged = answer.row().flag("dualSidePosition")
        self._one_way_at_s = float("-inf") if is_hedged else monotonic_s()
        return is_hedged

    async def _set(
        self,
        endpoints: tuple[str, str],
        wanted: Parameters,
        is_so: Callable[[Row], bool],
    ) -> None:
        getter, setter = endpoints
        asked = {"symbol": wanted["symbol"]}
        if is_so((await self._reads.private(getter, asked)).row()):
            return
        answer = await self._write(setter, wanted)
        if is_so((await self._reads.private(getter, asked)).row()):
            return
        raise _setting_error(setter, wanted, answer)


def _order_parameters(order: Order) -> dict[str, str]:
    parameters = {
        "symbol": order.pair,
        "side": order.side.value.upper(),
        "positionSide": "BOTH",
        "type": "MARKET" if order.limit_price is None else "LIMIT",
        "quantity": _plain(order.quantity),
        "clientOrderID": order.client_order_id,
    }
    if order.limit_price is not None:
        parameters |= {"price": _plain(order.limit_price), "timeInForce": "GTC"}
    if order.reduce_only:
        return parameters | {
            "reduceOnly": "true"
        }  # the exits that cover the position stay as they are
    if order.stop_loss_price is not None:
        parameters["stopLoss"] = _attached("STOP_MARKET", order.stop_loss_price)
    if order.take_profit_price is not None:
        parameters["takeProfit"] = _attached("TAKE_PROFIT_MARKET", order.take_profit_price)
    return parameters


def _attached(kind: str, stop_price: Decimal) -> str:
    """An exit that comes with an entry: a JSON text, its price an exact JSON number."""
    return f'{{"type":"{kind}","stopPrice":{_plain(stop_price)},"workingType":"{WORKING_PRICE}"}}'


def _plain(number: Decimal) -> str:
    """Without exponent and trailing zeros."""
    return f"{number.normalize():f}"


def _accepted_id(row: Row, client_order_id: str) -> str:
    for key in ("clientOrderID", "clientOrderId"):
        if row.has(key) and row.text(key).lower() != client_order_id.lower():
            raise row.wrong(key, client_order_id)
    return row.text("orderId", "orderID")


def _setting_error(setter: str, wanted: Parameters, answer: Answer) -> Exception:
    if isinstance(answer, Success):
        return VenueRejected(setter, "0", "setting_ignored", f"{wanted} did not take effect")
    if answer.rule.placed in (Placed.NO, Placed.LIKELY_NO):
        return VenueRejected(setter, str(answer.code), answer.meaning.value, answer.message)
    return write_error(answer)
