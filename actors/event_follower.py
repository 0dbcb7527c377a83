"""Reading the event streams once: what an actor did by itself becomes a row of the audit."""

from collections.abc import Callable, Sequence

import structlog

from actors.store_calls import stored
from desk.clock import Clock
from desk.store import kinds
from desk.store.port import Event, Store, Stream

log = structlog.stdlib.get_logger()

CURSOR_KEY = "observer_cursor"
FOLLOWED = (Stream.OPS, Stream.RISK)
"""What is done to orders is in the orders themselves."""
PAGE = 500
PAGES = 20
"""In one turn; the next one goes on from there."""

type Hear = Callable[[Event], None]
"""Takes one event. It may come again after a crash, and must then change nothing."""


class EventFollower:
    """Hands each event to every listener, in order, from a cursor in the store: at least once."""

    def __init__(self, store: Store, clock: Clock, listeners: Sequence[Hear]) -> None:
        self._store, self._clock, self._listeners = store, clock, listeners

    async def turn(self) -> int:
        """Hear what has happened since the last turn; returns how many events that were.

        Raises `StoreUnavailable`; the next turn begins where the cursor stands."""
        heard = 0
        for _ in range(PAGES):
            found = await stored(self._page)
            heard += found
            if found < PAGE:
                break
        return heard

    def _page(self) -> int:
        doc = self._store.get(kinds.STATE, CURSOR_KEY)
        cursor: dict[Stream, str] = dict.fromkeys(FOLLOWED, "0-0")
        if doc is not None:
            cursor |= {stream: doc.value.get(stream.value, "0-0") for stream in FOLLOWED}
        events = self._store.read_events(cursor, limit=PAGE)
        if not events:
            return 0
        for event in events:
            for hear in self._listeners:
                hear(event)
            cursor[event.stream] = event.event_id
        fact = {stream.value: at for stream, at in cursor.items()}
        self._store.put(kinds.STATE, CURSOR_KEY, fact, at_ms=self._clock.now_ms())
        return len(events)
