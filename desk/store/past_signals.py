"""Receipts of the past in the store: kept once, never at the cost of others, never to be dropped soon."""

from enum import StrEnum

from desk.errors import VersionConflict
from desk.market.signals import SignalReceipt
from desk.store import signals
from desk.store.kinds import signals_of
from desk.store.port import DocStore


class Outcome(StrEnum):
    """What became of a receipt."""

    NEW = "new"
    KNOWN = "known"
    """The same alert is there already: it came by the webhook, or by an earlier import."""
    TOO_OLD = "older than 31 days: nothing keeps it"
    NO_ROOM = "its source holds 5000 signals already, all that are kept"


class PastSignals:
    """Keeps receipts under their external ids; to repeat it adds nothing. `is_dry` only says what
    would happen, also to a row that comes twice."""

    def __init__(self, store: DocStore, *, now_ms: int, is_dry: bool = False) -> None:
        self._store, self._now_ms, self._is_dry = store, now_ms, is_dry
        self._would_be: set[str] = set()

    def keep(self, receipt: SignalReceipt) -> Outcome:
        """Keep one receipt, or say why not."""
        kind, key = signals_of(receipt.source_id), signals.key_of(receipt)
        if key in self._would_be or self._store.get(kind, key) is not None:
            return Outcome.KNOWN
        if receipt.ts_received_ms < self._now_ms - signals.KEPT_MS:
            return Outcome.TOO_OLD
        room_after = signals.MAX_KEPT - 1 - len(self._would_be)
        if room_after < 0 or self._store.keys_beyond(kind, room_after, limit=1):
            return Outcome.NO_ROOM
        if self._is_dry:
            self._would_be.add(key)
            return Outcome.NEW
        at_ms = receipt.ts_received_ms
        try:
            self._store.put(kind, key, receipt, at_ms=at_ms, expected_version=0)
        except VersionConflict:
            return Outcome.KNOWN
        return Outcome.NEW
