"""The risk ledger of one account: approves intents, marks the books, watches the breaker."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import ray
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.approval import Approvals, Approve
from actors.audit import Did, with_audit
from actors.events import position_event, risk_event
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning, leave
from actors.loss_watch import LossWatch
from actors.market_time import MarketClock
from actors.store_calls import RequestIds, rebuilt, retried, stored
from desk import ids, meters
from desk.errors import BadInput, DeskError, Fenced, NotFound
from desk.ids import Pair
from desk.store import kinds
from desk.store.codec import from_json
from desk.store.port import Doc, Event, Store, Stream
from desk.store.read_ahead import read_ahead
from desk.trading import breaker as breakers
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.breaker import Breaker
from desk.trading.commit_pace import MOST_P99_MS, CommitPace
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.orders import Order, OrderState
from desk.trading.risk import AccountPolicy, Approved, Refused
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Prices of pairs now."""

    prices: Mapping[Pair, Decimal]
    trace_id: str = ""
    """Of the candle they came with, if they came with one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust:
    """A change of position at the venue that no order of ours explains."""

    pair: Pair
    ours: Decimal
    """What the books hold; once they hold something else the change is not this one any more."""
    quantity: Decimal
    price: Decimal
    adjustment_id: str
    """Booked once per id."""


# --- what it needs ------------------------------------------------------------------------------


async def nobody_to_greet() -> None:
    """Where orders are handed to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerParts:
    """Collaborators and settings. `opening_cash` is asked once in an account's life."""

    account: str
    owner: str
    store: Store
    clock: MarketClock
    default_policy: AccountPolicy
    opening_cash: Callable[[], Awaitable[Decimal]]
    leverage: Decimal = Decimal(1)
    min_liquidation_buffer_bps: Decimal = risk.MIN_LIQUIDATION_BUFFER_BPS
    max_mark_age_ms: int = 30_000
    execute: Callable[[Approved[Order]], Awaitable[Order]] | None = None
    """Where approved orders are handed to the executor. Raises `DeskError` when it did not answer:
    whoever asked for the approval then asks it again."""
    greet_executor: Callable[[], Awaitable[None]] = nobody_to_greet
    """Connects to it, so that the first order does not wait for that. Raises `DeskError`."""
    heeds_venue: bool = False
    """Whether entries need an exchange that answers."""
    lease_ttl_s: float = 6.0
    lease_renew_s: float = 2.0


# --- the shell ----------------------------------------------------------------------------------


class RiskLedger:
    """Shell only: `risk.check` judges, the store reserves and creates the order in one call."""

    def __init__(self, build: Callable[[], LedgerParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._account, self._store = parts, parts.account, parts.store
        self._clock = parts.clock
        self._ttl_ms = round(parts.lease_ttl_s * 1000)
        role = f"ledger:{parts.account}"
        self._fence = rebuilt(lambda: self._store.acquire_lease(role, parts.owner, self._ttl_ms))
        self._requests = RequestIds(role, self._fence.epoch)
        self._pulse = Pulse(f"risk_ledger:{parts.account}")
        self._pulse.epoch = self._fence.epoch
        self._pace = CommitPace()
        self._was_slow: bool | None = None
        """None: not looked at since the start, an alert of before may be open."""
        self._approvals = Approvals(parts, self._fence, self._requests)
        self._losses = LossWatch(parts.account, parts.store, parts.clock)
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def approve(self, ask: Approve) -> Approved[Order] | Refused:
        """Reserve and create the order and hand it to the executor, or say which limit spoke.

        Idempotent by client order id: an order that exists is approved as it stands. Raises
        `VersionConflict` when the request that it comes after is not committed.
        """
        return await self._approve(ask)

    @ray.method(max_task_retries=0)
    async def approve_text(self, text: bytes) -> Approved[Order] | Refused:
        """`approve` for an `Approve` in JSON: bytes are passed on as they are, an object is pickled by
        way of Python, ten times as long."""
        return await self._approve(from_json(Approve, text))

    async def _approve(self, ask: Approve) -> Approved[Order] | Refused:
        verdict = await retried(lambda: self._judge(ask))
        if isinstance(verdict, Refused):
            self._pulse.count("refused")
            meters.RISK_CHECKS.count(self._account, verdict.limit)
            await self._record_refusal(ask.intent, verdict)
        else:
            self._pulse.count("approved")
            meters.RISK_CHECKS.count(self._account, "approved")
            verdict = await self._hand_over(verdict)
        return verdict

    @ray.method(max_task_retries=0)
    async def greet(self) -> None:
        """Connect to whom an order would be handed. Raises `DeskError` when it does not answer."""
        await self._parts.greet_executor()

    @ray.method(max_task_retries=0)
    async def mark(self, ask: Mark) -> None:
        """Value the books at these prices: a loss between two decisions trips the breaker, pauses
        the runs whose limit it reaches, and may have the account flattened.
        """
        ahead = await stored(lambda: self._approvals.look_ahead(ask.prices))
        if ahead.ledger is None:
            return  # the account is being opened; the next candle marks it
        ledger = await self._move(
            ahead.ledger, lambda ledger, at_ms: books.mark(ledger, ask.prices, at_ms)
        )
        await self._watch(ledger, ask.trace_id, seen=ahead.store)
        self._approvals.keep(ahead, ledger)

    @ray.method(max_task_retries=0)
    async def adjust(self, ask: Adjust) -> None:
        """Book a position change from outside; repeating an adjustment id changes nothing.

        Raises `BadInput` when the position has moved since it was compared.
        """
        request_id = ids.request_id("adjust", self._account, ask.adjustment_id)

        async def attempt() -> Ledger:
            before, now_ms = await self._ledger(), self._clock.now_ms()
            held = books.held_quantity(before, ask.pair)
            if held != ask.ours:
                if await self._is_adjusted(ask.adjustment_id):
                    return before
                raise BadInput("ours", f"was {ask.ours}, the books hold {held}: compare again")
            adjustment = books.Adjustment(
                adjustment_id=ask.adjustment_id,
                pair=ask.pair,
                quantity=ask.quantity,
                price=ask.price,
                at_ms=now_ms,
            )
            after = books.adjust(before, adjustment)
            event = position_event(after, ask.pair, at_ms=now_ms)
            booked = await self._fenced(
                lambda: self._store.adjust_ledger(
                    adjustment,
                    before,
                    after,
                    fence=self._fence,
                    request_id=request_id,
                    event=event,
                )
            )
            return before if booked is None else booked

        await self._watch(await retried(attempt))

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def _is_adjusted(self, adjustment_id: str) -> bool:
        known = await stored(lambda: self._store.adjustments(self._account))
        return any(each.adjustment_id == adjustment_id for each in known)

    # --- loop -----------------------------------------------------------------------------------

    async def turn(self) -> float:
        """Renew the lease, open the books of a new account, let a cool-down end."""
        await self._fenced(lambda: self._store.renew_lease(self._fence, self._ttl_ms))
        ledger = await stored(lambda: self._store.ledger(self._account))
        if ledger is None:
            ledger = await self._open()
        await self._watch(ledger)
        await self._look_at_the_store()
        return self._parts.lease_renew_s

    async def _look_at_the_store(self) -> None:
        """Tell the operator when commits begin to take so long that entries wait."""
        slow_ms = self._pace.slow_p99_ms(now_s=monotonic_s())
        was_slow, self._was_slow = self._was_slow, slow_ms is not None
        if slow_ms is None and was_slow is not False:
            alert_id, now_ms = f"{risk.STORE_SLOW}:{self._account}", self._clock.now_ms()
            await stored(lambda: resolve_alert(self._store, alert_id, at_ms=now_ms))
        if slow_ms is None or was_slow:
            return
        cause = Cause(
            code=risk.STORE_SLOW,
            about=self._account,
            category="ops",
            severity="warning",
            detail=f"{self._account}: a commit of the store takes {slow_ms:.0f} ms (p99 of a minute);"
            " entries wait until it is fast again: look at the disk under DESK_HOME",
            metric="store_commit_p99_ms",
            value=f"{slow_ms:.0f}",
            threshold=f"{MOST_P99_MS:.0f}",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    async def _open(self) -> Ledger:
        cash = await self._parts.opening_cash()
        now_ms = self._clock.now_ms()
        fresh = books.open_ledger(self._account, cash, now_ms=now_ms)
        event = risk_event(fresh, at_ms=now_ms)
        log.info("ledger_opened", account=self._account, cash=str(cash))
        return await self._fenced(
            lambda: self._store.create_ledger(fresh, fence=self._fence, event=event)
        )

    # --- approving ------------------------------------------------------------------------------

    async def _judge(self, ask: Approve) -> Approved[Order] | Refused:
        slow_ms = self._pace.slow_p99_ms(now_s=monotonic_s())
        try:
            judged = await stored(lambda: self._approvals.judge(ask, slow_commit_ms=slow_ms))
        except Fenced as newer:
            leave(str(newer))
        if judged.commit_s is not None:
            self._pace.took(judged.commit_s * 1000, now_s=monotonic_s())
        return judged.verdict

    async def _hand_over(self, approved: Approved[Order]) -> Approved[Order]:
        """One hop less than by way of whoever asked, who asks the executor where it did not answer."""
        execute = self._parts.execute
        if execute is None or approved.value.state is not OrderState.INTENT:
            return approved
        began_s = monotonic_s()
        try:
            order = await execute(approved)
        except DeskError as away:
            cid = approved.value.client_order_id
            log.warning("not_handed_over", client_order_id=cid, why=str(away))
            return approved
        return replace(approved, value=order, executed_s=monotonic_s() - began_s)

    async def _record_refusal(self, intent: OrderIntent, refused: Refused) -> None:
        event = Event(
            topic="risk",
            key=intent.run_id,
            data={
                "refused": refused.limit,
                "scope": refused.scope,
                "asked": refused.asked,
                "allowed": refused.allowed,
                "account": self._account,
                "pair": intent.pair,
                "leg": intent.leg.value,
                "client_order_id": intent.client_order_id,
            },
            at_ms=self._clock.now_ms(),
            trace_id=intent.trace_id,
            stream=Stream.RISK,
        )
        log.info(
            "intent_refused",
            limit=refused.limit,
            scope=refused.scope,
            account=self._account,
            pair=intent.pair,
            trace_id=intent.trace_id,
        )
        await stored(lambda: self._store.emit(event))

    # --- books ----------------------------------------------------------------------------------

    async def _move(self, known: Ledger, change: Callable[[Ledger, int], Ledger]) -> Ledger:
        """Move the ledger by a pure change, however often another writer comes first."""
        request_id, at_first = self._requests.fresh("move"), [known]

        async def attempt() -> Ledger:
            before = at_first.pop() if at_first else await self._ledger()
            now_ms = self._clock.now_ms()
            after = change(before, now_ms)
            event = risk_event(after, at_ms=now_ms)
            return await self._fenced(
                lambda: self._store.move_ledger(
                    before, after, fence=self._fence, request_id=request_id, event=event
                )
            )

        return await retried(attempt)

    async def _ledger(self) -> Ledger:
        ledger = await stored(lambda: self._store.ledger(self._account))
        if ledger is None:
            raise NotFound("ledger", self._account)
        return ledger

    async def _watch(
        self, ledger: Ledger, trace_id: str = "", *, seen: Store | None = None
    ) -> None:
        """Let the breaker see the books, then the limits of losses; a trip or a breach is an alert.

        `seen` answers for breaker and policy as they were just read.
        """
        rows = [seen or await stored(self._read_rows)]
        policy_row = rows[0].get(kinds.ACCOUNT_POLICIES, self._account)
        policy = policy_row.value if policy_row else self._parts.default_policy

        async def attempt() -> None:
            store = rows.pop() if rows else await stored(self._read_rows)
            await self._observe(store.get(kinds.BREAKERS, self._account), policy, ledger, trace_id)

        await retried(attempt)
        await self._losses.look(ledger, policy, trace_id=trace_id)

    def _read_rows(self) -> Store:
        wanted = ((kinds.BREAKERS, self._account), (kinds.ACCOUNT_POLICIES, self._account))
        return read_ahead(self._store, self._account, wanted)

    async def _observe(
        self, found: Doc[Breaker] | None, policy: AccountPolicy, ledger: Ledger, trace_id: str
    ) -> None:
        before = found.value if found else Breaker(account=self._account)
        now_ms = self._clock.now_ms()
        after = breakers.observe(before, ledger=ledger, policy=policy, now_ms=now_ms)
        if after == before:
            return
        moved = after.state is not before.state
        event = self._moved(ledger, before, after, now_ms) if moved else None
        await stored(
            lambda: self._store.put(
                kinds.BREAKERS,
                self._account,
                after,
                at_ms=now_ms,
                expected_version=found.version if found else 0,
                event=event,
            )
        )
        if after.tripped_ms > before.tripped_ms:
            await self._alert_trip(after, now_ms, trace_id)

    def _moved(self, ledger: Ledger, before: Breaker, after: Breaker, now_ms: int) -> Event:
        did = Did(
            actor=f"risk_ledger:{self._account}",
            action="breaker.tripped" if after.tripped_ms > before.tripped_ms else "breaker.closed",
            resource=f"breaker/{self._account}",
            before={"state": before.state.value, "trigger_reason": before.trigger_reason},
            after={"state": after.state.value, "trigger_reason": after.trigger_reason},
        )
        return with_audit(risk_event(ledger, at_ms=now_ms, breaker=after), did)

    async def _alert_trip(self, breaker: Breaker, now_ms: int, trace_id: str) -> None:
        cause = Cause(
            code="circuit_breaker",
            about=self._account,
            category="risk",
            severity="critical",
            detail=f"{self._account}: {breaker.trigger_reason}; no entries until"
            f" {breaker.cooldown_until_ms}",
            trace_id=trace_id,
        )
        await raise_alert(self._store, cause, at_ms=now_ms)

    async def _fenced[R](self, call: Callable[[], R]) -> R:
        def timed() -> tuple[R, float]:
            began_s = monotonic_s()
            done = call()
            return done, monotonic_s() - began_s

        try:
            done, spent_s = await stored(timed)
        except Fenced as newer:
            leave(str(newer))
        self._pace.took(spent_s * 1000, now_s=monotonic_s())
        return done


RiskLedgerActor = ray.remote(RiskLedger)
