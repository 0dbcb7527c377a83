"""The gap monitor: finds holes in the stored candles, has them fetched again, knows when to give up."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import ray
import structlog

from actors.alerts import Cause, raise_alert
from actors.candle_messages import Fetched
from actors.events import ops_event
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock, acceleration_grace_ms
from actors.source_book import CANDLES
from actors.store_calls import rebuilt, stored
from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import DeskError
from desk.ids import Pair
from desk.market import gaps
from desk.market.gaps import GapEvent, GapStatus
from desk.market.interval import Interval, interval_ms, last_closed_open_ms
from desk.store import kinds
from desk.store.port import Store

log = structlog.stdlib.get_logger()

TAIL_GRACE = 3
"""Newest candles that are not judged yet: the poller is still at them."""
LONGEST_WAIT_S = 30.0
KNOWN_LIMIT = 5_000


# --- messages -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Look for gaps now."""

    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanReport:
    """Gaps that are not resolved, by status."""

    open: int
    absent_at_venue: int
    healed: int


# --- what it needs ------------------------------------------------------------------------------


class Fetcher(Protocol):
    """The pair's poller. Raises `DeskError` when it did not answer."""

    async def fetch(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> Fetched: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GapParts:
    """Collaborators and settings."""

    store: Store
    clock: MarketClock
    fetcher: Fetcher
    pairs: tuple[Pair, ...]
    intervals: tuple[Interval, ...]
    every_min: int = 15
    lookback_days: int = 30
    heal_enabled: bool = True
    cooldown_min: int = 30
    max_gaps_per_run: int = 5
    max_attempts: int = 5


# --- the shell ----------------------------------------------------------------------------------


class GapMonitor:
    """Shell only: `market.gaps` finds, tracks and plans."""

    def __init__(self, build: Callable[[], GapParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._store, self._clock = parts, parts.store, parts.clock
        self._pulse = Pulse("gap_monitor")
        self._due_ms = 0
        self._one_at_a_time = asyncio.Lock()
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def scan(self, ask: Scan) -> ScanReport:
        """Scan every series, heal what is due, and report."""
        return await self._scan()

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def turn(self) -> float:
        """Scan when the market's clock says so."""
        now_ms = self._clock.now_ms()
        if now_ms >= self._due_ms:
            await self._scan()
            self._due_ms = now_ms + self._parts.every_min * MINUTE_MS
        wait_s = self._clock.anchor.wall_seconds(self._due_ms - self._clock.now_ms())
        return min(max(wait_s, 0.5), LONGEST_WAIT_S)

    async def _scan(self) -> ScanReport:
        async with self._one_at_a_time:
            standing: list[GapEvent] = []
            for pair in self._parts.pairs:
                for interval in self._parts.intervals:
                    self._pulse.turn()
                    standing += await self._scan_series(pair, interval)
            healed = await self._heal(standing) if self._parts.heal_enabled else 0
            counts = [gap.status for gap in standing]
            self._pulse.count("scans")
            return ScanReport(
                open=counts.count(GapStatus.OPEN) + counts.count(GapStatus.HEALING),
                absent_at_venue=counts.count(GapStatus.ABSENT_AT_VENUE),
                healed=healed,
            )

    async def _scan_series(self, pair: Pair, interval: Interval) -> list[GapEvent]:
        """Compare the series with the grid; returns its unresolved gaps."""
        bounds = await stored(lambda: self._store.candle_bounds(pair, interval))
        if bounds is None:
            return []
        start_ms, end_ms = self._range(interval, bounds[0])
        runs = await self._holes(pair, interval, start_ms, end_ms)
        known = [gap for gap in await self._known(pair, interval) if gap.start_ms >= start_ms]
        changed = gaps.track(
            known,
            runs,
            pair=pair,
            interval=interval,
            source_type=CANDLES,
            now_ms=self._clock.now_ms(),
        )
        for gap in changed:
            await self._put(gap)
        for gap in changed:
            if gap.attempts == 0 and gap.status is GapStatus.OPEN:
                await self._tell(gap)
        by_id = {gap.gap_id: gap for gap in [*known, *changed]}
        return [gap for gap in by_id.values() if gap.status is not GapStatus.RESOLVED]

    def _range(self, interval: Interval, earliest_ms: int) -> tuple[int, int]:
        now_ms, step_ms = self._clock.now_ms(), interval_ms(interval)
        start_ms = max(earliest_ms, now_ms - self._parts.lookback_days * DAY_MS)
        grace_ms = TAIL_GRACE * step_ms + acceleration_grace_ms(self._clock.anchor.speed)
        return start_ms, last_closed_open_ms(now_ms - grace_ms, interval)

    async def _holes(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> list[gaps.Run]:
        def find() -> list[gaps.Run]:
            candles = self._store.read_candles(pair, interval, start_ms, end_ms)
            return gaps.find_gaps(candles.open_ms, interval, start_ms=start_ms, end_ms=end_ms)

        return await stored(find)

    async def _known(self, pair: Pair, interval: Interval) -> list[GapEvent]:
        docs = await stored(lambda: self._store.list(kinds.GAPS, limit=KNOWN_LIMIT))
        found = [doc.value for doc in docs if doc.value.status is not GapStatus.RESOLVED]
        return [gap for gap in found if (gap.pair, gap.interval) == (pair, interval)]

    # --- healing --------------------------------------------------------------------------------

    async def _heal(self, standing: list[GapEvent]) -> int:
        parts = self._parts
        planned = gaps.plan_heal(
            standing,
            now_ms=self._clock.now_ms(),
            cooldown_ms=parts.cooldown_min * MINUTE_MS,
            max_attempts=parts.max_attempts,
            max_gaps=parts.max_gaps_per_run,
        )
        healed = 0
        for gap in planned:
            self._pulse.turn()
            after = await self._fetch(gap)
            healed += after.status is GapStatus.RESOLVED
        return healed

    async def _fetch(self, gap: GapEvent) -> GapEvent:
        started = gaps.heal_started(gap, now_ms=self._clock.now_ms())
        await self._put(started)
        try:
            fetched = await self._parts.fetcher.fetch(
                gap.pair, gap.interval, gap.start_ms, gap.end_ms
            )
            is_answered = fetched.is_answered
        except DeskError as away:
            log.info("heal_unanswered", gap_id=gap.gap_id, error=str(away))
            is_answered = False
        end_ms = gap.end_ms + interval_ms(gap.interval)
        holes = await self._holes(gap.pair, gap.interval, gap.start_ms, end_ms)
        ended = gaps.heal_ended(
            started,
            missing_points=sum(gaps.missing_count(hole, gap.interval) for hole in holes),
            max_attempts=self._parts.max_attempts,
            is_answered=is_answered,
        )
        await self._put(ended)
        self._pulse.count(f"gaps_{ended.status.value}")
        return ended

    async def _put(self, gap: GapEvent) -> None:
        event = ops_event(
            "gap",
            gap.gap_id,
            {
                "gap_id": gap.gap_id,
                "pair": gap.pair,
                "interval": gap.interval,
                "start_ms": gap.start_ms,
                "end_ms": gap.end_ms,
                "missing_points": gap.missing_points,
                "status": gap.status.value,
                "attempts": gap.attempts,
            },
            at_ms=self._clock.now_ms(),
        )
        # Sorted by the last missing open time: a decision reads those that touch its window.
        await stored(
            lambda: self._store.put(kinds.GAPS, gap.gap_id, gap, at_ms=gap.end_ms, event=event)
        )

    async def _tell(self, gap: GapEvent) -> None:
        log.info("candle_gap_found", gap_id=gap.gap_id, missing=gap.missing_points)
        cause = Cause(
            code="candle_gap",
            about=f"{gap.pair}:{gap.interval}",
            category="data",
            severity="warning",
            detail=f"{gap.pair} {gap.interval}: {gap.missing_points} candles missing",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())


GapMonitorActor = ray.remote(GapMonitor)
