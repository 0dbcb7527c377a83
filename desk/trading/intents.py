"""From a wanted position to order legs: the only place where a float becomes whole lots or ticks."""

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import numpy as np

from desk import ids
from desk.errors import BadInput
from desk.ids import Pair
from desk.trading.exit_levels import exit_ticks
from desk.trading.instruments import Instrument
from desk.trading.ledger import Position
from desk.trading.orders import Leg, Order, Side

REBALANCE_BAND = 0.2
"""A position of the wanted sign is left alone while its size is within this fraction of the wanted
one: price drift must not turn one decision into an order per candle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderIntent:
    """What we want done, before risk."""

    account: str
    run_id: str
    decision_id: str
    pair: Pair
    leg: Leg
    side: Side
    quantity: Decimal
    reduce_only: bool
    reference_price: Decimal
    decided_open_ms: int
    trace_id: str
    stop_loss_price: Decimal | None = None
    take_profit_price: Decimal | None = None

    @property
    def client_order_id(self) -> str:
        """The id under which this leg goes to the venue, however often it is sent."""
        return ids.client_order_id(self.account, self.run_id, self.decision_id, self.leg)

    @property
    def notional(self) -> Decimal:
        """Quantity times reference price in USDT."""
        return self.quantity * self.reference_price

    @property
    def signed_quantity(self) -> Decimal:
        """Positive when it buys."""
        return self.side.sign * self.quantity


def target_lots(
    target: float,
    *,
    size_quote: float,
    price_ticks: int,
    held_lots: int,
    instrument: Instrument,
) -> int:
    """Signed lots to hold for a target in [-1, 1] of `size_quote` USDT at a price.

    Rounded toward zero; 0 when the result is below the instrument's minimum quantity or notional;
    `held_lots` when the held position has the wanted sign and is within `REBALANCE_BAND`, or when
    the order that would resize it is itself below those minimums.
    """
    return lots_to_hold(
        target,
        size_quote,
        price_ticks,
        held_lots,
        float(instrument.tick) * float(instrument.lot),
        instrument.to_lots(instrument.min_quantity),
        float(instrument.min_notional),
    )


def lots_to_hold(  # noqa: PLR0917 - as its halves, which are compiled and take their numbers by position
    target: float,
    size_quote: float,
    price_ticks: int,
    held_lots: int,
    quote_per_tick_lot: float,
    least_lots: int,
    least_notional: float,
) -> int:
    """`target_lots` on plain numbers: int64 and float64 arithmetic only.

    `quote_per_tick_lot` is the notional of one lot at a price of one tick.
    """
    aim, band = aimed_lots(
        target, size_quote, price_ticks, quote_per_tick_lot, least_lots, least_notional
    )
    return int(kept_or_aimed(held_lots, aim, band))


def aimed_lots(  # noqa: PLR0917 - the kernel compiles it, and compiled calls are positional
    target: float,
    size_quote: float,
    price_ticks: float,
    quote_per_tick_lot: float,
    least_lots: float,
    least_notional: float,
) -> tuple[float, float]:
    """Signed lots that a target means, and how many lots off them a position of their sign may stay.

    Whole numbers in float64, which a processor works out for several accounts at once.
    """
    quote_per_lot = price_ticks * quote_per_tick_lot
    wanted = np.floor(abs(target) * size_quote / quote_per_lot)
    least = max(least_lots, np.floor(least_notional / quote_per_lot) + 1.0)
    if wanted < least:
        return 0.0, 0.0
    return wanted if target > 0 else -wanted, max(np.floor(REBALANCE_BAND * wanted), least - 1.0)


def kept_or_aimed(held_lots: float, aim: float, band: float) -> float:
    """The position itself if it has the aim's sign and is within the band, the aim otherwise."""
    return held_lots if aim * held_lots > 0 and abs(aim - held_lots) <= band else aim


def legs(held_lots: int, wanted_lots: int) -> list[tuple[int, bool]]:
    """Signed lots and reduce-only flag of each order that moves a position.

    A change of sign, or to flat, closes the whole position first and opens anew; a smaller position
    of the same sign is one reducing order; a larger one is one plain order for the difference.
    """
    if held_lots == wanted_lots:
        return []
    if held_lots and (wanted_lots == 0 or (wanted_lots > 0) != (held_lots > 0)):
        closing = [(-held_lots, True)]
        return [*closing, (wanted_lots, False)] if wanted_lots else closing
    return [(wanted_lots - held_lots, abs(wanted_lots) < abs(held_lots))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """Exits that a run asks for, as fractions of the decided price, each above 0 and below 1."""

    stop_loss_fraction: Decimal | None = None
    take_profit_fraction: Decimal | None = None


NO_PROTECTION = Protection()


def exit_prices(
    side: Side, reference_price: Decimal, protection: Protection, instrument: Instrument
) -> tuple[Decimal | None, Decimal | None]:
    """Return stop and take-profit of a position held toward `side`, in whole ticks.

    Rounding hurts (rule 6 of the fill specification): the stop toward the market, the take-profit
    away from it. Both stand at least one tick from the market, and above 0.
    """
    market = Fraction(reference_price) / Fraction(instrument.tick)

    def level(fraction: Decimal | None, direction: int) -> Decimal | None:
        if fraction is None:
            return None
        distance = Fraction(fraction)
        ticks = exit_ticks(
            market.numerator,
            market.denominator,
            distance.numerator,
            distance.denominator,
            side.sign,
            direction,
        )
        return instrument.price_of(ticks)

    return (
        level(protection.stop_loss_fraction, -side.sign),
        level(protection.take_profit_fraction, side.sign),
    )


def intend(
    target: float,
    *,
    held_quantity: Decimal,
    size_quote: Decimal,
    reference_price: Decimal,
    instrument: Instrument,
    account: str,
    run_id: str,
    decision_id: str,
    decided_open_ms: int,
    trace_id: str,
    protection: Protection = NO_PROTECTION,
) -> list[OrderIntent]:
    """Return the legs that move a position to a target in [-1, 1] of `size_quote` USDT.

    The reducing leg comes first. Empty when the position already is where it should be. A pair that
    is not tradable gets its reducing leg only. The leg after which a position is held carries the
    exits of `protection`. Raises `BadInput` for a target outside the range.
    """
    if not (math.isfinite(target) and -1.0 <= target <= 1.0):
        raise BadInput("target", f"was {target!r}, expected a number from -1 to 1")
    if reference_price <= 0:
        raise BadInput("reference_price", f"was {reference_price}, expected a price above 0")
    held_lots = instrument.to_lots(held_quantity)
    wanted_lots = target_lots(
        target,
        size_quote=float(size_quote),
        price_ticks=instrument.to_ticks(reference_price),
        held_lots=held_lots,
        instrument=instrument,
    )
    stop, take = exit_prices(Side.of(wanted_lots), reference_price, protection, instrument)
    moves = legs(held_lots, wanted_lots)
    covered = len(moves) - 1 if wanted_lots else None
    return [
        OrderIntent(
            account=account,
            run_id=run_id,
            decision_id=decision_id,
            pair=instrument.pair,
            leg=Leg.EXIT if reduce_only else Leg.ENTRY,
            side=Side.of(lots),
            quantity=abs(instrument.quantity_of(lots)),
            reduce_only=reduce_only,
            reference_price=reference_price,
            decided_open_ms=decided_open_ms,
            trace_id=trace_id,
            stop_loss_price=stop if number == covered else None,
            take_profit_price=take if number == covered else None,
        )
        for number, (lots, reduce_only) in enumerate(moves)
        if reduce_only or instrument.tradable
    ]


def close_intent(
    position: Position,
    *,
    quantity: Decimal | None,
    reference_price: Decimal,
    instrument: Instrument,
    account: str,
    decision_id: str,
    now_ms: int,
    trace_id: str,
) -> OrderIntent:
    """Return the reduce-only leg that closes a position, or `quantity` coins of it.

    `decision_id` names the request, so that a repeated request is the same order. Raises `BadInput`
    for a quantity that is not above 0, is larger than the position or is less than one lot.
    """
    held = abs(position.quantity)
    wanted = held if quantity is None else quantity
    if not 0 < wanted <= held:
        raise BadInput("quantity", f"was {wanted}, expected above 0 and at most {held}")
    rounded = instrument.quantity_of(instrument.to_lots(wanted))
    if not rounded:
        raise BadInput("quantity", f"was {wanted}, expected at least one lot of {instrument.lot}")
    return OrderIntent(
        account=account,
        run_id=position.run_id,
        decision_id=decision_id,
        pair=position.pair,
        leg=Leg.EXIT,
        side=Side.of(-position.quantity),
        quantity=rounded,
        reduce_only=True,
        reference_price=reference_price,
        decided_open_ms=now_ms,
        trace_id=trace_id,
    )


def trade_id_of(intent: OrderIntent, *, position: Position | None) -> str:
    """Return the trade a leg belongs to.

    An exit, and an entry that enlarges the position, belong to the trade that opened it; an entry
    from flat or the other side of a flip opens the trade named after its own client order id.
    """
    if position is None or not position.quantity:
        return intent.client_order_id
    enlarges = (intent.signed_quantity > 0) == (position.quantity > 0)
    return position.trade_id if intent.reduce_only or enlarges else intent.client_order_id


def order_of(
    intent: OrderIntent, *, position: Position | None, reserved_quote: Decimal, now_ms: int
) -> Order:
    """Return the new order row of an approved intent, in state INTENT."""
    return Order(
        client_order_id=intent.client_order_id,
        account=intent.account,
        run_id=intent.run_id,
        decision_id=intent.decision_id,
        trade_id=trade_id_of(intent, position=position),
        pair=intent.pair,
        leg=intent.leg,
        side=intent.side,
        quantity=intent.quantity,
        reduce_only=intent.reduce_only,
        reference_price=intent.reference_price,
        decided_open_ms=intent.decided_open_ms,
        created_ms=now_ms,
        trace_id=intent.trace_id,
        stop_loss_price=intent.stop_loss_price,
        take_profit_price=intent.take_profit_price,
        reserved_quote=reserved_quote,
        updated_ms=now_ms,
    )
