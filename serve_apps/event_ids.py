"""Places in the store's event streams: one text that any replica can resume from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from desk.store.port import Event, Stream

START = "0-0"
_ENTRY = re.compile(r"^[0-9]{1,20}-[0-9]{1,20}$")
_STREAMS = tuple(Stream)


def order_of(entry_id: str) -> tuple[int, int]:
    """Sort key of an entry id `ms-sequence`."""
    ms, _, sequence = entry_id.partition("-")
    return int(ms), int(sequence)


@dataclass(frozen=True, slots=True)
class Place:
    """The last entry seen of each stream; `"0-0"` where none was. As text: the ids joined by `_`."""

    seen: tuple[str, ...]

    @classmethod
    def of(cls, last_ids: Mapping[Stream, str]) -> Self:
        """From the ids of each stream."""
        return cls(tuple(last_ids.get(stream) or START for stream in _STREAMS))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the text form; None if it is not one."""
        parts = tuple(text.split("_"))
        if len(parts) != len(_STREAMS) or not all(_ENTRY.match(part) for part in parts):
            return None
        return cls(parts)

    def __str__(self) -> str:
        return "_".join(self.seen)

    def by_stream(self) -> dict[Stream, str]:
        """As the store's `read_events` wants it."""
        return dict(zip(_STREAMS, self.seen, strict=True))

    def has_seen(self, event: Event) -> bool:
        """Whether an event lies at or before this place."""
        index = _STREAMS.index(event.stream)
        return order_of(event.event_id) <= order_of(self.seen[index])

    def after(self, event: Event) -> Self:
        """This place moved past an event."""
        index = _STREAMS.index(event.stream)
        return type(self)((*self.seen[:index], event.event_id, *self.seen[index + 1 :]))
