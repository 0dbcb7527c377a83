"""The parts of an account's ledger, executor and reconciler: on paper and on the exchange."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from actors.closing import Closer
from actors.doors import ExecutorDoor, LedgerDoor
from actors.order_executor import ExecutorParts
from actors.parts.foundation import market_clock, open_store, owner
from actors.reconciler import ReconcilerParts
from actors.risk_ledger import LedgerParts
from actors.wiring import PAPER, Wiring
from desk.clock import MINUTE_MS, Clock
from desk.ids import Pair
from desk.store import kinds
from desk.store.port import Store
from desk.trading import risk
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.venues.paper import PaperVenue


class StoredInstruments(Mapping[Pair, Instrument]):
    """The instruments as the pollers store them, read as they come."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[Pair, Instrument] = {}

    def __getitem__(self, pair: Pair) -> Instrument:
        if pair not in self._known:
            self._read()
        return self._known[pair]

    def __contains__(self, pair: object) -> bool:
        if pair not in self._known:
            self._read()
        return pair in self._known

    def __iter__(self) -> Iterator[Pair]:
        self._read()
        return iter(dict(self._known))

    def __len__(self) -> int:
        self._read()
        return len(self._known)

    def _read(self) -> None:
        self._known |= {doc.key: doc.value for doc in self._store.list(kinds.INSTRUMENTS)}


def paper_venue(wiring: Wiring, store: Store, clock: Clock) -> PaperVenue:
    """The paper account's exchange."""
    return PaperVenue(
        PAPER,
        store,
        StoredInstruments(store),
        clock,
        FillSpec(),
        starting_cash=wiring.starting_cash,
    )


def paper_ledger_parts(wiring: Wiring) -> LedgerParts:
    """Build in the paper ledger's process."""

    async def opening_cash() -> Decimal:
        return wiring.starting_cash

    store = open_store(wiring)
    executor = ExecutorDoor(PAPER, namespace=wiring.namespace)
    return LedgerParts(
        account=PAPER,
        owner=owner(),
        store=store,
        clock=market_clock(store),
        default_policy=risk.default_paper_policy(PAPER),
        opening_cash=opening_cash,
        execute=executor.hand_over,
        greet_executor=executor.greet,
        min_liquidation_buffer_bps=wiring.min_liquidation_buffer_bps,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
    )


def paper_executor_parts(wiring: Wiring) -> ExecutorParts:
    """Build in the paper executor's process."""
    store = open_store(wiring)
    clock = market_clock(store)
    venue = paper_venue(wiring, store, clock)
    return ExecutorParts(
        account=PAPER,
        owner=owner(),
        store=store,
        venue=venue,
        clock=clock,
        pairs=wiring.pairs,
        paper=venue,
        max_decision_age_ms=wiring.max_decision_age_ms,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
        lookup_schedule_s=wiring.lookup_schedule_s,
        fill_schedule_s=wiring.fill_schedule_s,
    )


def flattener(wiring: Wiring, store: Store, clock: Clock) -> Closer:
    """Closes positions by the running actors of their accounts."""
    return Closer(
        store,
        clock,
        lambda account: LedgerDoor(account, namespace=wiring.namespace),
        lambda account: ExecutorDoor(account, namespace=wiring.namespace),
    )


def paper_reconciler_parts(wiring: Wiring) -> ReconcilerParts:
    """Build in the paper reconciler's process."""
    store = open_store(wiring)
    clock = market_clock(store)
    return ReconcilerParts(
        account=PAPER,
        store=store,
        clock=clock,
        venue=paper_venue(wiring, store, clock),
        orders=ExecutorDoor(PAPER, namespace=wiring.namespace),
        ledger=LedgerDoor(PAPER, namespace=wiring.namespace),
        flattener=flattener(wiring, store, clock),
        pairs=wiring.pairs,
        full_every_ms=wiring.reconcile_interval_min * MINUTE_MS,
    )
