"""What is kept of a Telegram channel: its messages with their revisions, and how far it was read."""

from dataclasses import dataclass, replace

from desk.clock import SECOND_MS
from desk.market.channel_messages import (
    TELEGRAM,
    ChannelMessage,
    receive_message,
)
from desk.market.signals import SignalReceipt, read_object
from desk.store import kinds, signals
from desk.store.port import DocStore

MAX_REVISIONS = 50
"""Of one message; later edits of it are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How far a channel was read; kept over restarts. Times are wall."""

    message_id: int = 0
    """The newest message that is kept; 0 before the first reading."""
    not_before_ms: int = 0
    """Telegram asked for a wait until then."""


def source_of(channel: str) -> str:
    """Source id of a channel; a TradingView feed cannot have one with a colon."""
    return f"{TELEGRAM}:{channel}"


class ChannelBook:
    """Written by one actor. Rows are stored before the reading moves on, each under a key of its own,
    so that what a crash leaves between the two is read again and not kept twice."""

    def __init__(self, store: DocStore, channel: str) -> None:
        self._store, self.source_id = store, source_of(channel)
        self._kind = kinds.signals_of(self.source_id)

    def reading(self) -> Reading:
        """How far it was read."""
        found = self._store.get(kinds.STATE, self.source_id)
        if found is None:
            return Reading()
        return Reading(
            message_id=int(found.value["message_id"]),
            not_before_ms=int(found.value["not_before_ms"]),
        )

    def keep_page(self, page: list[ChannelMessage], *, now_ms: int) -> int:
        """Keep new messages and edits of known ones, then move the reading; returns the new rows."""
        reading = self.reading()
        rows = sum(
            self.keep(message, now_ms=now_ms, is_new=message.message_id > reading.message_id)
            for message in page
        )
        newest = max((message.message_id for message in page), default=0)
        if newest > reading.message_id:
            self._write(replace(reading, message_id=newest), now_ms)
        return rows

    def keep(self, message: ChannelMessage, *, now_ms: int, is_new: bool = False) -> bool:
        """Keep a message as its next revision if it says something else than the one before.

        One that is not new and of which nothing is stored was dropped for its age: it stays so.
        """
        last = self._last(message.message_id)
        if (last is None and not is_new) or (last is not None and last.rev >= MAX_REVISIONS):
            return False
        receipt = receive_message(
            self.source_id, message, rev=last.rev + 1 if last else 1, received_ms=now_ms
        )
        if last is not None and _content(last) == _content(receipt):
            return False
        return signals.append(self._store, receipt)

    def keep_deletion(self, message_id: int, *, now_ms: int) -> bool:
        """Keep that a message was deleted; what it said stays in its earlier revisions."""
        last = self._last(message_id)
        if last is None:
            return False
        sent_ms = read_object(last.raw).get("sent_ms")
        gone = ChannelMessage(
            message_id=message_id,
            sent_ms=sent_ms if isinstance(sent_ms, int) else 0,
            edited_ms=None,
            author=None,
            text="",
            is_deleted=True,
        )
        return self.keep(gone, now_ms=now_ms)

    def wait(self, wait_s: int, *, now_ms: int) -> None:
        """Telegram asked for a wait: it holds over restarts."""
        until_ms = now_ms + wait_s * SECOND_MS
        self._write(replace(self.reading(), not_before_ms=until_ms), now_ms)

    def _last(self, message_id: int) -> SignalReceipt | None:
        last = None
        for rev in range(1, MAX_REVISIONS + 1):
            found = self._store.get(self._kind, f"{message_id}:{rev}")
            if found is None:
                break
            last = found.value
        return last

    def _write(self, reading: Reading, now_ms: int) -> None:
        fact = {"message_id": reading.message_id, "not_before_ms": reading.not_before_ms}
        self._store.put(kinds.STATE, self.source_id, fact, at_ms=now_ms)


def _content(receipt: SignalReceipt) -> tuple[object, ...]:
    """What a reader sees; Telegram also stamps an edit when only reactions changed."""
    row = read_object(receipt.raw)
    return row.get("text"), row.get("media"), row.get("is_deleted")
