"""Whether an intent may become an order: read, checked and stored in one go, by the account's ledger.

What an entry was judged by is proved by the commit of its order, which is refused where any of it has
moved since it was read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from actors.events import order_event
from actors.market_time import acceleration_grace_ms
from actors.order_rows import cooldown_key
from actors.store_calls import RequestIds
from desk.errors import LimitReached, NotFound
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
    """None for an exit, and for a run that is not stored."""
    limits: RiskLimitSet | None
    policy: AccountPolicy | None
    """None: the account's defaults count."""
    open_orders: Sequence[Order]
    breaker: Breaker
    cooldown_until_ms: int
    venue: VenueHealth | None
    readings: Sequence[Reading]
    """Of every document of these; the ledger's version stands for the open orders too."""


class _Read(Protocol):
    """Read a document and note which version it was."""

    def __call__[T](self, kind: Kind[T], key: str) -> T | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict, and how long the store took to commit the order; None: nothing was committed."""

    verdict: Approved[Order] | Refused
    commit_s: float | None = None


class Approvals:
    """Approves for one account. Blocks: for a thread, in which several may be under way at once."""

    def __init__(self, parts: "LedgerParts", fence: Fence, requests: RequestIds) -> None:
        self._parts, self._account, self._store = parts, parts.account, parts.store
        self._clock, self._fence, self._requests = parts.clock, fence, requests
        self._agents: dict[str, str] = {}
        """By run: where to look for its agent, before the run has been read."""

    def judge(self, ask: Approve, *, slow_commit_ms: float | None) -> Judged:
        """Say whether an intent passes, and create its order if so.

        `slow_commit_ms` as `CommitPace` has it. Idempotent by client order id. Raises
        `StoreUnavailable`, `Fenced`, and `VersionConflict` when what it rests on has moved: ask again.
        """
        seen = self._look(ask)
        if isinstance(seen, Order):
            return Judged(verdict=Approved(value=seen, limits_set_id=ask.limits_set_id))
        verdict = self._check(ask, seen, slow_commit_ms)
        if isinstance(verdict, Refused):
            return Judged(verdict=verdict)
        readings = () if ask.intent.reduce_only else seen.readings
        return self._create(verdict, seen.ledger, readings, after=ask.after)

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

    def _look(self, ask: Approve) -> Order | Seen:
        """Read what an intent is judged by, in few trips; the order itself if it is known already.

        The books first: the commit proves that they have not moved since.
        """
        intent, account = ask.intent, self._account
        cooldown = cooldown_key(account, intent.pair)
        wanted: list[Wanted] = [
            (kinds.INSTRUMENTS, intent.pair),
            (kinds.RUNS, intent.run_id),
            (kinds.RISK_LIMITS, ask.limits_set_id),
            (kinds.ACCOUNT_POLICIES, account),
            (kinds.BREAKERS, account),
            (kinds.STATE, cooldown),
            (kinds.VENUES, account),
        ]
        if (agent_id := self._agents.get(intent.run_id)) is not None:
            wanted.append((kinds.AGENTS, agent_id))
        store = read_ahead(self._store, account, wanted, order_id=intent.client_order_id)
        if (known := store.order(intent.client_order_id)) is not None:
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
            instrument=read(kinds.INSTRUMENTS, intent.pair),
            mandate=None if intent.reduce_only else self._mandate(store, intent.run_id, read),
            limits=read(kinds.RISK_LIMITS, ask.limits_set_id),
            policy=read(kinds.ACCOUNT_POLICIES, account),
            open_orders=store.active_orders(account),
            breaker=breaker or Breaker(account=account),
            cooldown_until_ms=int(cooling["until_ms"]) if cooling else 0,
            venue=read(kinds.VENUES, account) if self._parts.heeds_venue else None,
            readings=readings,
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

    def _create(
        self,
        verdict: Approved[OrderIntent],
        ledger: Ledger,
        readings: Sequence[Reading],
        *,
        after: str,
    ) -> Judged:
        intent, now_ms = verdict.value, self._clock.now_ms()
        order = intents.order_of(
            intent,
            position=ledger.positions.get(intent.pair),
            reserved_quote=risk.reservation(intent, price=intent.reference_price),
            now_ms=now_ms,
        )
        request_id = self._requests.fresh("intent")
        event = order_event(order, at_ms=now_ms)
        began_s = monotonic_s()
        try:
            created = self._store.create_order(
                order,
                ledger,
                fence=self._fence,
                request_id=request_id,
                event=event,
                readings=readings,
                after=after,
            )
        except LimitReached as reached:
            return Judged(
                verdict=Refused(
                    limit=reached.limit, asked=str(intent.notional), allowed="0", scope="account"
                )
            )
        return Judged(
            verdict=Approved(value=created, limits_set_id=verdict.limits_set_id),
            commit_s=monotonic_s() - began_s,
        )
