"""The money actors of a paper account and one run, wired to each other without Ray, over one store."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np

from actors import source_book
from actors.approval import Approve
from actors.candle_messages import CandleClosed
from actors.decision_loop import DecisionLoop, LoopParts
from actors.names import ActorAway
from actors.order_executor import Execute, ExecutorParts, OrderExecutor, Settle
from actors.risk_ledger import LedgerParts, Mark, RiskLedger
from desk import ids
from desk.clock import MINUTE_MS, ClockAnchor, ManualClock
from desk.errors import NotFound
from desk.learning.policy import PolicyAnswer
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.runs import Agent, DecisionRecord, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Store
from desk.trading import risk
from desk.trading.fills import FillSpec
from desk.trading.intents import OrderIntent
from desk.trading.orders import Fill, Order
from desk.trading.risk import Approved, Refused
from desk.venues.paper import PaperVenue
from tests.actors.fakes import BTC, PAIR

BEGIN_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
RUN_ID = "run1"


class MarketTime(ManualClock):
    """A manual clock that knows its speed."""

    speed = 1.0
    round_trip_ms = 0
    """How long its reading took."""

    @property
    def anchor(self) -> ClockAnchor:
        return ClockAnchor(
            market_ms=self.now_ms(),
            wall_ms=self.now_ms(),
            speed=self.speed,
            round_trip_ms=self.round_trip_ms,
        )


@dataclass
class FixedPolicy:
    """Wants what the test says; may also fail."""

    target: float = 0.0
    targets: list[float] = field(default_factory=list)
    """Wanted one after the other, before `target` is."""
    held: bool = False
    confidence: float = 0.9
    failure: Exception | None = None
    hang_s: float = 0.0
    asked: list[str] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)

    async def decide(self, version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
        self.asked.append(version_id)
        self.thresholds.append(threshold)
        await asyncio.sleep(self.hang_s)
        if self.failure is not None:
            raise self.failure
        return PolicyAnswer(
            target=self.targets.pop(0) if self.targets else self.target,
            confidence=self.confidence,
            held=self.held,
            reason="low_confidence" if self.held else "",
            logits=(0.1, 0.2, 0.7),
            version_id=version_id,
        )

    async def decide_each(
        self, version_id: str, features: list[float], threshold: float
    ) -> tuple[PolicyAnswer, PolicyAnswer, PolicyAnswer]:
        answer = await self.decide(version_id, [*features, 0.0], threshold)
        return answer, answer, answer


class Stage:
    """A paper account on one pair with 300 stored candles; `next_candle` lets the market go on."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.clock = MarketTime(BEGIN_MS)
        self.policy = FixedPolicy()
        self.prices = np.random.default_rng(7)
        self.next_open_ms = BEGIN_MS
        self.price = 40_000.0
        self.is_ledger_away = self.is_executor_away = self.is_hand_over_lost = False
        self._seed()
        self.ledger, self.executor, self.loop = (
            self.new_ledger(),
            self.new_executor(),
            self.new_loop(),
        )

    # --- actors -------------------------------------------------------------------------------

    def new_ledger(self) -> RiskLedger:
        async def cash() -> Decimal:
            return Decimal(10_000)

        parts = LedgerParts(
            account="paper",
            owner="test",
            store=self.store,
            clock=self.clock,
            default_policy=risk.default_paper_policy(),
            opening_cash=cash,
            execute=self.hand_over,
        )
        ledger = RiskLedger(lambda: parts)
        asyncio.run(ledger.turn())
        return ledger

    def new_executor(self) -> OrderExecutor:
        venue = PaperVenue("paper", self.store, {PAIR: BTC}, self.clock, FillSpec())
        parts = ExecutorParts(
            account="paper",
            owner="test",
            store=self.store,
            venue=venue,
            clock=self.clock,
            pairs=(PAIR,),
            paper=venue,
            fill_schedule_s=(0.0,),
            lookup_schedule_s=(0.0,) * 10,
        )
        return OrderExecutor(lambda: parts)

    def new_loop(self) -> DecisionLoop:
        parts = LoopParts(
            run_id=RUN_ID,
            store=self.store,
            clock=self.clock,
            policy=self.policy,
            approver=self,
            executor=self,
            policy_deadline_s=0.05,
        )
        return DecisionLoop(lambda: parts)

    async def approve(
        self, intent: OrderIntent, limits_set_id: str, *, after: str = ""
    ) -> Approved[Order] | Refused:
        if self.is_ledger_away:
            raise ActorAway("risk_ledger:paper", "killed")
        ask = Approve(intent=intent, limits_set_id=limits_set_id, after=after)
        return await self.ledger.approve(ask)

    async def hand_over(self, approved: Approved[Order]) -> Order:
        """The ledger's own way to the executor."""
        if self.is_hand_over_lost:
            raise ActorAway("order_executor:paper", "cut off")
        return await self.execute(approved)

    async def execute(self, approved: Approved[Order]) -> Order:
        if self.is_executor_away:
            raise ActorAway("order_executor:paper", "killed")
        return await self.executor.execute(Execute(approved=approved))

    # --- the market ---------------------------------------------------------------------------

    def candles(self, count: int) -> Candles:
        closes = self.price * np.cumprod(1 + self.prices.normal(0, 0.0005, count))
        opens = np.concatenate([[self.price], closes[:-1]])
        self.price = float(closes[-1])
        opens, closes = np.round(opens, 1), np.round(closes, 1)
        return Candles(
            open_ms=self.next_open_ms + MINUTE_MS * np.arange(count, dtype=np.int64),
            open=opens,
            high=np.maximum(opens, closes) + 5.0,
            low=np.minimum(opens, closes) - 5.0,
            close=closes,
            volume=np.full(count, 12.5),
        )

    def store_candles(self, count: int) -> CandleClosed:
        """Let `count` candles close; only the newest is anybody's news."""
        batch = self.candles(count)
        self.store.write_candles(PAIR, "1m", batch)
        self.next_open_ms = int(batch.open_ms[-1]) + MINUTE_MS
        self.clock.set(self.next_open_ms + 500)
        book = source_book.SourceBook(PAIR, self.store, self.clock)
        delivered = book.delivered(source_book.CANDLES, "1m", last_event_ms=self.next_open_ms)
        asyncio.run(delivered)
        open_ms = int(batch.open_ms[-1])
        trace_id = ids.trace_id("candle", PAIR, "1m", open_ms)
        return CandleClosed(
            pair=PAIR, interval="1m", open_ms=open_ms, trace_id=trace_id, candle=batch.row(-1)
        )

    def next_candle(self) -> CandleClosed:
        """One candle closes, what waits for it is filled, the books are marked."""
        closed = self.store_candles(1)

        async def settle() -> None:
            await self.executor.settle(Settle(pair=PAIR, upto_open_ms=closed.open_ms))
            await self.executor.quiet()
            await self.ledger.mark(Mark(prices={PAIR: Decimal(str(round(self.price, 1)))}))

        asyncio.run(settle())
        return closed

    def tell(self, closed: CandleClosed, loop: DecisionLoop | None = None) -> None:
        """Deliver a candle to the loop and wait for all that follows."""

        async def deliver() -> None:
            await (loop or self.loop).on_candle_closed(closed)
            await self.executor.quiet()

        asyncio.run(deliver())

    def decide(self, target: float) -> DecisionRecord:
        """One candle, on which the policy wants this."""
        self.policy.target = target
        closed = self.next_candle()
        self.tell(closed)
        return self.decisions()[0]

    # --- what is stored -----------------------------------------------------------------------

    def decisions(self) -> list[DecisionRecord]:
        """Newest first."""
        return [doc.value for doc in self.store.list(kinds.decisions_of_run(RUN_ID))]

    def orders(self) -> list[Order]:
        """Oldest first."""
        trades = reversed(self.store.trade_ids(account="paper"))
        return [order for trade in trades for order in self.store.orders_of_trade(trade)]

    def fills(self) -> list[Fill]:
        return [
            fill
            for order in self.orders()
            for fill in self.store.fills_of_order(order.client_order_id)
        ]

    @property
    def held(self) -> Decimal:
        ledger = self.store.ledger("paper")
        position = ledger.positions.get(PAIR) if ledger else None
        return position.quantity if position else Decimal(0)

    @property
    def run(self) -> Run:
        found = self.store.get(kinds.RUNS, RUN_ID)
        if found is None:
            raise NotFound("run", RUN_ID)
        return found.value

    def change_run(self, change: Callable[[Run], Run]) -> None:
        run = change(self.run)
        self.store.put(kinds.RUNS, RUN_ID, run, at_ms=run.started_ms)

    def _seed(self) -> None:
        agent = Agent(
            agent_id="desk", name="Desk", allowed_instruments=(PAIR,), active_version_id="v1"
        )
        run = Run(
            run_id=RUN_ID,
            agent_id="desk",
            account="paper",
            mode=Mode.PAPER,
            pair=PAIR,
            interval="1m",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            status=RunStatus.RUNNING,
            started_ms=BEGIN_MS,
            feature_set_id=FEATURES_V1.feature_set_id,
        )
        limits = replace(risk.default_limits(), max_open_positions=3)
        self.store.put(kinds.AGENTS, "desk", agent, at_ms=BEGIN_MS)
        self.store.put(kinds.RUNS, RUN_ID, run, at_ms=BEGIN_MS)
        self.store.put(kinds.RISK_LIMITS, "default", limits, at_ms=BEGIN_MS)
        self.store.put(kinds.INSTRUMENTS, PAIR, BTC, at_ms=BEGIN_MS)
        self.store_candles(300)
