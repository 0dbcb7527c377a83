"""What the memory store holds, and the common part of its changes; mirrors `functions/desk.lua`."""

import threading
from collections import defaultdict, deque
from dataclasses import dataclass, field, replace
from typing import Any, cast

from desk.errors import Fenced, VersionConflict
from desk.ids import Pair
from desk.market.interval import Interval
from desk.store.answers import reused_request
from desk.store.codec import from_json, to_json
from desk.store.layout import METRIC_SAMPLES_KEPT
from desk.store.port import Event, Fence, Stream

type Answer = tuple[bytes, ...]


@dataclass(slots=True)
class OrderRow:
    """One order as the functions see it."""

    version: int
    state: str
    account: str
    reduce_only: bool
    created_ms: int
    row: bytes


@dataclass(slots=True)
class DocRow:
    """One document as the functions see it."""

    version: int
    at_ms: int
    row: bytes


@dataclass(slots=True)
class SeriesChanges:
    """What was done to a series of candles, as the functions count it."""

    origin: str
    revision: int = 0
    altered: dict[int, int] = field(default_factory=dict[int, int])
    """By chunk: the newest revision that did more than append."""


@dataclass(slots=True)
class RequestRow:
    """One request that must happen once, as the functions see it; `answer` is None in flight."""

    fingerprint: str
    claim: str
    at_ms: int
    answer: bytes | None = None


@dataclass(slots=True)
class TurnPlace:
    """Where a taker stands in a queue, and when it said that it would be back."""

    priority: int
    arrived_ms: float
    back_ms: float = 0.0


@dataclass(slots=True)
class TurnQueue:
    """Who waits for a lane's turns, and when the next one is free."""

    free_ms: float = 0.0
    waiting: dict[str, TurnPlace] = field(default_factory=dict[str, TurnPlace])

    def join(self, taker: str, priority: int, now_ms: float) -> TurnPlace:
        """The taker's place: its old one, with the priority it has now, or a new one."""
        place = self.waiting.setdefault(taker, TurnPlace(priority=priority, arrived_ms=now_ms))
        place.priority = priority
        return place

    def rank(self, taker: str) -> int:
        """How many come before it."""

        def order(name: str) -> tuple[int, float, str]:
            place = self.waiting[name]
            return place.priority, place.arrived_ms, name

        return sorted(self.waiting, key=order).index(taker)


def _capped() -> deque[bytes]:
    return deque(maxlen=METRIC_SAMPLES_KEPT)


@dataclass(slots=True)
class MemoryState:
    """Everything in the store. Hold `lock` for every use; it is notified of each new event."""

    lock: threading.Condition = field(default_factory=threading.Condition)
    epochs: dict[str, int] = field(default_factory=dict[str, int])
    answers: dict[str, tuple[str, Answer]] = field(default_factory=dict[str, tuple[str, Answer]])
    orders: dict[str, OrderRow] = field(default_factory=dict[str, OrderRow])
    trades: dict[str, set[str]] = field(default_factory=lambda: defaultdict[str, set[str]](set))
    """Trade id → client order ids."""
    reserved: dict[str, dict[str, str]] = field(
        default_factory=lambda: defaultdict[str, dict[str, str]](dict)
    )
    fills: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    fills_of: dict[str, list[tuple[int, str, bytes]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, str, bytes]]](list)
    )
    ledgers: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    adjusted: dict[str, dict[str, tuple[int, bytes]]] = field(
        default_factory=lambda: defaultdict[str, dict[str, tuple[int, bytes]]](dict)
    )
    """Account → account and adjustment id → market time and row."""
    kills: dict[str, str] = field(default_factory=dict[str, str])
    docs: dict[str, dict[str, DocRow]] = field(
        default_factory=lambda: defaultdict[str, dict[str, DocRow]](dict)
    )
    audit_seq: int = 0
    audit_sha256: str = ""
    audit_trimmed_seq: int = 0
    audit_ids: dict[str, str] = field(default_factory=dict[str, str])
    """Audit id → key of its row."""
    requests: dict[str, RequestRow] = field(default_factory=dict[str, RequestRow])
    turns: dict[str, TurnQueue] = field(
        default_factory=lambda: defaultdict[str, TurnQueue](TurnQueue)
    )
    """By lane."""
    hindered: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Address → until when at half speed, until when without any turn."""
    streams: dict[Stream, list[tuple[int, Event]]] = field(
        default_factory=lambda: {stream: list[tuple[int, Event]]() for stream in Stream}
    )
    last_entry: dict[Stream, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    metrics: dict[str, deque[bytes]] = field(
        default_factory=lambda: defaultdict[str, deque[bytes]](_capped)
    )
    candles: dict[tuple[Pair, Interval], dict[int, tuple[float, ...]]] = field(
        default_factory=lambda: defaultdict[tuple[Pair, Interval], dict[int, tuple[float, ...]]](
            dict
        )
    )

    changes: dict[tuple[Pair, Interval], SeriesChanges] = field(
        default_factory=dict[tuple[Pair, Interval], SeriesChanges]
    )
    """By series; of one that is empty there is none."""
    series_begun: int = 0

    def stored_answer(
        self, what: str, request_id: str, fence: Fence | None = None
    ) -> Answer | None:
        """Refuse an old epoch; return the answer of a finished request."""
        if fence is not None and self.epochs.get(fence.role, 0) != fence.epoch:
            raise Fenced(fence.role, fence.epoch, self.epochs.get(fence.role, 0))
        if request_id not in self.answers:
            return None
        known, answer = self.answers[request_id]
        if known != what:
            raise reused_request(request_id)
        return answer

    def expect_done(self, request_id: str) -> None:
        """Refuse while the change of this request, if it names one, is not committed."""
        if request_id and request_id not in self.answers:
            raise VersionConflict(f"req:{request_id}", 1, 0)

    def finish(self, what: str, request_id: str, event: Event | None, *answer: bytes) -> Answer:
        """Append the event and remember the answer."""
        if event is not None:
            self.append(event)
        if request_id:
            self.answers[request_id] = (what, answer)
        return answer

    def append(self, event: Event) -> str:
        """Append an event as it will be read back; returns its entry id."""
        number = self.last_entry[event.stream] + 1
        data = cast("dict[str, Any]", from_json(dict, to_json(dict, dict(event.data))))
        stored = replace(event, data=data, event_id=f"{number}-0")
        self.streams[event.stream].append((number, stored))
        self.last_entry[event.stream] = number
        self.lock.notify_all()
        return stored.event_id
