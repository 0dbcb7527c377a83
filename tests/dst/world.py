"""One seed: the real ledger, executor and reconciler over the memory store, in a storm, in virtual time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from random import Random
from typing import Any
from unittest import mock

import structlog

from actors import heartbeat, store_calls
from actors.closing import Closer
from actors.names import ActorAway
from actors.order_executor import ExecutorParts, OrderExecutor
from actors.placement import place
from actors.reconciler import Reconciler, ReconcilerParts
from actors.risk_ledger import Adjust, LedgerParts, Mark, RiskLedger
from desk import wallclock
from desk.clock import ClockAnchor
from desk.errors import DeskError, LimitReached, StoreUnavailable
from desk.ids import Pair
from desk.runs import Agent, Mode, Run, RunStatus
from desk.store import kinds, memory_documents, memory_money, rows
from desk.store.codec import from_json
from desk.store.memory import MemoryStore
from desk.store.port import Event
from desk.trading import intents, risk
from desk.trading import ledger as books
from desk.trading.instruments import Instrument
from desk.trading.intents import OrderIntent
from desk.trading.limits import RiskLimitSet
from tests.actors.direct_doors import DirectDoors
from tests.dst.checks import Witness
from tests.dst.exchange import LOT, PAIRS, START_MS, Exchange, Wire
from tests.dst.incarnation import Halted, Incarnation, exit_process
from tests.dst.loop import VirtualLoop
from tests.dst.mix import CALM, Mix

ACCOUNT = "live"
STORM_S = 30.0
PROMPT_S = 30.0
"""What ended at the venue must have ended here so long after it, or after the storm (L1)."""
CONVERGE_S = 60.0
"""And everything else (L2 to L4). A run ends early once two looks found nothing left to do."""
LOOK_S = 5.0
MARK_EVERY_S = 8.0
MONEY_S = 15.0
EDIT_WITHIN_S = 0.04
"""About as long as an approval takes from its first read to its row."""
SPENT_S = (0.0, 0.0, 0.0, 0.001, 0.01)
"""What a call of the store takes."""
CASH = Decimal(10_000)
LEDGER, EXECUTOR, RECONCILER = "ledger", "executor", "reconciler"
MODEL_IS_WRONG = frozenset({"illegal_transition", "invariant_breached", "overfill"})
"""Alerts that no storm may cause: they say that our own picture contradicts itself."""
CHANGES = frozenset(
    {
        "create_order",
        "move_order",
        "apply_fill",
        "create_ledger",
        "move_ledger",
        "adjust_ledger",
        "renew_lease",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is made of besides its faults."""

    decisions: int = 5
    reconciles: bool = True
    """False switches the layer above off, so that its absence cannot hide a fault below."""
    crash_at: int | None = None
    """Die at exactly this crash point, counted from 0, instead of by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    seed: int
    breaches: tuple[str, ...]
    trace_hash: str
    events: int
    crash_points: int
    crashes: int
    orders: int


class MarketTime:
    """Market time is the loop's."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return START_MS + round(self._loop.now_s * 1000)

    @property
    def anchor(self) -> ClockAnchor:
        return ClockAnchor(market_ms=self.now_ms(), wall_ms=self.now_ms())


class StoreLine:
    """The store as one process sees it: it may be away, and its answers may be lost."""

    def __init__(self, world: "World", incarnation: Incarnation) -> None:
        self._world, self._incarnation = world, incarnation

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._world.store, name)
        world, incarnation = self._world, self._incarnation

        def change(*args: Any, **kwargs: Any) -> Any:
            incarnation.point(f"{name}.before")
            world.lose(world.mix.store_before, incarnation)
            result = call(*args, **kwargs)
            arguments = {**kwargs, "fill": args[0]} if name == "apply_fill" else kwargs
            world.witness.stored(name, result, incarnation, arguments)
            incarnation.point(f"{name}.after")
            world.lose(world.mix.store_after, incarnation)
            return result

        def read(*args: Any, **kwargs: Any) -> Any:
            incarnation.point(name, can_crash=False)
            return call(*args, **kwargs)

        chosen = change if name in CHANGES else read
        self.__dict__[name] = chosen
        return chosen


class Doors(DirectDoors):
    """Other actors, asked by name: whoever lives under it then. The call or the answer may be lost."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def ask(self, role: str, method: str, message: Any) -> Any:
        world = self._world
        if isinstance(message, Adjust):
            asked = (message.pair, message.quantity)
            world.witness.asked_adjustments[message.adjustment_id] = asked
        if world.rng.random() < world.mix.lost_call / 2:
            await asyncio.sleep(MONEY_S)
            raise ActorAway(role, "no answer")
        incarnation = world.alive.get(role)
        if incarnation is None:
            await asyncio.sleep(0.2)
            raise ActorAway(role, "restarting")
        work = world.spawn(getattr(incarnation.shell, method)(message), incarnation.context)
        await asyncio.wait(
            (work, incarnation.died), timeout=MONEY_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not work.done() or isinstance(work.exception(), Halted):
            raise ActorAway(role, "no answer")
        if world.rng.random() < world.mix.lost_call / 2:
            raise ActorAway(role, "answer lost")
        return work.result()


class World:
    """Everything of one run, and its story from the first decision to the last check."""

    def __init__(self, seed: int, mix: Mix, plan: Plan) -> None:
        self.seed, self.mix, self.plan = seed, mix, plan
        self.wind = mix
        """The storm's mix, also after the storm."""
        self.rng, self.edits = Random(f"world:{seed}"), Random(f"limits:{seed}")
        self.loop = VirtualLoop()
        self.store = MemoryStore()
        self.exchange = Exchange(self.loop, Random(f"venue:{seed}"), mix)
        self.witness = Witness(
            self.store,
            self.exchange,
            exposure_cap=CASH * risk.default_live_policy().max_total_exposure,
        )
        self.exchange.witness = self.witness
        self.clock = MarketTime(self.loop)
        self.doors = Doors(self)
        self.closer = Closer(self.store, self.clock, lambda _: self.doors, lambda _: self.doors)
        self.alive: dict[str, Incarnation] = {}
        self.incarnations: list[Incarnation] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.crash_points = self.crashes = 0
        self.loop.set_exception_handler(self._unforeseen)

    # --- the run --------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Storm, heal, converge; the loop is closed at the end."""
        with virtual(self.loop, self._thread):
            try:
                self.loop.run_until_complete(self._story())
            finally:
                self._end()
        return Outcome(
            seed=self.seed,
            breaches=tuple(self.witness.breaches),
            trace_hash=self.witness.trace_hash,
            events=sum(self.witness.counts.values()),
            crash_points=self.crash_points,
            crashes=self.crashes,
            orders=len(self.witness.history),
        )

    async def _story(self) -> None:
        self._furnish()
        for role in (LEDGER, EXECUTOR, RECONCILER):
            self._start(role)
        self.exchange.skewed_until_s = self.rng.uniform(0.0, STORM_S)
        self.spawn(self._market())
        for number in range(self.plan.decisions):
            self.spawn(self._decide(number, self.rng.uniform(0.5, STORM_S - 1.0)))
        self._schedule_storm()
        await asyncio.sleep(STORM_S)
        self._heal()
        await self._converge()
        self.witness.judge_stream()
        self._judge_shells()

    def _schedule_storm(self) -> None:
        mix = self.mix
        if mix.outage_at_s is not None:
            dark_s = self.rng.uniform(2.0, 12.0)
            self.loop.call_later(mix.outage_at_s, self._go_dark, dark_s)
        if mix.manual_trade_at_s is not None:
            pair, lots = self.rng.choice(PAIRS), self.rng.choice((-30, -7, 7, 30))
            self.loop.call_later(
                mix.manual_trade_at_s, self.exchange.trade_by_hand, pair, lots * LOT
            )
        if mix.foreign_order:
            self.exchange.place_foreign(self.rng.choice(PAIRS))
        if mix.kill_at_s is not None:
            self.loop.call_later(mix.kill_at_s, lambda: self.spawn(self._kill()))
        if mix.edits_limits:
            for _ in range(3):
                self.loop.call_later(self.edits.uniform(1.0, STORM_S - 1.0), self._edit_limits)
        if mix.split_brain:
            self.loop.call_later(self.rng.uniform(1.0, STORM_S - 5.0), self._split)

    def _go_dark(self, seconds: float) -> None:
        self.exchange.dark_until_s = self.loop.now_s + seconds

    def _heal(self) -> None:
        self.witness.note("healed")
        self.mix = replace(CALM, is_skewed=self.mix.is_skewed)
        self.exchange.heal()
        self.exchange.mix = replace(CALM, is_skewed=self.mix.is_skewed)

    async def _converge(self) -> None:
        """Everything must come true in time; once it has, the rest of the calm proves nothing more."""
        if not self.plan.reconciles:
            return  # what only the reconciler sees stays unseen
        healed_s, quiet_looks = self.loop.now_s, 0
        while (calm_s := self.loop.now_s - healed_s) < CONVERGE_S:
            await asyncio.sleep(LOOK_S)
            late = self.witness.unfinished(since_ms=self.clock.now_ms() - round(PROMPT_S * 1000))
            if late and calm_s + LOOK_S >= PROMPT_S:
                self._blame([text for text in late if text.startswith("L1")])
            left = self.witness.unfinished()
            is_quiet = not left and not self.witness.still_open()
            quiet_looks = quiet_looks + 1 if is_quiet else 0
            if quiet_looks >= 2 and calm_s > LOOK_S:
                return
        self._blame(self.witness.unfinished())

    def _judge_shells(self) -> None:
        """A shell outlives what nobody foresaw and tells its operator; here that is a breach."""
        for incarnation in self.incarnations:
            counters = incarnation.shell._pulse.counters if incarnation.shell else {}
            for name in ("turns_crashed", "model_errors"):
                if counters.get(name):
                    self.witness.breach(f"{incarnation.role} {incarnation.number} counted {name}")
        for alert in self.store.list(kinds.ALERTS):
            if alert.value.code in MODEL_IS_WRONG:
                self.witness.breach(f"alert {alert.value.code}: {alert.value.detail}")

    def _blame(self, texts: list[str]) -> None:
        for text in texts:
            self.witness.breach(text)

    def _end(self) -> None:
        for incarnation in self.incarnations:
            incarnation.is_alive = False
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _unforeseen(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failed = context.get("exception")
        if failed is not None and not isinstance(failed, (Halted, DeskError)):
            self.witness.breach(f"unforeseen: {failed!r}")

    # --- processes ------------------------------------------------------------------------------

    def spawn(
        self, work: Coroutine[Any, Any, Any], context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine until the end of the run."""
        task = self.loop.create_task(work, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _start(self, role: str) -> None:
        incarnation = Incarnation(role, len(self.incarnations) + 1, self._dies)
        self.incarnations.append(incarnation)
        incarnation.died.add_done_callback(lambda _: self._buried(incarnation))
        incarnation.shell = incarnation.context.run(self._built, role, incarnation)
        incarnation.is_starting = False
        self.alive[role] = incarnation
        self.witness.note("started", role, str(incarnation.number), str(incarnation.epoch))

    def _buried(self, incarnation: Incarnation) -> None:
        self.crashes += 1
        self.witness.note("died", incarnation.role, str(incarnation.number))
        if self.alive.get(incarnation.role) is incarnation:
            del self.alive[incarnation.role]
            self.loop.call_later(self.rng.uniform(1.0, 5.0), self._start_again, incarnation.role)

    def _start_again(self, role: str) -> None:
        if role not in self.alive:
            self._start(role)

    def _split(self) -> None:
        """A second executor starts while the first one lives on, unaware."""
        if EXECUTOR in self.alive:
            self._start(EXECUTOR)

    def _dies(self, incarnation: Incarnation, name: str) -> bool:
        if incarnation.is_starting:
            return False
        number, self.crash_points = self.crash_points, self.crash_points + 1
        if self.plan.crash_at is not None:
            return number == self.plan.crash_at
        return self.rng.random() < self.mix.crash

    def lose(self, chance: float, incarnation: Incarnation) -> None:
        """Raise `StoreUnavailable` with this chance; a process that starts finds the store there."""
        if not incarnation.is_starting and chance and self.rng.random() < chance:
            raise StoreUnavailable("the connection broke")

    def _built(self, role: str, incarnation: Incarnation) -> Any:
        store: Any = StoreLine(self, incarnation)
        wire = Wire(self.exchange, incarnation)
        owner = f"{role}-{incarnation.number}"
        shell: Any
        match role:
            case "ledger":
                parts = LedgerParts(
                    account=ACCOUNT,
                    owner=owner,
                    store=store,
                    clock=self.clock,
                    default_policy=risk.default_live_policy(ACCOUNT),
                    opening_cash=_cash,
                    execute=self.doors.execute,
                    heeds_venue=self.wind.heeds_venue,
                    lease_ttl_s=20.0,
                    lease_renew_s=8.0,
                )
                shell = RiskLedger(lambda: parts)
            case "executor":
                executor_parts = ExecutorParts(
                    account=ACCOUNT,
                    owner=owner,
                    store=store,
                    venue=wire,
                    clock=self.clock,
                    pairs=PAIRS,
                    max_decision_age_ms=20_000,
                    lease_renew_s=3.0,
                )
                shell = OrderExecutor(lambda: executor_parts)
            case _:
                reconciler_parts = ReconcilerParts(
                    account=ACCOUNT,
                    store=store,
                    clock=self.clock,
                    venue=wire,
                    orders=self.doors,
                    ledger=self.doors,
                    flattener=Closer(store, self.clock, lambda _: self.doors, lambda _: self.doors),
                    pairs=PAIRS,
                    full_every_ms=20_000,
                    light_every_s=6.0 if self.wind.heeds_venue else 9.0,
                    watches_venue=True,
                )
                if not self.plan.reconciles:
                    return None
                shell = Reconciler(lambda: reconciler_parts)
        incarnation.epoch = shell._pulse.epoch
        return shell

    async def _thread[R](self, call: Callable[[], R]) -> R:
        """A store call in place of `asyncio.to_thread`: it takes a moment, and others come in between."""
        await asyncio.sleep(SPENT_S[int(self.rng.random() * len(SPENT_S))])
        try:
            return call()
        except Halted:
            return await self.loop.create_future()  # the process is dead: nobody hears the answer

    # --- who acts -------------------------------------------------------------------------------

    def _furnish(self) -> None:
        for pair in PAIRS:
            self.store.put(kinds.INSTRUMENTS, pair, _instrument(pair), at_ms=START_MS)
            self.store.put(kinds.RUNS, f"run-{pair}", _run(pair), at_ms=START_MS)
        agent = Agent(agent_id="desk", name="Desk", allowed_instruments=PAIRS)
        self.store.put(kinds.AGENTS, "desk", agent, at_ms=START_MS)
        self.store.put(kinds.RISK_LIMITS, "default", _limits(), at_ms=START_MS)

    async def _market(self) -> None:
        """The pollers: prices, again and again."""
        while True:
            prices = {pair: self.exchange.price(pair) for pair in PAIRS}
            try:
                await self.doors.ask(LEDGER, "mark", Mark(prices=prices))
            except DeskError:
                self.witness.note("unmarked")
            has_marks = self.witness.ledger is not None and self.witness.ledger.marked_ms
            await asyncio.sleep(MARK_EVERY_S if has_marks else 0.5)

    async def _decide(self, number: int, at_s: float) -> None:
        """A decision loop: the same decision, asked again until somebody has heard it."""
        await asyncio.sleep(at_s)
        pair, target = self.rng.choice(PAIRS), self.rng.choice((-1.0, -0.5, 0.0, 0.5, 1.0))
        ledger = self.store.ledger(ACCOUNT)
        if ledger is None:
            return
        legs = intents.intend(
            target,
            held_quantity=books.held_quantity(ledger, pair),
            size_quote=Decimal(self.rng.choice((400, 700, 990))),
            reference_price=self.exchange.price(pair),
            instrument=_instrument(pair),
            account=ACCOUNT,
            run_id=f"run-{pair}",
            decision_id=f"d{number}",
            decided_open_ms=self.clock.now_ms() - 60_000,
            trace_id=f"tr{number}",
        )
        if self.mix.edits_limits:  # between what the ledger reads and what it creates
            self.loop.call_later(self.edits.uniform(0.0, EDIT_WITHIN_S), self._edit_limits)
        asks = 2 if self.rng.random() < self.mix.repeat_decision else 1
        await asyncio.gather(*(self._place(legs) for _ in range(asks)))
        for leg in legs:
            if self.rng.random() < self.mix.cancels:
                await asyncio.sleep(self.rng.uniform(0.1, 3.0))
                await self._heard(self.doors.cancel(leg.client_order_id, "test"))
        if self.rng.random() < self.mix.closes:
            await asyncio.sleep(self.rng.uniform(0.5, 3.0))
            await asyncio.gather(self._close(pair), self._close(pair))

    async def _place(self, legs: list[OrderIntent]) -> None:
        for _ in range(4):
            placing = place(legs, "default", self.doors, self.doors)
            if await self._heard(placing):
                return
            await asyncio.sleep(self.rng.uniform(0.2, 1.0))

    async def _close(self, pair: Pair) -> None:
        """Somebody presses the button that closes a position."""
        await self._heard(self.closer.flatten(ACCOUNT, pair, reason="test", trace_id="tr-close"))

    async def _kill(self) -> None:
        """The kill switch: the flag first, then what is under way is cancelled."""
        event = Event(topic="risk", key="all", data={}, at_ms=self.clock.now_ms())
        self.store.set_kill("all", on=True, reason="test", event=event)
        self.witness.killed_since_s = self.loop.now_s
        self.witness.note("killed")
        await self.closer.cancel_entries(ACCOUNT, None, reason="kill_switch")

    def _edit_limits(self) -> None:
        """An operator tightens or loosens; a drawdown that flattens is reached by some edits."""
        rng, at_ms = self.edits, self.clock.now_ms()
        if rng.random() < 0.6:
            limits = replace(
                _limits(),
                max_position_size=Decimal(rng.choice((250, 500, 750, 1_000, 2_000))),
                max_open_positions=rng.randint(1, 3),
            )
            self.store.put(kinds.RISK_LIMITS, "default", limits, at_ms=at_ms)
        else:
            policy = replace(
                risk.default_live_policy(ACCOUNT),
                max_total_exposure=Decimal(rng.choice((4, 8, 15, 30))) / 100,
                max_instrument_exposure=Decimal(rng.choice((2, 5, 10))) / 100,
                max_drawdown=Decimal(rng.choice(("0.05", "0.05", "0.05", "0.00002"))),
            )
            self.store.put(kinds.ACCOUNT_POLICIES, ACCOUNT, policy, at_ms=at_ms)
        self.witness.note("limits_edited")

    async def _heard(self, work: Awaitable[Any]) -> bool:
        try:
            await work
        except (DeskError, LimitReached):
            return False
        return True


async def _cash() -> Decimal:
    return CASH


def _limits() -> RiskLimitSet:
    return replace(risk.default_limits(), max_drawdown=Decimal("0.9"), max_daily_loss=CASH)


def _run(pair: Pair) -> Run:
    return Run(
        run_id=f"run-{pair}",
        agent_id="desk",
        account=ACCOUNT,
        mode=Mode.LIVE,
        pair=pair,
        interval="1m",
        version_id="v1",
        risk_limit_set_id="default",
        decision_threshold=0.0,
        status=RunStatus.RUNNING,
        started_ms=START_MS,
    )


def _instrument(pair: Pair) -> Instrument:
    return Instrument(
        pair=pair,
        tick=Decimal("0.1"),
        lot=LOT,
        min_quantity=LOT,
        min_notional=Decimal(2),
        maker_rate=Decimal("0.0002"),
        taker_rate=Decimal("0.0005"),
        max_leverage=125,
    )


class _VirtualTime:
    """In place of the module `time`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def time_ns(self) -> int:
        return START_MS * 1_000_000 + round(self._loop.now_s * 1e9)

    def monotonic(self) -> float:
        return self._loop.now_s

    def sleep(self, seconds: float) -> None:
        raise AssertionError("a process slept for real")


@lru_cache(maxsize=10_000)
def decoded(kind: type[Any], row: bytes) -> Any:
    """Rows are values: equal bytes need not be decoded twice."""
    return from_json(kind, row)


@contextmanager
def virtual(loop: VirtualLoop, thread: Callable[..., Any]) -> Iterator[None]:
    """The wall clock, threads and the end of a process are the loop's; nothing is logged."""
    clock = _VirtualTime(loop)
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    try:
        with (
            mock.patch.object(wallclock, "time", clock),
            mock.patch.object(store_calls, "time", clock),
            mock.patch.object(asyncio, "to_thread", thread),
            mock.patch.object(heartbeat.os, "_exit", exit_process),
            mock.patch.object(heartbeat, "SLICE_S", 60.0),
            mock.patch.object(memory_money, "from_json", decoded),
            mock.patch.object(memory_documents, "from_json", decoded),
            mock.patch.object(rows, "from_json", decoded),
        ):
            yield
    finally:
        structlog.configure(**before)


def play(
    seed: int,
    *,
    mix: Mix | None = None,
    plan: Plan | None = None,
    tell: Callable[[str], Any] | None = None,
) -> Outcome:
    """Run one seed; the same seed, mix and plan give the same outcome. `tell` hears its story."""
    chosen = mix if mix is not None else Mix.drawn(Random(f"mix:{seed}"))
    world = World(seed, chosen, plan or Plan())
    world.witness.tell = tell
    return world.run()
