"""Telling receivers outside of the desk of alerts: each has a queue of its own, in the store."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.store_calls import CONFLICT_TRIES, stored
from desk import alert_queue, meters
from desk.alert_codes import explained_by
from desk.alert_queue import Notice, Outbox
from desk.clock import Clock
from desk.errors import FeedError, FeedThrottled, VersionConflict
from desk.runs import Alert
from desk.store import kinds
from desk.store.port import Event, Store
from desk.wallclock import wall_ms

log = structlog.stdlib.get_logger()

UNDELIVERED = "alert_undelivered"
TOLD_FROM = 3
"""Failures in a row from which on the desk's own pages say so."""
MOST_OF_TURN = 20
MOST_ALERTS = 2_000


class Receiver(Protocol):
    """Raises `FeedError` unless the notice was taken. A notice may come again, under the same id."""

    async def tell(self, notice: Notice) -> None: ...

    async def close(self) -> None: ...


class AlertDelivery:
    """The observer's part in telling others. A receiver that fails or hangs holds up only its own queue."""

    def __init__(self, store: Store, clock: Clock, receivers: Mapping[str, Receiver]) -> None:
        self._store, self._clock, self._receivers = store, clock, receivers

    def hear(self, event: Event) -> None:
        """Put an alert that was opened, or is over, into every queue; the same event changes nothing."""
        if event.topic != "alert" or not self._receivers:
            return
        doc = self._store.get(kinds.ALERTS, event.key)
        if doc is None or event.data.get("status") != doc.value.status:
            return  # it has moved on: its next event tells of that
        unresolved = [one for one in self._alerts() if one.status != "resolved"]
        if doc.value.status == "resolved":
            # What only followed from it, and outlasts it, is now an incident of its own.
            lasting = replace(doc.value, status="open")
            for alert in unresolved:
                followed = alert.status == "open" and explained_by(alert, [lasting]) is not None
                if followed and explained_by(alert, unresolved) is None:
                    self._offer(alert, at_ms=event.at_ms)
        elif explained_by(doc.value, unresolved) is not None:
            return
        self._offer(doc.value, at_ms=event.at_ms)

    def _alerts(self) -> list[Alert]:
        return [doc.value for doc in self._store.list(kinds.ALERTS, limit=MOST_ALERTS)]

    def _offer(self, alert: Alert, *, at_ms: int) -> None:
        notice = alert_queue.notice_of(alert, at_ms=at_ms)
        for channel in self._receivers:
            if alert.alert_id == f"{UNDELIVERED}:{channel}":
                continue  # who hears nothing need not hear that
            self._change(channel, lambda box: alert_queue.offered(box, notice))

    async def deliver(self, channel: str) -> int:
        """Tell a receiver what is due; returns how many notices it took.

        A failure ends the turn: what else waits for the same receiver would only fail too."""
        told = 0
        while told < MOST_OF_TURN:
            box = await stored(lambda: self._box(channel)[0])
            due = alert_queue.next_due(box, wall_ms=wall_ms())
            if due is None:
                break
            if not await self._tell(channel, due.notice):
                break
            told += 1
        return told

    async def close(self) -> None:
        """Leave every receiver."""
        for receiver in self._receivers.values():
            await receiver.close()

    async def _tell(self, channel: str, notice: Notice) -> bool:
        try:
            await self._receivers[channel].tell(notice)
        except FeedError as failed:
            why = str(failed)
            meters.ALERT_DELIVERIES.count(channel, "refused")
            log.warning("alert_undelivered", channel=channel, alert_id=notice.alert_id, error=why)
            waited_ms = 1000 * failed.wait_s if isinstance(failed, FeedThrottled) else 0
            box = await stored(
                lambda: self._change(
                    channel,
                    lambda box: alert_queue.refused(
                        box, notice.notice_id, why, wall_ms=wall_ms() + waited_ms
                    ),
                )
            )
            await self._say(channel, box)
            return False
        meters.ALERT_DELIVERIES.count(channel, "taken")
        box = await stored(
            lambda: self._change(channel, lambda box: alert_queue.taken(box, notice.notice_id))
        )
        await self._say(channel, box)
        return True

    async def _say(self, channel: str, box: Outbox) -> None:
        """On the desk's own pages: while a receiver takes nothing."""
        now_ms = self._clock.now_ms()
        if not box.failures:
            await stored(
                lambda: resolve_alert(self._store, f"{UNDELIVERED}:{channel}", at_ms=now_ms)
            )
        elif box.failures >= TOLD_FROM:
            cause = Cause(
                code=UNDELIVERED,
                about=channel,
                category="ops",
                severity="warning",
                detail=f"{channel}: {len(box.waiting)} alerts wait, {box.given_up} were given up:"
                f" {box.last_error}",
                metric="alert_deliveries_waiting",
                value=str(len(box.waiting)),
            )
            await raise_alert(self._store, cause, at_ms=now_ms)

    def _box(self, channel: str) -> tuple[Outbox, int]:
        found = self._store.get(kinds.ALERT_OUTBOXES, channel)
        return (Outbox(), 0) if found is None else (found.value, found.version)

    def _change(self, channel: str, move: "Move") -> Outbox:
        """Notices come in by one thread and go out by another."""
        for left in reversed(range(CONFLICT_TRIES)):
            before, version = self._box(channel)
            after = move(before)
            if after == before:
                return after
            try:
                return self._store.put(
                    kinds.ALERT_OUTBOXES, channel, after, at_ms=0, expected_version=version
                ).value
            except VersionConflict:
                if not left:
                    raise
        raise AssertionError("the last try returns or raises")


class Move(Protocol):
    def __call__(self, box: Outbox) -> Outbox: ...


class TelegramChat(Protocol):
    """A client that writes as the account."""

    async def send(self, chat: str, text: str, *, random_id: int) -> None: ...

    async def close(self) -> None: ...


class ChatReceiver:
    """A chat of Telegram. The id of a message follows from the notice's: Telegram takes it once."""

    def __init__(self, client: TelegramChat, chat: str) -> None:
        self._client, self._chat = client, chat

    async def tell(self, notice: Notice) -> None:
        # 63 bits of the notice's id: Telegram's ids are signed.
        random_id = int(notice.notice_id[:16], 16) >> 1
        await self._client.send(self._chat, alert_queue.text_of(notice), random_id=random_id)

    async def close(self) -> None:
        await self._client.close()
