"""Every request that reached the venue, in order: what tests judge by."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from bingx_sim.errors import BadOption

KEPT = 50_000
SECRETS = ("signature", "listenKey")
MASK = "***"


@dataclass(slots=True, kw_only=True)
class Entry:
    """One request. `*_ms` of receive and answer are wall time, `market_ms` is market time."""

    sequence: int
    receive_ms: int
    market_ms: int
    connection: int
    method: str
    path: str
    params: dict[str, str]
    raw_query: str
    account: str = ""
    rules: list[str] = field(default_factory=list[str])
    processed: int = 0
    """How often the venue carried the request out: 0 lost or refused before it, 2 duplicated."""
    status: int = 0
    code: int | str = ""
    order_id: str = ""
    answered: bool = False
    """Whether the whole answer was handed to the connection."""
    answer_ms: int = 0
    receive_ns: int = field(default_factory=time.monotonic_ns)
    """When it came by the machine's monotonic clock, which every process here shares: for latencies."""


class Journal:
    """The newest requests, numbered from 1."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.count = 0

    def open(
        self,
        *,
        receive_ms: int,
        market_ms: int,
        connection: int,
        method: str,
        path: str,
        pairs: list[tuple[str, str]],
        raw_query: str,
    ) -> Entry:
        self.count += 1
        entry = Entry(
            sequence=self.count,
            receive_ms=receive_ms,
            market_ms=market_ms,
            connection=connection,
            method=method,
            path=path,
            params={key: MASK if key in SECRETS else value for key, value in pairs},
            raw_query=_masked(raw_query),
        )
        self._entries.append(entry)
        return entry

    def after(self, sequence: int, limit: int) -> Iterator[dict[str, Any]]:
        """Entries with a higher number, oldest first, at most `limit`.

        Raises `BadOption` when some of them are forgotten: a journal with holes proves nothing.
        """
        oldest = self._entries[0].sequence if self._entries else 1
        if sequence + 1 < oldest:
            text = f"entries after {sequence} were asked for, the oldest that is kept is {oldest}"
            raise BadOption(f"{text}: read the journal more often")
        left = limit
        for entry in self._entries:
            if entry.sequence > sequence and left > 0:
                left -= 1
                yield asdict(entry)

    def clear(self) -> None:
        self._entries.clear()
        self.count = 0


def _masked(raw_query: str) -> str:
    parts = [
        f"{part.split('=', 1)[0]}={MASK}" if part.split("=", 1)[0] in SECRETS else part
        for part in raw_query.split("&")
    ]
    return "&".join(parts)
