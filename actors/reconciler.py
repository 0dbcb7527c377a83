"""The reconciler of one account: our orders and positions against the venue's, corrected by their owners."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, assert_never

import ray
import structlog

from actors.alerts import Cause, raise_alert
from actors.commands import ReconcileReport
from actors.dead_man import foreign_key
from actors.events import ops_event
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock
from actors.reconcile_sides import SideReader, Sides, sides_key, sides_row
from actors.run_book import RunBook
from actors.store_calls import rebuilt, stored
from actors.venue_watch import VenueWatch
from desk import meters
from desk.clock import MINUTE_MS
from desk.errors import DeskError, NotFound
from desk.ids import Pair
from desk.store import kinds
from desk.store.port import Store
from desk.trading import invariants
from desk.trading import reconcile as rules
from desk.trading.orders import Order, Side, VenueOrder
from desk.trading.reconcile import Correction, ExitCorrection
from desk.venues.port import TradingVenue
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()

LIGHT_EVERY_S = 10.0
"""Well within the 20 s in which a drift must be seen."""
EXCHANGE_EVERY_S = 4.0
"""On an exchange: entries need a comparison that is not older than 10 s."""
SECOND_LOOK_S = 3.0
"""While something moves, or was seen once: longer than a venue may take to show an order (2 s)."""
STILL_TRIES = 5
STATE_KEY = "reconciled"


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconcile:
    """Compare everything now."""

    trace_id: str = ""


# --- what it needs ------------------------------------------------------------------------------


class OrderDoor(Protocol):
    """The account's executor. Raises `DeskError` when it did not answer."""

    async def refresh(self, client_order_id: str) -> Order:
        """Let it look the order up and book what the venue says."""
        ...

    async def book_exit(self, parent_id: str, report: VenueOrder) -> Order:
        """Let it book an exit that fired at the venue."""
        ...

    async def note_exit(self, parent_id: str, report: VenueOrder) -> Order:
        """Let it keep the venue's id of an exit that rests there."""
        ...

    async def cancel_exit(self, pair: Pair, venue_order_id: str) -> None:
        """Let it end an exit whose position is over."""
        ...

    async def place_stop(
        self, pair: Pair, side: Side, quantity: Decimal, stop_price: Decimal
    ) -> str:
        """Let it replace a protective stop that is gone."""
        ...


class LedgerDoor(Protocol):
    """The account's risk ledger. Raises `DeskError` when it did not answer."""

    async def adjust(
        self, pair: Pair, ours: Decimal, quantity: Decimal, price: Decimal, adjustment_id: str
    ) -> None:
        """Let it book a position change from outside, if it still holds `ours`."""
        ...


class Flattener(Protocol):
    """Whoever closes positions, reduce-only. Raises `DeskError` when an actor did not answer."""

    async def flatten(
        self, account: str, pair: Pair, *, reason: str, trace_id: str
    ) -> str | None: ...

    async def flatten_wished(self, account: str) -> int:
        """Carry on what was asked to be flat; returns how many orders that took."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcilerParts:
    """Collaborators and settings."""

    account: str
    store: Store
    clock: MarketClock
    venue: TradingVenue
    orders: OrderDoor
    ledger: LedgerDoor
    flattener: Flattener
    pairs: tuple[Pair, ...]
    full_every_ms: int = 5 * MINUTE_MS
    light_every_s: float = LIGHT_EVERY_S
    watches_venue: bool = False
    """Whether the venue is an exchange, whose health entries depend on."""
    pause_above_quote: Decimal = Decimal(1)


# --- the shell ----------------------------------------------------------------------------------


class Reconciler:
    """Shell only: `trading.reconcile.compare` says what is to be put right."""

    def __init__(self, build: Callable[[], ReconcilerParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._account, self._store = parts, parts.account, parts.store
        self._clock = parts.clock
        self._runs = RunBook(parts.store, parts.clock, actor=f"reconciler:{parts.account}")
        self._pulse = Pulse(f"reconciler:{parts.account}")
        self._sides = SideReader(parts.account, parts.store, parts.venue, parts.clock, parts.pairs)
        watch = VenueWatch(parts.account, parts.store, parts.clock)
        self._watch = watch if parts.watches_venue else None
        self._full_at_ms = 0
        self._suspected: frozenset[str] = frozenset()
        self._has_moved = False
        """Whether the last pass put anything right."""
        self._one_at_a_time = asyncio.Lock()
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def reconcile(self, ask: Reconcile) -> ReconcileReport:
        """Make a full comparison and say what it came to."""
        return await self._pass(full=True, trace_id=ask.trace_id)

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def turn(self) -> float:
        """A light pass, or a full one when it is due."""
        ledger = await stored(lambda: self._store.ledger(self._account))
        if ledger is not None:
            full = self._clock.now_ms() - self._full_at_ms >= self._parts.full_every_ms
            await self._pass(full=full)
        if self._has_moved or self._suspected:
            return min(self._parts.light_every_s, SECOND_LOOK_S)
        return self._parts.light_every_s

    # --- a pass ---------------------------------------------------------------------------------

    async def _pass(self, *, full: bool, trace_id: str = "") -> ReconcileReport:
        async with self._one_at_a_time:
            began_s, now_ms = monotonic_s(), self._clock.now_ms()
            # Each question has a deadline of its own; of many pairs there are many, one after the other.
            sides = await self._pulse.through(self._read_sides(full=full))
            dust = await self._dust()
            await self._keep(sides_key(self._account), sides_row(sides, dust, now_ms=now_ms))
            corrections = rules.compare(
                ours=sides.ours,
                theirs=sides.theirs,
                ledger=sides.ledger,
                venue_positions=sides.positions,
                dust=dust,
                now_ms=now_ms,
                wall_ms=wall_ms(),
                pause_above_quote=self._parts.pause_above_quote,
                traded=sides.traded,
            )
            await self._count_foreign(corrections)
            updated, errors = await self._put_right(corrections)
            self._has_moved = updated > 0
            errors += await self._flatten_wished()
            if full:
                errors += await self._check_invariants()
                self._full_at_ms = now_ms
            report = ReconcileReport(
                checked=len(sides.ours) + len(sides.theirs) + len(sides.positions),
                updated=updated,
                errors=errors,
                reconciled_at_ms=now_ms,
            )
            self._pulse.count("full_passes" if full else "light_passes")
            meters.RECONCILE_PASSES.count(self._account, "full" if full else "light")
            meters.RECONCILE.observe(monotonic_s() - began_s, self._account)
            meters.CORRECTIONS.count(self._account, by=updated)
            meters.RECONCILE_ERRORS.count(self._account, by=errors)
            if full or updated or errors:
                await self._note(report, trace_id, (monotonic_s() - began_s) * 1000)
            return report

    async def _read_sides(self, *, full: bool) -> Sides:
        if self._watch is None:
            return await self._sides.read(full=full, since_ms=self._full_at_ms)
        async with self._watch.comparing():
            return await self._sides.read(full=full, since_ms=self._full_at_ms)

    # --- corrections ----------------------------------------------------------------------------

    async def _put_right(self, corrections: Sequence[Correction]) -> tuple[int, int]:
        """Hand every correction to its owner; returns how many were made and how many failed."""
        updated = errors = 0
        suspects = frozenset(key for item in corrections if (key := _suspicion(item)))
        for correction in corrections:
            try:
                updated += await self._hand_over(correction)
            except DeskError as failed:
                errors += 1
                log.warning("correction_failed", what=repr(correction), error=str(failed))
        self._suspected = suspects
        self._pulse.count("corrections", updated)
        self._pulse.count("correction_errors", errors)
        return updated, errors

    async def _hand_over(self, correction: Correction) -> int:
        key = _suspicion(correction)
        if key and key not in self._suspected:
            return 0  # one glance may fall between two reads: the next pass must see it too
        match correction:
            case (
                rules.AdoptVenueState()
                | rules.BookMissingFills()
                | rules.LookUpOrder()
                | rules.QuarantineOrder()
            ):
                before = await stored(lambda: self._store.order(correction.client_order_id))
                after = await self._parts.orders.refresh(correction.client_order_id)
                return int(before != after)
            case rules.ReportForeignOrder():
                await self._alert("foreign_order", correction.report, "warning")
                return 0
            case rules.ReportOrphanOrder():
                await self._alert("orphan_order", correction.report, "critical")
                await self._pause_pair(correction.report.pair, "orphan_order")
                return 0
            case rules.AdjustPosition():
                return await self._adjust(correction)
            case _:
                return await self._see_to_exit(correction)

    async def _see_to_exit(self, correction: ExitCorrection) -> int:
        match correction:
            case rules.BookVenueExit():
                await self._parts.orders.book_exit(correction.parent_id, correction.report)
                return 1
            case rules.NoteVenueExit():
                await self._parts.orders.note_exit(correction.parent_id, correction.report)
                return 0
            case rules.CancelStaleExit():
                seen = correction.report
                await self._parts.orders.cancel_exit(seen.pair, seen.venue_order_id)
                return 1
            case rules.RestoreStop():
                return await self._restore_stop(correction)
            case _:
                assert_never(correction)

    async def _adjust(self, drift: rules.AdjustPosition) -> int:
        """Book a drift that two passes in a row have seen."""
        await self._parts.ledger.adjust(
            drift.pair, drift.ours, drift.quantity, drift.price, drift.adjustment_id
        )
        detail = f"{self._account} {drift.pair}: ours {drift.ours}, venue {drift.theirs}"
        await self._raise("position_drift", drift.pair, detail, "critical")
        if drift.pauses:
            await self._pause_pair(drift.pair, "position_drift")
        return 1

    async def _restore_stop(self, missing: rules.RestoreStop) -> int:
        """Put a stop back, or close what is beyond it; where neither works the pair's runs pause."""
        detail = (
            f"{self._account} {missing.pair}: {missing.quantity} without the stop at"
            f" {missing.stop_price}"
        )
        await self._raise("protective_stop_missing", missing.pair, detail, "critical")
        try:
            if missing.is_through:
                await self._parts.flattener.flatten(
                    self._account, missing.pair, reason="stop_loss", trace_id=missing.trade_id
                )
            else:
                await self._parts.orders.place_stop(
                    missing.pair, missing.side, missing.quantity, missing.stop_price
                )
        except DeskError:
            await self._pause_pair(missing.pair, "protective_stop_missing")
            raise
        return 1

    async def _flatten_wished(self) -> int:
        """Carry on what an operator wished flat; returns 1 if an actor was away."""
        try:
            self._pulse.count(
                "flattened", await self._parts.flattener.flatten_wished(self._account)
            )
        except DeskError as away:
            log.warning("flatten_waits", account=self._account, error=str(away))
            return 1
        return 0

    async def _count_foreign(self, corrections: Sequence[Correction]) -> None:
        """For the dead-man timer, which would cancel them too."""
        strange = (rules.ReportForeignOrder, rules.ReportOrphanOrder)
        count = sum(isinstance(item, strange) for item in corrections)
        row = {"open_orders": count, "wall_ms": wall_ms()}
        await self._keep(foreign_key(self._account), row)

    async def _keep(self, key: str, row: Mapping[str, Any]) -> None:
        """A fact of the last pass, in the place of the pass before."""
        at_ms = self._clock.now_ms()
        await stored(lambda: self._store.put(kinds.STATE, key, row, at_ms=at_ms))

    async def _pause_pair(self, pair: Pair, reason: str) -> None:
        await self._runs.pause_pair(self._account, pair, reason, category="risk")

    # --- invariants -----------------------------------------------------------------------------

    async def _check_invariants(self) -> int:
        """Check the stored books; a breach that stands stops the account's runs."""
        breaches: list[str] = []
        for _ in range(STILL_TRIES):
            breaches = await stored(self._breaches)
            if not breaches:
                return 0
            await asyncio.sleep(0.1)  # rows are read one by one: let what is moving come to rest
        for breach in breaches:
            await self._raise("invariant_breached", breach.split(":")[0], breach, "critical")
        for run in await self._runs.active():
            if run.account == self._account:
                await self._runs.pause(run.run_id, "invariant_breached", category="risk")
        return len(breaches)

    def _breaches(self) -> list[str]:
        active = self._store.active_orders(self._account)
        fills = [
            fill for order in active for fill in self._store.fills_of_order(order.client_order_id)
        ]
        ledger = self._store.ledger(self._account)
        if ledger is None:
            raise NotFound("ledger", self._account)
        return [
            *invariants.s1_fills_make_the_order(active, fills),
            *invariants.s2_fill_is_applied_once(fills),
            *invariants.s7_reservations_are_open_intents(
                active, self._store.reservations(self._account)
            ),
            *invariants.s8_books_balance(ledger),
        ]

    # --- small things ---------------------------------------------------------------------------

    async def _dust(self) -> dict[Pair, Decimal]:
        docs = await stored(lambda: self._store.list(kinds.INSTRUMENTS))
        return {doc.value.pair: doc.value.lot for doc in docs}

    async def _alert(self, code: str, seen: VenueOrder, severity: str) -> None:
        name = seen.client_order_id or seen.venue_order_id
        detail = f"{self._account} {seen.pair}: {seen.side} {seen.quantity} as {name}"
        await self._raise(code, name, detail, severity)

    async def _raise(self, code: str, about: str, detail: str, severity: str) -> None:
        cause = Cause(
            code=code,
            about=f"{self._account}:{about}",
            category="risk",
            severity=severity,
            detail=detail,
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    async def _note(self, report: ReconcileReport, trace_id: str, spent_ms: float) -> None:
        facts = {
            "account": self._account,
            "checked": report.checked,
            "updated": report.updated,
            "errors": report.errors,
            "reconciled_at_ms": report.reconciled_at_ms,
            "spent_ms": round(spent_ms, 1),
        }
        at_ms = report.reconciled_at_ms
        event = ops_event("reconciled", self._account, facts, at_ms=at_ms, trace_id=trace_id)
        key = f"{STATE_KEY}:{self._account}"
        await stored(lambda: self._store.put(kinds.STATE, key, facts, at_ms=at_ms, event=event))


def _suspicion(correction: Correction) -> str:
    """Name of what two passes in a row must see before it is put right; empty: at once."""
    match correction:
        case rules.AdjustPosition():
            return correction.adjustment_id
        case rules.CancelStaleExit():
            return f"stale_exit:{correction.report.venue_order_id}"
        case rules.RestoreStop():
            return f"stop:{correction.trade_id}:{correction.quantity}"
        case _:
            return ""


ReconcilerActor = ray.remote(Reconciler)
