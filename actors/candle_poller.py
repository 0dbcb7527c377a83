"""The candle poller of one pair: every interval at its close, history, the venue's clock."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Protocol

import ray
import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.backfill import Backfill
from actors.backfill_job import is_scheduled
from actors.backfill_schedule import BackfillSchedule
from actors.candle_intake import CandleIntake, Taken
from actors.candle_messages import CandleClosed, Fetched, FetchRange, PollNow, StartBackfill
from actors.events import candle_event
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock, clock_fact
from actors.poll_sessions import PollSessions, Series
from actors.source_book import CANDLES, SourceBook
from actors.store_calls import measured, rebuilt, stored
from desk import ids, meters
from desk.clock import HOUR_MS, SECOND_MS, ClockAnchor
from desk.errors import DeskError, NotFound, VenueUnavailable
from desk.ids import Pair
from desk.market.candles import Candles
from desk.market.ingestion import BINGX
from desk.market.interval import (
    CALENDAR_MS,
    Interval,
    interval_ms,
    last_closed_open_ms,
    next_open_ms,
)
from desk.store import kinds
from desk.store.port import Sample, Store
from desk.trading.instruments import Instrument
from desk.trading.orders import CLOCK_SKEW_MS
from desk.venues import pager
from desk.venues.turns import Urgency, urgency
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()

EXECUTION_INTERVAL = "1m"
"""Paper orders fill on these candles, and positions are marked at their closes."""
PAGE = 1440
OVERLAP = 3
"""Candles asked for again at every poll: the venue's replicas may lag by one."""
OFFSET_MS = 500
"""Market time after a candle's close at which it is asked for."""
STAGGER_MS = SECOND_MS
"""Between pollers: they take turns at the venue anyway, so they need not all wake at once."""
CLOCK_STAGGER_S = 0.2
"""Between pollers, so that normally the first one alone reads the venue's clock for all."""
LATE_RETRY_S = 0.3
LATE_RETRIES = 10
FAILED_RETRY_S = 15.0
"""Until a longer interval whose read failed is asked for again."""
CLOCK_MAX_AGE_S = 10.0
SKEW_ALERT = "clock_skew:venue"
DOWN_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)


# --- what it needs ------------------------------------------------------------------------------


class CandleVenue(Protocol):
    """What of `desk.venues.port.MarketData` is asked for; raises `VenueUnavailable`."""

    async def server_clock(self) -> ClockAnchor: ...

    async def instruments(self) -> dict[Pair, Instrument]: ...

    async def candles(
        self, pair: Pair, interval: Interval, start_ms: int, end_ms: int
    ) -> Candles: ...


class Listeners(Protocol):
    """Who must know of a closed candle, in this order. Each raises `DeskError` when it did not hear."""

    async def settle(self, pair: Pair, upto_open_ms: int) -> None:
        """The paper venue: it fills what was decided on the candle before."""
        ...

    async def mark(self, prices: Mapping[Pair, Decimal], trace_id: str) -> None:
        """The risk ledgers."""
        ...

    async def tell(self, closed: CandleClosed) -> None:
        """The decision loops of the running runs on this series."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PollerParts:
    """Collaborators and settings; `index` staggers the pollers of one address.

    `intervals` are sorted, shortest first. With `is_backfilling` history is fetched until the venue's
    earliest candle, `backfill_max_batches` pages at a time if given.
    """

    pair: Pair
    intervals: tuple[Interval, ...]
    store: Store
    venue: CandleVenue
    clock: MarketClock
    listeners: Listeners
    index: int = 0
    is_backfilling: bool = False
    backfill_max_batches: int | None = None


# --- the shell ----------------------------------------------------------------------------------


class CandlePoller:
    """Shell only: what a batch is worth is `market.integrity`'s to say."""

    def __init__(self, build: Callable[[], PollerParts]) -> None:
        parts = rebuilt(build)
        self._pair, self._store, self._venue = parts.pair, parts.store, parts.venue
        self._clock, self._listeners, self._intervals = (
            parts.clock,
            parts.listeners,
            parts.intervals,
        )
        self._delay_ms = OFFSET_MS + parts.index * STAGGER_MS
        self._pulse = Pulse(f"candle_poller:{parts.pair}")
        self._intake = CandleIntake(parts.pair, parts.store, parts.clock, self._pulse)
        self._sources = SourceBook(parts.pair, parts.store, parts.clock)
        self._sessions = PollSessions(parts.store, parts.clock.now_ms, source=BINGX)
        self._backfill = Backfill(parts.pair, parts.store, parts.venue, parts.clock, self._intake)
        self._announced_ms = {
            interval: rebuilt(lambda interval=interval: self._newest_stored(interval))
            for interval in parts.intervals
        }
        self._schedule = BackfillSchedule(
            parts.pair,
            parts.intervals if parts.is_backfilling else (),
            parts.store,
            parts.clock,
            self._backfill,
            max_batches=parts.backfill_max_batches,
            is_enabled=partial(self._sources.is_enabled, CANDLES),
        )
        self._began_ms = parts.clock.now_ms()
        self._clock_max_age_s = CLOCK_MAX_AGE_S + parts.index * CLOCK_STAGGER_S
        self._due_ms = dict.fromkeys(parts.intervals, 0)
        self._late = dict.fromkeys(parts.intervals, 0)
        self._is_ready = False
        self._failures = {"turn": 0, "turn_longer": 0}
        self._work: set[asyncio.Task[None]] = set()
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))
        # A pulse of its own: were it the same one, neither loop's standstill would be seen.
        self._longer_pulse = Pulse(f"{self._pulse.name}:longer")
        self._longer_loop = begin(lambda: keep_turning(self.turn_longer, self._longer_pulse))

    @ray.method(max_task_retries=0)
    async def backfill(self, ask: StartBackfill) -> None:
        """Take on a stored job; its progress is in its row."""
        self._start(self._backfill.work_on(ask.job_id))

    @ray.method(max_task_retries=0)
    async def fetch(self, ask: FetchRange) -> Fetched:
        """Fetch a range again, for the gap monitor."""
        end_ms, added, latest_ms, refused = ask.end_ms + interval_ms(ask.interval), 0, 0, 0
        try:
            with urgency(Urgency.HEAL):
                async for page in pager.page(
                    self._venue, self._pair, ask.interval, ask.start_ms, end_ms
                ):
                    taken = await self._intake.take(ask.interval, page)
                    added += taken.added
                    refused += taken.refused
                    if len(taken.candles):
                        latest_ms = max(latest_ms, int(taken.candles.open_ms[-1]))
        except VenueUnavailable as down:
            log.info("fetch_failed", pair=self._pair, error=str(down))
            return Fetched(added=added, is_answered=False, latest_ms=latest_ms)
        # A row that could not be stored is no proof that the venue has none.
        return Fetched(added=added, is_answered=not refused, latest_ms=latest_ms)

    @ray.method(max_task_retries=0)
    async def poll_now(self, ask: PollNow) -> None:
        """Poll intervals without waiting for their next close; the loops do it, within seconds."""
        for interval in self._intervals:
            if interval in ask.names:
                self._due_ms[interval] = 0
        self._pulse.wake()
        self._longer_pulse.wake()

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    # --- loop -----------------------------------------------------------------------------------

    async def turn(self) -> float:
        """Poll the smallest interval when it is due; returns the wall seconds until it is again."""
        try:
            await self._refresh_clock()
            if not self._is_ready:
                await self._pulse.through(self._get_ready())
            await self._pulse.through(self._poll_due(self._intervals[:1]))
        except VenueUnavailable as down:
            return await self._wait_out("turn", down)
        self._failures["turn"] = 0
        return self._wait_s(self._intervals[:1])

    async def turn_longer(self) -> float:
        """The same for the longer intervals, which must never hold up the smallest one."""
        longer = self._intervals[1:]
        if not (self._is_ready and longer):
            return SECOND_MS / 1000
        try:
            with urgency(Urgency.LONGER):
                await self._poll_due(longer)
        except VenueUnavailable as down:
            return await self._wait_out("turn_longer", down)
        self._failures["turn_longer"] = 0
        return self._wait_s(longer)

    async def _poll_due(self, intervals: tuple[Interval, ...]) -> None:
        for interval in intervals:
            if self._due_ms[interval] <= self._clock.now_ms():
                await self._poll(interval)

    def _wait_s(self, intervals: tuple[Interval, ...]) -> float:
        due_ms = min(self._due_ms[interval] for interval in intervals)
        return max(self._clock.anchor.wall_seconds(due_ms - self._clock.now_ms()), 0.0)

    async def _wait_out(self, loop: str, down: VenueUnavailable) -> float:
        """The venue is away: say so, come back later and a little later each time."""
        self._pulse.count("venue_failures")
        log.warning("venue_away", pair=self._pair, error=str(down))
        if loop == "turn":  # also when it was the clock or the pair's rules that did not come
            await self._sources.failed(CANDLES, self._intervals[0], why=str(down))
        self._failures[loop] += 1
        return DOWN_RETRY_S[min(self._failures[loop], len(DOWN_RETRY_S)) - 1]

    async def _get_ready(self) -> None:
        instruments = await self._venue.instruments()
        if self._pair not in instruments:
            raise NotFound("instrument", self._pair)
        instrument, now_ms = instruments[self._pair], self._clock.now_ms()
        await stored(
            lambda: self._store.put(kinds.INSTRUMENTS, self._pair, instrument, at_ms=now_ms)
        )
        for job in await self._backfill.unfinished():
            if not is_scheduled(job):
                self._start(self._backfill.work_on(job.job_id))
        self._start(self._schedule.run())
        self._is_ready = True

    async def _refresh_clock(self) -> None:
        anchor = await stored(lambda: self._store.get(kinds.STATE, "clock"))
        if anchor is not None and self._age_s(anchor.value) < self._clock_max_age_s:
            return
        read = await self._venue.server_clock()
        at_ms, fact = read.market_ms, clock_fact(read)
        await stored(lambda: self._store.put(kinds.STATE, "clock", fact, at_ms=at_ms))
        sample = Sample(
            name="venue_clock_offset_ms",
            value=float(read.offset_ms),
            unit="ms",
            recorded_at_ms=at_ms,
            tags={"round_trip_ms": str(read.round_trip_ms)},
        )
        await measured(self._store, [sample])
        await self._tell_of_skew(read)

    async def _tell_of_skew(self, read: ClockAnchor) -> None:
        """Half a round trip is what a reading may be wrong by."""
        off_ms = abs(read.offset_ms) - read.round_trip_ms // 2
        if off_ms <= CLOCK_SKEW_MS:
            now_ms = self._clock.now_ms()
            await stored(lambda: resolve_alert(self._store, SKEW_ALERT, at_ms=now_ms))
            return
        code, _, about = SKEW_ALERT.partition(":")
        cause = Cause(
            code=code,
            about=about,
            category="ops",
            severity="warning",
            detail=f"the exchange's clock is {read.offset_ms} ms ahead of ours: set this machine's clock (NTP)",
            metric="venue_clock_offset_ms",
            value=str(read.offset_ms),
            threshold=str(CLOCK_SKEW_MS),
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    def _age_s(self, anchor: Mapping[str, object]) -> float:
        return abs(wall_ms() - int(str(anchor["wall_ms"]))) / 1000

    # --- candles --------------------------------------------------------------------------------

    async def _poll(self, interval: Interval) -> None:
        step_ms, now_ms = interval_ms(interval), self._clock.now_ms()
        following_ms = next_open_ms(now_ms, interval) + self._delay_ms
        if not await self._sources.is_enabled(CANDLES, interval):
            self._due_ms[interval] = following_ms
            return
        expected_ms = last_closed_open_ms(now_ms, interval)
        known_ms = self._announced_ms[interval] - OVERLAP * step_ms
        start_ms = max(known_ms, expected_ms - (PAGE - 2) * step_ms)
        # The range includes the forming candle: it proves that the one before it has closed.
        end_ms = expected_ms + 2 * step_ms
        try:
            batch = await self._venue.candles(self._pair, interval, start_ms, end_ms)
        except VenueUnavailable as down:
            meters.POLLS.count(interval, "failed")
            await self._sources.failed(CANDLES, interval, why=str(down))
            await self._sessions.failed(self._series(interval), str(down))
            if interval != self._intervals[0]:
                # Not at the next close, which may be days away; the other longer ones go first.
                self._due_ms[interval] = now_ms + self._market_ms(FAILED_RETRY_S)
            raise
        self._due_ms[interval] = following_ms
        taken = await self._intake.take(interval, batch)
        newest_ms = int(taken.candles.open_ms[-1]) if len(taken.candles) else 0
        # Told by the candles themselves: a venue may anchor `3d` or `1w` elsewhere than we assume.
        is_late = newest_ms + 2 * step_ms <= now_ms
        meters.POLLS.count(interval, "late" if is_late else "answered")
        if interval in CALENDAR_MS and newest_ms and not is_late:
            self._due_ms[interval] = newest_ms + 2 * step_ms + self._delay_ms
        self._come_back(interval, is_late=is_late, now_ms=now_ms)
        if len(taken.candles):
            # Before anybody decides: a source that just answered must not count as away.
            await self._sources.delivered(CANDLES, interval, last_event_ms=newest_ms + step_ms)
        if newest_ms > self._announced_ms[interval]:
            await self._announce(interval, taken)
        # Last: whoever decides on this candle does not wait for the records.
        is_last = self._clock.anchor.wall_seconds(step_ms) * SECOND_MS >= HOUR_MS and not is_late
        await self._sessions.answered(
            self._series(interval), taken.reading(step_ms), is_last=is_last
        )

    def _series(self, interval: Interval) -> Series:
        return Series(CANDLES, self._pair, interval)

    def _come_back(self, interval: Interval, *, is_late: bool, now_ms: int) -> None:
        """Ask again soon when the newest candle was not there yet, some times before the next close."""
        if not is_late or self._late[interval] >= LATE_RETRIES:
            self._late[interval] = 0
            return
        self._late[interval] += 1
        self._pulse.count("candles_late")
        self._due_ms[interval] = now_ms + self._market_ms(LATE_RETRY_S)

    def _market_ms(self, wall_s: float) -> int:
        return round(wall_s * SECOND_MS * self._clock.anchor.speed)

    async def _announce(self, interval: Interval, taken: Taken) -> None:
        """Say what is new: to the streams, to the paper venue, to the ledgers, to the loops."""
        new = taken.candles.take(taken.candles.open_ms > self._announced_ms[interval])
        open_ms = int(new.open_ms[-1])
        trace_id = ids.trace_id("candle", self._pair, interval, open_ms)
        lag_ms = self._clock.now_ms() - open_ms - interval_ms(interval)
        await self._emit(interval, new.take(slice(-OVERLAP, None)))
        if interval == EXECUTION_INTERVAL:
            close = Decimal(str(float(new.close[-1])))
            settling = self._listeners.settle(self._pair, open_ms)
            await self._pass_on("settle", settling, trace_id)
            marking = self._listeners.mark({self._pair: close}, trace_id)
            await self._pass_on("mark", marking, trace_id)
        closed = CandleClosed(
            pair=self._pair,
            interval=interval,
            open_ms=open_ms,
            trace_id=trace_id,
            candle=new.row(-1),
        )
        await self._pass_on("tell", self._listeners.tell(closed), trace_id)
        self._announced_ms[interval] = open_ms
        log.info(
            "candle_passed_on",
            trace_id=trace_id,
            pair=self._pair,
            interval=interval,
            open_ms=open_ms,
            lag_ms=lag_ms,
        )
        await self._measure_lag(interval, open_ms, lag_ms, trace_id)

    async def _measure_lag(
        self, interval: Interval, open_ms: int, lag_ms: int, trace_id: str
    ) -> None:
        """One that closed before this process began waited for the process, not for its poll."""
        if open_ms + interval_ms(interval) < self._began_ms:
            return
        meters.INGESTION_LAG.observe(lag_ms / 1000, interval)
        sample = Sample(
            name="ingestion_lag_seconds",
            value=lag_ms / 1000,
            unit="s",
            recorded_at_ms=self._clock.now_ms(),
            tags={"pair": self._pair, "interval": interval},
            trace_id=trace_id,
        )
        await measured(self._store, [sample])

    async def _emit(self, interval: Interval, new: Candles) -> None:
        at_ms = self._clock.now_ms()
        for index in range(len(new)):
            candle = new.row(index)
            event = candle_event(
                self._pair,
                interval,
                candle,
                at_ms=at_ms,
                trace_id=ids.trace_id("candle", self._pair, interval, candle.open_ms),
            )
            await stored(lambda event=event: self._store.emit(event))

    async def _pass_on(
        self, what: str, hearing: Coroutine[object, object, None], trace_id: str
    ) -> None:
        """A listener that is away catches up by itself: the candle is in the store."""
        try:
            await hearing
        except DeskError as away:
            self._pulse.count(f"{what}_unheard")
            why = str(away)
            log.warning("candle_unheard", trace_id=trace_id, pair=self._pair, by=what, error=why)

    def _newest_stored(self, interval: Interval) -> int:
        """The newest stored open time but one: after a restart the newest is passed on again."""
        bounds = self._store.candle_bounds(self._pair, interval)
        return bounds[1] - interval_ms(interval) if bounds else 0

    # --- background work ------------------------------------------------------------------------

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (failed := task.exception()) is not None:
            self._pulse.count("work_failed")
            log.warning("work_failed", actor=self._pulse.name, error=repr(failed))


CandlePollerActor = ray.remote(CandlePoller)
