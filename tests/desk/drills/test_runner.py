"""Holding a drill: timed against its bounds, healed whatever happens, left with a run that decides."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.drills.hands import DrillRefused, Together
from desk.drills.incidents import Bounds, Incident, alert_of, one_alert, paused_with
from desk.drills.look import Look, remember
from desk.drills.plan import Drill
from desk.drills.runner import PATIENCE, Outcome, Runner
from desk.errors import StoreUnavailable
from tests.desk.drills.desk_double import SUBJECT, DeskDouble

BOUNDS = Bounds(detect_s=5.0, pause_s=10.0, recover_s=20.0)


@dataclass
class Break:
    """An injection that a test scripts; counts what is done to it."""

    begins: Callable[[], None]
    heals: Callable[[], None] = lambda: None
    done: list[str] = field(default_factory=list[str])

    def begin(self) -> None:
        self.done.append("begin")
        self.begins()

    def again(self) -> None:
        self.done.append("again")

    def heal(self) -> None:
        self.done.append("heal")
        self.heals()


def hold(desk: DeskDouble, injection: Break, **parts: object) -> Outcome:
    incident = Incident(
        name="trial",
        title="a trial",
        detected=alert_of("trial"),
        paused=paused_with("trial"),
        told_by=("trial",),
        bounds=lambda _subject: BOUNDS,
    )
    drill = Drill(incident=incident, injection=injection, **parts)  # pyright: ignore[reportArgumentType]
    return Runner(desk, desk.hours, SUBJECT, lambda _text: None).hold(drill)


def breaking(desk: DeskDouble, *, alert_after_s: float, pause_after_s: float) -> Break:
    def begins() -> None:
        desk.after(alert_after_s, lambda: desk.alert("trial:all"))
        desk.after(pause_after_s, lambda: desk.pause("trial"))

    def heals() -> None:
        desk.later.clear()

    return Break(begins, heals)


@given(st.floats(0.2, 12.0), st.floats(0.2, 22.0))
def test_a_drill_passes_exactly_when_everything_comes_within_its_bound(
    alert_after_s: float, pause_after_s: float
) -> None:
    desk = DeskDouble()
    injection = breaking(desk, alert_after_s=alert_after_s, pause_after_s=pause_after_s)

    outcome = hold(desk, injection)

    in_time = alert_after_s < BOUNDS.detect_s - 0.3 and pause_after_s < 10.0 - 0.3
    too_late = alert_after_s > BOUNDS.detect_s + 0.3 or pause_after_s > 10.0 + 0.3
    assert not (in_time and not outcome.passed), outcome
    assert not (too_late and outcome.passed), outcome
    if alert_after_s < PATIENCE * BOUNDS.detect_s - 0.3:
        assert outcome.detected_s == pytest.approx(alert_after_s, abs=0.3)
    assert injection.done[0] == "begin"
    assert injection.done[-1] == "heal"
    assert desk.status == "running"


def test_what_never_comes_is_a_failure_that_says_so_and_is_healed() -> None:
    desk = DeskDouble()
    injection = Break(lambda: None)

    outcome = hold(desk, injection)

    assert outcome.failure == "detected not within 5 s"
    assert outcome.detected_s is None
    assert injection.done[-1] == "heal"


def test_a_run_that_the_incident_paused_is_resumed_and_its_alerts_are_acknowledged() -> None:
    desk = DeskDouble()
    desk.alert("trial:all")  # an old one, of which only a new count tells

    outcome = hold(desk, breaking(desk, alert_after_s=1.0, pause_after_s=2.0))

    assert outcome.passed, outcome
    paths = [path for path, _ in desk.posted]
    assert paths == ["/agents/desk/resume", "/ops/alerts/trial:all/ack"]
    assert desk.alerts["trial:all"]["status"] == "acknowledged"


def test_a_run_that_nobody_may_resume_is_a_failed_recovery() -> None:
    desk = DeskDouble(may_resume=False)

    outcome = hold(desk, breaking(desk, alert_after_s=1.0, pause_after_s=2.0))

    assert outcome.failure == "recovered not within 20 s"


@pytest.mark.parametrize("cut_off", [KeyboardInterrupt(), StoreUnavailable("gone")])
def test_a_drill_that_is_cut_off_heals_what_it_broke_and_lets_the_run_go_on(
    cut_off: BaseException,
) -> None:
    desk = DeskDouble()

    def begins() -> None:
        desk.pause("trial")
        desk.later.append((desk.now_s + 1.0, interrupt))
        if isinstance(cut_off, StoreUnavailable):
            raise cut_off

    def interrupt() -> None:
        desk.later.clear()
        if not isinstance(cut_off, StoreUnavailable):
            raise cut_off

    injection = Break(begins)

    with pytest.raises(type(cut_off)):
        hold(desk, injection)

    assert injection.done[-1] == "heal"
    assert desk.status == "running"


def test_an_interrupt_in_the_recovery_lets_the_run_go_on_too() -> None:
    desk = DeskDouble(may_resume=False)

    def interrupt() -> None:
        desk.may_resume = True
        raise KeyboardInterrupt

    injection = breaking(desk, alert_after_s=1.0, pause_after_s=2.0)
    injection.heals = lambda: desk.after(3.0, interrupt) if not desk.later else None

    with pytest.raises(KeyboardInterrupt):
        hold(desk, injection)

    assert injection.done[-1] == "heal"
    assert desk.status == "running"


def test_a_desk_whose_run_does_not_decide_is_refused_before_anything_is_broken() -> None:
    desk = DeskDouble()
    desk.pause("lunch")
    injection = Break(lambda: None)

    with pytest.raises(DrillRefused, match="lunch"):
        hold(desk, injection)

    assert injection.done == []


def test_a_desk_whose_actors_are_not_all_back_is_refused_naming_them() -> None:
    desk = DeskDouble()
    desk.actors = {"observer": (7, "up"), "risk_ledger:paper": (8, "restarting")}
    injection = Break(lambda: None)

    with pytest.raises(DrillRefused, match="of risk_ledger:paper: see"):
        hold(desk, injection)

    assert injection.done == []


def test_a_drill_begins_once_what_restarted_in_the_one_before_has_answered() -> None:
    desk = DeskDouble()
    desk.actors = {"observer": (7, "restarting")}

    def comes_back() -> None:
        desk.alert("actor_restarted:observer")
        desk.actors["observer"] = (8, "up")

    desk.after(6.0, comes_back)

    outcome = hold(desk, breaking(desk, alert_after_s=1.0, pause_after_s=1.0))

    assert outcome.passed, outcome


def test_what_is_needed_first_is_set_up_before_and_healed_after() -> None:
    desk = DeskDouble()
    order: list[str] = []
    setup = Break(lambda: order.append("set up"), lambda: order.append("set down"))
    injection = breaking(desk, alert_after_s=1.0, pause_after_s=1.0)
    injection.heals = lambda: order.append("healed")

    outcome = hold(desk, injection, setup=setup, is_set_up=lambda *_: "there")

    assert outcome.passed, outcome
    assert order == ["set up", "healed", "set down"]


def test_of_several_injections_each_is_healed_though_one_cannot_be() -> None:
    def refuse() -> None:
        raise DrillRefused("no answer")

    first, second = Break(lambda: None), Break(lambda: None, refuse)

    with pytest.raises(DrillRefused):
        Together(parts=(first, second)).heal()

    assert (first.done, second.done) == (["heal"], ["heal"])


def test_a_second_alert_that_does_not_follow_from_the_first_fails_the_drill() -> None:
    desk, other = DeskDouble(), DeskDouble()

    def breaks(where: DeskDouble, explained_by: str) -> Break:
        def begins() -> None:
            where.after(1.0, lambda: where.alert("trial:all"))
            where.after(1.0, lambda: where.pause("trial"))
            where.after(1.0, lambda: where.alert("beside:it", explained_by))

        return Break(begins)

    two, one = hold(desk, breaks(desk, "")), hold(other, breaks(other, "trial:all"))

    assert two.failure == "told not within 20 s"
    assert "wanted one alert of trial, there are: beside:it, trial:all" in two.evidence
    assert one.passed, one
    assert "one alert: trial:all" in one.evidence


def test_an_alert_that_was_acknowledged_before_and_is_counted_up_tells_too() -> None:
    desk = DeskDouble()
    desk.alert("trial:all")
    before = remember(Look(desk.get), SUBJECT)
    desk.alerts["trial:all"] |= {"status": "acknowledged", "count": 2}

    assert one_alert("trial")(before, Look(desk.get), SUBJECT) == "one alert: trial:all"
    assert one_alert("another")(before, Look(desk.get), SUBJECT) is None


def test_an_alert_that_lasted_before_and_is_only_counted_on_is_not_of_this_incident() -> None:
    desk = DeskDouble()
    desk.alert("slow:desk")
    injection = breaking(desk, alert_after_s=1.0, pause_after_s=1.0)
    begins = injection.begins

    def slow_again() -> None:
        desk.alerts["slow:desk"] |= {"count": desk.alerts["slow:desk"]["count"] + 1}
        begins()

    injection.begins = slow_again

    outcome = hold(desk, injection)

    assert outcome.passed, outcome
    assert "one alert: trial:all" in outcome.evidence


def test_an_alert_that_had_ended_and_is_raised_anew_beside_the_one_counts() -> None:
    desk = DeskDouble()
    desk.alert("slow:desk")
    desk.alerts["slow:desk"] |= {"status": "resolved"}
    before = remember(Look(desk.get), SUBJECT)
    desk.alert("trial:all")
    desk.alert("slow:desk")

    assert one_alert("trial")(before, Look(desk.get), SUBJECT) is None
