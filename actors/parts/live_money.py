"""The same on the exchange: apart, so that paper processes do not load its client."""

from decimal import Decimal

from actors.doors import ExecutorDoor, LedgerDoor
from actors.order_executor import ExecutorParts
from actors.parts.foundation import market_clock, open_store, owner
from actors.parts.money import flattener
from actors.parts.venue import trading_venue
from actors.reconciler import EXCHANGE_EVERY_S, ReconcilerParts
from actors.risk_ledger import LedgerParts
from actors.wiring import LIVE, Wiring
from desk.clock import MINUTE_MS
from desk.trading import risk

LIVE_LEVERAGE = 1
"""Set at the venue before a pair's first entry, and the one that limits are checked with."""


def live_ledger_parts(wiring: Wiring) -> LedgerParts:
    """Build in the live ledger's process; the books open with the wallet's balance."""
    store = open_store(wiring)
    venue = trading_venue(wiring, store)

    async def opening_cash() -> Decimal:
        return (await venue.balance()).balance

    executor = ExecutorDoor(LIVE, namespace=wiring.namespace)
    return LedgerParts(
        account=LIVE,
        owner=owner(),
        store=store,
        clock=market_clock(store),
        default_policy=risk.default_live_policy(LIVE),
        opening_cash=opening_cash,
        execute=executor.hand_over,
        greet_executor=executor.greet,
        min_liquidation_buffer_bps=wiring.min_liquidation_buffer_bps,
        leverage=Decimal(LIVE_LEVERAGE),
        heeds_venue=True,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
    )


def live_executor_parts(wiring: Wiring) -> ExecutorParts:
    """Build in the live executor's process."""
    store = open_store(wiring)
    venue = trading_venue(wiring, store)
    return ExecutorParts(
        account=LIVE,
        owner=owner(),
        store=store,
        venue=venue,
        clock=market_clock(store),
        pairs=wiring.pairs,
        exchange=venue,
        leverage=LIVE_LEVERAGE,
        instruments=venue.instruments,
        max_decision_age_ms=wiring.max_decision_age_ms,
        lease_ttl_s=wiring.lease_ttl_s,
        lease_renew_s=wiring.lease_renew_s,
        lookup_schedule_s=wiring.lookup_schedule_s,
        fill_schedule_s=wiring.fill_schedule_s,
    )


def live_reconciler_parts(wiring: Wiring) -> ReconcilerParts:
    """Build in the live reconciler's process."""
    store = open_store(wiring)
    clock = market_clock(store)
    return ReconcilerParts(
        account=LIVE,
        store=store,
        clock=clock,
        venue=trading_venue(wiring, store),
        orders=ExecutorDoor(LIVE, namespace=wiring.namespace),
        ledger=LedgerDoor(LIVE, namespace=wiring.namespace),
        flattener=flattener(wiring, store, clock),
        pairs=wiring.pairs,
        full_every_ms=wiring.reconcile_interval_min * MINUTE_MS,
        light_every_s=EXCHANGE_EVERY_S,
        watches_venue=True,
    )
