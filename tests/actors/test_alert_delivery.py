"""Alerts reach their receivers at least once, whatever dies, and hold nobody up."""

import asyncio
import itertools
from typing import Any

import pytest
from pydantic import SecretStr

from actors import alert_delivery
from actors.alert_delivery import AlertDelivery, ChatReceiver
from actors.alerts import Cause, raise_alert, resolve_alert
from actors.event_follower import EventFollower
from desk.alert_queue import Notice
from desk.clock import ManualClock
from desk.errors import FeedError, FeedThrottled
from desk.sources.telegram import TelegramAccess, TelegramChannels
from desk.store import kinds
from desk.store.memory import MemoryStore
from tests.telegram_double import TelegramDouble

NOW_MS = 1_700_000_000_000


class Inbox:
    """A receiver that may fail, or die after it took a notice."""

    def __init__(self) -> None:
        self.got: list[Notice] = []
        self.failures: list[BaseException] = []
        self.lost: list[BaseException] = []

    async def tell(self, notice: Notice) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.got.append(notice)
        if self.lost:
            raise self.lost.pop(0)

    async def close(self) -> None:
        pass


class Scene:
    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(NOW_MS)
        self.inbox = Inbox()

    def tell(self, about: str, severity: str = "warning") -> None:
        cause = Cause(code="late_fill", about=about, category="ops", severity=severity, detail="x")
        asyncio.run(raise_alert(self.store, cause, at_ms=self.clock.now_ms()))

    def resolve(self, about: str) -> None:
        resolve_alert(self.store, f"late_fill:{about}", at_ms=self.clock.now_ms())

    def delivery(self) -> AlertDelivery:
        """A new process."""
        return AlertDelivery(self.store, self.clock, {"webhook": self.inbox})

    def turn(self) -> int:
        delivery = self.delivery()
        asyncio.run(EventFollower(self.store, self.clock, [delivery.hear]).turn())
        return asyncio.run(delivery.deliver("webhook"))

    def told(self) -> list[tuple[str, str]]:
        return [(one.alert_id.partition(":")[2], one.status) for one in self.inbox.got]


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    now = [NOW_MS]
    monkeypatch.setattr(alert_delivery, "wall_ms", lambda: now[0])
    return now


def test_an_alert_is_told_when_it_opens_and_when_it_is_over(scene: Scene) -> None:
    scene.tell("c1")
    scene.turn()
    scene.tell("c1")
    scene.turn()
    scene.resolve("c1")
    scene.turn()
    scene.clock.advance(1)
    scene.tell("c1")
    scene.turn()

    assert scene.told() == [("c1", "open"), ("c1", "resolved"), ("c1", "open")]
    assert len({one.notice_id for one in scene.inbox.got}) == 3


def test_what_was_over_before_anybody_listened_is_not_told(scene: Scene) -> None:
    scene.tell("c1")
    scene.resolve("c1")
    scene.tell("c2")

    assert scene.turn() == 1
    assert scene.told() == [("c2", "open")]


def test_what_follows_from_another_alert_is_told_only_if_it_outlasts_it(scene: Scene) -> None:
    def cause_of(code: str, about: str) -> None:
        cause = Cause(code=code, about=about, category="ops", severity="critical", detail="x")
        asyncio.run(raise_alert(scene.store, cause, at_ms=scene.clock.now_ms()))
        scene.turn()

    def over(alert_id: str) -> None:
        resolve_alert(scene.store, alert_id, at_ms=scene.clock.now_ms())
        scene.turn()

    cause_of("exchange_maintenance", "live")
    cause_of("data_source_unavailable", "run1")
    cause_of("exchange_maintenance", "run2")
    cause_of("slo_ingestion_lag", "desk")
    over("exchange_maintenance:run2")
    over("exchange_maintenance:live")

    told = [(one.alert_id, one.status) for one in scene.inbox.got]
    assert told == [
        ("exchange_maintenance:live", "open"),
        ("data_source_unavailable:run1", "open"),
        ("exchange_maintenance:live", "resolved"),
    ]


def test_a_receiver_that_is_away_gets_everything_once_it_is_back(
    scene: Scene, wall: list[int]
) -> None:
    scene.inbox.failures = [FeedError("away")] * 4
    for number in range(3):
        scene.tell(f"c{number}")
    for _ in range(12):
        scene.turn()
        wall[0] += 20_000
    for _ in range(10):
        wall[0] += 60_000
        scene.turn()

    assert sorted(scene.told()) == [(f"c{n}", "open") for n in range(3)]
    warned = scene.store.get(kinds.ALERTS, "alert_undelivered:webhook")
    assert warned is not None
    assert warned.value.status == "resolved"


def test_a_receiver_that_asks_for_patience_is_given_it(scene: Scene, wall: list[int]) -> None:
    scene.inbox.failures = [FeedThrottled("telegram", 90)]
    scene.tell("c1")
    scene.turn()

    wall[0] += 90_000
    assert scene.turn() == 0
    wall[0] += 5_000
    assert scene.turn() == 1


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_crash_around_the_telling_loses_nothing_and_repeats_under_one_id(
    scene: Scene, where: str
) -> None:
    crash: list[BaseException] = [RuntimeError("killed")]
    scene.inbox.failures, scene.inbox.lost = (crash, []) if where == "before" else ([], crash)
    scene.tell("c1")
    with pytest.raises(RuntimeError):
        scene.turn()
    scene.turn()
    scene.turn()

    assert len({one.notice_id for one in scene.inbox.got}) == 1
    assert len(scene.inbox.got) == (1 if where == "before" else 2)


def test_a_crash_between_queue_and_cursor_queues_nothing_twice(scene: Scene) -> None:
    scene.tell("c1")
    scene.turn()
    scene.store.delete(kinds.STATE, "observer_cursor")
    scene.turn()

    assert scene.told() == [("c1", "open")]


def test_one_receiver_that_hangs_keeps_no_other_from_its_alerts() -> None:
    class Hanging(Inbox):
        async def tell(self, notice: Notice) -> None:
            await asyncio.sleep(60)

    async def run() -> int:
        store, clock, well = MemoryStore(), ManualClock(NOW_MS), Inbox()
        delivery = AlertDelivery(store, clock, {"webhook": Hanging(), "telegram": well})
        cause = Cause(code="late_fill", about="c", category="ops", severity="warning", detail="")
        await raise_alert(store, cause, at_ms=NOW_MS)
        await EventFollower(store, clock, [delivery.hear]).turn()
        stuck = asyncio.create_task(delivery.deliver("webhook"))
        async with asyncio.timeout(5):
            told = await delivery.deliver("telegram")
        stuck.cancel()
        return told

    assert asyncio.run(run()) == 1


def test_a_chat_of_telegram_is_written_to_once_also_after_a_lost_answer() -> None:
    async def run() -> tuple[dict[int, str], list[str]]:
        store, clock = MemoryStore(), ManualClock(NOW_MS)
        async with TelegramDouble() as double:
            access: Any = TelegramAccess(
                api_id=1, api_hash=SecretStr("x"), session=SecretStr(double.session)
            )
            client = TelegramChannels(access)
            receiver = ChatReceiver(client, "calls")
            delivery = AlertDelivery(store, clock, {"telegram": receiver})
            cause = Cause(
                code="disk_low",
                about="store",
                category="ops",
                severity="critical",
                detail="900 MiB",
            )
            await raise_alert(store, cause, at_ms=NOW_MS)
            await EventFollower(store, clock, [delivery.hear]).turn()
            box = store.get(kinds.ALERT_OUTBOXES, "telegram")
            assert box is not None
            try:
                await delivery.deliver("telegram")
                await receiver.tell(box.value.waiting[0].notice)  # its answer was lost
            finally:
                await delivery.close()
            return double.written, double.heard

    written, heard = asyncio.run(run())
    assert list(written.values()) == ["[critical] disk_low: 900 MiB"]
    assert heard.count("SendMessage") >= 2


def test_a_chat_that_does_not_exist_is_a_failure_like_any_other() -> None:
    async def run() -> None:
        async with TelegramDouble() as double:
            access: Any = TelegramAccess(
                api_id=1, api_hash=SecretStr("x"), session=SecretStr(double.session)
            )
            client = TelegramChannels(access)
            try:
                await client.send("nobody_there", "text", random_id=next(itertools.count(1)))
            finally:
                await client.close()

    with pytest.raises(FeedError, match="did not deliver"):
        asyncio.run(run())
