"""Sums of what processes count: whatever dies in between, nothing counts twice and little is lost."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, override
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import tally_book
from actors.heartbeat import Heartbeat
from actors.tally_book import SharedTally, TallyBook, sums
from desk.clock import ManualClock
from desk.counting import Counts
from desk.errors import StoreUnavailable, VersionConflict
from desk.store import kinds
from desk.store.layout import MONEY_REQUEST_TTL_S
from desk.store.memory import MemoryStore
from desk.store.port import Doc, Event, Kind
from desk.wallclock import wall_ms

NAME = "desk_things_total"


def of(number: float) -> Counts:
    return {NAME: {("x",): (number,)}}


def sum_of(store: MemoryStore) -> float:
    return sums(store).get(NAME, {}).get(("x",), (0.0,))[0]


@dataclass
class Process:
    """An actor whose counts begin anew with each life."""

    name: str = "worker:one"
    pid: int = 1
    started_wall_ms: int = field(default_factory=wall_ms)
    counted: int = 0

    def beat(self, *, with_counts: bool = True) -> Heartbeat:
        return Heartbeat(
            name=self.name,
            pid=self.pid,
            node="n",
            epoch=0,
            started_wall_ms=self.started_wall_ms,
            rss_bytes=1,
            pss_bytes=1,
            loop_age_s=0.0,
            counters={},
            counts=of(self.counted) if with_counts else None,
        )

    def die(self) -> None:
        self.pid, self.counted, self.started_wall_ms = self.pid + 1, 0, wall_ms()


def written(book: TallyBook) -> None:
    asyncio.run(book.write({}))


steps = st.lists(st.sampled_from(["count", "beat", "write", "die", "new supervisor"]), max_size=40)


@given(steps)
def test_over_any_deaths_the_sum_is_what_was_heard_and_never_more_than_was_counted(
    order: list[str],
) -> None:
    store, truth = MemoryStore(), 0
    book = TallyBook(store, ManualClock())
    process = Process()
    seen = [0.0]

    for step in [*order, "beat", "write"]:
        match step:
            case "count":
                process.counted += 1
                truth += 1
            case "beat":
                book.hear("worker", process.beat())
            case "write":
                written(book)
                seen.append(sum_of(store))
            case "die":
                process.die()
            case _:
                with mock.patch.object(tally_book, "wall_ms", return_value=wall_ms() + 1_000):
                    book = TallyBook(store, ManualClock())

    assert seen == sorted(seen), "a sum fell: a counter that did not begin anew"
    assert seen[-1] <= truth
    if not {"die", "new supervisor"} & set(order):
        assert seen[-1] == truth


def test_processes_of_one_role_add_up_and_a_beat_without_counts_changes_nothing() -> None:
    store = MemoryStore()
    book = TallyBook(store, ManualClock())
    one, two = Process("worker:one", counted=3), Process("worker:two", counted=4)

    for process in (one, two):
        book.hear("worker", process.beat())
        book.hear("worker", process.beat(with_counts=False))
    written(book)

    assert sum_of(store) == 7


def test_a_store_that_is_away_costs_no_figure_and_holds_nobody_up() -> None:
    store = Away()
    book = TallyBook(store, ManualClock())
    process = Process(counted=5)
    book.hear("worker", process.beat())

    with mock.patch.object(tally_book, "METRIC_PATIENCE_S", 0.05):
        store.is_away = True
        written(book)
        store.is_away, store.is_answer_lost = False, True
        written(book)  # it happened, and nobody knows
        store.is_answer_lost = False
    process.counted = 6
    book.hear("worker", process.beat())
    written(book)

    assert sum_of(store) == 6


class Away(MemoryStore):
    """A store that does not answer, or carries out and does not say so, or has just been written to."""

    is_away = is_answer_lost = False
    conflicts = 0

    @override
    def put[T](
        self,
        kind: Kind[T],
        key: str,
        value: T,
        *,
        at_ms: int,
        expected_version: int | None = None,
        event: Event | None = None,
        request_id: str = "",
        remembered_s: int = MONEY_REQUEST_TTL_S,
    ) -> Doc[T]:
        if self.is_away:
            raise StoreUnavailable("away")
        if self.conflicts:
            self.conflicts -= 1
            raise VersionConflict(key, 0, 1)
        done = super().put(
            kind,
            key,
            value,
            at_ms=at_ms,
            expected_version=expected_version,
            event=event,
            request_id=request_id,
            remembered_s=remembered_s,
        )
        if self.is_answer_lost:
            raise StoreUnavailable("the answer was lost")
        return done


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """What each of two replicas has counted; `at` says whose turn it is."""
    state: dict[str, Any] = {"a": 0, "b": 0, "at": "a"}
    monkeypatch.setattr(tally_book, "counted", lambda: of(state[state["at"]]))
    monkeypatch.setattr(tally_book, "TELL_EVERY_S", 0.0)
    return state


def test_replicas_add_to_one_sum_each_its_own(counting: dict[str, Any]) -> None:
    store = Away()
    replicas = {name: SharedTally(store, "policy") for name in "ab"}

    for name, number in (("a", 2), ("b", 5), ("a", 3), ("b", 5), ("a", 10)):
        counting |= {name: number, "at": name}
        store.conflicts = 2
        asyncio.run(replicas[name].tell())

    assert sum_of(store) == 15


def test_what_a_lost_answer_leaves_open_is_never_counted_twice(counting: dict[str, Any]) -> None:
    store = Away()
    replica = SharedTally(store, "policy")

    counting["a"], store.is_answer_lost = 4, True
    asyncio.run(replica.tell())
    counting["a"], store.is_answer_lost = 6, False
    asyncio.run(replica.tell())
    counting["a"], store.is_away = 7, True
    asyncio.run(replica.tell())
    counting["a"], store.is_away = 9, False
    asyncio.run(replica.tell())

    assert sum_of(store) == 8  # the one counted while the store was away is lost
    assert len(store.list(kinds.TALLIES)) == 1
