"""What was read of one push feed, and how far: every alert once, whatever crashes in between."""

from collections.abc import Callable

from desk.clock import HOUR_MS, SECOND_MS
from desk.market.feed_readings import FeedReading, read_on, synced
from desk.market.signals import Signal
from desk.store import kinds, signals
from desk.store.port import DocStore

SETTLED_MS = SECOND_MS
"""An alert is read so long after its arrival: by then its receipt, stamped before it is stored, is there."""
FIRST_MS = HOUR_MS
"""How far back the first reading of a feed looks."""


class FeedBook:
    """Written by one actor."""

    def __init__(self, store: DocStore, source_id: str) -> None:
        self._store, self.source_id = store, source_id
        self._read_to_ms = 0

    def reading(self, *, now_ms: int) -> FeedReading:
        """As stored; of a feed that was never read, one that begins an hour ago."""
        found = self._store.get(kinds.FEED_READINGS, self.source_id)
        if found is not None:
            return found.value
        return FeedReading(source_id=self.source_id, read_to_ms=max(now_ms - FIRST_MS, 0))

    def read(self, take: Callable[[list[Signal]], object], *, now_ms: int) -> int:
        """Read what arrived since; returns how many alerts. Writes nothing where there are none.

        `take` gets them before they count as read: after a crash it gets the same ones again.
        """
        to_ms = now_ms - SETTLED_MS
        begin_ms = self._read_to_ms or self.reading(now_ms=now_ms).read_to_ms
        if to_ms <= begin_ms:
            return 0
        fresh = self._arrived(begin_ms, to_ms)
        if fresh:
            take(fresh)
            after = read_on(self.reading(now_ms=now_ms), fresh, to_ms=to_ms)
            self._write(after, now_ms)
        self._read_to_ms = to_ms
        return len(fresh)

    def close_sync(self, *, now_ms: int, route_ms: int) -> None:
        """Begin to count anew."""
        self._write(synced(self.reading(now_ms=now_ms), now_ms=now_ms, route_ms=route_ms), now_ms)

    def _arrived(self, start_ms: int, end_ms: int) -> list[Signal]:
        """All that arrived in `[start_ms, end_ms)`; bounded by what is kept of a source."""
        found: list[Signal] = []
        after: tuple[int, str] | None = None
        while True:
            page = signals.search(
                self._store,
                self.source_id,
                start_ms=start_ms,
                end_ms=end_ms,
                limit=signals.SCAN_BUDGET,
                after=after,
            )
            found += page.signals
            if not page.truncated:
                return found
            after = page.last

    def _write(self, reading: FeedReading, now_ms: int) -> None:
        self._store.put(kinds.FEED_READINGS, self.source_id, reading, at_ms=now_ms)
