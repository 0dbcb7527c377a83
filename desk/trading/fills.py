"""The fill specification: what an order, an exit or a funding settlement does to a book on one candle.

This is the plainest of its executions, in `Decimal`: the oracle of the others and the engine of the
paper venue. One step of time, for a decision taken on the close of candle i:

    close_i            funding due here is settled on the position as it stands
    close_i + 1 s      quote of candle i+1: resting exits first, then the orders of decision i,
                       then the exits that came with them
    close_i+1          the path of candle i+1 (open, extremes, close) meets the resting exits

Events stamped at or before an instant happen before what is due at that instant.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from desk.clock import SECOND_MS
from desk.errors import BadInput
from desk.market.candles import Candle
from desk.market.interval import Interval, interval_ms
from desk.trading.exit_levels import liquidation_level
from desk.trading.instruments import Instrument

QUOTE_DELAY_MS = SECOND_MS
"""A candle's quote stands one second after its open."""

NEVER_TICKS = 10**15
"""A level above every price."""

ZERO = Decimal(0)
_FEE_STEP = Decimal("1e-8")
_COST_STEP = Decimal("1e-12")
_MILLION = 1_000_000


class PathOrder(StrEnum):
    """In which order a candle visits its extremes."""

    ADAPTIVE = "adaptive"
    """High first if it is nearer to the open than the low, else low first."""
    FIXED = "fixed"
    """High, then low."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSpec:
    """The numbers of the specification. Rates are fractions of notional."""

    version: int = 1
    interval: Interval = "1m"
    """Length of the candles that orders are executed on."""
    slippage_bps: Decimal = Decimal(1)
    """Against the trader, in whole hundredths of a basis point."""
    taker_rate: Decimal = Decimal("0.0005")
    maker_rate: Decimal = Decimal("0.0002")
    maintenance_rate: Decimal = Decimal("0.005")
    path: PathOrder = PathOrder.ADAPTIVE
    late_after_ms: int = 15 * SECOND_MS
    """An order accepted later than this after the decided candle's close misses the next open."""

    def __post_init__(self) -> None:
        if self.slippage_bps < 0 or self.slippage_bps * 100 % 1:
            raise BadInput(
                "slippage_bps", f"was {self.slippage_bps}, expected multiples of 0.01 from 0 on"
            )

    @property
    def spec_id(self) -> str:
        """Hash of every number above; it goes into reports."""
        text = json.dumps(
            asdict(self), sort_keys=True, default=lambda value: str(value.normalize())
        )
        return "fs" + hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def slippage_ppm(self) -> int:
        """Slippage in millionths of the price."""
        return int(self.slippage_bps * 100)

    @property
    def liquidation_rate(self) -> Decimal:
        """What a liquidation costs of its notional: maintenance margin and closing fee."""
        return self.maintenance_rate + self.taker_rate


class TickCandle(NamedTuple):
    """One candle in whole ticks."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One funding settlement. The mark is the open of the candle that starts at `due_ms`, or of the
    next one there is; the rate is None while it is not known yet."""

    due_ms: int
    mark_ticks: int
    rate: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPayment:
    """What one settlement did to a held position; `amount` is cash, negative when paid."""

    due_ms: int
    lots: int
    mark_ticks: int
    rate: Decimal | None
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LotOrder:
    """A market order for signed whole lots."""

    order_id: str
    lots: int
    reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Exits:
    """One protective stop and at most one take-profit for a position of `target_lots`."""

    target_lots: int
    stop_ticks: int
    take_ticks: int | None = None
    is_liquidation: bool = False
    """The stop stands at the liquidation level."""
    is_trimmed: bool = False
    """Less than the target was held on arrival: the take-profit is taker whenever it fills."""


class FillCause(StrEnum):
    ORDER = "order"
    STOP = "stop"
    TAKE_PROFIT = "take_profit"
    LIQUIDATION = "liquidation"


@dataclass(frozen=True, slots=True, kw_only=True)
class LotFill:
    """One execution in whole lots and ticks; `lots` carries the side's sign."""

    order_id: str
    """Empty for exits."""
    cause: FillCause
    lots: int
    price_ticks: int
    fee: Decimal
    realized_pnl: Decimal
    """Before fees."""
    is_maker: bool
    filled_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """One pair's position and the cash it moved. Equity is `cash` and lots at the mark, less `cost`."""

    cash: Decimal = ZERO
    """Wallet: start, realised PnL and funding, less fees."""
    lots: int = 0
    cost: Decimal = ZERO
    """Signed quantity times average price of what is held."""
    exits: Exits | None = None
    settled_open_ms: int = -1
    """Open time of the newest candle in this book; -1 before the first."""
    close_ticks: int = 0
    """That candle's close; 0 before the first."""

    def average_price(self, instrument: Instrument) -> Decimal:
        """Average entry price, 0 when flat."""
        return self.cost / instrument.quantity_of(self.lots) if self.lots else ZERO

    def equity(self, price_ticks: int, instrument: Instrument) -> Decimal:
        """Cash and unrealised PnL at a price."""
        return self.cash + _notional(self.lots, price_ticks, instrument) - self.cost


def commission(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """Rate on notional, half-even at 8 decimals; the one rounding of fees and funding."""
    return (quantity * price * rate).quantize(_FEE_STEP, ROUND_HALF_EVEN)


def tick_candle(candle: Candle, instrument: Instrument) -> TickCandle:
    """The candle in whole ticks. Raises `BadInput` for a price of no tick: nothing fills at 0."""
    ticks = TickCandle(candle.open_ms, *(instrument.to_ticks(price) for price in candle[1:5]))
    if min(ticks[1:]) <= 0:
        raise BadInput(
            "candle",
            f"{instrument.pair} at {candle.open_ms} had a price below one tick of {instrument.tick}: "
            "delete and fetch it again",
        )
    return ticks


def quote_ticks(open_ticks: int, spec: FillSpec) -> tuple[int, int]:
    """Bid and ask at a candle's open: slippage against the trader, rounded against the trader."""
    bid = open_ticks * (_MILLION - spec.slippage_ppm) // _MILLION
    ask = -(-open_ticks * (_MILLION + spec.slippage_ppm) // _MILLION)
    return bid, ask


def funding_amount(lots: int, mark_ticks: int, rate: Decimal, instrument: Instrument) -> Decimal:
    """Cash a settlement moves: a long pays a positive rate."""
    quantity, mark = instrument.quantity_of(lots), instrument.price_of(mark_ticks)
    return -commission(quantity, mark, rate)


def liquidation_ticks(
    average_price: Decimal, lots: int, leverage: int, spec: FillSpec, instrument: Instrument
) -> int:
    """Level at which an isolated position loses its whole margin, rounded toward the market.

    BingX liquidates when maintenance margin and closing fee reach margin and unrealised PnL.
    """
    average = Fraction(average_price) / Fraction(instrument.tick)
    rate = Fraction(spec.liquidation_rate)
    return liquidation_level(
        average.numerator,
        average.denominator,
        1 if lots > 0 else -1,
        leverage,
        rate.numerator,
        rate.denominator,
    )


def apply_fill(
    book: Book, lots: int, price_ticks: int, fee: Decimal, instrument: Instrument
) -> tuple[Book, Decimal]:
    """The book after an execution of signed lots, and the PnL it realised before fees.

    A fill beyond the held position closes it and opens the rest.
    """
    closing = -book.lots if abs(lots) >= abs(book.lots) else lots
    closing = closing if book.lots * lots < 0 else 0
    released = _released(book, closing)
    realized = -_notional(closing, price_ticks, instrument) - released
    held = replace(
        book,
        cash=book.cash + realized - fee,
        lots=book.lots + lots,
        cost=book.cost - released + _notional(lots - closing, price_ticks, instrument),
    )
    return held, realized


def advance(
    book: Book,
    orders: Sequence[LotOrder],
    candle: TickCandle,
    dues: Iterable[Due],
    *,
    spec: FillSpec,
    instrument: Instrument,
    exits: Exits | None = None,
) -> tuple[Book, list[LotFill], list[FundingPayment]]:
    """Settle one candle: funding, the quote at its open, its path.

    `orders` were decided before the candle opened. When there are any, the resting exits are
    cancelled after their chance at the quote and `exits` stand from then on. `dues` are those after
    the previous candle's close and before this one's, oldest first; one whose rate is None is
    returned with amount 0, to be booked when its rate comes.
    A reduce-only order with nothing left to reduce gets no fill. A candle that this book already
    holds changes nothing.
    """
    if candle.open_ms <= book.settled_open_ms:
        return book, [], []
    step = _Step(book, spec, instrument)
    close_ms = candle.open_ms + interval_ms(spec.interval)
    later = [due for due in dues if not step.fund(due, until_ms=candle.open_ms)]
    step.quote(candle.open_ms + QUOTE_DELAY_MS, *quote_ticks(candle.open, spec), orders, exits)
    for due in later:
        step.fund(due, until_ms=close_ms)
    step.walk(close_ms, candle)
    settled = replace(step.book, settled_open_ms=candle.open_ms, close_ticks=candle.close)
    return settled, step.fills, step.funding


def lots_after(held: int, orders: Iterable[LotOrder]) -> int:
    """Lots held once all these orders are executed in their order."""
    for order in orders:
        held += _reducible(order, held)
    return held


class _Step:
    """The book on its way through one candle."""

    def __init__(self, book: Book, spec: FillSpec, instrument: Instrument) -> None:
        self.book, self._spec, self._instrument = book, spec, instrument
        self.fills: list[LotFill] = []
        self.funding: list[FundingPayment] = []

    def fund(self, due: Due, *, until_ms: int) -> bool:
        """Settle a boundary that is not after `until_ms`; False leaves it for later."""
        if due.due_ms > until_ms:
            return False
        lots, rate = self.book.lots, due.rate
        if lots:
            known = rate if rate is not None else ZERO
            amount = funding_amount(lots, due.mark_ticks, known, self._instrument)
            self.book = replace(self.book, cash=self.book.cash + amount)
            self.funding.append(
                FundingPayment(
                    due_ms=due.due_ms,
                    lots=lots,
                    mark_ticks=due.mark_ticks,
                    rate=rate,
                    amount=amount,
                )
            )
        return True

    def quote(
        self, at_ms: int, bid: int, ask: int, orders: Sequence[LotOrder], exits: Exits | None
    ) -> None:
        self._meet(at_ms, bid, ask, gap=True)
        if not orders:
            return
        for order in orders:
            lots = _reducible(order, self.book.lots)
            if lots:
                price = ask if lots > 0 else bid
                rate = self._spec.taker_rate
                self._fill(FillCause.ORDER, lots, price, rate, at_ms, order_id=order.order_id)
        self._rest(exits)
        self._meet(at_ms, bid, ask, gap=True, arriving=True)

    def walk(self, at_ms: int, candle: TickCandle) -> None:
        """Open, then the extremes; the close lies between them and can reach nothing new."""
        self._meet(at_ms, candle.open, candle.open, gap=True)
        for price in _extremes(candle, self._spec.path):
            self._meet(at_ms, price, price, gap=False)

    def _rest(self, exits: Exits | None) -> None:
        held = self.book.lots
        if exits is not None and held * exits.target_lots <= 0:
            exits = None
        elif exits is not None and abs(held) < abs(exits.target_lots):
            exits = replace(exits, is_trimmed=True)
        self.book = replace(self.book, exits=exits)

    def _meet(self, at_ms: int, bid: int, ask: int, *, gap: bool, arriving: bool = False) -> None:
        """Let the market at bid and ask reach the exits: stop first, then take-profit.

        `gap`: the market stands there without having traded through the stop's level, so the stop
        fills at the market. `arriving`: the exits meet a standing quote.
        """
        exits, held = self.book.exits, self.book.lots
        if exits is None:
            return
        side = 1 if held > 0 else -1
        market = bid if held > 0 else ask
        if (market - exits.stop_ticks) * side <= 0:
            cause = FillCause.LIQUIDATION if exits.is_liquidation else FillCause.STOP
            liquidated = self._spec.liquidation_rate
            rate = liquidated if exits.is_liquidation else self._spec.taker_rate
            self._leave(cause, market if gap else exits.stop_ticks, rate, at_ms)
        elif exits.take_ticks is not None and (market - exits.take_ticks) * side >= 0:
            is_maker = not (arriving or exits.is_trimmed)
            rate = self._spec.maker_rate if is_maker else self._spec.taker_rate
            price = market if arriving else exits.take_ticks
            self._leave(FillCause.TAKE_PROFIT, price, rate, at_ms, is_maker=is_maker)

    def _leave(
        self, cause: FillCause, price: int, rate: Decimal, at_ms: int, *, is_maker: bool = False
    ) -> None:
        self._fill(cause, -self.book.lots, price, rate, at_ms, is_maker=is_maker)
        self.book = replace(self.book, exits=None)

    def _fill(
        self,
        cause: FillCause,
        lots: int,
        price_ticks: int,
        rate: Decimal,
        at_ms: int,
        *,
        order_id: str = "",
        is_maker: bool = False,
    ) -> None:
        quantity = self._instrument.quantity_of(abs(lots))
        fee = commission(quantity, self._instrument.price_of(price_ticks), rate)
        self.book, realized = apply_fill(self.book, lots, price_ticks, fee, self._instrument)
        self.fills.append(
            LotFill(
                order_id=order_id,
                cause=cause,
                lots=lots,
                price_ticks=price_ticks,
                fee=fee,
                realized_pnl=realized,
                is_maker=is_maker,
                filled_ms=at_ms,
            )
        )


def _extremes(candle: TickCandle, path: PathOrder) -> tuple[int, int]:
    high_is_nearer = candle.high - candle.open < candle.open - candle.low
    if path is PathOrder.FIXED or high_is_nearer:
        return candle.high, candle.low
    return candle.low, candle.high


def _reducible(order: LotOrder, held: int) -> int:
    """Lots an order may execute: a reduce-only one never crosses zero."""
    if not order.reduce_only:
        return order.lots
    if order.lots * held >= 0:
        return 0
    return order.lots if abs(order.lots) <= abs(held) else -held


def _released(book: Book, closing: int) -> Decimal:
    """Share of the cost that leaves with the closing lots; rounded only for a part of a position."""
    if closing == 0:
        return ZERO
    if closing == -book.lots:
        return book.cost
    return (book.cost * -closing / book.lots).quantize(_COST_STEP, ROUND_HALF_EVEN)


def _notional(lots: int, price_ticks: int, instrument: Instrument) -> Decimal:
    return instrument.quantity_of(lots) * instrument.price_of(price_ticks)
