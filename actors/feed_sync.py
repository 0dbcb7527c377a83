"""The sync of push feeds: alerts are read soon after they arrive, and each route tests itself by schedule.

A feed is asked for nothing: success means that a request like its own would have been taken.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import ray
import structlog

from actors.alerts import Cause, raise_alert
from actors.close_book import CloseBook
from actors.feed_book import FeedBook
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock
from actors.poll_sessions import PollSessions, Series
from actors.signal_archiving import archive_old
from actors.signal_rows import SignalRows
from actors.source_book import OK, UNAVAILABLE
from actors.store_calls import rebuilt, stored
from desk.clock import SECOND_MS
from desk.errors import FeedError
from desk.market.ingestion import IngestionKind, Reading
from desk.market.signals import TRADINGVIEW
from desk.store import self_tests, signals
from desk.store.port import Store

log = structlog.stdlib.get_logger()

LOOK_EVERY_S = 1.0
"""How often new alerts and wishes are looked at."""
AWAY_S = (5, 15, 60, 300)
"""Until a self-test that failed is made again, never longer than the schedule."""
TOLD_FAILURES = 4
"""So many in a row are an alert: 80 s. While a desk starts, the API comes after its actors."""


class Route(Protocol):
    """The webhook as it is reached from this machine. Raises `FeedError`."""

    async def test(self, token: str) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSyncParts:
    """Collaborators and settings. Durations and `now_ms` are wall: alerts know no market time."""

    store: Store
    archive: signals.Archive
    route: Route
    feeds: tuple[tuple[str, str], ...]
    """Source and hash of each feed token."""
    clock: MarketClock
    now_ms: Callable[[], int]
    every_s: int


class FeedSync:
    """Shell only. Each feed has a reading in the store, so that nothing is counted twice or lost."""

    def __init__(self, build: Callable[[], FeedSyncParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._store = parts, parts.store
        sources = sorted(dict(parts.feeds))
        self._books = {name: FeedBook(parts.store, name) for name in sources}
        self._closes = CloseBook(parts.store, parts.clock)
        self._dropped: set[str] = set()
        self._due_ms = dict.fromkeys(sources, 0)
        self._failures = dict.fromkeys(sources, 0)
        self._rows = SignalRows(
            parts.store, TRADINGVIEW, every_s=parts.every_s, now_ms=parts.now_ms
        )
        self._sessions = PollSessions(
            parts.store,
            parts.now_ms,
            source=TRADINGVIEW,
            kind=IngestionKind.SYNC,
            wall_ms=parts.now_ms,
        )
        self._pulse = Pulse("feed_sync")
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def turn(self) -> float:
        """Read what arrived, sync each feed that is due; returns the wall seconds to wait."""
        if await self._rows.was_asked():
            self._due_ms = dict.fromkeys(self._due_ms, 0)
        for source_id, book in self._books.items():
            # Of a paused feed alerts are kept by the route and read once it is resumed.
            if not await self._rows.is_enabled(source_id):
                await self._drop(source_id)
                continue
            self._dropped.discard(source_id)
            await self._pulse.through(self._read(book))
            if self._due_ms[source_id] <= self._parts.now_ms():
                await self._pulse.through(self._sync(source_id, book))
        return LOOK_EVERY_S

    async def _read(self, book: FeedBook) -> None:
        count = await stored(partial(book.read, self._closes.add, now_ms=self._parts.now_ms()))
        self._pulse.count("alerts_read", count)

    async def _drop(self, source_id: str) -> None:
        if source_id not in self._dropped:
            await stored(partial(self._closes.drop, source_id))
            self._dropped.add(source_id)

    # --- one sync -------------------------------------------------------------------------------

    async def _sync(self, source_id: str, book: FeedBook) -> None:
        every_ms = self._parts.every_s * SECOND_MS
        self._due_ms[source_id] = self._parts.now_ms() + every_ms
        try:
            route_ms = await self._test_route(source_id)
        except FeedError as failed:
            wait_s = AWAY_S[min(self._failures[source_id], len(AWAY_S) - 1)]
            self._failures[source_id] += 1
            self._due_ms[source_id] = self._parts.now_ms() + min(wait_s * SECOND_MS, every_ms)
            await self._failed(
                source_id, str(failed), is_told=self._failures[source_id] >= TOLD_FAILURES
            )
            return
        now_ms = self._parts.now_ms()
        self._failures[source_id] = 0
        reading = await stored(partial(book.reading, now_ms=now_ms))
        # The row before the counts: a crash in between repeats the sync and loses neither.
        await self._rows.change(
            source_id,
            lambda row: replace(
                row,
                status=OK,
                detail="",
                last_success_ms=now_ms,
                last_event_ms=max(reading.newest_ms, row.last_event_ms),
            ),
        )
        await stored(partial(book.close_sync, now_ms=now_ms, route_ms=route_ms))
        await self._sessions.answered(
            Series(TRADINGVIEW, source_id=source_id),
            Reading(new=reading.since.total, cursor=str(reading.read_to_ms)),
        )
        await archive_old(self._store, self._parts.archive, source_id, self._pulse, now_ms=now_ms)
        self._pulse.count("syncs")

    async def _test_route(self, source_id: str) -> int:
        """How long the route took, in ms. A pass that was not used up means another store behind it."""
        token = secrets.token_urlsafe(32)
        feeds, now_ms = self._parts.feeds, self._parts.now_ms()
        await stored(lambda: self_tests.issue(self._store, source_id, token, feeds, now_ms=now_ms))
        route_ms = await self._parts.route.test(token)
        if not await stored(lambda: self_tests.was_used(self._store, source_id, token)):
            raise FeedError("what answers at the route is not the API of this desk")
        return route_ms

    async def _failed(self, source_id: str, why: str, *, is_told: bool) -> None:
        self._pulse.count("syncs_failed")
        log.warning("feed_route_failed", source=source_id, error=why)
        await self._sessions.failed(Series(TRADINGVIEW, source_id=source_id), why)
        if is_told:
            cause = Cause(
                code="feed_route_failed",
                about=source_id,
                category="data",
                severity="warning",
                detail=why,
            )
            await raise_alert(self._store, cause, at_ms=self._parts.clock.now_ms())
        await self._rows.change(
            source_id, lambda row: replace(row, status=UNAVAILABLE, detail=why[:300])
        )


FeedSyncActor = ray.remote(FeedSync)
