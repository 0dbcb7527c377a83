"""How far a push feed was read, and how its alerts could be read since the last sync, with examples."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from desk.market.signals import ParseStatus, Signal

MAX_EXAMPLES = 10
EXAMPLE_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An alert that was not `ok`, as a person may want to see it. The text is untrusted."""

    external_id: str
    ts_received_ms: int
    parse_status: ParseStatus
    missing: tuple[str, ...]
    """Fields that could not be read: symbol, interval, bar_open_ms, price."""
    text: str
    """At most 200 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseTally:
    """Alerts by how they could be read."""

    ok: int = 0
    partial: int = 0
    unparsed: int = 0
    stale: int = 0
    examples: tuple[Example, ...] = ()
    """The newest that were not ok, at most 10, newest first."""

    @property
    def total(self) -> int:
        return self.ok + self.partial + self.unparsed + self.stale


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedReading:
    """Of one feed, kept over restarts. Times are wall."""

    source_id: str
    read_to_ms: int
    """Everything that arrived before this moment was read."""
    newest_ms: int = 0
    """Arrival of the newest alert that was read; 0: none yet."""
    read_count: int = 0
    """Alerts read since the first reading."""
    since: ParseTally = field(default_factory=ParseTally)
    """Since the last sync."""
    last: ParseTally = field(default_factory=ParseTally)
    """What the last sync found, since the one before it."""
    synced_ms: int = 0
    """When the last sync succeeded; 0: none did."""
    route_ms: int = 0
    """How long the route took to answer its self-test then."""


def tallied(tally: ParseTally, signals: Iterable[Signal]) -> ParseTally:
    """Add alerts. Any order: examples are chosen by arrival."""
    counts = {status: getattr(tally, status.value) for status in ParseStatus}
    examples = list(tally.examples)
    for signal in signals:
        counts[signal.parse_status] += 1
        if signal.parse_status is not ParseStatus.OK:
            examples.append(_example(signal))
    examples.sort(key=lambda each: (each.ts_received_ms, each.external_id), reverse=True)
    return ParseTally(
        **{status.value: count for status, count in counts.items()},
        examples=tuple(examples[:MAX_EXAMPLES]),
    )


def read_on(reading: FeedReading, signals: list[Signal], *, to_ms: int) -> FeedReading:
    """The reading after these alerts, which are all that arrived from `read_to_ms` up to `to_ms`."""
    return replace(
        reading,
        read_to_ms=to_ms,
        newest_ms=max([reading.newest_ms, *(signal.ts_received_ms for signal in signals)]),
        read_count=reading.read_count + len(signals),
        since=tallied(reading.since, signals),
    )


def synced(reading: FeedReading, *, now_ms: int, route_ms: int) -> FeedReading:
    """The reading after a sync that succeeded: counting begins anew."""
    return replace(
        reading, since=ParseTally(), last=reading.since, synced_ms=now_ms, route_ms=route_ms
    )


def _example(signal: Signal) -> Example:
    fields = ("symbol", "interval", "bar_open_ms", "price")
    return Example(
        external_id=signal.external_id,
        ts_received_ms=signal.ts_received_ms,
        parse_status=signal.parse_status,
        missing=tuple(name for name in fields if getattr(signal, name) is None),
        text=signal.text[:EXAMPLE_CHARS],
    )
