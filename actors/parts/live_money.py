"""The same on the exchange: apart, so that paper processes do not load its client."""

from decimal import Decimal

from actors.doors import ExecutorDoor, LedgerDoor
from actors.order_executor import ExecutorParts
from actors.parts.foundation import market_clock, open_store, owner
from actors.parts.venue import trading_venue
from actors.reconciler import EXCHANGE_EVERY_S, ReconcilerParts
from actors.risk_ledger import LedgerParts
from actors.wiring import LIVE, Wiring
from desk.clock import MINUTE_MS
from desk.trading import risk


def live_ledger_parts(wiring: Wiring) -> LedgerParts:
    """Build in the live ledger's process; the books open with the wallet's balance."""
    store = open_store(wiring)
    venue = trading_venue(wiring, store)

    async def opening_cash() -> Decimal:
        return (await venue.balance()).balance

    return LedgerParts(
        account=LIVE,
        owner=owner(),
        store=store,
        clock=market_clock(store),
        default_policy=risk.default_live_policy(LIVE),
        opening_cash=opening_cash,
        heeds_venue=True,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
    )


def live_executor_parts(wiring: Wiring) -> ExecutorParts:
    """Build in the live executor's process."""
    store = open_store(wiring)
    return ExecutorParts(
        account=LIVE,
        owner=owner(),
        store=store,
        venue=trading_venue(wiring, store),
        clock=market_clock(store),
        pairs=wiring.pairs,
        max_decision_age_ms=wiring.max_decision_age_ms,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
        lookup_schedule_s=wiring.lookup_schedule_s,
        fill_schedule_s=wiring.fill_schedule_s,
    )


def live_reconciler_parts(wiring: Wiring) -> ReconcilerParts:
    """Build in the live reconciler's process."""
    store = open_store(wiring)
    return ReconcilerParts(
        account=LIVE,
        store=store,
        clock=market_clock(store),
        venue=trading_venue(wiring, store),
        orders=ExecutorDoor(LIVE, namespace=wiring.namespace),
        ledger=LedgerDoor(LIVE, namespace=wiring.namespace),
        pairs=wiring.pairs,
        full_every_ms=wiring.reconcile_interval_min * MINUTE_MS,
        light_every_s=EXCHANGE_EVERY_S,
        watches_venue=True,
    )
