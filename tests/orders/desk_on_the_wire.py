"""The money actors of a live account without Ray: real store, real adapter, real HTTP, one event loop.

A process is an incarnation of these actors that may die at any call of its store or its venue; the
next one starts from the store alone. What is right is read from the exchange's books and journal.
"""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import contextlib
import inspect
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from actors.approval import Approve
from actors.closing import Closer
from actors.commands import ReconcileReport
from actors.order_executor import Cancel, Execute, ExecutorParts, OrderExecutor
from actors.parts.venue import StoredBans
from actors.reconciler import Reconcile, Reconciler, ReconcilerParts
from actors.risk_ledger import LedgerParts, Mark, RiskLedger
from actors.wiring import LIVE
from desk import ids
from desk.clock import ClockAnchor
from desk.ids import Pair
from desk.runs import Agent, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.valkey import ValkeyStore
from desk.trading import ledger as ledgers
from desk.trading import risk
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.orders import Leg, Order, OrderState, Side
from desk.trading.risk import Approved, Refused
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.wallclock import VenueClock
from tests.actors.direct_doors import DirectDoors
from tests.orders.verdict import judge

PAIR = "BTC-USDT"
LOT = Decimal("0.0050")
ORDER = "trade/order"


class Gone(BaseException):
    """The process ended here: nothing after it runs."""


@dataclass
class Fate:
    """Where a process ends. `crash_at` "before submit" or "after move_order", at its `nth` passing."""

    crash_at: str = ""
    nth: int = 1
    is_dead: bool = False
    passed: Counter[str] = field(default_factory=Counter)

    def passes(self, point: str) -> None:
        if self.is_dead:
            raise Gone(point)
        self.passed[point] += 1
        if point == self.crash_at and self.passed[point] == self.nth:
            self.is_dead = True
            raise Gone(point)


class Mortal:
    """A collaborator of a process: every call of it is a place to die."""

    def __init__(self, inner: Any, fate: Fate) -> None:
        self._inner, self._fate = inner, fate

    def __getattr__(self, name: str) -> Any:
        method, fate = getattr(self._inner, name), self._fate
        if inspect.iscoroutinefunction(method):

            async def wait_for(*args: Any, **kwargs: Any) -> Any:
                fate.passes(f"before {name}")
                answer = await method(*args, **kwargs)
                fate.passes(f"after {name}")
                return answer

            return wait_for
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            fate.passes(f"before {name}")
            answer = method(*args, **kwargs)
            fate.passes(f"after {name}")
            return answer

        return call


@dataclass(kw_only=True)
class Pace:
    """How fast a test's desk looks again."""

    lookup_schedule_s: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8)
    fill_schedule_s: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    light_every_s: float = 3600.0
    """One comparison at the start; a test asks for the others itself."""
    deadline_s: float = 2.0
    ban_pause_s: float = 2.0
    max_decision_age_ms: int = 60_000


class Process(DirectDoors):
    """One incarnation of ledger, executor and reconciler; made inside a running event loop."""

    def __init__(self, store: ValkeyStore, url: str, pace: Pace, fate: Fate) -> None:
        self.fate = fate
        anchor = _anchor(store)
        clock = VenueClock(lambda: anchor)
        money: Any = Mortal(store, fate)
        config = BingxConfig(
            base_url=url,
            api_key="sim-key",
            secret="sim-secret",
            deadline_s=pace.deadline_s,
            ban_pause_s=pace.ban_pause_s,
        )
        self.adapter = BingxVenue(config, store.fills_of_order, bans=StoredBans(store))
        venue: Any = Mortal(self.adapter, fate)

        async def cash() -> Decimal:
            return (await venue.balance()).balance

        ledger_parts = LedgerParts(
            account=LIVE,
            owner="test",
            store=money,
            clock=clock,
            default_policy=risk.default_live_policy(LIVE),
            opening_cash=cash,
            heeds_venue=True,
        )
        executor_parts = ExecutorParts(
            account=LIVE,
            owner="test",
            store=money,
            venue=venue,
            exchange=venue,
            instruments=self.adapter.instruments,
            clock=clock,
            pairs=(PAIR,),
            lookup_schedule_s=pace.lookup_schedule_s,
            fill_schedule_s=pace.fill_schedule_s,
            max_decision_age_ms=pace.max_decision_age_ms,
        )
        reconciler_parts = ReconcilerParts(
            account=LIVE,
            store=money,
            clock=clock,
            venue=venue,
            orders=self,
            ledger=self,
            flattener=Closer(money, clock, lambda _: self, lambda _: self),
            pairs=(PAIR,),
            light_every_s=pace.light_every_s,
            watches_venue=True,
        )
        self.ledger = RiskLedger(lambda: ledger_parts)
        self.executor = OrderExecutor(lambda: executor_parts)
        self.reconciler = Reconciler(lambda: reconciler_parts)

    async def end(self) -> None:
        """As kill -9 would: no task runs on, connections close."""
        self.fate.is_dead = True
        loops = [actor._loop for actor in (self.ledger, self.executor, self.reconciler)]
        tasks = [task for task in (*loops, *self.executor._work.values()) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.adapter.close()


class WireDesk:
    """A live account at the simulator, and what a test does to it."""

    def __init__(self, store: ValkeyStore, simulator: Any, pace: Pace, url: str) -> None:
        self.store, self.simulator, self.pace, self.url = store, simulator, pace, url
        self.process: Process
        self.external: dict[Pair, Decimal] = {}
        """What a story let others do to the positions."""

    # --- its life -------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the venue's clock and contracts as a poller does, then start a first process."""
        venue = BingxVenue(BingxConfig(base_url=self.simulator.url))
        clock, instruments = await venue.server_clock(), await venue.instruments()
        await venue.close()
        fact = {"market_ms": clock.market_ms, "wall_ms": clock.wall_ms, "speed": clock.speed}
        self.store.put(kinds.STATE, "clock", fact, at_ms=clock.market_ms)
        self.store.put(kinds.INSTRUMENTS, PAIR, instruments[PAIR], at_ms=clock.market_ms)
        limits = risk.default_limits()
        self.store.put(kinds.RISK_LIMITS, limits.set_id, limits, at_ms=clock.market_ms)
        agent = Agent(agent_id="desk", name="Desk", allowed_instruments=(PAIR,))
        self.store.put(kinds.AGENTS, agent.agent_id, agent, at_ms=clock.market_ms)
        self.start_run()
        await self.start()
        await self.eventually(lambda: self.store.ledger(LIVE), "an opened ledger")
        await self.mark()
        await self.reconcile()

    async def start(self, crash_at: str = "", nth: int = 1) -> None:
        """Start a process that may be doomed to end at a call."""
        self.process = Process(self.store, self.url, self.pace, Fate(crash_at, nth))

    async def restart(self, crash_at: str = "", nth: int = 1) -> None:
        """End the process as kill -9 would and start the next one."""
        await self.process.end()
        await self.start(crash_at, nth)

    async def close(self) -> None:
        await self.process.end()

    # --- what its users do ------------------------------------------------------------------------

    async def mark(self) -> None:
        price = Decimal(str(self.simulator.state()["prices"][PAIR]))
        await self.process.ledger.mark(Mark(prices={PAIR: price}))

    def intent(self, decision: str, side: Side, quantity: Decimal = LOT) -> OrderIntent:
        ledger = self.books()
        exits = side is Side.SELL
        return OrderIntent(
            account=LIVE,
            run_id="run1",
            decision_id=decision,
            pair=PAIR,
            leg=Leg.EXIT if exits else Leg.ENTRY,
            side=side,
            quantity=quantity,
            reduce_only=exits,
            reference_price=ledger.marks[PAIR],
            decided_open_ms=ledger.marked_ms,
            trace_id=f"tr-{decision}",
        )

    async def approve(
        self, decision: str, side: Side = Side.BUY, quantity: Decimal = LOT
    ) -> Approved[Order] | Refused:
        intent = self.intent(decision, side, quantity)
        return await self.process.ledger.approve(Approve(intent=intent, limits_set_id="default"))

    async def send(
        self, decision: str, side: Side = Side.BUY, quantity: Decimal = LOT
    ) -> Order | None:
        """Approve and execute one order; None when the process ended on the way."""
        try:
            verdict = await self.approve(decision, side, quantity)
            assert isinstance(verdict, Approved), verdict
            return await self.process.executor.execute(Execute(approved=verdict))
        except Gone:
            return None

    async def cancel(self, order: Order) -> Order:
        return await self.process.executor.cancel(
            Cancel(client_order_id=order.client_order_id, reason="operator")
        )

    async def reconcile(self) -> ReconcileReport:
        return await self.process.reconciler.reconcile(Reconcile())

    def start_run(self) -> None:
        """A live run: entries need one, and it is what pauses."""
        run = Run(
            run_id="run1",
            agent_id="desk",
            account=LIVE,
            mode=Mode.LIVE,
            pair=PAIR,
            interval="1m",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.0,
            status=RunStatus.RUNNING,
            started_ms=1,
        )
        self.store.put(kinds.RUNS, run.run_id, run, at_ms=1)

    def run(self) -> Run:
        found = self.store.get(kinds.RUNS, "run1")
        assert found is not None
        return found.value

    # --- waiting ----------------------------------------------------------------------------------

    async def eventually[T](
        self, ask: Callable[[], T | None], what: str | Callable[[], str], *, within_s: float = 15.0
    ) -> T:
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if found := ask():
                return found
            await asyncio.sleep(0.02)
        named = what if isinstance(what, str) else what()
        raise AssertionError(f"not within {within_s:g} s: {named}")

    async def until(self, cid: str, *states: OrderState, within_s: float = 15.0) -> Order:
        """Wait until an order of ours is in one of these states."""

        def there() -> Order | None:
            order = self.store.order(cid)
            return order if order is not None and order.state in states else None

        wanted = [state.value for state in states]
        return await self.eventually(
            there, lambda: f"{wanted}: {self.store.order(cid)}", within_s=within_s
        )

    # --- what is known here ---------------------------------------------------------------------

    def cid(self, decision: str, side: Side = Side.BUY) -> str:
        leg = Leg.EXIT if side is Side.SELL else Leg.ENTRY
        return ids.client_order_id(LIVE, "run1", decision, leg.value)

    def order(self, decision: str, side: Side = Side.BUY) -> Order:
        found = self.store.order(self.cid(decision, side))
        assert found is not None
        return found

    def books(self) -> Ledger:
        ledger = self.store.ledger(LIVE)
        assert ledger is not None
        return ledger

    @property
    def held(self) -> Decimal:
        return ledgers.held_quantity(self.books(), PAIR)

    def alerts(self) -> list[str]:
        return [doc.value.code for doc in self.store.list(kinds.ALERTS)]

    # --- what the exchange knows ------------------------------------------------------------------

    def venue(self) -> Any:
        return self.simulator.state()["accounts"][0]

    def venue_orders(self) -> list[dict[str, Any]]:
        return self.venue()["orders"]

    def venue_held(self) -> Decimal:
        return sum(
            (
                Decimal(row["positionAmt"]) * (1 if row["positionSide"] == "LONG" else -1)
                for row in self.venue()["positions"]
            ),
            Decimal(0),
        )

    def requests(self, method: str, path: str, after: int = 0) -> list[dict[str, Any]]:
        return [
            entry
            for entry in self.simulator.journal(after)
            if entry["method"] == method and entry["path"].endswith(path)
        ]

    def sends(self, cid: str) -> list[dict[str, Any]]:
        """Every request to place this order that reached the exchange, in order."""
        return [
            entry
            for entry in self.requests("POST", ORDER)
            if entry["params"].get("clientOrderID", "").lower() == cid
        ]

    # --- the verdict ------------------------------------------------------------------------------

    def judge(self) -> None:
        judge(self.store, self.simulator, self.external)


@contextlib.asynccontextmanager
async def opened(
    store: ValkeyStore, simulator: Any, pace: Pace, url: str
) -> AsyncGenerator[WireDesk]:
    """A desk whose first process runs; it ends with the test."""
    desk = WireDesk(store, simulator, pace, url)
    await desk.open()
    try:
        yield desk
    finally:
        await desk.close()


def _anchor(store: ValkeyStore) -> ClockAnchor:
    found = store.get(kinds.STATE, "clock")
    assert found is not None
    value = found.value
    return ClockAnchor(market_ms=value["market_ms"], wall_ms=value["wall_ms"], speed=value["speed"])
