"""Legs on their way to the venue, one after another: approved by the risk ledger, handed by it to the
executor, which sends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from desk.trading.intents import OrderIntent
from desk.trading.orders import Leg, Order, OrderState
from desk.trading.risk import Approved, Refused
from desk.wallclock import monotonic_s

UNDER_WAY = (OrderState.OPEN, OrderState.PARTIAL, OrderState.FILLED)


class Approver(Protocol):
    """The risk ledger of an account. Raises `DeskError` when it did not answer."""

    async def approve(
        self, intent: OrderIntent, limits_set_id: str, *, after: str = ""
    ) -> Approved[Order] | Refused:
        """`after` as `actors.approval.Approve` has it. Raises `VersionConflict` when the request
        that it names is not committed yet."""
        ...


class Executor(Protocol):
    """The order executor of an account. Raises `DeskError` when it did not answer."""

    async def execute(self, approved: Approved[Order]) -> Order: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What became of some legs: the orders there are now, and what stopped the others."""

    orders: tuple[Order, ...]
    refused: Refused | None
    unresolved: Order | None
    """An exit whose outcome is not known: no entry follows it."""
    risk_ms: float
    execute_ms: float
    began_s: float
    """By the monotonic clock, as the next."""
    execute_began_s: float | None
    """When the first order went to the executor, from the ledger or from here; None: none did."""


async def place(
    legs: Sequence[OrderIntent],
    limits_set_id: str,
    approver: Approver,
    executor: Executor,
    *,
    after: str = "",
) -> Placement:
    """Approve and execute leg by leg; an entry follows only an exit that is under way.

    Safe to repeat: both actors answer a leg that they know with its order as it stands. `after` as
    `actors.approval.Approve` has it, whose `VersionConflict` comes before there is any order.
    """
    orders: list[Order] = []
    refused: Refused | None = None
    unresolved: Order | None = None
    risk_s = execute_s = 0.0
    placing_s, execute_began_s = monotonic_s(), None
    for leg in legs:
        began_s = monotonic_s()
        verdict = await approver.approve(leg, limits_set_id, after=after)
        answered_s = monotonic_s()
        if isinstance(verdict, Refused):
            risk_s += answered_s - began_s
            refused = verdict
            break
        if verdict.executed_s is None:
            order, executing_s = await executor.execute(verdict), answered_s
            spent_s = monotonic_s() - answered_s
        else:
            order, spent_s = verdict.value, verdict.executed_s
            executing_s = answered_s - spent_s
        risk_s += executing_s - began_s
        execute_s += spent_s
        execute_began_s = executing_s if execute_began_s is None else execute_began_s
        orders.append(order)
        if leg.leg is Leg.EXIT and order.state not in UNDER_WAY:
            unresolved = order
            break
    return Placement(
        orders=tuple(orders),
        refused=refused,
        unresolved=unresolved,
        risk_ms=round(risk_s * 1000, 3),
        execute_ms=round(execute_s * 1000, 3),
        began_s=placing_s,
        execute_began_s=execute_began_s,
    )
