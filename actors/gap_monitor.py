"""The gap monitor: finds holes in the stored candles, has them fetched again, knows when to give up."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import ray
import structlog

from actors import retry_queue
from actors.candle_messages import Fetched
from actors.commands import BackfillAsk
from actors.gap_book import GapBook
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.ingestion_config import fields, overrides
from actors.ingestion_log import IngestionLog, OpenRun, ingestion_id
from actors.market_time import MarketClock, acceleration_grace_ms
from actors.retry_attempts import (
    BACKFILL,
    HEAL,
    TELEGRAM_SYNC,
    BackfillAttempt,
    HealAttempt,
    TelegramAttempt,
)
from actors.retry_queue import Attempt, RetryQueue
from actors.series_claim import claim_from, claimed_from
from actors.source_book import CANDLES, SourceBook
from actors.store_calls import rebuilt, stored
from desk.clock import DAY_MS, MINUTE_MS
from desk.errors import DeskError
from desk.ids import Pair
from desk.market import gaps
from desk.market.gaps import GapEvent, GapStatus, Refetch
from desk.market.ingestion import BINGX, IngestionKind, IngestionRun, IngestionStatus, Reading
from desk.market.interval import Interval, floor_ms, interval_ms, last_closed_open_ms
from desk.store.candles import hot_window_ms
from desk.store.port import Store
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()

TAIL_GRACE = 3
"""Newest candles that are not judged yet: the poller is still at them."""
LONGEST_TAIL_GRACE_MS = 5 * MINUTE_MS
"""A day's candle is not waited for three days."""
PAGE_CANDLES = 1_440
"""What the venue answers to one request."""
UNCLAIMED_CANDLES = 1_440
"""How far an empty series of which nobody said where it begins is expected to reach back."""
LONGEST_WAIT_S = 30.0
UNANSWERED = "the venue, or the pair's poller, did not answer"


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

    async def start_backfill(self, job_id: str, ask: BackfillAsk) -> None: ...


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
    """Reads per scan; gaps within one page of the venue share a read."""
    max_attempts: int = 5
    retry_every_s: int = 30
    wall_ms: Callable[[], int] = wall_ms
    jitter: Callable[[], float] = random.random


# --- the shell ----------------------------------------------------------------------------------


class GapMonitor:
    """Shell only: `market.gaps` finds, tracks and plans."""

    def __init__(self, build: Callable[[], GapParts]) -> None:
        parts = rebuilt(build)
        self._started_with, self._parts = parts, parts
        self._store, self._clock = parts.store, parts.clock
        self._book = GapBook(parts.store, parts.clock)
        self._log = IngestionLog(parts.store, parts.clock.now_ms)
        self._retries = RetryQueue(parts.store, self._attempts(), parts.wall_ms, parts.jitter)
        self._pulse = Pulse("gap_monitor")
        self._scanned_ms: int | None = None
        self._one_at_a_time = asyncio.Lock()
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))
        # A loop of its own: a scan does not wait for retries, nor they for a scan.
        again = Pulse("gap_monitor:retries")
        self._retry_loop = begin(lambda: keep_turning(self.turn_retries, again))

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
        await self._take_config()
        now_ms = self._clock.now_ms()
        if now_ms >= self._due_ms():
            await self._scan()
            self._scanned_ms = now_ms
        wait_s = self._clock.anchor.wall_seconds(self._due_ms() - self._clock.now_ms())
        return min(max(wait_s, 0.5), LONGEST_WAIT_S)

    def _due_ms(self) -> int:
        """When the next scan is; an operator may have changed how often."""
        every_ms = self._parts.every_min * MINUTE_MS
        return 0 if self._scanned_ms is None else self._scanned_ms + every_ms

    async def _take_config(self) -> None:
        """The settings of the environment, with what an operator set since in their place."""
        changed = fields(await stored(lambda: overrides(self._store)))
        self._parts = replace(self._started_with, **changed)

    async def turn_retries(self) -> float:
        """Work the retry queue off; returns the wall seconds until the next look."""
        begun = await self._retries.turn()
        self._pulse.count("retries_begun", begun)
        return float(self._parts.retry_every_s)

    def _attempts(self) -> dict[str, Attempt]:
        parts = self._parts
        return {
            BACKFILL: BackfillAttempt(parts.store, parts.clock, self._start_backfill),
            HEAL: HealAttempt(self._fetch_again, self._scan_soon),
            TELEGRAM_SYNC: TelegramAttempt(parts.store, parts.wall_ms),
        }

    async def _start_backfill(self, job_id: str, ask: BackfillAsk) -> None:
        await self._parts.fetcher.start_backfill(job_id, ask)

    async def _fetch_again(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> Fetched:
        return await self._parts.fetcher.fetch(pair, interval, start_ms, end_ms)

    def _scan_soon(self) -> None:
        self._scanned_ms = None

    async def _scan(self) -> ScanReport:
        async with self._one_at_a_time:
            await self._take_config()
            known, standing = await self._book.standing(), list[GapEvent]()
            for pair in self._parts.pairs:
                for interval in self._parts.intervals:
                    self._pulse.turn()
                    if not await SourceBook(pair, self._store, self._clock).is_enabled(
                        CANDLES, interval
                    ):
                        continue  # an operator paused it: nothing is expected, nothing is asked for
                    standing += await self._scan_series(pair, interval, known[pair, interval])
            tried = await self._heal(standing) if self._parts.heal_enabled else []
            after = list({gap.gap_id: gap for gap in [*standing, *tried]}.values())
            lookback_ms = self._parts.lookback_days * DAY_MS
            await self._book.close_scan(
                after, self._parts.pairs, before_ms=self._clock.now_ms() - 2 * lookback_ms
            )
            counts = [gap.status for gap in after]
            self._pulse.count("scans")
            return ScanReport(
                open=counts.count(GapStatus.OPEN) + counts.count(GapStatus.HEALING),
                absent_at_venue=counts.count(GapStatus.ABSENT_AT_VENUE),
                healed=counts.count(GapStatus.RESOLVED),
            )

    # --- finding --------------------------------------------------------------------------------

    async def _scan_series(
        self, pair: Pair, interval: Interval, known: Sequence[GapEvent]
    ) -> list[GapEvent]:
        """Compare the series with the grid; returns its unresolved gaps."""
        start_ms, end_ms = await self._range(pair, interval)
        known = [gap for gap in known if start_ms <= gap.end_ms < end_ms]
        start_ms = min([start_ms, *(gap.start_ms for gap in known)])
        runs = await self._holes(pair, interval, start_ms, end_ms)
        if gaps.reaches_end(runs, known, interval, end_ms=end_ms):
            runs = await self._reread_tail(pair, interval, (start_ms, end_ms), runs[-1], known)
        changed = gaps.track(
            known,
            runs,
            pair=pair,
            interval=interval,
            source_type=CANDLES,
            now_ms=self._clock.now_ms(),
        )
        for gap in changed:
            await self._book.put(gap)
        if not self._parts.heal_enabled:
            old = {gap.gap_id for gap in known}
            await self._book.tell([gap for gap in changed if gap.gap_id not in old])
        by_id = {gap.gap_id: gap for gap in [*known, *changed]}
        return [gap for gap in by_id.values() if gap.status is not GapStatus.RESOLVED]

    async def _range(self, pair: Pair, interval: Interval) -> tuple[int, int]:
        """The open times that should be there: from the claim on, within lookback and hot window."""
        now_ms, step_ms = self._clock.now_ms(), interval_ms(interval)
        grace_ms = min(TAIL_GRACE * step_ms, LONGEST_TAIL_GRACE_MS)
        grace_ms += acceleration_grace_ms(self._clock.anchor.speed)
        end_ms = last_closed_open_ms(now_ms - grace_ms, interval)
        bounds = await stored(lambda: self._store.candle_bounds(pair, interval))
        if bounds is not None:
            await claim_from(self._store, pair, interval, bounds[0], at_ms=now_ms)
        claim_ms = await stored(lambda: claimed_from(self._store, pair, interval))
        if claim_ms is None:
            claim_ms = floor_ms(now_ms, interval) - UNCLAIMED_CANDLES * step_ms
        # Older candles leave the store for the history, newest minus window, in whole chunks.
        oldest_hot_ms = (bounds[1] if bounds else now_ms) - hot_window_ms(interval)
        lookback_ms = now_ms - self._parts.lookback_days * DAY_MS
        return max(claim_ms, oldest_hot_ms, lookback_ms), end_ms

    async def _reread_tail(
        self,
        pair: Pair,
        interval: Interval,
        within: tuple[int, int],
        tail: gaps.Run,
        known: Sequence[GapEvent],
    ) -> list[gaps.Run]:
        """The newest candles are missing: no gap before they were read again, and answered."""
        self._pulse.count("tails_read_again")
        step_ms = interval_ms(interval)
        read = Refetch(
            pair=pair,
            interval=interval,
            start_ms=max(tail[0], tail[1] - (PAGE_CANDLES - 2) * step_ms),
            end_ms=tail[1] + step_ms,
            gaps=(),
        )
        fetched = await self._fetch(read)
        runs = await self._holes(pair, interval, *within)
        return runs if fetched.is_answered else gaps.known_part(runs, known, interval)

    async def _holes(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> list[gaps.Run]:
        def find() -> list[gaps.Run]:
            candles = self._store.read_candles(pair, interval, start_ms, end_ms)
            return gaps.find_gaps(candles.open_ms, interval, start_ms=start_ms, end_ms=end_ms)

        return await stored(find)

    # --- healing --------------------------------------------------------------------------------

    async def _heal(self, standing: Sequence[GapEvent]) -> list[GapEvent]:
        """Read again what is due; returns the gaps that were tried, as they stand now."""
        parts, tried = self._parts, list[GapEvent]()
        due = gaps.plan_heal(
            standing,
            now_ms=self._clock.now_ms(),
            cooldown_ms=parts.cooldown_min * MINUTE_MS,
        )
        reads = gaps.plan_reads(due, page_candles=PAGE_CANDLES, max_reads=parts.max_gaps_per_run)
        for read in reads:
            self._pulse.turn()
            ended = await self._heal_by(read)
            # What the first read brings back needs nobody: a new desk begins with holes.
            first = {gap.gap_id for gap in read.gaps if not gap.last_attempt_ms}
            await self._book.tell(
                [gap for gap in ended if gap.gap_id in first and gap.missing_points]
            )
            tried += ended
        return tried

    async def _heal_by(self, read: Refetch) -> list[GapEvent]:
        started = [gaps.heal_started(gap, now_ms=self._clock.now_ms()) for gap in read.gaps]
        for gap in started:
            await self._book.put(gap)
        run = await self._log.begin(self._run_of(read))
        fetched = await self._fetch(read)
        await self._count(run, read, fetched)
        left = [await self._missing(gap) for gap in started]
        if fetched.added and any(left):
            # It had some of them all along: what else it has it may tell at once.
            fetched = await self._fetch(read)
            await self._count(run, read, fetched)
        await run.end(None if fetched.is_answered else IngestionStatus.FAILED)
        if not fetched.is_answered:
            await self._enter_queue(read)
        ended: list[GapEvent] = []
        for gap in started:
            after = gaps.heal_ended(
                gap,
                missing_points=await self._missing(gap),
                max_attempts=self._parts.max_attempts,
                is_answered=fetched.is_answered and fetched.latest_ms > gap.end_ms,
            )
            await self._book.put(after)
            self._pulse.count(f"gaps_{after.status.value}")
            ended.append(after)
        return ended

    def _run_of(self, read: Refetch) -> IngestionRun:
        now_ms = self._clock.now_ms()
        return IngestionRun(
            run_id=ingestion_id("heal", read.pair, read.interval, read.start_ms, now_ms),
            source=BINGX,
            source_type=CANDLES,
            kind=IngestionKind.HEAL,
            pair=read.pair,
            interval=read.interval,
            started_ms=now_ms,
            updated_ms=now_ms,
        )

    async def _enter_queue(self, read: Refetch) -> None:
        """Sooner than the cooldown of its gaps, which is for a venue that answers."""
        await retry_queue.enter(
            self._store,
            HEAL,
            {
                "pair": read.pair,
                "interval": read.interval,
                "start_ms": read.start_ms,
                "end_ms": read.end_ms,
            },
            dedupe=(read.pair, read.interval, read.start_ms),
            error=UNANSWERED,
            now_ms=self._parts.wall_ms(),
            jitter=self._parts.jitter(),
        )

    async def _count(self, run: OpenRun, read: Refetch, fetched: Fetched) -> None:
        if not fetched.is_answered:
            await run.add(Reading(answers=0, errors=1, error=UNANSWERED))
            return
        end_ms = read.end_ms + interval_ms(read.interval)
        await run.add(
            Reading(
                new=fetched.added,
                cursor=str(fetched.latest_ms),
                from_ms=read.start_ms if fetched.added else None,
                to_ms=end_ms if fetched.added else None,
            )
        )

    async def _fetch(self, read: Refetch) -> Fetched:
        """Ask the pair's poller. One that is away has not answered."""
        try:
            # The poller's door has a deadline, longer than a loop may stand still.
            return await self._pulse.through(
                self._parts.fetcher.fetch(read.pair, read.interval, read.start_ms, read.end_ms)
            )
        except DeskError as away:
            log.info("heal_unanswered", pair=read.pair, start_ms=read.start_ms, error=str(away))
            return Fetched(added=0, is_answered=False)

    async def _missing(self, gap: GapEvent) -> int:
        """Count anew what the store lacks: that an answer held candles does not prove them stored."""
        end_ms = gap.end_ms + interval_ms(gap.interval)
        holes = await self._holes(gap.pair, gap.interval, gap.start_ms, end_ms)
        return sum(gaps.missing_count(hole, gap.interval) for hole in holes)


GapMonitorActor = ray.remote(GapMonitor)
