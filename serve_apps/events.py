"""The event streams of the store, read once per replica and fanned out to every open page."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

import structlog

from desk.errors import StoreUnavailable
from desk.store.port import Event, EventStore, Stream
from serve_apps.event_ids import START, Place, order_of

log = structlog.get_logger(__name__)

QUEUE_EVENTS = 1_000
REPLAY_EVENTS = 5_000
"""More than this between a page's last event and now: it reads everything again instead."""
BATCH = 500
BLOCK_MS = 1_000
"""How long one read waits for an event; a reader that is stopped lets go of its thread by then."""
_AWAY_S = 0.5


class TooManyStreams(Exception):
    """All places are taken."""


class Subscription:
    """One page's bounded inbox. `lagged` is set, and the inbox emptied, when it falls behind."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Event] = asyncio.Queue(QUEUE_EVENTS)
        self.lagged = False

    def offer(self, event: Event) -> None:
        """Take one event without waiting."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.lagged = True

    async def next(self, within_s: float) -> Event | None:
        """The next event, or None after `within_s`."""
        try:
            return await asyncio.wait_for(self._queue.get(), within_s)
        except TimeoutError:
            return None


class EventHub:
    """One reader of the store's streams for all subscriptions of this process.

    The reader runs while there is at least one subscription.
    """

    def __init__(
        self, store: EventStore, *, max_streams: int = 32, block_ms: int = BLOCK_MS
    ) -> None:
        self._store = store
        self._max_streams = max_streams
        self._block_ms = block_ms
        self._open: set[Subscription] = set()
        self._reader: asyncio.Task[None] | None = None
        self._place = Place.of({})
        self._starting = asyncio.Lock()

    @property
    def open_streams(self) -> int:
        """How many pages listen."""
        return len(self._open)

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[tuple[Subscription, Place]]:
        """Take a place; yields the inbox and the place in the streams after which it is filled.

        Raises `TooManyStreams`.
        """
        if len(self._open) >= self._max_streams:
            raise TooManyStreams
        subscription = Subscription()
        self._open.add(subscription)
        try:
            await self._ensure_reader()
            yield subscription, self._place
        finally:
            self._open.discard(subscription)
            if not self._open and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def replay(self, after: Place, until: Place) -> list[Event] | None:
        """Events between two places, per stream oldest first; None if some are no longer kept."""
        return await asyncio.to_thread(self._replay, after, until)

    async def _ensure_reader(self) -> None:
        async with self._starting:
            if self._reader is None or self._reader.done():
                self._place = Place.of(await asyncio.to_thread(self._store.last_event_ids))
                self._reader = asyncio.create_task(self._read())
                self._reader.add_done_callback(self._reader_ended)

    def _reader_ended(self, reader: asyncio.Task[None]) -> None:
        if reader.cancelled() or (error := reader.exception()) is None:
            return
        log.error("event_reader_failed", error=repr(error))
        for subscription in self._open:  # each page reads everything again and comes back
            subscription.lagged = True

    async def _read(self) -> None:
        while True:
            try:
                events = await asyncio.to_thread(
                    self._store.read_events,
                    self._place.by_stream(),
                    limit=BATCH,
                    block_ms=self._block_ms,
                )
            except StoreUnavailable as away:
                log.warning("event_streams_unread", reason=str(away))
                await asyncio.sleep(_AWAY_S)
                continue
            for event in events:
                self._place = self._place.after(event)
                for subscription in self._open:
                    subscription.offer(event)

    def _replay(self, after: Place, until: Place) -> list[Event] | None:
        if not self._still_kept(after.by_stream()):
            return None
        events: list[Event] = []
        place = after
        while len(events) <= REPLAY_EVENTS:
            batch = self._store.read_events(place.by_stream(), limit=BATCH)
            fresh = [event for event in batch if until.has_seen(event)]
            events += fresh
            for event in fresh:
                place = place.after(event)
            if len(fresh) < len(batch) or not batch:
                return events
        return None

    def _still_kept(self, after: Mapping[Stream, str]) -> bool:
        """Whether nothing after these entries has been trimmed away.

        A stream that was empty then (`0-0`) is taken as whole.
        """
        for stream, entry_id in after.items():
            if entry_id == START:
                continue
            first = self._store.read_events({stream: START}, limit=1)
            if first and order_of(first[0].event_id) > order_of(entry_id):
                return False
        return True
