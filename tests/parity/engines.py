"""The executions of the fill specification side by side, and what counts as agreement."""

import asyncio
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from desk.clock import ManualClock
from desk.engines import nautilus
from desk.evaluation import fast
from desk.evaluation.plan import Plan, Replay, fold, planned_orders, replay
from desk.learning import kernel_exits
from desk.learning.arrays import MarketArrays
from desk.market.candles import Candle, Candles
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.trading.fills import FillCause, LotOrder, TickCandle
from desk.trading.orders import Fill, Leg, Order, Side
from desk.trading.tape import Market
from desk.venues.paper import PaperVenue, paper_books
from desk.venues.port import FundingRate

CASH = Decimal(100_000)
CAUSES = {
    kernel_exits.BY_ORDER: FillCause.ORDER,
    kernel_exits.BY_STOP: FillCause.STOP,
    kernel_exits.BY_TAKE_PROFIT: FillCause.TAKE_PROFIT,
    kernel_exits.BY_LIQUIDATION: FillCause.LIQUIDATION,
}


def assert_nautilus_agrees(market: Market, plan: Plan) -> Replay:
    """Equal fills and funding, balance exactly by our fold and to 1e-6 by its own books."""
    twin, witness = replay(market, plan, CASH), nautilus.evaluate(market, plan, CASH)

    assert [(f.filled_ms, f.lots, f.price_ticks, f.fee, f.cause) for f in witness.fills] == [
        (f.filled_ms, f.lots, f.price_ticks, f.fee, f.cause) for f in twin.fills
    ]
    assert witness.funding == twin.funding
    assert fold(witness.fills, witness.funding, CASH, market.instrument) == twin.balance
    assert abs(witness.balance - twin.balance) <= Decimal("1e-6")
    return twin


def assert_kernel_agrees(market: Market, plan: Plan) -> Replay:
    """Equal fills, fees to half a rounding step, balance to half a cent."""
    twin = replay(market, plan, CASH)
    features = np.zeros((len(market.tape), 1), dtype=np.float32)
    ours = fast.run_plan(MarketArrays.from_market(market, features), plan, float(CASH))

    tape = market.tape
    stamps = np.where(ours.fills[:, 1], tape.close_ms[ours.fills[:, 0]], 0)
    stamps += np.where(ours.fills[:, 1], 0, tape.open_ms[ours.fills[:, 0]] + 1_000)
    assert [
        (int(at), int(row[2]), int(row[3]), CAUSES[int(row[4])], bool(row[5]))
        for at, row in zip(stamps, ours.fills, strict=True)
    ] == [(f.filled_ms, f.lots, f.price_ticks, f.cause, f.is_maker) for f in twin.fills]
    assert np.allclose(ours.fees, [float(f.fee) for f in twin.fills], rtol=0, atol=0.6e-8)
    assert abs(ours.balance - float(twin.balance)) <= 0.005
    assert ours.equity[-1] == ours.balance
    return twin


def assert_paper_agrees(market: Market, plan: Plan, *, killed_on: Sequence[int] = ()) -> Replay:
    """Equal fills and exactly equal balance, whatever the deliveries and deaths on the way."""
    twin = replay(market, plan, CASH)
    paper = PaperTape(market)
    asyncio.run(paper.run(plan, set(killed_on)))

    assert [
        (f.filled_ms, f.side.sign * f.quantity, f.price, f.fee) for f in asyncio.run(paper.fills())
    ] == [
        (
            f.filled_ms,
            market.instrument.quantity_of(f.lots),
            market.instrument.price_of(f.price_ticks),
            f.fee,
        )
        for f in twin.fills
    ]
    balance = asyncio.run(paper.venue.balance())
    assert balance.balance == twin.balance
    paid = [p for p in asyncio.run(paper.venue.funding(paper.pair)) if p.rate is not None]
    assert paid == list(twin.funding)
    assert asyncio.run(paper.venue.positions()) == []
    return twin


class PaperTape:
    """A tape delivered candle by candle to the paper venue, orders sent on every close."""

    def __init__(self, market: Market) -> None:
        self.market, self.pair = market, market.instrument.pair
        self.store, self.clock = MemoryStore(), ManualClock(0)
        self.venue = self.restart()
        for due in market.dues:
            assert due.rate is not None
            rate = FundingRate(pair=self.pair, due_ms=due.due_ms, rate=due.rate)
            kind = kinds.funding_rates(self.pair)
            self.store.put(kind, str(due.due_ms), rate, at_ms=due.due_ms)

    def restart(self) -> PaperVenue:
        instruments = {self.pair: self.market.instrument}
        self.venue = PaperVenue(
            "paper", self.store, instruments, self.clock, self.market.spec, starting_cash=CASH
        )
        return self.venue

    async def run(self, plan: Plan, killed_on: set[int]) -> None:
        """A candle in `killed_on` is delivered twice, and the venue dies before and after its orders."""
        rows = list(self.market.tape.rows())
        for index, candle in enumerate(rows):
            await self.deliver(candle)
            if index in killed_on:
                self.restart()
                await self.venue.settle(self.pair, candle.open_ms)
            if index < len(rows) - 1:
                for order in planned_orders(plan, index, self.held()):
                    await self.venue.submit(self.order(order, candle))
            if index in killed_on:
                self.restart()

    async def deliver(self, candle: TickCandle) -> None:
        prices = [float(self.market.instrument.price_of(ticks)) for ticks in candle[1:]]
        row = Candles.of([Candle(candle.open_ms, *prices, volume=1.0)])
        interval = self.market.spec.interval
        self.store.write_candles(self.pair, interval, row)
        self.clock.set(candle.open_ms + 60_000)
        await self.venue.settle(self.pair, candle.open_ms)

    def held(self) -> int:
        doc = self.store.get(paper_books("paper"), self.pair)
        return doc.value.book.lots if doc else 0

    def order(self, wanted: LotOrder, candle: TickCandle) -> Order:
        instrument = self.market.instrument
        return Order(
            client_order_id=f"t1{wanted.order_id.replace('-', 'x')}",
            account="paper",
            run_id="run",
            decision_id=wanted.order_id,
            trade_id="trade",
            pair=self.pair,
            leg=Leg.EXIT if wanted.reduce_only else Leg.ENTRY,
            side=Side.of(wanted.lots),
            quantity=instrument.quantity_of(abs(wanted.lots)),
            reduce_only=wanted.reduce_only,
            reference_price=instrument.price_of(candle.close),
            decided_open_ms=candle.open_ms,
            created_ms=candle.open_ms + 60_000,
            trace_id="tr",
        )

    async def fills(self) -> list[Fill]:
        """All fills, those of orders that left the book too, in the order of orders sent."""
        end_ms = self.clock.now_ms() + 1
        orders = await self.venue.orders_between(self.pair, 0, end_ms)
        orders.sort(key=lambda order: (order.updated_ms, order.client_order_id))
        return [fill for order in orders for fill in await self.venue.fills(self.pair, order)]
