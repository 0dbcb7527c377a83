"""Executions and funding on their way into the ledger: each is booked once, whoever brings it."""

import structlog

from actors.events import fill_event, position_event
from actors.heartbeat import leave
from actors.store_calls import RequestIds, measured, retried, stored
from desk import ids, meters
from desk.clock import Clock
from desk.errors import Fenced, NotFound
from desk.ids import Pair
from desk.store import kinds
from desk.store.port import Fence, Sample, Store
from desk.trading import ledger as books
from desk.trading import orders
from desk.trading.fills import FundingPayment
from desk.trading.ledger import Ledger
from desk.trading.orders import Fill, Order, OrderEffect

log = structlog.stdlib.get_logger()


class FillBooks:
    """Books of one account as its executor writes them. A newer executor's epoch ends this process."""

    def __init__(self, account: str, store: Store, fence: Fence, clock: Clock) -> None:
        self._account, self._store, self._fence, self._clock = account, store, fence, clock
        self._requests = RequestIds(f"{fence.role}:fills", fence.epoch)

    async def book(
        self, client_order_id: str, fill: Fill
    ) -> tuple[Order, list[OrderEffect]] | None:
        """Move fill, order and ledger in one call; None when the fill was known."""
        booked = await retried(lambda: self._try(client_order_id, fill))
        if booked is None:
            return None
        order, ledger, effects = booked
        await self._announce(fill, order, ledger)
        return order, effects

    async def ledger(self) -> Ledger:
        """The books as they stand. Raises `NotFound` before the risk ledger created them."""
        ledger = await stored(lambda: self._store.ledger(self._account))
        if ledger is None:
            raise NotFound("ledger", self._account)
        return ledger

    async def _try(
        self, client_order_id: str, fill: Fill
    ) -> tuple[Order, Ledger, list[OrderEffect]] | None:
        order = await stored(lambda: self._store.order(client_order_id))
        if order is None:
            raise NotFound("order", client_order_id)
        ledger, now_ms = await self.ledger(), self._clock.now_ms()
        ledger_after, realized = books.book_fill(ledger, fill, order=order)
        event = orders.FillBooked(fill=fill, realized_pnl=realized)
        after, effects = orders.advance(order, event, now_ms=now_ms)
        request_id = self._requests.fresh("fill")
        try:
            booked = await stored(
                lambda: self._store.apply_fill(
                    fill,
                    order,
                    after,
                    ledger,
                    ledger_after,
                    fence=self._fence,
                    request_id=request_id,
                    event=fill_event(fill, after, at_ms=now_ms),
                )
            )
        except Fenced as newer:
            leave(str(newer))
        return None if booked is None else (*booked, effects)

    async def _announce(self, fill: Fill, order: Order, ledger: Ledger) -> None:
        now_ms = self._clock.now_ms()
        moved = position_event(ledger, fill.pair, at_ms=now_ms, trace_id=order.trace_id)
        slippage = (fill.price - order.reference_price) / order.reference_price
        slippage_bps = float(slippage * fill.side.sign * 10_000)
        meters.FILLS.count(self._account)
        meters.TRADED.count(self._account, by=float(fill.price * fill.quantity))
        meters.SLIPPAGE.observe(slippage_bps, self._account)
        sample = Sample(
            name="slippage_bps",
            value=slippage_bps,
            unit="bps",
            recorded_at_ms=now_ms,
            tags={"pair": fill.pair, "account": self._account},
            trace_id=order.trace_id,
        )
        log.info(
            "fill_booked",
            client_order_id=fill.client_order_id,
            trace_id=order.trace_id,
            account=self._account,
            pair=fill.pair,
            quantity=str(fill.quantity),
            price=str(fill.price),
        )
        await stored(lambda: self._store.emit(moved))
        await measured(self._store, [sample])

    async def book_funding(self, pair: Pair, payments: list[FundingPayment]) -> None:
        """Book a venue's settlements of a pair, oldest first, up to one whose rate is not known yet.

        A cursor per pair and a request id per settlement: a crash in between books nothing twice.
        """
        key = f"funding:{self._account}:{pair}"
        cursor = await stored(lambda: self._store.get(kinds.STATE, key))
        booked_ms = int(cursor.value["booked_ms"]) if cursor else 0
        for payment in payments:
            if payment.due_ms <= booked_ms:
                continue
            if payment.rate is None:
                return
            await self._book_settlement(pair, payment, key)

    async def _book_settlement(self, pair: Pair, payment: FundingPayment, cursor: str) -> None:
        request_id = ids.request_id("funding", self._account, pair, payment.due_ms)

        async def attempt() -> None:
            before = await self.ledger()
            after = books.book_funding(before, payment.amount, due_ms=payment.due_ms)
            event = position_event(after, pair, at_ms=self._clock.now_ms())
            await stored(
                lambda: self._store.move_ledger(
                    before, after, fence=self._fence, request_id=request_id, event=event
                )
            )

        try:
            await retried(attempt)
        except Fenced as newer:
            leave(str(newer))
        done = {"booked_ms": payment.due_ms}
        await stored(lambda: self._store.put(kinds.STATE, cursor, done, at_ms=payment.due_ms))
