"""Getting out: orders cancelled, positions closed reduce-only, by the account's own actors."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Protocol

import structlog

from actors.placement import Approver, Executor, place
from actors.store_calls import stored
from desk.clock import Clock
from desk.errors import BadInput, DeskError, NotFound
from desk.ids import Pair
from desk.store import kinds
from desk.store.port import DocStore, Store
from desk.trading import ledger as books
from desk.trading.intents import close_intent
from desk.trading.ledger import Ledger, Position
from desk.trading.orders import Leg, Order

log = structlog.stdlib.get_logger()

NO_LIMITS = "default"
"""Reduce-only orders pass every limit; the set is only named."""
NAMED = "named:"
"""Before a caller's own name of a close, in the id of its request."""


class CancellingExecutor(Executor, Protocol):
    """The account's executor. Raises `DeskError` when it did not answer."""

    async def cancel(self, client_order_id: str, reason: str) -> Order: ...


class Closer:
    """Exits on any account; every order's id follows from what it closes, so a repeat is the same order."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        approver_of: Callable[[str], Approver],
        executor_of: Callable[[str], CancellingExecutor],
    ) -> None:
        self._store, self._clock = store, clock
        self._approver_of, self._executor_of = approver_of, executor_of

    async def close_trade(
        self,
        trade_id: str,
        quantity: Decimal | None,
        *,
        reason: str,
        trace_id: str,
        name: str = "",
    ) -> str:
        """Close a trade's position, or `quantity` coins of it; returns the order's id.

        While an exit of it is under way, asking again for all of it returns that order. A caller's
        own `name` for the close makes it one order for ever: the same name returns it again.
        """
        orders = await stored(lambda: self._store.orders_of_trade(trade_id))
        if not orders:
            raise NotFound("trade", trade_id)
        first = orders[0]
        if name and (made := _named(orders, name)) is not None:
            return made.client_order_id
        ledger = await self._ledger(first.account)
        position = ledger.positions.get(first.pair)
        if position is None or position.trade_id != trade_id:
            raise BadInput("trade_id", f"{trade_id} has no open position: nothing to close")
        pending = await self._exits(first.account, first.pair)
        left = abs(position.quantity) - sum(
            (order.remaining_quantity for order in pending), Decimal(0)
        )
        if left <= 0:
            return pending[0].client_order_id
        if quantity is not None and quantity > left:
            raise BadInput("quantity", f"was {quantity}, expected at most {left}")
        what = f"{reason}:{position.quantity}:{left}:{quantity or left}{_tries(orders)}"
        if name:
            what = f"{NAMED}{name}"
        return await self._close(ledger, position, quantity or left, what, trace_id)

    async def cancel_trade(self, trade_id: str, *, reason: str) -> list[str]:
        """Ask for the end of a trade's entries that are not filled; returns their ids.

        Raises `NotFound`, `BadInput` when there is none, `DeskError` when the executor is away.
        """
        orders = await stored(lambda: self._store.orders_of_trade(trade_id))
        if not orders:
            raise NotFound("trade", trade_id)
        entries = [order for order in orders if order.is_open and not order.reduce_only]
        if not entries:
            raise BadInput("trade_id", f"{trade_id} has no entry left to cancel: close it instead")
        for order in entries:
            await self._executor_of(order.account).cancel(order.client_order_id, reason)
        return [order.client_order_id for order in entries]

    async def flatten(self, account: str, pair: Pair, *, reason: str, trace_id: str) -> str | None:
        """Close the whole position of a pair; None when it is flat or already being closed."""
        ledger = await self._ledger(account)
        position = ledger.positions.get(pair)
        if position is None:
            return None
        of_trade = await stored(lambda: self._store.orders_of_trade(position.trade_id))
        exits = await self._exits(account, pair)
        left = abs(position.quantity) - sum(
            (order.remaining_quantity for order in exits), Decimal(0)
        )
        if left <= 0 or (await self._ledger(account)).positions.get(pair) != position:
            return None  # being closed, or filled in between: whoever wishes it flat asks again
        what = f"{reason}:{position.trade_id}:{position.quantity}:{left}{_tries(of_trade)}"
        return await self._close(ledger, position, left, what, trace_id)

    async def wish_flat(self, account: str, pair: Pair, *, reason: str, trace_id: str) -> None:
        """Have a pair closed, and closed again, until it is flat and nothing of it is in flight.

        An order that is unknown now may turn out to be filled later: the reconciler carries on.
        """
        at_ms = self._clock.now_ms()
        await keep_wish(self._store, account, pair, reason=reason, trace_id=trace_id, at_ms=at_ms)
        await self.flatten(account, pair, reason=reason, trace_id=trace_id)

    async def drop_wish(self, account: str, pair: Pair) -> None:
        """Somebody else decides on the pair from now on."""
        await stored(lambda: self._store.delete(kinds.FLATTENINGS, f"{account}:{pair}"))

    async def flatten_wished(self, account: str) -> int:
        """Carry on every wish of an account: its pair's entries end, its position is closed.

        Returns how many orders that took. Repeating it sends nothing twice.
        """
        sent = 0
        wishes = await stored(lambda: self._store.list(kinds.FLATTENINGS))
        for wish in (doc.value for doc in wishes if doc.value["account"] == account):
            pair = str(wish["pair"])
            await self.cancel_entries(account, pair, reason=str(wish["reason"]))
            # Orders first: what fills after this reading was active in it, or is in the books below.
            active = await stored(lambda: self._store.active_orders(account))
            if pair in (await self._ledger(account)).positions:
                reason, trace_id = str(wish["reason"]), str(wish["trace_id"])
                made = await self.flatten(account, pair, reason=reason, trace_id=trace_id)
                sent += made is not None
            elif all(order.pair != pair for order in active):
                await self.drop_wish(account, pair)
        return sent

    async def cancel_entries(
        self,
        account: str,
        pair: Pair | None,
        *,
        reason: str,
        only: Callable[[Order], bool] = lambda _: True,
    ) -> int:
        """Ask for the end of every order that could still open or enlarge a position."""
        cancelled = 0
        for order in await stored(lambda: self._store.active_orders(account)):
            if order.reduce_only or pair not in (None, order.pair) or not only(order):
                continue
            try:
                await self._executor_of(account).cancel(order.client_order_id, reason)
                cancelled += 1
            except DeskError as failed:
                # The flag in the store stops what was not sent; the executor resolves the rest.
                log.warning(
                    "cancel_failed",
                    client_order_id=order.client_order_id,
                    trace_id=order.trace_id,
                    error=str(failed),
                )
        return cancelled

    async def _close(
        self, ledger: Ledger, position: Position, quantity: Decimal, what: str, trace_id: str
    ) -> str:
        pair = position.pair
        instrument = await stored(lambda: self._store.get(kinds.INSTRUMENTS, pair))
        if instrument is None:
            raise NotFound("instrument", pair)
        intent = close_intent(
            position,
            quantity=quantity,
            reference_price=books.price_of(ledger, pair),
            instrument=instrument.value,
            account=ledger.account,
            decision_id=f"close:{what}",
            now_ms=self._clock.now_ms(),
            trace_id=trace_id,
        )
        approver, executor = self._approver_of(ledger.account), self._executor_of(ledger.account)
        placement = await place([intent], NO_LIMITS, approver, executor)
        if placement.refused is not None:
            raise BadInput("trade_id", f"the exit was refused by {placement.refused.limit}")
        return placement.orders[0].client_order_id

    async def _exits(self, account: str, pair: Pair) -> list[Order]:
        active = await stored(lambda: self._store.active_orders(account))
        return [order for order in active if order.reduce_only and order.pair == pair]

    async def _ledger(self, account: str) -> Ledger:
        ledger = await stored(lambda: self._store.ledger(account))
        if ledger is None:
            raise NotFound("ledger", account)
        return ledger


async def keep_wish(
    store: DocStore,
    account: str,
    pair: Pair,
    *,
    reason: str,
    trace_id: str,
    at_ms: int,
    expected_version: int | None = None,
) -> None:
    """Store that a pair is to be flat: the account's reconciler sees to it, also after a restart.

    Raises `VersionConflict` when `expected_version` is 0 and it is wished already.
    """
    wish = {"account": account, "pair": pair, "reason": reason, "trace_id": trace_id}
    key = f"{account}:{pair}"
    await stored(
        lambda: store.put(
            kinds.FLATTENINGS, key, wish, at_ms=at_ms, expected_version=expected_version
        )
    )


def _named(orders: Sequence[Order], name: str) -> Order | None:
    """The close that was made under this name, or that is itself named so."""
    asked = f"close:{NAMED}{name}"
    exits = (order for order in orders if order.leg is Leg.EXIT)
    return next((o for o in exits if o.decision_id == asked or o.client_order_id == name), None)


def _tries(orders: Sequence[Order]) -> str:
    """Closes that are over: a new one is a new order, a repeat of one under way is the same.

    A filled one counts too: an entry that fills late may leave as much again as was closed.
    """
    over = [order for order in orders if order.reduce_only and order.state.is_terminal]
    return f":{len(over)}" if over else ""
