"""Server-sent events of one page: hello, replay, live events, pings, and a planned end."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass

from pydantic_core import to_json

from desk import meters
from desk.store.port import Event
from serve_apps.event_ids import Place
from serve_apps.events import EventHub, Subscription

COALESCED = frozenset({"candle", "decision"})
"""Topics of which a page only needs the newest per key; changes of state are never left out."""
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTimes:
    """Wall seconds."""

    ping_s: float = 15.0
    end_s: float = 600.0
    """Then the page resumes: a draining replica never waits for a stream."""
    coalesce_s: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What one page asked for."""

    topics: frozenset[str]
    """Empty: all. `candle` or `candle:BTC-USDT:1m`."""
    last_event_id: str | None
    server_version: str
    login_expires_ms: int | None
    is_still_logged_in: Callable[[], bool]

    def wants(self, event: Event) -> bool:
        """Whether an event's topic, or topic and key, was asked for."""
        if not self.topics:
            return True
        return event.topic in self.topics or f"{event.topic}:{event.key}" in self.topics


class _Coalescer:
    """Turns events into messages, holding back coalesced topics for a quarter of a second.

    The id of each message is the newest place before which nothing is still held back.
    """

    def __init__(self, listener: Listener, place: Place, hold_s: float) -> None:
        self._listener = listener
        self._hold_s = hold_s
        self._held: dict[tuple[str, str], tuple[Event, Place]] = {}
        self._due_s = 0.0
        self.place = place

    def due_s(self, otherwise: float) -> float:
        """When held events are to go out."""
        return self._due_s if self._held else otherwise

    def take(self, event: Event, now_s: float) -> list[bytes]:
        """Move past an event; it goes out now, later, or not at all."""
        if self.place.has_seen(event):
            return []
        before, self.place = self.place, self.place.after(event)
        if not self._listener.wants(event):
            return []
        if event.topic not in COALESCED:
            return [_event(event, self._safe_place())]
        if not self._held:
            self._due_s = now_s + self._hold_s
        key = (event.topic, event.key)
        self._held.pop(key, None)  # to the end: the first entry stays the oldest
        self._held[key] = (event, before)
        return []

    def flush(self, now_s: float) -> list[bytes]:
        """Held events, once they are due."""
        messages: list[bytes] = []
        while self._held and now_s >= self._due_s:
            key = next(iter(self._held))
            event, _ = self._held.pop(key)
            messages.append(_event(event, self._safe_place()))
        return messages

    def _safe_place(self) -> Place:
        return next(iter(self._held.values()))[1] if self._held else self.place


async def stream(
    hub: EventHub,
    listener: Listener,
    times: StreamTimes,
    *,
    monotonic_s: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[bytes]:
    """Yield the bytes of one stream. Every id is a place from which nothing is missed.

    After a reconnect a state change may arrive again (same `seq`); none is left out.
    """
    async with hub.subscribe() as (inbox, live_from):
        yield b"retry: 2000\n\n"
        place, replayed, resync = await _catch_up(hub, listener.last_event_id, live_from)
        yield _hello(listener, place)
        if resync:
            yield _resync(place, resync)
        feed = _Coalescer(listener, place, times.coalesce_s)
        for event in replayed:
            for message in feed.take(event, monotonic_s()):
                yield message
        async for message in _live(inbox, feed, listener, times, monotonic_s):
            yield message


async def _live(
    inbox: Subscription,
    feed: _Coalescer,
    listener: Listener,
    times: StreamTimes,
    monotonic_s: Callable[[], float],
) -> AsyncGenerator[bytes]:
    ends_s = monotonic_s() + times.end_s
    ping_s = monotonic_s() + times.ping_s
    while (now_s := monotonic_s()) < ends_s:
        event = await inbox.next(max(min(ends_s, ping_s, feed.due_s(ends_s)) - now_s, 0.001))
        now_s = monotonic_s()
        if inbox.lagged:
            yield _resync(feed.place, "lagged")
            return
        for message in (feed.take(event, now_s) if event else []) + feed.flush(now_s):
            yield message
        if now_s >= ping_s:
            if not listener.is_still_logged_in():
                return
            ping_s = now_s + times.ping_s
            yield b": ping\n\n"


async def _catch_up(
    hub: EventHub, last_event_id: str | None, live_from: Place
) -> tuple[Place, list[Event], str]:
    """Where to start, what to replay, and why everything must be read again (or an empty text)."""
    if not last_event_id:
        return live_from, [], ""
    place = Place.parse(last_event_id)
    if place is None:
        return live_from, [], "unknown_id"
    events = await hub.replay(place, live_from)
    if events is None:
        return live_from, [], "too_old"
    return place, events, ""


def _hello(listener: Listener, place: Place) -> bytes:
    data = {
        "v": VERSION,
        "server_version": listener.server_version,
        "last_id": str(place),
        "login_expires_ms": listener.login_expires_ms,
    }
    return _message("hello", str(place), data)


def _resync(place: Place, reason: str) -> bytes:
    meters.STREAM_RESYNCS.count(reason)
    return _message("resync", str(place), {"v": VERSION, "reason": reason})


def _event(event: Event, place: Place) -> bytes:
    data: dict[str, object] = {
        "v": VERSION,
        "ts_ms": event.at_ms,
        "key": event.key,
        "seq": event.event_id,
        "data": event.data,
    }
    if event.trace_id:
        data["trace_id"] = event.trace_id
    return _message(event.topic, str(place), data)


def _message(topic: str, entry_id: str, data: Mapping[str, object]) -> bytes:
    # JSON has no newline outside of strings and none unescaped inside: one `data:` line is enough.
    body = to_json(data, inf_nan_mode="null").decode()
    meters.STREAM_MESSAGES.count(topic)
    name = topic.replace("\n", " ").replace("\r", " ")
    return f"id: {entry_id}\nevent: {name}\ndata: {body}\n\n".encode()
