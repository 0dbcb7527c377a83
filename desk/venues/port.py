"""What the desk asks of an exchange. A consumer may declare a narrower protocol of its own."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from desk.clock import ClockAnchor
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.interval import Interval
from desk.trading.instruments import Instrument
from desk.trading.orders import Fill, Order, Side, VenueBalance, VenueOrder, VenuePosition


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRate:
    """One settlement: `due_ms` rounded to the minute, `rate` as a fraction (long pays a positive one)."""

    pair: Pair
    due_ms: int
    rate: Decimal
    read_ms: int | None = None
    """Market time at which a desk that was at work read it; None: it was read with history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice:
    """Mark and index price with the current funding rate and its next settlement."""

    pair: Pair
    mark: Decimal
    index: Decimal
    funding_rate: Decimal
    next_funding_ms: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenInterest:
    """What all open positions of a pair are worth, in quote currency."""

    pair: Pair
    quote: Decimal
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticker:
    """The last 24 hours of a pair and its best quotes; quantities and volume in coins."""

    pair: Pair
    last: Decimal
    bid: Decimal
    bid_quantity: Decimal
    ask: Decimal
    ask_quantity: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    quote_volume: Decimal
    change_fraction: Decimal
    """`last` over `open` minus 1, as the venue rounds it."""
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderBook:
    """Levels `(price, coins)` of both sides, best first; the best bid is below the best ask."""

    pair: Pair
    bids: tuple[tuple[Decimal, Decimal], ...]
    asks: tuple[tuple[Decimal, Decimal], ...]
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTrade:
    """One trade of anybody's: `is_buyer_maker` means that the seller took."""

    trade_id: str
    price: Decimal
    quantity: Decimal
    is_buyer_maker: bool
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentTrades:
    """The newest public trades of a pair, oldest first."""

    pair: Pair
    trades: tuple[PublicTrade, ...]


class MarketFeeds(Protocol):
    """Public reads beside candles. Every method raises `VenueUnavailable` (or `ProtocolError`)."""

    async def mark_prices(self) -> dict[Pair, MarkPrice]:
        """Mark and index price of every listed pair, in one request."""
        ...

    async def tickers(self) -> dict[Pair, Ticker]:
        """Every listed pair, in one request."""
        ...

    async def funding_rates(self, pair: Pair, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settled rates with `start_ms <= due_ms < end_ms`, oldest first."""
        ...

    async def open_interest(self, pair: Pair) -> OpenInterest: ...

    async def order_book(self, pair: Pair, levels: int = 20) -> OrderBook:
        """A snapshot; `levels` is one of 5, 10, 20, 50, 100, 500, 1000."""
        ...

    async def recent_trades(self, pair: Pair, limit: int = 100) -> RecentTrades:
        """The newest at most `limit` (1 to 1000) trades."""
        ...

    async def close(self) -> None: ...


class MarketData(Protocol):
    """Public reads. Every method raises `VenueUnavailable` (or `ProtocolError`) when it cannot answer."""

    async def server_clock(self) -> ClockAnchor:
        """Read the venue's clock; market time runs at `speed` (1.0 on a real exchange)."""
        ...

    async def instruments(self) -> dict[Pair, Instrument]:
        """Every listed USDT perpetual."""
        ...

    async def candles(self, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> Candles:
        """Candles with `start_ms <= open_ms < end_ms`, oldest first, unique; may include the forming one.

        The range may span at most 1440 candles (one request of the venue).
        """
        ...

    async def mark_price(self, pair: Pair) -> MarkPrice: ...

    async def funding_rates(self, pair: Pair, start_ms: int, end_ms: int) -> list[FundingRate]:
        """Settled rates with `start_ms <= due_ms < end_ms`, oldest first."""
        ...

    async def close(self) -> None: ...


class TradingVenue(Protocol):
    """Orders and account. Writes raise `OutcomeUnknown` unless the answer is definite."""

    async def submit(self, order: Order) -> str:
        """Send once under the order's client order id and return the venue's order id.

        Raises `VenueRejected` for allow-listed refusals, `OutcomeUnknown` for everything else.
        """
        ...

    async def look_up(self, pair: Pair, client_order_id: str) -> VenueOrder | None:
        """Return the venue's state of one order; None is one not-found vote, never proof."""
        ...

    async def order_by_id(self, pair: Pair, venue_order_id: str) -> VenueOrder | None:
        """The same by the venue's own id, which exits that came with an order have only."""
        ...

    async def cancel(self, pair: Pair, client_order_id: str) -> None:
        """Ask for cancellation; the outcome is learnt by `look_up`. Raises `OutcomeUnknown`."""
        ...

    async def open_orders(self, pair: Pair | None = None) -> list[VenueOrder]: ...

    async def orders_between(self, pair: Pair, start_ms: int, end_ms: int) -> list[VenueOrder]:
        """All orders, open ones too, updated in the range of market time (at most 7 days)."""
        ...

    async def fills(self, pair: Pair, order: VenueOrder) -> list[Fill]:
        """Executions of one order, oldest first; cumulative quantity equals the order's."""
        ...

    async def positions(self) -> list[VenuePosition]: ...

    async def balance(self) -> VenueBalance: ...

    async def prepare(self, pair: Pair, leverage: int) -> None:
        """Assert one-way mode, set isolated margin and leverage. Raises `VenueRejected` with the reason."""
        ...

    async def close(self) -> None: ...


class ExchangeExits(Protocol):
    """What an exchange does with exits and resting orders, beyond `TradingVenue`: writes, as there."""

    async def place_stop(
        self, pair: Pair, side: Side, quantity: Decimal, stop_price: Decimal
    ) -> str:
        """Let a reduce-only stop rest and return its id; it carries no client id of ours.

        Sent twice it rests twice and still closes no more than is held.
        """
        ...

    async def cancel_by_id(self, pair: Pair, venue_order_id: str) -> None:
        """Ask for the cancellation of an exit that came with an order."""
        ...

    async def get_ready(self) -> None:
        """Do now what the next write would wait for. Raises `VenueUnavailable`; then it waits for it."""
        ...

    async def cancel_all_after(self, timeout_s: int | None) -> None:
        """Have the venue cancel everything that rests, stops included, unless asked again in time.

        10 to 120 seconds of the venue's wall clock; None takes the timer back.
        """
        ...


class CandleSettled(Protocol):
    """A venue that fills from closed candles (the paper venue)."""

    async def settle(self, pair: Pair, upto_open_ms: int) -> list[str]:
        """Advance the book through every stored candle up to this one.

        Returns the client order ids that changed and the venue's ids of exits that fired, in the
        order in which they must be booked. Idempotent by open time.
        """
        ...

    def quote(self, pair: Pair) -> Decimal | None:
        """Last close the book has seen."""
        ...
