"""The venue's dead-man timer over resting entries, kept alive by the account's executor."""

import structlog

from actors.alerts import Cause, raise_alert
from actors.store_calls import stored
from actors.venue_talk import in_time
from desk.clock import Clock
from desk.errors import DeskError
from desk.store import kinds
from desk.store.port import Store
from desk.trading import dead_man as rules
from desk.venues.port import ExchangeExits
from desk.wallclock import monotonic_s, wall_ms

log = structlog.stdlib.get_logger()


def foreign_key(account: str) -> str:
    """Name of the fact how many open orders at the venue are not ours, as the reconciler saw."""
    return f"foreign:{account}"


class DeadMan:
    """Arms the timer while it is wanted, renews it, takes it back; what it armed is in the store."""

    def __init__(self, account: str, store: Store, clock: Clock, exchange: ExchangeExits) -> None:
        self._account, self._store, self._clock = account, store, clock
        self._exchange = exchange
        self._key = f"dead_man:{account}"
        self._armed: bool | None = None
        """None: not read yet after a start."""
        self._renewed_s = float("-inf")

    async def tend(self) -> None:
        """Bring the venue's timer to what is wanted now."""
        if self._armed is None:
            found = await stored(lambda: self._store.get(kinds.STATE, self._key))
            self._armed = bool(found and found.value["armed"])
        wanted = await stored(self._judge)
        if wanted.armed:
            await self._renew()
        elif self._armed:
            await self._take_back()
        if wanted.off:
            await self._say_off(wanted.off)

    def _judge(self) -> rules.Guard:
        ledger = self._store.ledger(self._account)
        facts = self._store.get(kinds.STATE, foreign_key(self._account))
        now_ms = wall_ms()
        is_known = facts and now_ms - int(facts.value["wall_ms"]) <= rules.FACTS_MAX_AGE_MS
        return rules.guard(
            self._store.active_orders(self._account),
            holds_position=bool(ledger and ledger.positions),
            foreign_orders=int(facts.value["open_orders"]) if facts and is_known else None,
            wall_ms=now_ms,
        )

    async def _renew(self) -> None:
        if self._armed and monotonic_s() - self._renewed_s < rules.RENEW_S:
            return
        await self._note(
            armed=True
        )  # before the wire: a timer that nobody remembers is never closed
        if await self._ask(rules.TIMEOUT_S):
            self._renewed_s = monotonic_s()

    async def _take_back(self) -> None:
        if await self._ask(None):
            await self._note(armed=False)

    async def _ask(self, timeout_s: int | None) -> bool:
        """Say so to the venue; False without a clear answer, and the next turn asks again."""
        try:
            await in_time("cancel_all_after", self._exchange.cancel_all_after(timeout_s))
        except DeskError as unclear:
            log.warning("dead_man_timer_unclear", account=self._account, why=str(unclear))
            return False
        log.info("dead_man_timer_set", account=self._account, timeout_s=timeout_s)
        return True

    async def _note(self, *, armed: bool) -> None:
        if armed == self._armed:
            return
        row = {"armed": armed, "wall_ms": wall_ms()}
        at_ms = self._clock.now_ms()
        await stored(lambda: self._store.put(kinds.STATE, self._key, row, at_ms=at_ms))
        self._armed = armed

    async def _say_off(self, why: str) -> None:
        cause = Cause(
            code="dead_man_timer_off",
            about=self._account,
            category="ops",
            severity="warning",
            detail=f"{self._account}: entries rest without the venue's timer: {why}",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
