"""The live account's actors without Ray, over the adapter and a simulator process: real wire, one store."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from actors.closing import Closer
from actors.commands import BackfillAsk, ReconcileReport
from actors.control import Control, ControlParts
from actors.order_executor import Execute, ExecutorParts, OrderExecutor
from actors.placement import Placement, place
from actors.reconciler import Reconcile, Reconciler, ReconcilerParts
from actors.risk_ledger import LedgerParts, Mark, RiskLedger
from actors.wiring import Wiring
from desk.clock import ClockAnchor
from desk.market.features import FEATURES_V1
from desk.runs import Agent, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Event
from desk.trading import intents, risk
from desk.trading import ledger as books
from desk.trading.intents import OrderIntent, Protection
from desk.trading.ledger import Ledger
from desk.trading.orders import Order
from desk.trading.risk import Approved
from desk.trading.trades import Trade, project
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.wallclock import VenueClock, wall_ms
from tests.actors.direct_doors import DirectDoors
from tests.actors.fakes import PAIR

ACCOUNT, RUN_ID = "live", "run-live"


class LiveStage(DirectDoors):
    """One live run with a stop 1 % and a take-profit 2 % away, on a simulator of its own state.

    `play` runs a scenario in one event loop; the actors' own loops do not run: a scenario turns them.
    """

    def __init__(self, simulator: Any) -> None:
        self.simulator = simulator
        row = simulator.clock()
        anchor = ClockAnchor(market_ms=row["market_ms"], wall_ms=wall_ms(), speed=row["speed"])
        self.clock = VenueClock(lambda: anchor)
        self.store = MemoryStore()
        self.is_blind = False
        self.protection = Protection(
            stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.02")
        )
        self.venue = BingxVenue(
            BingxConfig(base_url=simulator.url, api_key="sim-key", secret="sim-secret"),
            self.store.fills_of_order,
            fill_patience_s=0.0,
        )
        self.ledger = RiskLedger(self._ledger_parts)
        self.executor = self.new_executor()
        parts = ReconcilerParts(
            account=ACCOUNT,
            store=self.store,
            clock=self.clock,
            venue=self.venue,
            orders=self,
            ledger=self,
            flattener=self.closer,
            pairs=(PAIR,),
        )
        self.reconciler = Reconciler(lambda: parts)
        self._seed()

    def new_executor(self) -> OrderExecutor:
        """An executor that takes over; the one before it is fenced."""
        parts = ExecutorParts(
            account=ACCOUNT,
            owner="test",
            store=self.store,
            venue=self.venue,
            clock=self.clock,
            pairs=(PAIR,),
            exchange=self.venue,
            leverage=1,
            instruments=self.venue.instruments,
            lookup_schedule_s=(0.05, 0.1, 0.2, 0.4),
            fill_schedule_s=(0.0, 0.05, 0.1),
        )
        return OrderExecutor(lambda: parts)

    def blind(self) -> None:
        """From now on this executor does not look again at what it does not know."""
        self.is_blind = True
        self.executor._parts = replace(self.executor._parts, lookup_schedule_s=(600.0,))

    async def _quiet(self) -> None:
        if not self.is_blind:
            await self.executor.quiet()

    async def kill_executor(self) -> None:
        """End the executor as kill -9 does, and start the next one."""
        for task in self.executor._work.values():
            task.cancel()
        self.executor, self.is_blind = self.new_executor(), False

    async def turn(self) -> None:
        """One turn of the executor's loop, and all that follows."""
        await self.executor.turn()
        await self.executor.quiet()

    @property
    def control(self) -> Control:
        """The operator's commands on these actors."""
        wiring = Wiring(
            store_url="",
            home=Path("/nowhere"),
            venue_url="",
            pairs=(PAIR,),
            intervals=("1m",),
            api_key=SecretStr("k"),
            secret_key=SecretStr("s"),
        )
        return Control(ControlParts(wiring=wiring, store=self.store, clock=self.clock, floor=self))

    def approver_of(self, account: str) -> "LiveStage":
        return self

    def executor_of(self, account: str) -> "LiveStage":
        return self

    async def watch_run(self, run: Run) -> None:
        """No loops here."""

    async def backfill(self, job_id: str, ask: BackfillAsk) -> None:
        """No pollers here."""

    async def poll_now(self, pair: str, names: tuple[str, ...]) -> None:
        """No pollers here."""

    def play(self, scenario: Callable[["LiveStage"], Awaitable[None]]) -> None:
        async def run() -> None:
            try:
                await self.ledger.turn()
                await self.note_filters()
                await asyncio.wait_for(scenario(self), 60.0)
            finally:
                await self.venue.close()

        asyncio.run(run())

    async def note_filters(self) -> None:
        """What a poller does: the venue's steps and minimums as the desk knows them."""
        instrument = (await self.venue.instruments())[PAIR]
        self.store.put(kinds.INSTRUMENTS, PAIR, instrument, at_ms=self.clock.now_ms())

    # --- ports of the closer and the reconciler -----------------------------------------------

    @property
    def closer(self) -> Closer:
        return Closer(self.store, self.clock, lambda _: self, lambda _: self)

    # --- what happens -------------------------------------------------------------------------

    async def mark(self) -> Decimal:
        """Value the books at the venue's mark price, and return it."""
        price = (await self.venue.mark_price(PAIR)).mark
        await self.ledger.mark(Mark(prices={PAIR: price}))
        return price

    async def decide(self, target: float, decision_id: str = "d1") -> Placement:
        """Move the position to a target as the decision loop does, and wait for what follows."""
        placement = await place(await self.legs(target, decision_id), "default", self, self)
        await self._quiet()
        return placement

    async def legs(self, target: float, decision_id: str) -> list[OrderIntent]:
        price = await self.mark()
        row = self.store.get(kinds.INSTRUMENTS, PAIR)
        assert row is not None
        return intents.intend(
            target,
            held_quantity=self.held,
            size_quote=Decimal(1_000),
            reference_price=price,
            instrument=row.value,
            account=ACCOUNT,
            run_id=RUN_ID,
            decision_id=decision_id,
            decided_open_ms=self.clock.now_ms(),
            trace_id="tr1",
            protection=self.protection,
        )

    async def rest(self, decision_id: str = "resting") -> Order:
        """Have a limit order rest far below the market; the desk itself sends none yet."""
        [leg] = await self.legs(1.0, decision_id)
        order = intents.order_of(
            leg, position=None, reserved_quote=leg.notional, now_ms=self.clock.now_ms()
        )
        limit_price = (leg.reference_price * Decimal("0.9")).quantize(Decimal("0.1"))
        unprotected = {"stop_loss_price": None, "take_profit_price": None}
        order = replace(order, limit_price=limit_price, **unprotected)
        row = self.store.create_order(
            order,
            self.books,
            fence=self.ledger._fence,
            request_id=f"rq-{decision_id}",
            event=_event(order.created_ms),
        )
        sent = await self.executor.execute(
            Execute(approved=Approved(value=row, limits_set_id="default"))
        )
        await self._quiet()
        return sent

    def shock(self, factor: float) -> None:
        """Move the venue's price at once."""
        self.simulator.control("POST", "market", {"pair": PAIR, "shock": factor})

    async def reconcile(self, account: str = ACCOUNT, trace_id: str = "") -> ReconcileReport:
        report = await self.reconciler.reconcile(Reconcile(trace_id=trace_id))
        await self.executor.quiet()
        return report

    async def passes(self, count: int) -> None:
        for _ in range(count):
            await self.reconcile()

    # --- what is stored -----------------------------------------------------------------------

    @property
    def books(self) -> Ledger:
        ledger = self.store.ledger(ACCOUNT)
        assert ledger is not None
        return ledger

    @property
    def held(self) -> Decimal:
        return books.held_quantity(self.books, PAIR)

    @property
    def run(self) -> Run:
        row = self.store.get(kinds.RUNS, RUN_ID)
        assert row is not None
        return row.value

    def order(self, client_order_id: str) -> Order:
        found = self.store.order(client_order_id)
        assert found is not None
        return found

    def orders(self) -> list[Order]:
        """Oldest first."""
        trades = reversed(self.store.trade_ids(account=ACCOUNT))
        return [order for trade in trades for order in self.store.orders_of_trade(trade)]

    def trade(self, trade_id: str) -> Trade:
        return project(
            self.store.orders_of_trade(trade_id),
            self.books.positions.get(PAIR),
            mode=ACCOUNT,
            leverage=Decimal(1),
        )

    def alerts(self) -> list[str]:
        return sorted(doc.value.code for doc in self.store.list(kinds.ALERTS))

    def sent(self, method: str = "POST", path: str = "trade/order") -> list[dict[str, Any]]:
        """Parameters of the requests that reached the venue, by its own journal."""
        return [
            entry["params"]
            for entry in self.simulator.journal()
            if entry["method"] == method and entry["path"].endswith(path)
        ]

    def _ledger_parts(self) -> LedgerParts:
        async def cash() -> Decimal:
            return (await self.venue.balance()).balance

        return LedgerParts(
            account=ACCOUNT,
            owner="test",
            store=self.store,
            clock=self.clock,
            default_policy=risk.default_live_policy(ACCOUNT),
            opening_cash=cash,
        )

    def _seed(self) -> None:
        at_ms = self.clock.now_ms()
        agent = Agent(agent_id="desk", name="Desk", allowed_instruments=(PAIR,))
        run = Run(
            run_id=RUN_ID,
            agent_id="desk",
            account=ACCOUNT,
            mode=Mode.LIVE,
            pair=PAIR,
            interval="1m",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            status=RunStatus.RUNNING,
            started_ms=at_ms,
            feature_set_id=FEATURES_V1.feature_set_id,
            stop_loss_fraction=self.protection.stop_loss_fraction,
            take_profit_fraction=self.protection.take_profit_fraction,
        )
        self.store.put(kinds.AGENTS, "desk", agent, at_ms=at_ms)
        self.store.put(kinds.RUNS, RUN_ID, run, at_ms=at_ms)
        self.store.put(kinds.RISK_LIMITS, "default", risk.default_limits(), at_ms=at_ms)


def _event(at_ms: int) -> Event:
    return Event(topic="test", key="test", data={}, at_ms=at_ms)
