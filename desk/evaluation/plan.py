"""A plan is what was decided on every candle, in whole lots; a replay is what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from desk.errors import BadInput
from desk.market.candles import Ints
from desk.market.interval import interval_ms
from desk.trading.fills import (
    NEVER_TICKS,
    ZERO,
    Book,
    Exits,
    FundingPayment,
    LotFill,
    LotOrder,
    advance,
    apply_fill,
)
from desk.trading.instruments import Instrument
from desk.trading.intents import legs
from desk.trading.tape import Market

NO_EXIT = 0
"""In a column of exit levels: none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """What was decided on the close of each of T candles.

    Where `decided`, `target_lots` (signed) is wanted with these exits; elsewhere the position is
    kept. Targets equal to the position held at that time do nothing, their exits neither.
    """

    decided: NDArray[np.bool_]
    target_lots: Ints
    stop_ticks: Ints
    """Protective stop level, 0: none."""
    take_ticks: Ints
    """Take-profit level, 0: none."""
    is_liquidation: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.decided)

    def exits(self, index: int) -> Exits | None:
        """The exits decided with a target; None where there are none, or for a flat target."""
        target, stop = int(self.target_lots[index]), int(self.stop_ticks[index])
        take = int(self.take_ticks[index])
        if target == 0 or stop == take == NO_EXIT:
            return None
        never = -1 if target > 0 else NEVER_TICKS
        return Exits(
            target_lots=target,
            stop_ticks=never if stop == NO_EXIT else stop,
            take_ticks=None if take == NO_EXIT else take,
            is_liquidation=bool(self.is_liquidation[index]),
        )

    @classmethod
    def undecided(cls, rows: int) -> "Plan":
        """A plan that decides nothing yet."""
        return cls(
            decided=np.zeros(rows, dtype=np.bool_),
            target_lots=np.zeros(rows, dtype=np.int64),
            stop_ticks=np.zeros(rows, dtype=np.int64),
            take_ticks=np.zeros(rows, dtype=np.int64),
            is_liquidation=np.zeros(rows, dtype=np.bool_),
        )

    @classmethod
    def of_targets(cls, targets: Sequence[int | None]) -> "Plan":
        """A plan without exits; None keeps the position."""
        plan = cls.undecided(len(targets))
        plan.decided[:] = [target is not None for target in targets]
        plan.target_lots[:] = [target or 0 for target in targets]
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What an engine made of a plan."""

    fills: tuple[LotFill, ...]
    """In the order in which they happened."""
    funding: tuple[FundingPayment, ...]
    balance: Decimal
    """Cash at the end: start + realised PnL + funding - fees."""


def flat_at_the_end(plan: Plan) -> Plan:
    """The plan with target 0 on the last candle but one, so that the book ends flat.

    What was decided on the last candle is dropped by every engine.
    """
    if len(plan) < 2:
        raise BadInput("candles", f"there were {len(plan)}, expected at least 2")
    decided, target_lots = plan.decided.copy(), plan.target_lots.copy()
    decided[-2], target_lots[-2] = True, 0
    decided[-1] = False
    return replace(plan, decided=decided, target_lots=target_lots)


def replay(market: Market, plan: Plan, cash: Decimal) -> Replay:
    """Run a plan through the `Decimal` rules, the oracle of every other engine."""
    tape, spec, instrument = market.tape, market.spec, market.instrument
    book, fills, funding = Book(cash=cash), list[LotFill](), list[FundingPayment]()
    orders, exits = list[LotOrder](), None
    step_ms, paid = interval_ms(tape.interval), 0
    for index, candle in enumerate(tape.rows()):
        due = paid
        while paid < len(market.dues) and market.dues[paid].due_ms < candle.open_ms + step_ms:
            paid += 1
        dues = market.dues[due:paid]
        book, new_fills, new_funding = advance(
            book, orders, candle, dues, spec=spec, instrument=instrument, exits=exits
        )
        fills += new_fills
        funding += new_funding
        orders, exits = planned_orders(plan, index, book.lots), plan.exits(index)
    return Replay(fills=tuple(fills), funding=tuple(funding), balance=book.cash)


def planned_orders(plan: Plan, index: int, held_lots: int) -> list[LotOrder]:
    """The orders that a plan sends on the close of candle `index`."""
    if not plan.decided[index]:
        return []
    return [
        LotOrder(order_id=f"{index}-{leg}", lots=lots, reduce_only=is_reducing)
        for leg, (lots, is_reducing) in enumerate(legs(held_lots, int(plan.target_lots[index])))
    ]


def fold(
    fills: Iterable[LotFill],
    funding: Iterable[FundingPayment],
    cash: Decimal,
    instrument: Instrument,
) -> Decimal:
    """Balance that fills and funding come to, whoever made them, in `Decimal`."""
    book = Book(cash=cash + sum((payment.amount for payment in funding), ZERO))
    for fill in fills:
        book, _ = apply_fill(book, fill.lots, fill.price_ticks, fill.fee, instrument)
    return book.cash
