"""The pollers of everything the venue publishes beside candles, a few kinds of feed to a process."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Protocol

import ray
import structlog

from actors.candle_messages import PollNow
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.market_time import MarketClock
from actors.poll_sessions import PollSessions, Series
from actors.source_book import (
    FUNDING,
    INDEX,
    MARK,
    OPEN_INTEREST,
    ORDER_BOOK,
    TICKER,
    TRADES,
    SourceBook,
)
from actors.store_calls import rebuilt, stored
from desk.clock import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from desk.errors import DeskError, VenueUnavailable
from desk.ids import Pair
from desk.market.ingestion import BINGX, Reading
from desk.store import kinds
from desk.store.port import Kind, Store
from desk.venues.port import MarketFeeds

log = structlog.stdlib.get_logger()

PRICES, ACTIVITY = "prices", "activity"
"""The groups, each a process: what risk is computed from, apart from what only informs."""
SETTLEMENT_MS = 8 * HOUR_MS
FUNDING_HISTORY_MS = 30 * DAY_MS
"""How far back settlements are read at first: one request."""
DOWN_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)
MOST_FAILURES = 3
"""Pairs in a row that may fail before the rest of a round is given up: the venue is away."""


# --- what it needs ------------------------------------------------------------------------------


class Marked(Protocol):
    """Who must know of a mark price: the risk ledgers. Raises `DeskError` when it did not hear."""

    async def mark(self, prices: Mapping[Pair, Decimal]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """Collaborators and settings of one group of feeds."""

    group: str
    pairs: tuple[Pair, ...]
    store: Store
    venue: MarketFeeds
    clock: MarketClock
    listeners: Marked


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One kind of feed: the data sources it keeps fresh, and how often it is asked for.

    `poll` returns how many rows it kept, or None when nothing was due.
    `every_ms` is market time, `at_least_s` wall time: an accelerated market is not followed faster.
    """

    name: str
    sources: tuple[str, ...]
    every_ms: int
    at_least_s: float
    poll: Callable[[], Awaitable[int | None]]

    @property
    def series(self) -> Series:
        """As its ingestion runs are named: one request serves all pairs, or all are one round."""
        return Series(self.sources[0])


# --- the shell ----------------------------------------------------------------------------------


class MarketFeedPoller:
    """Shell only: what an answer means is the adapter's to say. Each feed turns in its own loop."""

    def __init__(self, build: Callable[[], FeedParts]) -> None:
        parts = rebuilt(build)
        self._pairs, self._store, self._venue = parts.pairs, parts.store, parts.venue
        self._clock, self._listeners = parts.clock, parts.listeners
        self._pulse = Pulse(f"feed_poller:{parts.group}")
        self._books = {pair: SourceBook(pair, parts.store, parts.clock) for pair in parts.pairs}
        self.feeds = {feed.name: feed for feed in self._feeds(parts.group)}
        self._sessions = PollSessions(parts.store, parts.clock.now_ms, source=BINGX)
        self._due_ms = dict.fromkeys(self.feeds, 0)
        self._failures = dict.fromkeys(self.feeds, 0)
        self._pulses = {name: Pulse(f"{self._pulse.name}:{name}") for name in self.feeds}
        self._loops = [
            begin(partial(self._loop_of, name, pulse)) for name, pulse in self._pulses.items()
        ]

    @ray.method(max_task_retries=0)
    async def poll_now(self, ask: PollNow) -> None:
        """Poll the feeds that keep these sources fresh, of all pairs; their loops do it."""
        for name, feed in self.feeds.items():
            if set(feed.sources) & set(ask.names):
                self._due_ms[name] = 0
                self._pulses[name].wake()

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor; as old as the loop that stands still longest."""
        beats = [pulse.beat() for pulse in self._pulses.values()]
        counted = dict(self._pulse.counters)
        for beat in beats:
            counted |= {name: counted.get(name, 0) + count for name, count in beat.counters.items()}
        oldest_s = max(beat.loop_age_s for beat in beats)
        return replace(self._pulse.beat(), loop_age_s=oldest_s, counters=counted)

    def _loop_of(self, name: str, pulse: Pulse) -> Coroutine[object, object, None]:
        return keep_turning(partial(self.turn, name), pulse)

    async def turn(self, name: str) -> float:
        """Ask for a feed when it is due; returns the wall seconds until it is again."""
        feed, now_ms = self.feeds[name], self._clock.now_ms()
        speed = self._clock.anchor.speed
        if self._due_ms[name] <= now_ms:
            try:
                kept = await self._pulses[name].through(feed.poll())
            except VenueUnavailable as down:
                return await self._wait_out(feed, down)
            self._failures[name] = 0
            if kept is not None:
                await self._sessions.answered(feed.series, Reading(new=kept))
            every_ms = max(feed.every_ms, round(feed.at_least_s * SECOND_MS * speed))
            self._due_ms[name] = now_ms - now_ms % feed.every_ms + every_ms
        return max(self._clock.anchor.wall_seconds(self._due_ms[name] - self._clock.now_ms()), 0.0)

    async def _wait_out(self, feed: Feed, down: VenueUnavailable) -> float:
        self._pulses[feed.name].count("venue_failures")
        log.warning("feed_away", feed=feed.name, error=str(down))
        for source in feed.sources:
            for book in self._books.values():
                if await book.is_enabled(source):
                    await book.failed(source, why=str(down))
        await self._sessions.failed(feed.series, str(down))
        self._failures[feed.name] += 1
        return DOWN_RETRY_S[min(self._failures[feed.name], len(DOWN_RETRY_S)) - 1]

    # --- the feeds ------------------------------------------------------------------------------

    def _feeds(self, group: str) -> list[Feed]:
        minute = MINUTE_MS
        if group == PRICES:
            return [
                Feed(
                    name="marks",
                    sources=(MARK, INDEX, FUNDING),
                    every_ms=minute,
                    at_least_s=1.0,
                    poll=self._poll_marks,
                ),
                Feed(
                    name="settlements",
                    sources=(FUNDING,),
                    every_ms=minute,
                    at_least_s=1.0,
                    poll=self._poll_settlements,
                ),
            ]
        return [
            Feed(
                name="tickers",
                sources=(TICKER,),
                every_ms=minute,
                at_least_s=5.0,
                poll=self._poll_tickers,
            ),
            self._of_each(OPEN_INTEREST, minute, self._poll_open_interest),
            self._of_each(ORDER_BOOK, minute // 2, self._poll_order_book),
            self._of_each(TRADES, minute, self._poll_trades),
        ]

    def _of_each(self, source: str, every_ms: int, poll: Callable[[Pair], Awaitable[int]]) -> Feed:
        """A feed that is asked for pair by pair; `poll` returns the time of its newest event."""
        return Feed(
            name=source,
            sources=(source,),
            every_ms=every_ms,
            at_least_s=5.0,
            poll=partial(self._poll_each, source, poll),
        )

    async def _poll_each(self, source: str, poll: Callable[[Pair], Awaitable[int]]) -> int | None:
        """One pair after another; one that fails does not take the others with it."""
        failures, kept, asked = 0, 0, 0
        for pair, book in self._books.items():
            if not await book.is_enabled(source):
                continue
            asked += 1
            try:
                newest_ms = await poll(pair)
            except VenueUnavailable as down:
                failures += 1
                if failures >= min(MOST_FAILURES, len(self._pairs)):
                    raise
                await book.failed(source, why=str(down))
                await self._sessions.failed(Series(source), f"{pair}: {down}")
            else:
                failures = 0
                kept += 1
                await book.delivered(source, last_event_ms=newest_ms)
        return kept if asked else None

    async def _poll_marks(self) -> int:
        """Mark, index and the current funding rate of all pairs; the ledgers hear of the marks."""
        seen = await self._venue.mark_prices()
        heard: dict[Pair, Decimal] = {}
        for pair, book in self._books.items():
            enabled = [name for name in (MARK, INDEX, FUNDING) if await book.is_enabled(name)]
            if not enabled:
                continue
            for source in enabled:
                if pair not in seen:
                    await book.failed(source, why=f"the venue's answer had no row of {pair}")
                else:
                    await book.delivered(source, last_event_ms=seen[pair].at_ms)
            if pair in seen:
                await self._keep(kinds.MARKS, pair, seen[pair], at_ms=seen[pair].at_ms)
                heard[pair] = seen[pair].mark
        try:
            await self._listeners.mark(heard)
        except DeskError as away:
            self._pulse.count("mark_unheard")
            log.warning("marks_unheard", error=str(away))
        return len(heard)

    async def _poll_settlements(self) -> int | None:
        """What was settled since the newest stored rate; asked for once a settlement is due."""
        kept: int | None = None
        for pair, book in self._books.items():
            kind, now_ms = kinds.funding_rates(pair), self._clock.now_ms()
            newest = await stored(lambda kind=kind: self._store.list(kind, limit=1))
            known_ms = newest[0].value.due_ms if newest else now_ms - FUNDING_HISTORY_MS
            is_due = not newest or now_ms - known_ms >= SETTLEMENT_MS
            if not is_due or not await book.is_enabled(FUNDING):
                continue
            rates = await self._venue.funding_rates(pair, known_ms + 1, now_ms + 1)
            # Features look at a settlement from when it was read; the first ones are history.
            read_ms = self._clock.now_ms() if newest else None
            for rate in rates:
                read = replace(rate, read_ms=read_ms)
                await self._keep(kind, str(rate.due_ms), read, at_ms=rate.due_ms)
            kept = (kept or 0) + len(rates)
        return kept

    async def _poll_tickers(self) -> int:
        seen, kept = await self._venue.tickers(), 0
        for pair, book in self._books.items():
            if not await book.is_enabled(TICKER):
                continue
            if pair not in seen:
                await book.failed(TICKER, why=f"the venue's answer had no row of {pair}")
                continue
            at_ms = seen[pair].at_ms
            await self._keep(kinds.TICKERS, pair, seen[pair], at_ms=at_ms)
            await book.delivered(TICKER, last_event_ms=at_ms)
            kept += 1
        return kept

    async def _poll_open_interest(self, pair: Pair) -> int:
        seen = await self._venue.open_interest(pair)
        await self._keep(kinds.OPEN_INTEREST, pair, seen, at_ms=seen.at_ms)
        return seen.at_ms

    async def _poll_order_book(self, pair: Pair) -> int:
        seen = await self._venue.order_book(pair)
        await self._keep(kinds.ORDER_BOOKS, pair, seen, at_ms=seen.at_ms)
        return seen.at_ms

    async def _poll_trades(self, pair: Pair) -> int:
        seen = await self._venue.recent_trades(pair)
        newest_ms = seen.trades[-1].at_ms if seen.trades else 0
        await self._keep(kinds.PUBLIC_TRADES, pair, seen, at_ms=newest_ms)
        return newest_ms

    async def _keep[T](self, kind: Kind[T], key: str, value: T, *, at_ms: int) -> None:
        await stored(lambda: self._store.put(kind, key, value, at_ms=at_ms))


MarketFeedPollerActor = ray.remote(MarketFeedPoller)
