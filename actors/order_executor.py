"""The order executor of one account: it commits, speaks to the venue once, and books what is proved."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Protocol, assert_never

import ray
import structlog

from actors.dead_man import DeadMan
from actors.fill_books import FillBooks
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.killing import KILL_SWITCH, kill_reason_of
from actors.order_rows import OrderRows
from actors.run_book import RunBook
from actors.store_calls import rebuilt, stored
from actors.venue_exits import BookExit, CancelExit, NoteExit, PlaceStop, VenueExits
from actors.venue_talk import (
    DUPLICATE_ID,
    LIKELY_REFUSED,
    NO_MARGIN,
    PAIR_CLOSED,
    SIZE_REFUSED,
    VenueTalk,
    in_time,
    named,
)
from desk import ids, meters
from desk.clock import Clock
from desk.errors import (
    DeskError,
    LimitReached,
    NotFound,
    VenueRejected,
    VenueUnavailable,
    VersionConflict,
)
from desk.ids import Pair
from desk.store import kinds
from desk.store.codec import from_json
from desk.store.port import Store
from desk.trading import ledger as books
from desk.trading import orders, protection
from desk.trading.fills import FundingPayment
from desk.trading.instruments import Instrument
from desk.trading.orders import Order, OrderEffect, OrderEvent, OrderState, VenueOrder
from desk.trading.risk import Approved
from desk.venues.port import ExchangeExits, TradingVenue
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

SEND_COMMIT_S = 2.0
"""The stored time of sending must not be older than this when the order leaves: the proof that an
order never arrived counts from it."""
LEASE_MARGIN_S = 2.0
"""Sending stops this long before a newer executor could hold the lease."""
RECOVERY_TRIES = 5
"""Look-ups of one order without a result after which an operator is told; asking goes on."""

DECISION_STALE = "decision_stale"

WAITING = (OrderState.UNKNOWN, OrderState.QUARANTINED)
RESTING = (OrderState.OPEN, OrderState.PARTIAL, OrderState.CANCELLING)


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """Send an order that passed the check and is stored in state INTENT."""

    approved: Approved[Order]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Ask for the end of an order of ours."""

    client_order_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Candles of a pair up to this one, inclusive, are stored."""

    pair: Pair
    upto_open_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Ask the venue about an order now."""

    client_order_id: str


# --- what it needs ------------------------------------------------------------------------------


class SettlingVenue(TradingVenue, Protocol):
    """A venue of our own, which fills from closed candles."""

    async def settle(self, pair: Pair, upto_open_ms: int) -> list[str]: ...

    async def funding(self, pair: Pair) -> list[FundingPayment]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorParts:
    """Collaborators and settings. `paper` is the venue once more where it settles candles.

    `exchange` is the venue once more where exits rest outside our books; `leverage` is set there
    before a pair's first entry, None leaves it alone. `instruments` reads the venue's filters afresh.
    """

    account: str
    owner: str
    store: Store
    venue: TradingVenue
    clock: Clock
    pairs: tuple[Pair, ...] = ()
    paper: SettlingVenue | None = None
    exchange: ExchangeExits | None = None
    leverage: int | None = None
    instruments: Callable[[], Awaitable[dict[Pair, Instrument]]] | None = None
    max_decision_age_ms: int = 60_000
    lease_ttl_s: float = 6.0
    lease_renew_s: float = 2.0
    lookup_schedule_s: tuple[float, ...] = (0.3, 0.6, 1.2, 2.4, 5.0)
    fill_schedule_s: tuple[float, ...] = (0.2, 0.4, 0.8, 1.5, 3.0)


# --- the shell ----------------------------------------------------------------------------------


class OrderExecutor:
    """Shell only: `orders.advance` decides, the store commits, then the venue hears."""

    def __init__(self, build: Callable[[], ExecutorParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._account, self._store = parts, parts.account, parts.store
        self._clock, self._talk = parts.clock, VenueTalk(parts.venue)
        self._ttl_ms = round(parts.lease_ttl_s * 1000)
        asked_s = monotonic_s()
        role = f"executor:{parts.account}"
        self._fence = rebuilt(lambda: self._store.acquire_lease(role, parts.owner, self._ttl_ms))
        self._hold_lease_from(asked_s)
        self._rows = OrderRows(self._account, self._store, self._fence, self._clock)
        self._books = FillBooks(self._account, self._store, self._fence, self._clock)
        self._runs = RunBook(parts.store, parts.clock, actor=f"order_executor:{parts.account}")
        self._exits = VenueExits(self._rows, self._store, self._fence, self._clock, parts.exchange)
        self._dead_man = (
            DeadMan(self._account, self._store, self._clock, parts.exchange)
            if parts.exchange is not None
            else None
        )
        self._prepared: set[Pair] = set()
        self._preparing = asyncio.Lock()
        self._pulse = Pulse(f"order_executor:{parts.account}")
        self._pulse.epoch = self._fence.epoch
        self._in_flight: set[str] = set()
        self._sending: dict[str, asyncio.Task[Order]] = {}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._is_recovered, self._recovering = False, asyncio.Lock()
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def execute(self, ask: Execute) -> Order:
        """Send the order once. Idempotent: one already under way is returned as it stands.

        A fresh incarnation takes up what the last one left before it sends an entry.
        """
        return await self._execute(ask)

    @ray.method(max_task_retries=0)
    async def execute_text(self, text: bytes) -> Order:
        """`execute` for an `Execute` in JSON, as `RiskLedger.approve_text`."""
        return await self._execute(from_json(Execute, text))

    async def _execute(self, ask: Execute) -> Order:
        if not (self._is_recovered or ask.approved.value.reduce_only):
            await self._recover()
        # Not read again: the commit before the sending proves that it is still the stored row.
        order = ask.approved.value
        if order.state is not OrderState.INTENT:
            return await self._rows.load(order.client_order_id)
        return await self._send_for_all(order)

    @ray.method(max_task_retries=0)
    async def cancel(self, ask: Cancel) -> Order:
        """Ask the venue to end an order; what becomes of it is learnt afterwards."""
        return await self._learn(ask.client_order_id, orders.CancelRequested(reason=ask.reason))

    @ray.method(max_task_retries=0)
    async def refresh(self, ask: Refresh) -> Order:
        """Look an order up and book what the venue says of it."""
        return await self._look_again(ask.client_order_id)

    @ray.method(max_task_retries=0)
    async def book_exit(self, ask: BookExit) -> Order:
        """Book an exit that fired at the venue. Idempotent by the venue's order id."""
        return await self._book_exit(ask)

    @ray.method(max_task_retries=0)
    async def note_exit(self, ask: NoteExit) -> Order:
        """Keep the venue's id of an exit on the row of the order that it came with."""
        kind = ask.report.exit_kind
        assert kind is not None, "only exits are noted"
        seen = orders.ExitSeen(kind=kind, venue_order_id=ask.report.venue_order_id)
        return await self._learn(ask.parent_id, seen)

    @ray.method(max_task_retries=0)
    async def cancel_exit(self, ask: CancelExit) -> None:
        """End an exit whose position is over. Raises what the venue raises."""
        await self._exits.cancel(ask)

    @ray.method(max_task_retries=0)
    async def place_stop(self, ask: PlaceStop) -> str:
        """Replace a protective stop that is gone. Raises what the venue raises."""
        return await self._exits.place(ask)

    @ray.method(max_task_retries=0)
    async def settle(self, ask: Settle) -> list[str]:
        """Let the paper venue fill from stored candles and book it; returns the orders that changed."""
        return await self._settle(ask.pair, ask.upto_open_ms)

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    # --- loop -----------------------------------------------------------------------------------

    async def turn(self) -> float:
        """Renew the lease and see to it that no unfinished order is left alone."""
        asked_s = monotonic_s()
        await stored(
            lambda: self._store.renew_lease(self._fence, self._ttl_ms), within_s=SEND_COMMIT_S
        )
        self._hold_lease_from(asked_s)
        self._start("sweep", self._sweep())
        if self._dead_man is not None:
            self._start("dead_man", self._dead_man.tend())
        if self._parts.exchange is not None:
            self._start("ready", self._parts.exchange.get_ready())
        return self._parts.lease_renew_s

    async def quiet(self) -> None:
        """Wait until nothing is being followed any more."""
        while self._work:
            await asyncio.wait(self._work.values())
            await asyncio.sleep(0)  # lets what has ended be struck off

    def _hold_lease_from(self, asked_s: float) -> None:
        self._may_send_until_s = asked_s + self._parts.lease_ttl_s - LEASE_MARGIN_S

    async def _sweep(self) -> None:
        await self._recover()
        await self._take_up_all(first=False)

    async def _recover(self) -> None:
        """Learn once what became of every order of before this incarnation."""
        async with self._recovering:
            if self._is_recovered:
                return
            if self._parts.paper is not None:
                await self._settle_stored()
            await self._take_up_all(first=True)
            self._is_recovered = True

    async def _take_up_all(self, *, first: bool) -> None:
        active = await self._rows.active()
        entries = {order.run_id for order in active if not order.reduce_only}
        killed = {run_id for run_id in entries if await self._killed(run_id) is not None}
        for order in active:
            await self._take_up(order, first=first, killed=order.run_id in killed)

    async def _settle_stored(self) -> None:
        for pair in self._parts.pairs:
            newest = await stored(lambda pair=pair: self._store.last_candles(pair, "1m", 1))
            if len(newest):
                await self._settle(pair, newest.row(-1).open_ms)

    async def _take_up(self, order: Order, *, first: bool, killed: bool) -> None:
        """Resume an order that this incarnation is not working on."""
        cid = order.client_order_id
        if cid in self._in_flight:
            return
        if killed and not order.reduce_only and _wants_cancel(order):
            # Also what the kill switch could not reach: it was unknown, or its cancel got lost.
            await self._learn(cid, orders.CancelRequested(reason=KILL_SWITCH))
        elif order.exit_kind is not None and order.state is OrderState.INTENT:
            await self._look_again(cid)
        elif order.state is OrderState.SENDING:
            await self._learn(cid, orders.SendUnanswered(reason="restart"))
        elif order.state is OrderState.INTENT and (first or self._is_stale(order)):
            await self._send(order)
        elif order.state in WAITING or order.state is OrderState.CANCELLING:
            self._follow(cid)
        elif order.state in RESTING and (first or order.cancel_reason):
            await self._look_again(cid)

    def _start(self, name: str, work: Coroutine[object, object, None]) -> None:
        """Run in the background; a second start of what still runs is dropped."""
        if name in self._work:
            work.close()
            return
        task = asyncio.ensure_future(work)
        self._work[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._work.pop(name, None)
        if not task.cancelled() and (failed := task.exception()) is not None:
            self._pulse.count("work_failed")
            log.warning("work_failed", actor=self._pulse.name, work=name, error=repr(failed))

    # --- sending --------------------------------------------------------------------------------

    async def _send_for_all(self, order: Order) -> Order:
        """The loop asks too where the ledger had no answer: who comes second hears what the first hears."""
        cid = order.client_order_id
        sending = self._sending.get(cid)
        if sending is None:
            self._sending[cid] = sending = asyncio.ensure_future(self._send(order))
            sending.add_done_callback(lambda _: self._sending.pop(cid))
        return await asyncio.shield(sending)

    async def _send(self, order: Order) -> Order:
        cid = order.client_order_id
        if not self._may_send():
            return order  # a newer executor takes it up, or this one after its next renewal
        # Of kill switches the commit below tells: a switch and a sending are never side by side.
        reason = DECISION_STALE if self._is_late(order) else await self._unprepared(order)
        if reason is not None:
            return await self._conclude(order, orders.Abandoned(reason=reason))
        self._in_flight.add(cid)
        try:
            started = orders.SendStarted(sent_wall_ms=wall_ms())
            sending, effects = await self._rows.commit(order, started, within_s=SEND_COMMIT_S)
            return await self._perform(sending, effects)
        except VersionConflict:
            return await self._rows.load(cid)  # somebody else moved it: it is theirs to send
        except LimitReached as switch:
            return await self._conclude(order, orders.Abandoned(reason=switch.limit))
        finally:
            self._in_flight.discard(cid)

    async def _conclude(self, order: Order, event: OrderEvent) -> Order:
        """Apply what was judged of exactly this version; a row that has moved on was not judged."""
        try:
            moved = await self._rows.commit(order, event)
        except VersionConflict:
            return await self._rows.load(order.client_order_id)
        return await self._perform(*moved)

    async def _unprepared(self, order: Order) -> str | None:
        """Isolated margin, leverage and one-way mode before a pair's first entry in this process.

        Returns why they are not certain, so that the entry is not sent.
        """
        leverage = self._parts.leverage
        if leverage is None or order.reduce_only:
            return None
        async with self._preparing:
            if order.pair in self._prepared:
                return None
            if await self._killed(order.run_id) is not None:
                return KILL_SWITCH
            try:
                await in_time("prepare", self._parts.venue.prepare(order.pair, leverage))
            except DeskError as unclear:
                await self._rows.alert("pair_not_prepared", order, str(unclear))
                return unclear.reason if isinstance(unclear, VenueRejected) else "pair_not_prepared"
            self._prepared.add(order.pair)
        return None

    def _may_send(self) -> bool:
        return monotonic_s() < self._may_send_until_s

    def _is_stale(self, order: Order) -> bool:
        return self._clock.now_ms() - order.created_ms > self._parts.max_decision_age_ms

    def _is_late(self, order: Order) -> bool:
        """Whether an entry is no longer what anybody would decide; an exit never is."""
        return self._is_stale(order) and not order.reduce_only

    async def _reason_against(self, order: Order) -> str | None:
        if order.reduce_only:
            return None
        if self._is_late(order):
            return DECISION_STALE
        return None if await self._killed(order.run_id) is None else KILL_SWITCH

    async def _killed(self, run_id: str) -> str | None:
        return await stored(lambda: kill_reason_of(self._store, self._account, run_id))

    async def _submit(self, order: Order) -> OrderEvent:
        if not self._may_send() or wall_ms() - order.sent_wall_ms > SEND_COMMIT_S * 1000:
            return orders.SendUnanswered(reason="commit_was_slow")
        began_s = monotonic_s()
        event = await self._talk.submit(order)
        spent_s = monotonic_s() - began_s
        if isinstance(event, orders.SendRefused) and event.reason == SIZE_REFUSED:
            self._start("filters", self._refresh_filters(order.pair))
        answer = _answer_of(event)
        meters.ACKNOWLEDGEMENT.observe(spent_s, self._account, answer)
        log.info("order_answered", answer=answer, ms=round(spent_s * 1000, 3), **named(order))
        self._pulse.count("sent")
        self._pulse.count("sent_us", round(spent_s * 1e6))
        return event

    async def _refresh_filters(self, pair: Pair) -> None:
        """The venue refused a size that ours allowed: its steps or minimums have changed."""
        if self._parts.instruments is None:
            return
        instrument = (await self._parts.instruments()).get(pair)
        if instrument is None:
            raise NotFound("instrument", pair)
        at_ms = self._clock.now_ms()
        await stored(lambda: self._store.put(kinds.INSTRUMENTS, pair, instrument, at_ms=at_ms))
        log.warning("filters_refreshed", pair=pair)

    # --- learning -------------------------------------------------------------------------------

    async def _learn(
        self, client_order_id: str, event: OrderEvent, seen: VenueOrder | None = None
    ) -> Order:
        return await self._perform(*await self._rows.learn(client_order_id, event), seen)

    async def _perform(
        self, order: Order, effects: list[OrderEffect], seen: VenueOrder | None = None
    ) -> Order:
        """Act on each effect once; the world's answer is the next event."""
        for effect in effects:
            match effect:
                case orders.Submit():
                    order = await self._learn(order.client_order_id, await self._submit(order))
                    await self._heed(order)
                case orders.LookUp():
                    self._follow(order.client_order_id)
                case orders.FetchFills():
                    order = await self._fetch_fills(order, seen)
                case orders.CancelAtVenue():
                    await self._talk.cancel(order)
                    self._follow(order.client_order_id)
                case orders.RaiseAlert():
                    await self._rows.alert(effect.code, order, effect.detail)
                case _:
                    assert_never(effect)
        return order

    async def _heed(self, order: Order) -> None:
        """Let what the venue said of an order hold back the next ones of its pair."""
        if order.state is OrderState.REJECTED and order.reason == NO_MARGIN:
            await self._rows.cool_down(order)
        if order.reason.startswith(PAIR_CLOSED):
            await self._runs.pause_pair(
                self._account, order.pair, "exchange_maintenance", category="ops"
            )

    def _follow(self, client_order_id: str) -> None:
        self._start(client_order_id, self._follow_up(client_order_id))

    async def _follow_up(self, client_order_id: str) -> None:
        """Ask the venue about an order until nothing more can be learnt by asking."""
        looks = 0
        order = await self._rows.load(client_order_id)
        while (wait_s := self._next_look_s(order, looks)) is not None:
            await asyncio.sleep(wait_s)
            was_in_doubt = order.state in WAITING
            order = await self._look_again(client_order_id)
            # Resolved, perhaps by a resend: what is asked now is when it fills.
            looks = 0 if was_in_doubt and order.state not in WAITING else looks + 1
            if looks == RECOVERY_TRIES and order.state in WAITING:
                detail = f"{client_order_id}: nothing proved by {looks} look-ups"
                await self._rows.alert("unresolved_client_order", order, detail)

    def _next_look_s(self, order: Order, looks: int) -> float | None:
        if order.state in WAITING:
            schedule = self._parts.lookup_schedule_s
            return schedule[looks] if looks < len(schedule) else 1.0
        if order.state not in RESTING or (self._parts.paper is not None and looks):
            return None  # on paper the next candle tells
        schedule = self._parts.fill_schedule_s
        return schedule[looks] if looks < len(schedule) else None  # later the reconciler asks

    async def _look_again(self, client_order_id: str) -> Order:
        order = await self._rows.load(client_order_id)
        try:
            seen = await self._talk.look_up(order)
        except VenueUnavailable as unclear:
            self._pulse.count("look_ups_failed")
            log.info("look_up_failed", why=str(unclear), **named(order))
            return order
        if seen is not None:
            return await self._learn(client_order_id, orders.VenueReported(order=seen), seen)
        order = await self._learn(client_order_id, orders.NotFoundVoted(wall_ms=wall_ms()))
        return await self._judge_absence(order)

    async def _judge_absence(self, order: Order) -> Order:
        at_ms = wall_ms()
        if orders.is_overdue(order, wall_ms=at_ms):
            order = await self._conclude(order, orders.Quarantined())
        if not orders.final_not_found(order, wall_ms=at_ms, absent_in_second_source=True):
            return order  # the votes alone do not suffice: spare the venue the other questions
        if order.reason == DUPLICATE_ID:
            return order  # the venue itself said that it has the order
        held = books.held_quantity(await self._books.ledger(), order.pair)
        is_explained = await self._talk.is_position(order, expected=held)
        is_proved = orders.final_not_found(
            order,
            wall_ms=at_ms,
            absent_in_second_source=await self._talk.is_absent_elsewhere(
                order, now_ms=self._clock.now_ms()
            ),
            is_position_explained=is_explained,
        )
        if not is_proved:
            return order
        refused = order.reason.startswith(LIKELY_REFUSED)
        resend = (
            is_explained
            and not refused
            and self._may_send()
            and await self._reason_against(order) is None
        )
        reason = order.reason if refused else "not_found"
        order = await self._conclude(order, orders.NotFoundProved(resend=resend, reason=reason))
        return await self._send(order) if order.state is OrderState.INTENT else order

    # --- fills ----------------------------------------------------------------------------------

    async def _fetch_fills(self, order: Order, seen: VenueOrder | None) -> Order:
        cid = order.client_order_id
        try:
            seen = seen or await self._talk.look_up(order)
            executions = await self._talk.fills(order, seen) if seen else []
        except VenueUnavailable as unclear:
            log.warning("fills_not_fetched", why=str(unclear), **named(order))
            return order
        for fill in executions:
            booked = await self._books.book(cid, fill)
            if booked is not None:
                self._pulse.count("fills")
                await self._perform(*booked)
        order = await self._rows.load(cid)
        if seen is None or order.filled_quantity < seen.filled_quantity:
            return order  # the venue lists its fills late: whoever follows the order asks again
        return await self._learn(cid, orders.VenueReported(order=seen), seen)

    async def _settle(self, pair: Pair, upto_open_ms: int) -> list[str]:
        paper = self._parts.paper
        if paper is None:
            return []
        changed = await paper.settle(pair, upto_open_ms)
        for name in changed:
            if ids.is_ours(name):
                await self._look_again(name)
            elif (fired := await paper.order_by_id(pair, name)) is not None:
                await self._book_fired(fired)
        await self._books.book_funding(pair, await paper.funding(pair))
        return changed

    async def _book_exit(self, ask: BookExit) -> Order:
        row = await self._exits.row_of(ask)
        seen = replace(ask.report, client_order_id=row.client_order_id)
        if row.state is OrderState.INTENT:
            await self._learn(row.client_order_id, orders.VenueReported(order=seen), seen)
        return await self._learn(row.client_order_id, orders.VenueReported(order=seen), seen)

    async def _book_fired(self, fired: VenueOrder) -> None:
        """Book an exit of the position as it stands in our books; of another the reconciler will."""
        position = (await self._books.ledger()).positions.get(fired.pair)
        if position is None:
            return
        of_trade = await stored(lambda: self._store.orders_of_trade(position.trade_id))
        parent = protection.parent_of(fired, of_trade)
        if parent is not None:
            await self._book_exit(BookExit(parent_id=parent.client_order_id, report=fired))


def _answer_of(event: OrderEvent) -> str:
    """How the venue answered a submission, as a metric names it."""
    match event:
        case orders.SendAccepted():
            return "accepted"
        case orders.SendRefused():
            return "refused"
        case _:
            return "unclear"


def _wants_cancel(order: Order) -> bool:
    """Whether asking for its end still changes something."""
    if order.state in (OrderState.OPEN, OrderState.PARTIAL, OrderState.INTENT):
        return True
    return order.state in WAITING and not order.cancel_reason


OrderExecutorActor = ray.remote(OrderExecutor)
