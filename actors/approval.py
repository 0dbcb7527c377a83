"""Whether an intent may become an order: read, perhaps before it is there, checked, and stored.

What an intent was judged by is proved by the commit of its order, which is refused where any of it has
moved since it was read: how old a reading is makes no difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from actors.events import order_event
from actors.market_time import acceleration_grace_ms
from actors.order_rows import cooldown_key
from actors.store_calls import RequestIds
from desk.errors import LimitReached, NotFound
from desk.ids import Pair
from desk.runs import agent_kill_reason
from desk.store import kinds
from desk.store.port import Fence, Kind, Reading, Store, Wanted
from desk.store.read_ahead import read_ahead
from desk.trading import admission, intents, risk
from desk.trading import breaker as breakers
from desk.trading import ledger as books
from desk.trading.admission import Mandate
from desk.trading.breaker import Breaker
from desk.trading.instruments import Instrument
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger
from desk.trading.orders import Order
from desk.trading.risk import AccountPolicy, Approved, Refused, RiskLimitSet, VenueView
from desk.trading.venue_health import VenueHealth
from desk.wallclock import monotonic_s, wall_ms

if TYPE_CHECKING:
    from actors.risk_ledger import LedgerParts

MOST_RUNS = 1_000
"""Runs of which it is remembered whose they are."""
MOST_EXPECTED = 8
"""Every order moves the books: of many that come at once only the first find them as they were read."""
EXPECTED_FOR_S = 1.0
"""As long as a policy may take; what is older has most likely moved, and would be read twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """A decision under way may bring an intent in a moment: read what it will be judged by."""

    decision_id: str
    run_id: str
    pair: Pair
    limits_set_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """Check an intent of a run against its limit set and the account's guardrails."""

    intent: OrderIntent
    limits_set_id: str
    after: str = ""
    """Request id of the claim of its decision, which is on its way to the store: no order without it.
    Empty: the claim is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What an intent is judged by, as it was read in one go."""

    ledger: Ledger
    instrument: Instrument | None
    mandate: Mandate | None
    """None for a run that is not stored."""
    limits: RiskLimitSet | None
    policy: AccountPolicy | None
    """None: the account's defaults count."""
    open_orders: Sequence[Order]
    breaker: Breaker
    cooldown_until_ms: int
    venue: VenueHealth | None
    readings: tuple[Reading, ...]
    """Of every document of these, for an entry: the ledger's version stands for the open orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """An order that passed and is not stored yet."""

    order: Order
    """As it will stand in the store, at its first version."""
    ledger: Ledger
    readings: tuple[Reading, ...]
    request_id: str
    """Of its creation."""
    after: str
    limits_set_id: str


class _Read(Protocol):
    """Read a document and note which version it was."""

    def __call__[T](self, kind: Kind[T], key: str) -> T | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    ask: Expect
    told_s: float
    seen: Seen | None = None
    """None: it is still being read."""


class Approvals:
    """Approves for one account. What says that it blocks is for a thread, several at once."""

    def __init__(self, parts: "LedgerParts", fence: Fence, requests: RequestIds) -> None:
        self._parts, self._account, self._store = parts, parts.account, parts.store
        self._clock, self._fence, self._requests = parts.clock, fence, requests
        self._agents: dict[str, str] = {}
        """By run: where to look for its agent, before the run has been read."""
        self._expected: dict[str, _Expected] = {}
        """By decision."""

    def expect(self, ask: Expect) -> None:
        """Read ahead for one intent of a decision, or not where many are expected. Blocks.

        Raises `StoreUnavailable`, `NotFound`.
        """
        told_s, told = monotonic_s(), self._expected
        for decision_id, known in list(told.items()):
            if told_s - known.told_s > EXPECTED_FOR_S:
                told.pop(decision_id, None)
        if len(told) >= MOST_EXPECTED:
            return
        mine = told[ask.decision_id] = _Expected(ask=ask, told_s=told_s)
        seen = self._read(ask.run_id, ask.pair, ask.limits_set_id)
        assert not isinstance(seen, Order), "no order was asked for"
        if told.get(ask.decision_id) is mine:  # the books have not moved meanwhile
            told[ask.decision_id] = replace(mine, seen=seen)

    def forget(self) -> None:
        """The books have moved: what was read ahead is worth nothing any more."""
        self._expected.clear()

    def expected(self, ask: Approve) -> Seen | None:
        """What was read ahead for this intent, once."""
        found, intent = self._expected.pop(ask.intent.decision_id, None), ask.intent
        if found is None or monotonic_s() - found.told_s > EXPECTED_FOR_S:
            return None
        told = found.ask
        is_of = (told.run_id, told.pair, told.limits_set_id) == (
            intent.run_id,
            intent.pair,
            ask.limits_set_id,
        )
        return found.seen if is_of else None

    def look(self, ask: Approve) -> Order | Seen:
        """What an intent is judged by as it stands now; the order itself if there is one. Blocks.

        Raises `StoreUnavailable`, `NotFound`.
        """
        intent = ask.intent
        return self._read(
            intent.run_id, intent.pair, ask.limits_set_id, order_id=intent.client_order_id
        )

    def judge(self, ask: Approve, seen: Seen, *, slow_commit_ms: float | None) -> Passed | Refused:
        """Whether an intent passes by what was seen. `slow_commit_ms` as `CommitPace` has it."""
        verdict = self._check(ask, seen, slow_commit_ms)
        if isinstance(verdict, Refused):
            return verdict
        intent, ledger = verdict.value, seen.ledger
        order = intents.order_of(
            intent,
            position=ledger.positions.get(intent.pair),
            reserved_quote=risk.reservation(intent, price=intent.reference_price),
            now_ms=self._clock.now_ms(),
        )
        return Passed(
            order=replace(order, version=1),
            ledger=ledger,
            readings=() if intent.reduce_only else seen.readings,
            request_id=self._requests.fresh("intent"),
            after=ask.after,
            limits_set_id=verdict.limits_set_id,
        )

    def create(self, passed: Passed) -> Order | Refused:
        """Store the order that passed; one that was there under its id is returned as it stands. Blocks.

        Raises `StoreUnavailable`, `Fenced`, and `VersionConflict` when what it rests on has moved:
        look again.
        """
        order = passed.order
        try:
            created = self._store.create_order(
                order,
                passed.ledger,
                fence=self._fence,
                request_id=passed.request_id,
                event=order_event(order, at_ms=order.created_ms),
                readings=passed.readings,
                after=passed.after,
            )
        except LimitReached as reached:
            asked = str(order.quantity * order.reference_price)
            return Refused(limit=reached.limit, asked=asked, allowed="0", scope="account")
        self.forget()
        return created

    def _check(
        self, ask: Approve, seen: Seen, slow_commit_ms: float | None
    ) -> Approved[OrderIntent] | Refused:
        intent = ask.intent
        ledger, now_ms = seen.ledger, self._clock.now_ms()
        unfit = admission.check(
            intent,
            instrument=seen.instrument,
            mandate=seen.mandate,
            held_quantity=books.held_quantity(ledger, intent.pair),
        )
        if unfit is not None:
            return unfit
        if seen.limits is None:
            return Refused(
                limit="risk_limit_set_missing", asked=ask.limits_set_id, allowed="an existing set"
            )
        policy = seen.policy or self._parts.default_policy
        return risk.check(
            intent,
            ledger=ledger,
            open_orders=seen.open_orders,
            limits=seen.limits,
            policy=policy,
            # As these books make it: between a mark and the row of the breaker nothing slips in.
            breaker=breakers.observe(seen.breaker, ledger=ledger, policy=policy, now_ms=now_ms),
            price=intent.reference_price,
            leverage=self._parts.leverage,
            now_ms=now_ms,
            max_mark_age_ms=self._parts.max_mark_age_ms
            + acceleration_grace_ms(self._clock.anchor.speed),
            pair_cooldown_until_ms=seen.cooldown_until_ms,
            venue=VenueView(health=seen.venue, wall_ms=wall_ms())
            if self._parts.heeds_venue
            else None,
            slow_commit_ms=slow_commit_ms,
            min_liquidation_buffer_bps=self._parts.min_liquidation_buffer_bps,
        )

    def _read(
        self, run_id: str, pair: Pair, limits_set_id: str, *, order_id: str = ""
    ) -> Order | Seen:
        """In one trip, but for a run's first one."""
        account = self._account
        cooldown = cooldown_key(account, pair)
        wanted: list[Wanted] = [
            (kinds.INSTRUMENTS, pair),
            (kinds.RUNS, run_id),
            (kinds.RISK_LIMITS, limits_set_id),
            (kinds.ACCOUNT_POLICIES, account),
            (kinds.BREAKERS, account),
            (kinds.STATE, cooldown),
            (kinds.VENUES, account),
        ]
        if (agent_id := self._agents.get(run_id)) is not None:
            wanted.append((kinds.AGENTS, agent_id))
        store = read_ahead(self._store, account, wanted, order_id=order_id)
        if order_id and (known := store.order(order_id)) is not None:
            return known
        if (ledger := store.ledger(account)) is None:
            raise NotFound("ledger", account)
        readings: list[Reading] = []

        def read[T](kind: Kind[T], key: str) -> T | None:
            found = store.get(kind, key)
            readings.append(Reading.of(kind, key, found))
            return found.value if found else None

        breaker, cooling = read(kinds.BREAKERS, account), read(kinds.STATE, cooldown)
        return Seen(
            ledger=ledger,
            instrument=read(kinds.INSTRUMENTS, pair),
            mandate=self._mandate(store, run_id, read),
            limits=read(kinds.RISK_LIMITS, limits_set_id),
            policy=read(kinds.ACCOUNT_POLICIES, account),
            open_orders=store.active_orders(account),
            breaker=breaker or Breaker(account=account),
            cooldown_until_ms=int(cooling["until_ms"]) if cooling else 0,
            venue=read(kinds.VENUES, account) if self._parts.heeds_venue else None,
            readings=tuple(readings),
        )

    def _mandate(self, store: Store, run_id: str, read: _Read) -> Mandate | None:
        run = store.get(kinds.RUNS, run_id)  # what counts of it here never changes
        if run is None:
            return None
        if len(self._agents) < MOST_RUNS:
            self._agents[run_id] = run.value.agent_id
        agent = read(kinds.AGENTS, run.value.agent_id)
        return Mandate(
            account=run.value.account,
            pair=run.value.pair,
            allowed_pairs=agent.allowed_instruments if agent else (),
            kill_reason=agent_kill_reason(agent) if agent else None,
        )
