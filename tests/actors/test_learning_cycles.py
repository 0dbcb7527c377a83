"""Learning cycles over the store and a run that really decides: what comes of a challenger, whatever crashes."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from actors.job_book import JobBook
from actors.learning_book import learning_runs, newest_cycle, open_cycle, set_paused
from actors.learning_cycles import ATTEMPTS, CycleParts, LearningCycles
from actors.promotion import promote_version, rollback_version
from actors.version_registry import version_of
from desk.clock import MINUTE_MS
from desk.errors import BadInput
from desk.learning.cycles import (
    CHAMPION_CHANGED,
    GONE_BACK_FROM,
    NOT_BETTER,
    NOT_DECIDED,
    WORSE_LATER,
    CycleStatus,
    LearningCycle,
    LearningWindow,
    Rollout,
)
from desk.learning.policy import PolicyAnswer
from desk.learning.versions import VersionStatus
from desk.runs import Job, JobStatus
from desk.store import kinds
from tests.actors.fakes import PAIR
from tests.actors.stage import Stage
from tests.actors.test_version_switch import (
    active,
    evaluated,
    make_dataset,
    make_report,
    make_version,
    promote,
)

WATCHED_MIN = 5
WINDOW = LearningWindow(
    train_window_min=60, evaluation_window_min=WATCHED_MIN, rollout=Rollout.FULL
)


@dataclass
class Bench:
    """Jobs whose outcome the test says; each is worked on when it is started."""

    stage: Stage
    earns: dict[str, str] = field(default_factory=dict[str, str])
    """Net result by version; a challenger is `c-` and its cycle."""
    passes: bool = True
    loses: int = 0
    """Jobs whose process is lost first."""
    refuses: str = ""
    started: list[str] = field(default_factory=list[str])

    def train(self, cycle: LearningCycle, job_id: str) -> None:
        if not self._begin("training", job_id):
            return
        store, name = self.stage.store, f"c-{cycle.cycle_id}"
        store.put(kinds.VERSIONS, name, make_version(name, status=VersionStatus.DRAFT), at_ms=0)
        self._book(job_id).finish({"version_id": name})

    def evaluate(self, cycle, job_id, version_id, *, start_ms, end_ms, is_comparison) -> None:
        if not self._begin("evaluation", job_id):
            return
        store, now_ms = self.stage.store, self.stage.clock.now_ms()
        is_good = self.passes or is_comparison
        report = make_report(
            f"e-{job_id}",
            version_id,
            period_start_ms=start_ms,
            period_end_ms=end_ms,
            net_pnl_after_fees=self.earns.get(version_id, "10"),
            verdict="pass" if is_good else "fail",
            reasons=() if is_good else ("insufficient_trade_count",),
            created_ms=now_ms,
        )
        store.put(kinds.DATASETS, report.dataset_id, make_dataset(report.dataset_id, PAIR), at_ms=0)
        kind = kinds.COMPARISONS if is_comparison else kinds.EVALUATIONS
        store.put(kind, report.evaluation_id, report, at_ms=now_ms)
        found = store.get(kinds.VERSIONS, version_id)
        assert found is not None
        if found.value.status is VersionStatus.DRAFT:
            moved = replace(found.value, status=VersionStatus.EVALUATING)
            store.put(kinds.VERSIONS, version_id, moved, at_ms=0)
        self._book(job_id).finish({"evaluation_id": report.evaluation_id})

    def _begin(self, kind: str, job_id: str) -> bool:
        self.started.append(job_id)
        now_ms = self.stage.clock.now_ms()
        job = Job(
            job_id=job_id,
            kind=kind,
            status=JobStatus.QUEUED,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        JobBook.open(self.stage.store, job, self.stage.clock)
        if self.loses:
            self.loses -= 1
            self._book(job_id).fail("its process ended before the work was done: start it again")
            return False
        if self.refuses:
            self._book(job_id).fail(self.refuses)
            return False
        return True

    def _book(self, job_id: str) -> JobBook:
        return JobBook(self.stage.store, job_id, self.stage.clock)


@dataclass
class Desk:
    """A run of v1 that learns, and its observer."""

    stage: Stage
    bench: Bench
    wants: float = 1.0
    asked: list[list[float]] = field(default_factory=list[list[float]])

    def cycles(self, window: LearningWindow = WINDOW) -> LearningCycles:
        """A fresh observer: it knows what is stored and nothing else."""

        async def decide(version_id: str, values: list[float], threshold: float) -> PolicyAnswer:
            self.asked.append(values)
            return PolicyAnswer(
                target=self.wants,
                confidence=0.5,
                held=False,
                reason="",
                logits=(0.0, 0.0, 1.0),
                version_id=version_id,
            )

        parts = CycleParts(
            store=self.stage.store,
            clock=self.stage.clock,
            window=window,
            work=self.bench,
            decide=decide,
        )
        return LearningCycles(parts)

    def turn(self, window: LearningWindow = WINDOW, times: int = 1) -> LearningCycle:
        """So many steps, each by an observer that was killed before; returns the newest cycle."""
        for _ in range(times):
            asyncio.run(self.cycles(window).turn())
        return self.newest

    def until(self, *statuses: CycleStatus, window: LearningWindow = WINDOW) -> LearningCycle:
        for _ in range(30):
            if self.turn(window).status in statuses:
                return self.newest
        raise AssertionError(f"stays {self.newest.status}: {self.newest}")

    @property
    def newest(self) -> LearningCycle:
        found = newest_cycle(self.stage.store, "desk")
        assert found is not None
        return found

    @property
    def active(self) -> str:
        return active(self.stage).active_version_id

    def status(self, version_id: str) -> VersionStatus:
        return version_of(self.stage.store, version_id).status

    def live_through(self, candles: int, window: LearningWindow) -> None:
        """Candles on which the run decides and the observer turns."""
        for number in range(candles):
            self.stage.decide(float(number % 2))
            self.turn(window)


@pytest.fixture
def desk() -> Desk:
    stage = Stage()
    stage.policy.confidence = 0.6
    stage.store.put(kinds.STATE, f"follows:{stage.run.run_id}", {"agent_id": "desk"}, at_ms=0)
    stage.store.put(kinds.AGENTS, "desk", replace(active(stage), active_version_id=""), at_ms=0)
    stage.store.put(kinds.VERSIONS, "v1", make_version("v1"), at_ms=0)
    evaluated(stage.store, "e-v1", "v1")
    promote(stage, "v1")
    stage.clock.advance(1)
    stage.change_run(lambda run: replace(run, learning_enabled=True))
    return Desk(stage=stage, bench=Bench(stage=stage, earns={"v1": "5"}))


def rolling(rollout: Rollout, **changes: object) -> LearningWindow:
    return replace(WINDOW, rollout=rollout, **changes)


def test_a_challenger_that_passes_and_earns_more_becomes_active_in_full(desk: Desk) -> None:
    cycle = desk.until(CycleStatus.PROMOTED)

    assert desk.active == cycle.challenger_id
    assert desk.status("v1") is VersionStatus.RETIRED
    assert cycle.results == {"challenger": "10", "champion": "5"}
    assert cycle.ended_ms is not None
    assert [name.rsplit("-", 2)[1] for name in desk.bench.started] == [
        "train",
        "challenger",
        "champion",
    ]


@pytest.mark.parametrize(
    ("earns", "passes", "reasons"),
    [
        ("5", True, (NOT_BETTER,)),
        ("10", False, ("insufficient_trade_count",)),
    ],
)
def test_a_challenger_that_fails_touches_nothing_of_the_champion(
    desk: Desk, earns: str, passes: bool, reasons: tuple[str, ...]
) -> None:
    before = [
        desk.stage.store.get(kinds.AGENTS, "desk"),
        desk.stage.store.get(kinds.VERSIONS, "v1"),
    ]
    desk.bench.passes = passes
    desk.until(CycleStatus.EVALUATING)
    desk.bench.earns |= {f"c-{desk.newest.cycle_id}": earns}

    cycle = desk.until(CycleStatus.REJECTED)

    after = [desk.stage.store.get(kinds.AGENTS, "desk"), desk.stage.store.get(kinds.VERSIONS, "v1")]
    assert after == before
    assert cycle.reasons == reasons
    assert desk.status(cycle.challenger_id) is VersionStatus.RETIRED
    if not passes:
        assert "champion" not in cycle.jobs
    # What only compares counts for nobody's gate.
    assert {doc.value.version_id for doc in desk.stage.store.list(kinds.EVALUATIONS)} == {
        "v1",
        cycle.challenger_id,
    }


def test_a_cycle_goes_on_where_a_killed_observer_left_it(desk: Desk) -> None:
    seen = list[CycleStatus]()
    while not seen or not desk.newest.is_ended:
        desk.turn()  # each turn is a new observer's
        seen.append(desk.newest.status)

    order = [status for at, status in enumerate(seen) if status not in seen[:at]]
    assert order == ["training", "evaluating", "promoted"]
    assert len(desk.bench.started) == len(set(desk.bench.started)) == 3


def test_a_job_that_was_lost_is_begun_again_under_the_next_name_and_three_losses_end_the_cycle(
    desk: Desk,
) -> None:
    desk.bench.loses = ATTEMPTS - 1
    desk.until(CycleStatus.PROMOTED)
    trainings = [name for name in desk.bench.started if "-train-" in name]
    assert [name.rsplit("-", 1)[1] for name in trainings] == ["1", "2", "3"]

    desk.bench.loses = ATTEMPTS
    desk.stage.clock.advance(WINDOW.every_min * MINUTE_MS)
    cycle = desk.until(CycleStatus.FAILED)
    assert "start it again" in cycle.error


def test_input_that_is_refused_ends_the_cycle_with_its_reason_at_once(desk: Desk) -> None:
    desk.bench.refuses = "period: of 3 candles none had 29 candles without a gap before it"

    cycle = desk.until(CycleStatus.FAILED)

    assert desk.bench.refuses in cycle.error
    assert len(desk.bench.started) == 1
    assert desk.active == "v1"


def test_cycles_begin_by_the_schedule_and_one_at_a_time(desk: Desk) -> None:
    first = desk.turn()
    assert desk.until(CycleStatus.PROMOTED).cycle_id == first.cycle_id
    desk.stage.clock.advance((WINDOW.every_min - 1) * MINUTE_MS)
    assert desk.turn().cycle_id == first.cycle_id

    desk.stage.clock.advance(MINUTE_MS)
    second = desk.turn()

    assert second.cycle_id != first.cycle_id
    assert second.champion_id == desk.active != first.champion_id
    with pytest.raises(BadInput, match="wait until it has ended"):
        open_cycle(
            desk.stage.store,
            "desk",
            PAIR,
            None,
            WINDOW,
            now_ms=desk.stage.clock.now_ms(),
            requested_by="operator",
        )


def test_a_pause_stops_the_steps_and_no_trading(desk: Desk) -> None:
    before = desk.turn()
    set_paused(desk.stage.store, "maintenance", at_ms=1)

    assert desk.turn(times=3) == before
    assert desk.stage.decide(1.0).hold_reason == ""
    with pytest.raises(BadInput, match="maintenance"):
        open_cycle(
            desk.stage.store,
            "desk",
            PAIR,
            None,
            WINDOW,
            now_ms=desk.stage.clock.now_ms(),
            requested_by="operator",
        )

    set_paused(desk.stage.store, None, at_ms=2)
    assert desk.until(CycleStatus.PROMOTED).cycle_id == before.cycle_id


def test_a_run_that_does_not_learn_begins_no_cycle(desk: Desk) -> None:
    desk.stage.change_run(lambda run: replace(run, learning_enabled=False))

    asyncio.run(desk.cycles().turn())

    assert learning_runs(desk.stage.store) == []
    assert newest_cycle(desk.stage.store, "desk") is None


def test_a_run_trains_on_a_window_of_its_own(desk: Desk) -> None:
    desk.stage.change_run(lambda run: replace(run, learning_window_minutes=90))

    cycle = desk.turn()

    assert cycle.plan.train_end_ms - cycle.plan.train_start_ms == 90 * MINUTE_MS


def test_a_shadow_decides_beside_on_record_and_never_orders(desk: Desk) -> None:
    window = rolling(Rollout.SHADOW)
    cycle = desk.until(CycleStatus.SHADOW, window=window)

    desk.live_through(WATCHED_MIN + 2, window)
    cycle = desk.until(CycleStatus.PROMOTED, window=window)

    rows = [doc.value for doc in desk.stage.store.list(kinds.shadow_decisions(cycle.cycle_id))][
        ::-1
    ]
    watched = [
        record
        for record in desk.stage.decisions()[::-1]
        if cycle.rollout_start_ms <= record.open_ms < cycle.rollout_end_ms
    ]
    assert len(watched) == WATCHED_MIN
    assert [row.decision_id for row in rows] == [record.decision_id for record in watched]
    assert [row.champion_target for row in rows] == [record.target for record in watched]
    assert {row.version_id for row in rows} == {cycle.challenger_id}
    assert {record.version_id for record in watched} == {"v1"}
    # It is shown what the champion saw, with the position that it would hold itself.
    assert [values[:-1] for values in desk.asked] == [list(one.observation[:-1]) for one in watched]
    assert [values[-1] for values in desk.asked] == [0.0] + [1.0] * (WATCHED_MIN - 1)
    decided = {record.decision_id for record in desk.stage.decisions()}
    assert {order.decision_id for order in desk.stage.orders()} <= decided
    assert cycle.results.keys() == {
        "challenger",
        "champion",
        "challenger_later",
        "champion_later",
    }


def test_a_shadow_that_earns_less_on_its_own_candles_is_not_let_in(desk: Desk) -> None:
    window = rolling(Rollout.SHADOW)
    desk.until(CycleStatus.SHADOW, window=window)
    desk.bench.earns |= {"v1": "20"}

    desk.live_through(WATCHED_MIN + 2, window)
    cycle = desk.until(CycleStatus.REJECTED, window=window)

    assert cycle.reasons == (WORSE_LATER,)
    assert desk.active == "v1"


@pytest.mark.parametrize("rollout", Rollout)
def test_without_rolling_forward_by_itself_a_challenger_waits_for_an_operator(
    desk: Desk, rollout: Rollout
) -> None:
    window = rolling(rollout, auto_roll_forward=False)
    if rollout is Rollout.SHADOW:
        desk.until(CycleStatus.SHADOW, window=window)
        desk.stage.clock.advance((WATCHED_MIN + 1) * MINUTE_MS)

    cycle = desk.until(CycleStatus.READY, window=window)

    assert desk.active == "v1"
    assert desk.status(cycle.challenger_id) is VersionStatus.EVALUATING
    promote(desk.stage, cycle.challenger_id)
    assert desk.active == cycle.challenger_id


def test_a_canary_trades_a_part_and_all_of_it_once_it_has_stood_its_time(desk: Desk) -> None:
    window = replace(rolling(Rollout.CANARY), evaluation_window_min=32)
    cycle = desk.until(CycleStatus.CANARY, window=window)
    assert (desk.active, active(desk.stage).size_fraction) == (cycle.challenger_id, 0.25)

    for _ in range(34):
        desk.stage.decide(0.0)
    cycle = desk.until(CycleStatus.PROMOTED, window=window)

    assert (desk.active, active(desk.stage).size_fraction) == (cycle.challenger_id, 1.0)
    versions = [record.version_id for record in desk.stage.decisions()]
    assert set(versions) == {cycle.challenger_id}


def test_a_canary_that_is_gone_back_from_ends_its_cycle(desk: Desk) -> None:
    window = rolling(Rollout.CANARY)
    cycle = desk.until(CycleStatus.CANARY, window=window)
    rollback_version(desk.stage.store, "v1", actor="observer", now_ms=desk.stage.clock.now_ms())

    cycle = desk.until(CycleStatus.ROLLED_BACK, window=window)

    assert cycle.reasons == (GONE_BACK_FROM,)
    assert (desk.active, active(desk.stage).size_fraction) == ("v1", 1.0)


def test_a_canary_that_never_gets_to_decide_is_taken_back(desk: Desk) -> None:
    window = rolling(Rollout.CANARY)
    desk.until(CycleStatus.CANARY, window=window)

    for _ in range(4):
        desk.stage.clock.advance((WATCHED_MIN + 1) * MINUTE_MS)
        desk.turn(window)

    cycle = desk.newest
    assert (cycle.status, cycle.reasons) == (CycleStatus.ROLLED_BACK, (NOT_DECIDED,))
    assert desk.active == "v1"


def test_a_comparison_with_a_champion_that_was_replaced_meanwhile_lets_nobody_in(
    desk: Desk,
) -> None:
    desk.until(CycleStatus.EVALUATING)
    desk.stage.store.put(kinds.VERSIONS, "v2", make_version("v2"), at_ms=0)
    evaluated(desk.stage.store, "e-v2", "v2")
    promote(desk.stage, "v2")

    cycle = desk.until(CycleStatus.REJECTED)

    assert cycle.reasons == (CHAMPION_CHANGED,)
    assert desk.active == "v2"


def promoted_and_killed(desk: Desk) -> None:
    """Let an observer move the pointer, and die before the cycle hears of it."""

    class Killed(Exception):
        pass

    def killed(*given: Any, **words: Any) -> None:
        promote_version(*given, **words)
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.learning_cycles.promote_version", killed)
        with pytest.raises(Killed):
            desk.until(CycleStatus.PROMOTED)


def test_an_observer_killed_between_the_pointer_and_the_cycle_promotes_once(desk: Desk) -> None:
    promoted_and_killed(desk)
    assert desk.newest.status is CycleStatus.EVALUATING

    cycle = desk.until(CycleStatus.PROMOTED)

    assert desk.active == cycle.challenger_id
    told = [
        event for event in desk.stage.store.list(kinds.AUDIT) if event.value.action == "promote"
    ]
    moved = {event.value.before["active_version_id"] for event in told}
    assert moved == {"", "v1", cycle.challenger_id}


def test_a_version_gone_back_from_before_its_cycle_heard_of_it_is_not_let_in_again(
    desk: Desk,
) -> None:
    promoted_and_killed(desk)
    rollback_version(desk.stage.store, "v1", actor="observer", now_ms=desk.stage.clock.now_ms())

    cycle = desk.until(CycleStatus.REJECTED)

    assert cycle.reasons == (GONE_BACK_FROM,)
    assert desk.active == "v1"
