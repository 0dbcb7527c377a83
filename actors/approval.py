"""Whether an intent may become an order: read, checked and stored in one go, by the account's ledger.

What an entry was judged by is proved by the commit of its order, which is refused where any of it has
moved since it was read. So it need not be read again when the books were marked just before: an intent
that passes by what the mark saw is as good as one that passes by a look of its own.
"""

import threading
from collections.abc import Iterable, Sequence
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
"""Runs of which it is remembered what their intents are judged by."""
MOST_AHEAD = 8
"""Runs on the pairs of a mark, the last that asked, for which is read ahead."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What was read beside a mark of the books, for the intents that are decided at it."""

    store: Store
    """Answers for what was read, as it stood then."""
    wanted: frozenset[tuple[str, str]]
    """By kind and key."""
    ledger: Ledger | None
    """None: the account has no books yet."""

    def has(self, wanted: Iterable[Wanted]) -> bool:
        """Whether all of this was read."""
        return self.wanted.issuperset((kind.name, key) for kind, key in wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    pair: Pair
    limits_set_id: str
    agent_id: str = ""
    """Empty: not read yet."""


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
        self._runs: dict[str, _Run] = {}
        """By run id, who asked last comes last: what to look at before the run has been read."""
        self._remembering = threading.Lock()
        self._ahead: Ahead | None = None

    def look_ahead(self, pairs: Iterable[Pair]) -> Ahead:
        """Read the books, and what intents on these pairs would be judged by, in one trip.

        Raises `StoreUnavailable`.
        """
        account, marked = self._account, set(pairs)
        with self._remembering:
            asking = [(run_id, run) for run_id, run in self._runs.items() if run.pair in marked]
        wanted = [*self._of_account(), *(one for pair in marked for one in self._of_pair(pair))]
        for run_id, run in asking[-MOST_AHEAD:]:
            wanted += self._of_run(run_id, run)
        store = read_ahead(self._store, account, wanted)
        names = frozenset((kind.name, key) for kind, key in wanted)
        return Ahead(store=store, wanted=names, ledger=store.ledger(account))

    def keep(self, ahead: Ahead, marked: Ledger) -> None:
        """Let the next intent be judged by this, with the books as the mark has left them.

        Not where somebody else moved them meanwhile: the open orders may be others now.
        """
        if ahead.ledger is not None and marked.version == ahead.ledger.version + 1:
            self._ahead = replace(ahead, ledger=marked)

    def judge(self, ask: Approve, *, slow_commit_ms: float | None) -> Judged:
        """Say whether an intent passes, and create its order if so.

        `slow_commit_ms` as `CommitPace` has it. Idempotent by client order id. Raises
        `StoreUnavailable`, `Fenced`, and `VersionConflict` when what it rests on has moved: ask again.
        """
        ahead, self._ahead = self._ahead, None  # an order moves the books: it is good for one only
        if ahead is not None and ahead.ledger is not None and ahead.has(self._wanted(ask)):
            seen = self._seen(ask, ahead.store, ahead.ledger)
            verdict = self._check(ask, seen, slow_commit_ms)
            if not isinstance(verdict, Refused):  # no refusal by what may have changed
                return self._create(verdict, ahead.ledger, seen.readings, after=ask.after)
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
        wanted = self._wanted(ask)
        store = read_ahead(self._store, account, wanted, order_id=intent.client_order_id)
        if (known := store.order(intent.client_order_id)) is not None:
            return known
        if (ledger := store.ledger(account)) is None:
            raise NotFound("ledger", account)
        return self._seen(ask, store, ledger)

    def _wanted(self, ask: Approve) -> list[Wanted]:
        intent = ask.intent
        run = self._remember(intent, ask.limits_set_id)
        of_run = self._of_run(intent.run_id, run)
        return [*self._of_account(), *self._of_pair(intent.pair), *of_run]

    def _remember(self, intent: OrderIntent, limits_set_id: str, agent_id: str = "") -> _Run:
        with self._remembering:
            known = self._runs.pop(intent.run_id, None)
            agent_id = agent_id or (known.agent_id if known else "")
            run = _Run(pair=intent.pair, limits_set_id=limits_set_id, agent_id=agent_id)
            self._runs[intent.run_id] = run
            if len(self._runs) > MOST_RUNS:
                del self._runs[next(iter(self._runs))]
            return run

    def _of_account(self) -> list[Wanted]:
        account = self._account
        return [
            (kinds.ACCOUNT_POLICIES, account),
            (kinds.BREAKERS, account),
            (kinds.VENUES, account),
        ]

    def _of_pair(self, pair: Pair) -> list[Wanted]:
        return [(kinds.INSTRUMENTS, pair), (kinds.STATE, cooldown_key(self._account, pair))]

    def _of_run(self, run_id: str, run: _Run) -> list[Wanted]:
        wanted: list[Wanted] = [(kinds.RUNS, run_id), (kinds.RISK_LIMITS, run.limits_set_id)]
        return [*wanted, (kinds.AGENTS, run.agent_id)] if run.agent_id else wanted

    def _seen(self, ask: Approve, store: Store, ledger: Ledger) -> Seen:
        intent, account = ask.intent, self._account
        readings: list[Reading] = []

        def read[T](kind: Kind[T], key: str) -> T | None:
            found = store.get(kind, key)
            readings.append(Reading.of(kind, key, found))
            return found.value if found else None

        breaker = read(kinds.BREAKERS, account)
        cooling = read(kinds.STATE, cooldown_key(account, intent.pair))
        return Seen(
            ledger=ledger,
            instrument=read(kinds.INSTRUMENTS, intent.pair),
            mandate=None if intent.reduce_only else self._mandate(ask, store, read),
            limits=read(kinds.RISK_LIMITS, ask.limits_set_id),
            policy=read(kinds.ACCOUNT_POLICIES, account),
            open_orders=store.active_orders(account),
            breaker=breaker or Breaker(account=account),
            cooldown_until_ms=int(cooling["until_ms"]) if cooling else 0,
            venue=read(kinds.VENUES, account) if self._parts.heeds_venue else None,
            readings=readings,
        )

    def _mandate(self, ask: Approve, store: Store, read: _Read) -> Mandate | None:
        run = store.get(kinds.RUNS, ask.intent.run_id)  # what counts of it here never changes
        if run is None:
            return None
        self._remember(ask.intent, ask.limits_set_id, run.value.agent_id)
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
