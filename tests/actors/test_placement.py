"""Legs go out one after another, and an entry only behind an exit that is under way."""

import asyncio
from dataclasses import dataclass, field, replace
from decimal import Decimal

import pytest

from actors.placement import UNDER_WAY, place
from desk.trading.intents import OrderIntent
from desk.trading.orders import Leg, Order, OrderState, Side
from desk.trading.risk import Approved, Refused
from tests.actors.fakes import PAIR, desk_with_books


@dataclass
class Account:
    """An approver and an executor whose exits end in a given state."""

    exit_state: OrderState
    sent: list[Leg] = field(default_factory=list[Leg])

    async def approve(
        self, intent: OrderIntent, limits_set_id: str, *, after: str = ""
    ) -> Approved[Order] | Refused:
        order = desk_with_books().intent(leg=intent.leg)
        return Approved(value=order, limits_set_id=limits_set_id)

    async def execute(self, approved: Approved[Order]) -> Order:
        order = approved.value
        self.sent.append(order.leg)
        return replace(order, state=self.exit_state) if order.leg is Leg.EXIT else order


def leg_of(leg: Leg) -> OrderIntent:
    return OrderIntent(
        account="paper",
        run_id="run1",
        decision_id="d1",
        pair=PAIR,
        leg=leg,
        side=Side.SELL,
        quantity=Decimal("0.0100"),
        reduce_only=leg is Leg.EXIT,
        reference_price=Decimal("40000.0"),
        decided_open_ms=0,
        trace_id="tr1",
    )


@pytest.mark.parametrize("state", OrderState)
def test_the_entry_of_a_flip_follows_only_an_exit_that_is_under_way(state: OrderState) -> None:
    account = Account(exit_state=state)

    placed = asyncio.run(place([leg_of(Leg.EXIT), leg_of(Leg.ENTRY)], "small", account, account))

    if state in UNDER_WAY:
        assert account.sent == [Leg.EXIT, Leg.ENTRY]
        assert placed.unresolved is None
    else:
        assert account.sent == [Leg.EXIT]
        assert placed.unresolved is not None
        assert placed.unresolved.state is state
