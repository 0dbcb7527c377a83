"""Orders that came to the exchange over the wire, from a journal that forgets."""

from typing import Any

from desk.drills.exchange import Simulator

UNDER_WAY_MS = 60_000
"""A request that has no end by then gets none: whoever sent it was killed."""


class OrderJournal:
    """Reads what is new and keeps what is about orders.

    A request has its entry from its first byte on, and what came of it only when it is answered: one
    that was under way at the last reading is read again.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._entries: dict[int, dict[str, Any]] = {}
        self._read_upto = 0
        """Up to here every entry was read with its end."""

    def after(self, number: int) -> list[dict[str, Any]]:
        """The orders that the exchange received later than that entry, oldest first."""
        self.read()
        return [entry for at, entry in sorted(self._entries.items()) if at > number]

    def read(self) -> None:
        """Take what the journal got since the last call."""
        fresh: list[dict[str, Any]] = []
        while page := self._page(fresh[-1]["sequence"] if fresh else self._read_upto):
            fresh += page
        if not fresh:
            return
        orders = (entry for entry in fresh if entry["path"].endswith("/trade/order"))
        self._entries |= {entry["sequence"]: entry for entry in orders}
        since_ms = fresh[-1]["receive_ms"] - UNDER_WAY_MS
        under_way = (one for one in fresh if not one["answer_ms"] and one["receive_ms"] > since_ms)
        first = next(under_way, None)
        self._read_upto = first["sequence"] - 1 if first else fresh[-1]["sequence"]

    def _page(self, after: int) -> list[dict[str, Any]]:
        return self._simulator.call("GET", "journal", query={"after": str(after)})["entries"]
