"""The poller of Telegram channels. Polling is the truth; what Telegram tells live only comes sooner."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import ray
import structlog

from actors import retry_queue
from actors.channel_book import ChannelBook
from actors.heartbeat import Heartbeat, Pulse, begin, keep_turning
from actors.poll_sessions import PollSessions, Series
from actors.retry_attempts import TELEGRAM_SYNC
from actors.signal_archiving import archive_old
from actors.signal_rows import SignalRows
from actors.source_book import OK, UNAVAILABLE
from actors.store_calls import rebuilt, stored
from desk.clock import SECOND_MS
from desk.errors import FeedError, FeedRefused, FeedThrottled
from desk.market.channel_messages import TELEGRAM, ChannelMessage
from desk.market.ingestion import IngestionKind, Reading
from desk.sources.changes import Changed, Hear
from desk.store import signals
from desk.store.port import Store

log = structlog.stdlib.get_logger()

LOOK_EVERY_S = 1.0
"""How often events and wishes are looked at between polls."""
CATCH_UP_S = 1.0
"""Between two pages of a channel that is behind."""
OVERLAP = 50
"""Message ids read again by each poll, to see edits of which no event came."""
AWAY_S = (5, 15, 60, 300)
MOST_EVENTS = 500


class Channels(Protocol):
    """Telegram as it is read here. Every method raises `FeedError`, `FeedThrottled`, `FeedRefused`."""

    async def newest(self, channel: str, limit: int) -> list[ChannelMessage]: ...

    async def since(self, channel: str, after_id: int, limit: int) -> list[ChannelMessage]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalParts:
    """Collaborators and settings. Durations and `now_ms` are wall: channels know no market time."""

    store: Store
    archive: signals.Archive
    open_channels: Callable[[Hear], Channels]
    channels: tuple[str, ...]
    now_ms: Callable[[], int]
    every_s: int
    sync_limit: int
    jitter: Callable[[], float] = random.random


class SignalPoller:
    """Shell only. Each channel has a reading in the store; events wake its next poll."""

    def __init__(self, build: Callable[[], SignalParts]) -> None:
        parts = rebuilt(build)
        self._parts, self._store = parts, parts.store
        self._books = {name: ChannelBook(parts.store, name) for name in parts.channels}
        self._events: deque[Changed] = deque(maxlen=MOST_EVENTS)
        self._source = parts.open_channels(self._events.append)
        self._due_ms = dict.fromkeys(parts.channels, 0)
        self._failures = dict.fromkeys(parts.channels, 0)
        self._rows = SignalRows(parts.store, TELEGRAM, every_s=parts.every_s, now_ms=parts.now_ms)
        self._sessions = PollSessions(
            parts.store,
            parts.now_ms,
            source=TELEGRAM,
            kind=IngestionKind.SYNC,
            wall_ms=parts.now_ms,
        )
        self._pulse = Pulse("signal_poller")
        self._loop = begin(lambda: keep_turning(self.turn, self._pulse))

    @ray.method(max_task_retries=0)
    async def heartbeat(self) -> Heartbeat:
        """Answer the supervisor."""
        return self._pulse.beat()

    async def turn(self) -> float:
        """Take what was told, poll each channel that is due; returns the wall seconds to wait."""
        if await self._rows.was_asked():
            self._due_ms = dict.fromkeys(self._due_ms, 0)
        await self._take_events()
        for channel in self._books:
            if self._due_ms[channel] <= self._parts.now_ms():
                await self._pulse.through(self._poll(channel))
        return LOOK_EVERY_S

    async def close(self) -> None:
        """Leave Telegram."""
        await self._source.close()

    # --- one channel ----------------------------------------------------------------------------

    async def _poll(self, channel: str) -> None:
        book, every_ms = self._books[channel], self._parts.every_s * SECOND_MS
        self._due_ms[channel] = self._parts.now_ms() + every_ms
        reading = await stored(book.reading)
        if reading.not_before_ms > self._parts.now_ms():
            self._due_ms[channel] = reading.not_before_ms
            return
        if not await self._rows.is_enabled(book.source_id):
            return
        limit = self._parts.sync_limit
        try:
            if reading.message_id == 0:
                page = await self._source.newest(channel, limit)
            else:
                after_id = max(reading.message_id - OVERLAP, 0)
                page = await self._source.since(channel, after_id, limit + OVERLAP)
        except FeedThrottled as flood:
            await stored(partial(book.wait, flood.wait_s, now_ms=self._parts.now_ms()))
            self._due_ms[channel] = self._parts.now_ms() + flood.wait_s * SECOND_MS
            await self._failed(book, flood)
            return
        except FeedRefused as refused:
            await self._failed(book, refused)
            await retry_queue.enter(
                self._store,
                TELEGRAM_SYNC,
                {"source_id": book.source_id},
                dedupe=(book.source_id,),
                error=str(refused),
                now_ms=self._parts.now_ms(),
                jitter=self._parts.jitter(),
            )
            return
        except FeedError as away:
            wait_s = AWAY_S[min(self._failures[channel], len(AWAY_S) - 1)]
            self._failures[channel] += 1
            self._due_ms[channel] = self._parts.now_ms() + min(wait_s * SECOND_MS, every_ms)
            await self._failed(book, away)
            return
        now_ms = self._parts.now_ms()
        rows = await stored(partial(book.keep_page, page, now_ms=now_ms))
        await archive_old(
            self._store, self._parts.archive, book.source_id, self._pulse, now_ms=now_ms
        )
        self._failures[channel] = 0
        self._pulse.count("signals_kept", rows)
        if reading.message_id and len(page) == limit + OVERLAP:
            self._due_ms[channel] = now_ms + round(CATCH_UP_S * SECOND_MS)
        newest_ms = max((message.sent_ms for message in page), default=0)
        newest_id = max((message.message_id for message in page), default=0)
        await self._sessions.answered(
            Series(TELEGRAM, source_id=book.source_id),
            Reading(new=rows, cursor=str(newest_id or reading.message_id)),
        )
        await self._rows.change(
            book.source_id,
            lambda row: replace(
                row,
                status=OK,
                detail="",
                last_success_ms=now_ms,
                last_event_ms=max(newest_ms, row.last_event_ms),
            ),
        )

    async def _failed(self, book: ChannelBook, why: FeedError) -> None:
        self._pulse.count("polls_failed")
        log.warning("channel_not_read", source=book.source_id, error=str(why))
        await self._sessions.failed(Series(TELEGRAM, source_id=book.source_id), str(why))
        await self._rows.change(
            book.source_id, lambda row: replace(row, status=UNAVAILABLE, detail=str(why)[:300])
        )

    # --- what others want -----------------------------------------------------------------------

    async def _take_events(self) -> None:
        """Edits and deletions are kept as told; everything else is a reason to poll now."""
        while self._events:
            told = self._events[0]
            book, now_ms = self._books.get(told.channel), self._parts.now_ms()
            if book is not None and await self._rows.is_enabled(book.source_id):
                if told.message is not None:
                    await stored(partial(book.keep, told.message, now_ms=now_ms))
                for message_id in told.deleted_ids:
                    await stored(partial(book.keep_deletion, message_id, now_ms=now_ms))
                if told.message is None and not told.deleted_ids:
                    self._due_ms[told.channel] = 0
            if self._events and self._events[0] is told:  # a full queue drops its oldest meanwhile
                self._events.popleft()


SignalPollerActor = ray.remote(SignalPoller)
