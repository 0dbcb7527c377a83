"""The paper venue as one more execution of a plan: its tape delivered candle by candle, as live ones are."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

from desk.clock import ManualClock
from desk.errors import BadInput
from desk.evaluation.plan import Plan, Replay, planned_orders
from desk.market.candles import Candle, Candles
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.trading.fills import (
    ZERO,
    FillCause,
    FundingPayment,
    LotFill,
    LotOrder,
    TickCandle,
)
from desk.trading.orders import ExitKind, Fill, Leg, Order, Side, VenueOrder
from desk.trading.tape import Market
from desk.venues.paper import PaperVenue, paper_books
from desk.venues.port import FundingRate

ACCOUNT = "parity"

_CAUSES: Mapping[ExitKind | None, FillCause] = {
    None: FillCause.ORDER,
    ExitKind.STOP_LOSS: FillCause.STOP,
    ExitKind.TAKE_PROFIT: FillCause.TAKE_PROFIT,
}


def replay(
    market: Market, plan: Plan, cash: Decimal, *, killed_on: Collection[int] = frozenset()
) -> Replay:
    """What the paper venue makes of a plan, from a store in memory.

    On the candles in `killed_on` the venue dies before and after its orders, and the candle comes
    twice. Raises `BadInput` for what it cannot be given: stops that are liquidations, an interval
    that does not divide 8h.
    """
    if plan.is_liquidation[plan.stop_ticks != 0].any():
        raise BadInput("plan", "had a stop that is a liquidation: an order cannot carry one")
    return asyncio.run(_run(market, plan, cash, killed_on))


async def _run(market: Market, plan: Plan, cash: Decimal, killed_on: Collection[int]) -> Replay:
    asyncio.get_running_loop().set_default_executor(_Here())
    return await _Tape(market, cash).run(plan, killed_on)


class _Here(ThreadPoolExecutor):
    """Runs what it is given at once: a store in memory is not worth a thread, which costs more."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as wrong:  # noqa: BLE001 - it belongs to whoever waits for the future
            future.set_exception(wrong)
        return future


class _Tape:
    """One account of one pair and its tape."""

    def __init__(self, market: Market, cash: Decimal) -> None:
        self._market, self._cash, self._pair = market, cash, market.instrument.pair
        self._store, self._clock = MemoryStore(), ManualClock(0)
        self._step_ms = interval_ms(market.spec.interval)
        self._venue = self._born()
        self._fills: list[LotFill] = []
        self._paid: dict[int, FundingPayment] = {}
        for due in market.dues:
            if due.rate is not None:
                rate = FundingRate(pair=self._pair, due_ms=due.due_ms, rate=due.rate)
                kind = kinds.funding_rates(self._pair)
                self._store.put(kind, str(due.due_ms), rate, at_ms=due.due_ms)

    async def run(self, plan: Plan, killed_on: Collection[int]) -> Replay:
        rows = list(self._market.tape.rows())
        dues = {due.due_ms for due in self._market.dues}
        for index, candle in enumerate(rows):
            await self._deliver(candle)
            if index in killed_on:
                self._venue = self._born()
                await self._settle(candle)
            if index < len(rows) - 1:
                for order in planned_orders(plan, index, self._held()):
                    await self._venue.submit(self._order(order, candle, plan, index))
            if index in killed_on:
                self._venue = self._born()
            passed = {due_ms for due_ms in dues if due_ms < candle.open_ms + self._step_ms}
            if passed:
                dues -= passed
                await self._collect_funding()
        await self._collect_funding()
        balance = await self._venue.balance()
        return Replay(
            fills=tuple(self._fills),
            funding=tuple(self._paid[due_ms] for due_ms in sorted(self._paid)),
            balance=balance.balance,
        )

    def _born(self) -> PaperVenue:
        return PaperVenue(
            ACCOUNT,
            self._store,
            {self._pair: self._market.instrument},
            self._clock,
            self._market.spec,
            starting_cash=self._cash,
        )

    async def _deliver(self, candle: TickCandle) -> None:
        interval = self._market.spec.interval
        prices = [float(self._market.instrument.price_of(ticks)) for ticks in candle[1:]]
        row = Candles.of([Candle(candle.open_ms, *prices, volume=1.0)])
        # What is settled is not read again, and a store in memory sorts all it has at each read.
        self._store.drop_candles(self._pair, interval, candle.open_ms)
        self._store.write_candles(self._pair, interval, row)
        self._clock.set(candle.open_ms + self._step_ms)
        await self._settle(candle)

    async def _settle(self, candle: TickCandle) -> None:
        for key in await self._venue.settle(self._pair, candle.open_ms):
            order = await self._venue.look_up(self._pair, key)
            assert order is not None, "what changed is there"
            for fill in await self._venue.fills(self._pair, order):
                self._fills.append(self._lot_fill(order, fill))

    async def _collect_funding(self) -> None:
        # A rate that nobody gave is one that the case does not have.
        self._paid |= {
            payment.due_ms: payment
            for payment in await self._venue.funding(self._pair)
            if payment.rate is not None
        }

    def _held(self) -> int:
        doc = self._store.get(paper_books(ACCOUNT), self._pair)
        return doc.value.book.lots if doc else 0

    def _order(self, wanted: LotOrder, candle: TickCandle, plan: Plan, index: int) -> Order:
        instrument, exits = self._market.instrument, plan.exits(index)
        take_ticks = exits.take_ticks if exits else None
        return Order(
            client_order_id=f"t1{wanted.order_id.replace('-', 'x')}",
            account=ACCOUNT,
            run_id="run",
            decision_id=wanted.order_id,
            trade_id="trade",
            pair=self._pair,
            leg=Leg.EXIT if wanted.reduce_only else Leg.ENTRY,
            side=Side.of(wanted.lots),
            quantity=instrument.quantity_of(abs(wanted.lots)),
            reduce_only=wanted.reduce_only,
            reference_price=instrument.price_of(candle.close),
            decided_open_ms=candle.open_ms,
            created_ms=candle.open_ms + self._step_ms,
            trace_id="tr",
            stop_loss_price=instrument.price_of(exits.stop_ticks) if exits else None,
            take_profit_price=None if take_ticks is None else instrument.price_of(take_ticks),
        )

    def _lot_fill(self, order: VenueOrder, fill: Fill) -> LotFill:
        instrument, cause = self._market.instrument, _CAUSES[order.exit_kind]
        return LotFill(
            order_id=order.client_order_id,
            cause=cause,
            lots=fill.side.sign * instrument.to_lots(fill.quantity),
            price_ticks=instrument.to_ticks(fill.price),
            fee=fill.fee,
            realized_pnl=ZERO,
            is_maker=fill.is_maker,
            filled_ms=fill.filled_ms,
        )
