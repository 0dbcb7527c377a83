"""The supervisor with fake children: what hangs is killed, what crashes in a loop is given up."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import time
from dataclasses import dataclass, field, replace
from unittest import mock

import pytest

from actors import supervisor as supervising
from actors.heartbeat import Heartbeat
from actors.names import ActorAway, ActorGone, ActorRestarting
from actors.supervisor import Child, Release, Supervisor, SupervisorParts
from actors.tally_book import sums
from actors.watch import MAX_RESTARTS, START_PATIENCE_S
from desk.counting import Counts
from desk.engines import standstill
from desk.runs import ActorStatus, Run, RunStatus
from desk.store import kinds
from tests.actors.stage import RUN_ID, Stage


@dataclass
class FakeChild:
    """An actor that beats, hangs, restarts or is not there."""

    name: str
    role: str
    pairs: tuple[str, ...] = ()
    pid: int = 100
    mood: str = "well"
    loop_age_s: float = 0.1
    counts: Counts | None = None
    starts: int = 0
    kills: list[bool] = field(default_factory=list)

    async def start(self) -> None:
        self.starts += 1
        self.mood = "well" if self.mood != "doomed" else self.mood

    async def beat(self, within_s: float) -> Heartbeat:
        match self.mood:
            case "gone" | "doomed":
                raise ActorGone(self.name, "no such actor")
            case "restarting":
                raise ActorRestarting(self.name, "restarting")
            case "silent":
                raise ActorAway(self.name, "no heartbeat")
            case _:
                return self.heart()

    def heart(self) -> Heartbeat:
        return Heartbeat(
            name=self.name,
            pid=self.pid,
            node="here",
            epoch=1,
            started_wall_ms=1 << 52,
            rss_bytes=100,
            pss_bytes=50,
            loop_age_s=self.loop_age_s,
            counters={},
            counts=self.counts,
        )

    async def kill(self, *, for_good: bool) -> None:
        self.kills.append(for_good)
        self.pid += 1


class Nursery:
    """A supervisor over an executor, a poller, and the loop of the stage's run."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.executor = FakeChild("order_executor:paper", "order_executor")
        self.poller = FakeChild("candle_poller:ETH-USDT", "candle_poller", ("ETH-USDT",))
        self.loops: dict[str, FakeChild] = {}
        self.passed_s = 0.0
        """What the monotonic clock is put forward by; it stands still otherwise."""
        self.free_disk_bytes = 2 << 30
        self.least_free_disk_bytes = 1 << 30
        self.supervisor = self.new_supervisor()

    def new_supervisor(self) -> Supervisor:
        parts = SupervisorParts(
            store=self.stage.store,
            clock=self.stage.clock,
            children=lambda: [self.executor, self.poller],
            loop_of=self.loop_of,
            archive=lambda: None,
            free_disk_bytes=lambda: self.free_disk_bytes,
            least_free_disk_bytes=lambda: self.least_free_disk_bytes,
        )
        return Supervisor(lambda: parts)

    def loop_of(self, run: Run) -> Child:
        return self.loops.setdefault(
            run.run_id, FakeChild(f"decision_loop:{run.run_id}", "decision_loop", mood="gone")
        )

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.supervisor.turn())

    def row(self, name: str) -> ActorStatus:
        found = self.stage.store.get(kinds.ACTORS, name)
        assert found is not None
        return found.value


@pytest.fixture
def nursery(monkeypatch: pytest.MonkeyPatch) -> Nursery:
    made = Nursery()
    began_s = time.monotonic()
    monkeypatch.setattr(supervising, "monotonic_s", lambda: began_s + made.passed_s)
    return made


def test_children_that_beat_are_up_and_left_alone(nursery: Nursery) -> None:
    nursery.turn(3)

    assert nursery.row("order_executor:paper").status == "up"
    assert nursery.executor.kills == nursery.poller.kills == []
    assert nursery.row("supervisor").status == "up"


def test_a_child_that_is_not_there_is_started(nursery: Nursery) -> None:
    nursery.poller.mood = "gone"

    nursery.turn(2)

    assert nursery.poller.starts == 1
    assert nursery.row("candle_poller:ETH-USDT").status == "up"


@pytest.mark.parametrize("trouble", ["silent", "standing"])
def test_a_child_that_hangs_is_killed_once_and_given_time(nursery: Nursery, trouble: str) -> None:
    nursery.turn()
    nursery.executor.mood = "silent" if trouble == "silent" else "well"
    nursery.executor.loop_age_s = 99.0 if trouble == "standing" else 0.1

    nursery.turn(6)

    assert nursery.executor.kills == [False]


def test_a_child_that_ray_is_restarting_is_not_killed(nursery: Nursery) -> None:
    nursery.turn()
    nursery.executor.mood = "restarting"

    nursery.turn(8)

    assert nursery.executor.kills == []
    assert nursery.row("order_executor:paper").status == "late"


def test_restarts_are_counted_over_our_own_restart(nursery: Nursery) -> None:
    nursery.turn()
    nursery.executor.pid = 101
    nursery.turn()
    nursery.supervisor = nursery.new_supervisor()
    nursery.executor.pid = 102
    nursery.turn()

    assert nursery.row("order_executor:paper").restarts == 2


def alerts_of(nursery: Nursery) -> list[tuple[str, int]]:
    return [(doc.key, doc.value.count) for doc in nursery.stage.store.list(kinds.ALERTS)]


def test_a_child_that_died_is_one_alert_and_a_start_of_the_whole_desk_is_none(
    nursery: Nursery,
) -> None:
    nursery.turn()
    at_start = alerts_of(nursery)
    for pid in (101, 102):
        nursery.executor.pid = pid
        nursery.turn()
    died = alerts_of(nursery)
    nursery.supervisor = nursery.new_supervisor()
    nursery.executor.pid, nursery.poller.pid = 201, 202
    nursery.turn()

    assert at_start == []
    assert died == alerts_of(nursery) == [("actor_restarted:order_executor:paper", 2)]


def test_what_children_counted_is_in_the_store_by_role(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "STATUS_EVERY_S", 0.0)
    nursery.executor.counts = {"desk_test_total": {(): (3.0,)}}

    nursery.turn(2)

    assert sums(nursery.stage.store)["desk_test_total"] == {(): (3.0,)}


@pytest.mark.catalogue("I19")
def test_a_crash_loop_is_quarantined_with_its_runs_paused_and_an_alert(nursery: Nursery) -> None:
    nursery.turn()
    for _ in range(6):
        nursery.executor.pid += 1
        nursery.turn()
    starts = nursery.executor.starts
    nursery.turn(3)

    alerts = [doc.value.code for doc in nursery.stage.store.list(kinds.ALERTS)]
    assert nursery.row("order_executor:paper").status == "quarantined"
    assert nursery.executor.kills == [True]
    assert nursery.executor.starts == starts
    assert "actor_quarantined" in alerts
    assert nursery.stage.run.status is RunStatus.PAUSED


@pytest.mark.catalogue("I19")
def test_a_child_that_dies_at_every_start_is_quarantined_although_it_never_beat(
    nursery: Nursery,
) -> None:
    nursery.executor.mood = "doomed"

    nursery.turn(12)

    assert nursery.row("order_executor:paper").status == "quarantined"
    assert nursery.executor.starts == MAX_RESTARTS + 2
    assert nursery.stage.run.status is RunStatus.PAUSED


@pytest.mark.catalogue("I19")
def test_a_child_that_ray_restarts_for_ever_without_a_beat_is_given_up(nursery: Nursery) -> None:
    nursery.executor.mood = "restarting"

    for _ in range(3):
        nursery.turn()
        nursery.passed_s += START_PATIENCE_S

    assert nursery.executor.kills == [False, False, True]
    assert nursery.row("order_executor:paper").status == "quarantined"


@pytest.mark.parametrize("mood", ["silent", "restarting"])
def test_a_child_that_comes_up_slowly_is_waited_for(nursery: Nursery, mood: str) -> None:
    """On a slow machine the last of a dozen processes waits for the others."""
    nursery.executor.mood = mood
    nursery.turn(200)
    nursery.passed_s += START_PATIENCE_S - 10
    nursery.turn(200)
    nursery.executor.mood = "well"
    nursery.turn()

    assert nursery.executor.kills == []
    assert nursery.row("order_executor:paper").status == "up"


def test_a_child_that_never_comes_up_is_started_again_after_its_patience(nursery: Nursery) -> None:
    nursery.executor.mood = "silent"
    nursery.turn()
    nursery.passed_s += START_PATIENCE_S
    nursery.turn(50)

    assert nursery.executor.kills == [False]


def test_a_start_by_us_counts_as_one_restart(nursery: Nursery) -> None:
    nursery.turn()
    nursery.executor.mood, nursery.executor.pid = "gone", 101
    nursery.turn(2)
    nursery.executor.mood, nursery.executor.pid = "gone", 102
    nursery.turn(2)

    assert nursery.row("order_executor:paper").restarts == 2


def test_every_turn_lets_learners_go_on_whom_a_killed_loop_has_stopped(nursery: Nursery) -> None:
    with mock.patch.object(standstill, "resume") as resume:
        nursery.turn(2)

    assert resume.call_count == 2


def test_a_quarantine_outlives_the_supervisor_until_it_is_released(nursery: Nursery) -> None:
    nursery.turn()
    for _ in range(6):
        nursery.executor.pid += 1
        nursery.turn()
    nursery.supervisor = nursery.new_supervisor()
    nursery.turn()
    still = nursery.row("order_executor:paper").status

    asyncio.run(nursery.supervisor.release(Release(name="order_executor:paper")))
    nursery.turn(2)

    assert still == "quarantined"
    assert nursery.row("order_executor:paper").status == "up"


def test_five_restarts_spread_over_time_are_no_crash_loop(nursery: Nursery) -> None:
    with mock.patch.object(supervising, "monotonic_s") as now:
        for second in range(0, 700, 20):
            now.return_value = float(second)
            nursery.executor.pid += second % 40 == 0
            nursery.turn()

    assert nursery.row("order_executor:paper").status == "up"


def test_trouble_of_a_poller_of_several_pairs_pauses_the_run_on_one_of_them(
    nursery: Nursery,
) -> None:
    nursery.poller.pairs = ("ETH-USDT", nursery.stage.run.pair)
    nursery.turn()
    for _ in range(6):
        nursery.poller.pid += 1
        nursery.turn()

    assert nursery.stage.run.status is RunStatus.PAUSED


def test_a_trouble_of_another_pair_does_not_pause_the_run(nursery: Nursery) -> None:
    nursery.turn()
    for _ in range(6):
        nursery.poller.pid += 1
        nursery.turn()

    assert nursery.row("candle_poller:ETH-USDT").status == "quarantined"
    assert nursery.stage.run.status is RunStatus.RUNNING


def test_an_active_run_has_a_loop_and_an_ended_one_has_none(nursery: Nursery) -> None:
    nursery.turn(2)
    loop = nursery.loops[RUN_ID]
    begun = loop.starts
    nursery.stage.change_run(lambda run: replace(run, status=RunStatus.STOPPED))

    nursery.turn()

    assert begun == 1
    assert loop.kills == [True]
    assert nursery.stage.store.get(kinds.ACTORS, loop.name) is None


@pytest.mark.catalogue("I13")
def test_a_disk_with_less_than_a_gibibyte_pauses_every_run_and_tells_the_operator(
    nursery: Nursery,
) -> None:
    with mock.patch.object(supervising, "monotonic_s") as now:
        now.return_value = time.monotonic() + 60.0
        nursery.turn()
        with_space = nursery.stage.run.status
        nursery.free_disk_bytes = (1 << 30) - 1
        now.return_value += 60.0
        nursery.turn()

    alert = nursery.stage.store.get(kinds.ALERTS, "disk_low:store")
    assert with_space is RunStatus.RUNNING
    assert nursery.stage.run.status is RunStatus.PAUSED
    assert nursery.stage.run.pause_reason == "disk_low"
    assert alert is not None
    assert "1023 MiB are free" in alert.value.detail


def test_a_reserve_that_an_operator_asks_for_is_kept_as_the_gibibyte_is(nursery: Nursery) -> None:
    nursery.free_disk_bytes = nursery.least_free_disk_bytes = 5 << 30
    with mock.patch.object(supervising, "monotonic_s") as now:
        now.return_value = time.monotonic() + 60.0
        nursery.turn()
        with_space = nursery.stage.run.status
        nursery.least_free_disk_bytes += 1
        now.return_value += 60.0
        nursery.turn()

    assert with_space is RunStatus.RUNNING
    assert nursery.stage.run.pause_reason == "disk_low"


def test_stopping_ends_every_child_in_reverse_order(nursery: Nursery) -> None:
    nursery.turn(2)
    order: list[str] = []
    for child in [nursery.executor, nursery.poller, *nursery.loops.values()]:

        async def ended(*, for_good: bool, name: str = child.name) -> None:
            order.append(name)

        child.kill = ended  # pyright: ignore[reportAttributeAccessIssue]

    asyncio.run(nursery.supervisor.stop())
    nursery.turn()

    assert order[-2:] == ["candle_poller:ETH-USDT", "order_executor:paper"]
    assert nursery.row("order_executor:paper").status == "stopped"
