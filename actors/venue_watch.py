"""The exchange's health as the reconciler notes it: entries rest on it, runs pause by it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import structlog

from actors.alerts import Cause, raise_alert
from actors.run_book import RunBook
from actors.store_calls import retried, stored
from desk.clock import Clock
from desk.errors import Banned, VenueUnavailable
from desk.store import kinds
from desk.store.port import Store
from desk.trading import venue_health
from desk.trading.venue_health import Condition, VenueHealth
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()


class VenueWatch:
    """Keeps one row per account; a turn for the worse pauses its runs and tells the operator."""

    def __init__(self, account: str, store: Store, clock: Clock) -> None:
        self._account, self._store, self._clock = account, store, clock
        self._runs = RunBook(store, clock, actor=f"reconciler:{account}")

    @asynccontextmanager
    async def comparing(self) -> AsyncGenerator[None]:
        """Note whether the exchange answered the reads inside; their errors pass through."""
        try:
            yield
        except VenueUnavailable as silent:
            is_ban, detail = isinstance(silent, Banned), str(silent)
            await self._note(
                lambda health: venue_health.failed(health, detail, wall_ms=wall_ms(), banned=is_ban)
            )
            raise
        await self._note(lambda health: venue_health.answered(health, wall_ms=wall_ms()))

    async def _note(self, change: Callable[[VenueHealth], VenueHealth]) -> None:
        before, after = await retried(lambda: self._put(change))
        condition = after.condition
        if condition is not before.condition:
            log.warning("venue_turned", account=self._account, condition=condition.value)
        if condition is not Condition.WELL and not after.is_acted_on:
            await self._stop_trading(after)
            await retried(lambda: self._put(lambda now: venue_health.acted_on(now, condition)))

    async def _put(
        self, change: Callable[[VenueHealth], VenueHealth]
    ) -> tuple[VenueHealth, VenueHealth]:
        found = await stored(lambda: self._store.get(kinds.VENUES, self._account))
        before = found.value if found else VenueHealth(account=self._account)
        after, version = change(before), found.version if found else 0
        await stored(
            lambda: self._store.put(
                kinds.VENUES, self._account, after, at_ms=wall_ms(), expected_version=version
            )
        )
        return before, after

    async def _stop_trading(self, health: VenueHealth) -> None:
        code = health.condition.value
        cause = Cause(
            code=code,
            about=self._account,
            category="ops",
            severity="critical",
            detail=f"{self._account}: {health.detail}",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())
        for run in await self._runs.active():
            if run.account == self._account:
                await self._runs.pause(run.run_id, code, category="ops", detail=health.detail)
