"""One pair's paper book: what is held, which orders rest, what each of them came to. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from desk.clock import HOUR_MS
from desk.errors import VenueRejected
from desk.ids import Pair
from desk.market.interval import interval_ms
from desk.trading.fills import (
    NEVER_TICKS,
    ZERO,
    Book,
    Due,
    Exits,
    FillCause,
    FillSpec,
    FundingPayment,
    LotFill,
    LotOrder,
    TickCandle,
    advance,
    funding_amount,
    lots_after,
)
from desk.trading.instruments import Instrument
from desk.trading.orders import ExitKind, Fill, Order, Side, VenueOrder, VenueOrderStatus

FUNDING_STEP_MS = 8 * HOUR_MS
"""BingX settles funding at 00, 08 and 16 UTC."""

KEPT_PAYMENTS = 200
"""Newest funding payments that stay in the document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperOrder:
    """An accepted order, resting or finished; or an exit that fired."""

    client_order_id: str
    """Empty for exits: like those of an exchange they have the venue's id only."""
    venue_order_id: str
    pair: Pair
    side: Side
    quantity: Decimal
    reduce_only: bool
    accepted_ms: int
    not_before_ms: int
    """It executes on the first candle that opens at or after this."""
    is_late: bool
    """Accepted too late for the open after the decided candle."""
    status: VenueOrderStatus = VenueOrderStatus.OPEN
    fills: tuple[Fill, ...] = ()
    reason: str = ""
    updated_ms: int = 0
    stop_loss_price: Decimal | None = None
    take_profit_price: Decimal | None = None
    exit_kind: ExitKind | None = None
    trigger_price: Decimal | None = None
    parent_order_id: str = ""

    @property
    def key(self) -> str:
        """What it is found by: our id, or the venue's where it has none of ours."""
        return self.client_order_id or self.venue_order_id

    def covers(self, lots: int) -> bool:
        """Whether it brings exits for a position of this sign."""
        brings = self.stop_loss_price is not None or self.take_profit_price is not None
        held = -self.side.sign if self.reduce_only else self.side.sign
        return brings and held * lots > 0

    @property
    def is_resting(self) -> bool:
        return self.status is VenueOrderStatus.OPEN

    @property
    def filled_quantity(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), ZERO)

    def as_venue_order(self) -> VenueOrder:
        """The order as a venue reports it."""
        filled = self.filled_quantity
        paid = sum((fill.quantity * fill.price for fill in self.fills), ZERO)
        return VenueOrder(
            client_order_id=self.client_order_id,
            venue_order_id=self.venue_order_id,
            pair=self.pair,
            side=self.side,
            status=self.status,
            quantity=self.quantity,
            filled_quantity=filled,
            average_price=paid / filled if filled else ZERO,
            fees=sum((fill.fee for fill in self.fills), ZERO),
            reduce_only=self.reduce_only,
            updated_ms=self.updated_ms,
            raw_status=self.reason or self.status.value,
            exit_kind=self.exit_kind,
            trigger_price=self.trigger_price,
            parent_order_id=self.parent_order_id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperBook:
    """Everything the paper venue knows of one pair; one document in the store."""

    pair: Pair
    book: Book = field(default_factory=Book)
    """Its cash starts at 0: the account's balance is its starting cash and the sum over pairs."""
    orders: tuple[PaperOrder, ...] = ()
    """Resting ones and the newest finished ones, in the order of acceptance; exits that fired stand
    before or after the orders of their candle as they were executed."""
    payments: tuple[FundingPayment, ...] = ()
    """Newest funding payments, oldest first. A rate of None: due, but the rate is not known yet."""
    leverage: int = 1
    exits_of: str = ""
    """Client order id of the order that brought the exits of `book`."""

    def order(self, key: str) -> PaperOrder | None:
        return next((order for order in self.orders if order.key == key), None)

    def resting(self) -> list[PaperOrder]:
        return [order for order in self.orders if order.is_resting]

    @property
    def unknown_dues(self) -> list[int]:
        """Settlements whose rate has not come yet."""
        return [payment.due_ms for payment in self.payments if payment.rate is None]


def accept(
    paper: PaperBook,
    order: Order,
    *,
    now_ms: int,
    decided_close_ms: int,
    spec: FillSpec,
    instrument: Instrument,
) -> PaperBook:
    """Let a market order rest until the candle it belongs to has closed.

    That candle opens at or after `decided_close_ms`. An order that comes too late for it waits for
    the first open it could have met: a price long gone would flatter. Raises `VenueRejected`.
    """
    _check(paper, order, instrument)
    is_late = now_ms > decided_close_ms + spec.late_after_ms
    not_before_ms = max(decided_close_ms, now_ms - spec.late_after_ms)
    accepted = PaperOrder(
        client_order_id=order.client_order_id,
        venue_order_id=_venue_id(order.client_order_id),
        pair=order.pair,
        side=order.side,
        quantity=order.quantity,
        reduce_only=order.reduce_only,
        accepted_ms=now_ms,
        not_before_ms=not_before_ms,
        is_late=is_late or paper.book.settled_open_ms >= decided_close_ms,
        updated_ms=now_ms,
        stop_loss_price=order.stop_loss_price,
        take_profit_price=order.take_profit_price,
    )
    return replace(paper, orders=(*paper.orders, accepted))


def cancel(paper: PaperBook, client_order_id: str, now_ms: int) -> PaperBook:
    """End a resting order; a finished or unknown one stays as it is."""
    return replace(
        paper,
        orders=tuple(
            replace(order, status=VenueOrderStatus.CANCELLED, reason="cancelled", updated_ms=now_ms)
            if order.client_order_id == client_order_id and order.is_resting
            else order
            for order in paper.orders
        ),
    )


def boundaries(paper: PaperBook, candle: TickCandle, spec: FillSpec) -> range:
    """Funding instants after the previous candle's path and before this one's close."""
    step = interval_ms(spec.interval)
    settled = paper.book.settled_open_ms
    start_ms = settled + step if settled >= 0 else candle.open_ms
    first = -(-start_ms // FUNDING_STEP_MS) * FUNDING_STEP_MS
    return range(first, candle.open_ms + step, FUNDING_STEP_MS)


def settle_candle(
    paper: PaperBook,
    candle: TickCandle,
    rates: Mapping[int, Decimal],
    spec: FillSpec,
    instrument: Instrument,
) -> PaperBook:
    """Advance the book through one candle; one that it already holds changes nothing.

    `rates` by settlement instant; a missing one is booked later by `pay_known`.
    """
    if candle.open_ms <= paper.book.settled_open_ms:
        return paper
    dues = [
        Due(due_ms=at_ms, mark_ticks=candle.open, rate=rates.get(at_ms))
        for at_ms in boundaries(paper, candle, spec)
    ]
    ready = [order for order in paper.resting() if order.not_before_ms <= candle.open_ms]
    lot_orders = [_lot_order(order, instrument) for order in ready]
    exits, exits_of = _exits_after(paper, ready, lot_orders, instrument)
    book, fills, funding = advance(
        paper.book, lot_orders, candle, dues, spec=spec, instrument=instrument, exits=exits
    )
    early, late = _fired(paper, fills, exits_of, exits or paper.book.exits, instrument)
    ended = {order.client_order_id: _ended(order, fills, candle, instrument) for order in ready}
    return replace(
        paper,
        book=book,
        orders=(*early, *(ended.get(order.key, order) for order in paper.orders), *late),
        payments=(*paper.payments, *funding)[-KEPT_PAYMENTS:],
        exits_of=exits_of if book.exits else "",
    )


def resting_exits(paper: PaperBook, instrument: Instrument) -> list[VenueOrder]:
    """The exits of the position as an exchange lists them: stop, then take-profit."""
    exits = paper.book.exits
    if exits is None:
        return []
    levels = {ExitKind.STOP_LOSS: exits.stop_ticks, ExitKind.TAKE_PROFIT: exits.take_ticks}
    return [
        VenueOrder(
            client_order_id="",
            venue_order_id=_exit_id(paper.exits_of, kind),
            pair=paper.pair,
            side=Side.of(-paper.book.lots),
            status=VenueOrderStatus.OPEN,
            quantity=instrument.quantity_of(abs(paper.book.lots)),
            filled_quantity=ZERO,
            average_price=ZERO,
            fees=ZERO,
            reduce_only=True,
            updated_ms=paper.book.settled_open_ms,
            exit_kind=kind,
            trigger_price=instrument.price_of(ticks),
            parent_order_id=_venue_id(paper.exits_of),
        )
        for kind, ticks in levels.items()
        if ticks is not None and 0 < ticks < NEVER_TICKS
    ]


def pay_known(paper: PaperBook, rates: Mapping[int, Decimal], instrument: Instrument) -> PaperBook:
    """Book the settlements whose rate has come since, on the position recorded at their instant."""
    payments = tuple(_paid(payment, rates, instrument) for payment in paper.payments)
    before, after = _total(paper.payments), _total(payments)
    book = replace(paper.book, cash=paper.book.cash + after - before)
    return replace(paper, book=book, payments=payments)


def _exits_after(
    paper: PaperBook,
    ready: Sequence[PaperOrder],
    lot_orders: Sequence[LotOrder],
    instrument: Instrument,
) -> tuple[Exits | None, str]:
    """The exits that rest after these orders, and the order that brought them.

    The newest that brings any replaces what rested; where none does, as when an operator closes a
    part, what rests goes on for the position that is left.
    """
    if not ready:
        return None, paper.exits_of
    target = lots_after(paper.book.lots, lot_orders)
    bringer = next((order for order in reversed(ready) if order.covers(target)), None)
    if bringer is None:
        kept = paper.book.exits
        if kept is None or kept.target_lots * target <= 0:
            return None, paper.exits_of
        return replace(kept, target_lots=target, is_trimmed=False), paper.exits_of
    stop, take = bringer.stop_loss_price, bringer.take_profit_price
    never = 0 if target > 0 else NEVER_TICKS
    exits = Exits(
        target_lots=target,
        stop_ticks=instrument.to_ticks(stop) if stop is not None else never,
        take_ticks=instrument.to_ticks(take) if take is not None else None,
    )
    return exits, bringer.client_order_id


def _fired(
    paper: PaperBook,
    fills: Sequence[LotFill],
    exits_of: str,
    new_exits: Exits | None,
    instrument: Instrument,
) -> tuple[list[PaperOrder], list[PaperOrder]]:
    """The exits among the fills, before and after the first order's: of what rested before, and now."""
    early, late = list[PaperOrder](), list[PaperOrder]()
    has_traded = False
    for fill in fills:
        parent, exits = (exits_of, new_exits) if has_traded else (paper.exits_of, paper.book.exits)
        if fill.cause is FillCause.ORDER:
            has_traded = True
        elif exits is not None:
            fired = _fired_exit(paper.pair, parent, exits, fill, instrument)
            (late if has_traded else early).append(fired)
    return early, late


def _fired_exit(
    pair: Pair, parent: str, exits: Exits, fill: LotFill, instrument: Instrument
) -> PaperOrder:
    is_take = fill.cause is FillCause.TAKE_PROFIT and exits.take_ticks is not None
    kind = ExitKind.TAKE_PROFIT if is_take else ExitKind.STOP_LOSS
    ticks = exits.take_ticks if is_take else exits.stop_ticks
    order = PaperOrder(
        client_order_id="",
        venue_order_id=_exit_id(parent, kind),
        pair=pair,
        side=Side.of(fill.lots),
        quantity=instrument.quantity_of(abs(fill.lots)),
        reduce_only=True,
        accepted_ms=fill.filled_ms,
        not_before_ms=fill.filled_ms,
        is_late=False,
        status=VenueOrderStatus.FILLED,
        updated_ms=fill.filled_ms,
        exit_kind=kind,
        trigger_price=instrument.price_of(ticks or 0),
        parent_order_id=_venue_id(parent),
    )
    return replace(order, fills=(_fill(order, fill, instrument),))


def _venue_id(client_order_id: str) -> str:
    return f"paper-{client_order_id}"


def _exit_id(client_order_id: str, kind: ExitKind) -> str:
    return f"{_venue_id(client_order_id)}-{kind}"


def _check(paper: PaperBook, order: Order, instrument: Instrument) -> None:
    quantity = order.quantity
    if order.limit_price is not None:
        raise _refused("limit", "the paper venue takes market orders only")
    if quantity <= 0 or quantity % instrument.lot:
        raise _refused("size", f"quantity was {quantity}, expected lots of {instrument.lot}")
    held = paper.book.lots
    if order.reduce_only and held * order.side.sign >= 0:
        raise _refused("nothing_to_reduce", f"the position was {instrument.quantity_of(held)}")
    notional = quantity * order.reference_price
    if not order.reduce_only and (
        quantity < instrument.min_quantity or notional < instrument.min_notional
    ):
        least = f"{instrument.min_quantity} and {instrument.min_notional} USDT"
        raise _refused("size", f"was {quantity} ({notional} USDT), expected at least {least}")


def _refused(reason: str, message: str) -> VenueRejected:
    return VenueRejected("submit", "paper", reason, message)


def _lot_order(order: PaperOrder, instrument: Instrument) -> LotOrder:
    lots = instrument.to_lots(order.quantity) * order.side.sign
    return LotOrder(order_id=order.client_order_id, lots=lots, reduce_only=order.reduce_only)


def _ended(
    order: PaperOrder, fills: Sequence[LotFill], candle: TickCandle, instrument: Instrument
) -> PaperOrder:
    """What became of an order on its candle: a trimmed or dropped reduce-only one is cancelled."""
    own = tuple(
        _fill(order, fill, instrument) for fill in fills if fill.order_id == order.client_order_id
    )
    done = replace(order, fills=own, updated_ms=own[-1].filled_ms if own else candle.open_ms)
    if done.filled_quantity == order.quantity:
        return replace(done, status=VenueOrderStatus.FILLED)
    return replace(done, status=VenueOrderStatus.CANCELLED, reason="nothing_to_reduce")


def _fill(order: PaperOrder, fill: LotFill, instrument: Instrument) -> Fill:
    return Fill(
        fill_id=f"{order.venue_order_id}-1",
        client_order_id=order.client_order_id,
        venue_order_id=order.venue_order_id,
        pair=order.pair,
        side=order.side,
        quantity=instrument.quantity_of(abs(fill.lots)),
        price=instrument.price_of(fill.price_ticks),
        fee=fill.fee,
        is_maker=fill.is_maker,
        filled_ms=fill.filled_ms,
    )


def _paid(
    payment: FundingPayment, rates: Mapping[int, Decimal], instrument: Instrument
) -> FundingPayment:
    rate = rates.get(payment.due_ms)
    if payment.rate is not None or rate is None:
        return payment
    amount = funding_amount(payment.lots, payment.mark_ticks, rate, instrument)
    return replace(payment, rate=rate, amount=amount)


def _total(payments: Iterable[FundingPayment]) -> Decimal:
    return sum((payment.amount for payment in payments), ZERO)
