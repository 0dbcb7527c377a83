"""Hold one drill on a running desk: break, wait until it is noticed and stopped, heal, wait until it is over.

Whatever happens, what was broken is healed and the run decides again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from desk.drills.hands import Api, DrillRefused
from desk.drills.incidents import (
    Bounds,
    Judge,
    deciding,
    one_alert,
    rested,
    roots_since,
    silent_actors,
)
from desk.drills.look import Before, Look, Subject, raised_since, remember
from desk.drills.plan import Drill
from desk.errors import DeskError

PATIENCE = 2.0
"""What is late is waited for up to so many times its bound: the time it took is then known."""
LOOK_EVERY_S = 0.1
KEEP_BROKEN_EVERY_S = 0.5
RESUME_EVERY_S = 1.0
TOLD_WITHIN_S = 10.0
"""After the incident must have been noticed and stopped."""
WELL_S = 120.0
"""For how long a desk may take to be well before a drill begins, and after one that was cut off."""
RESUMED = "drill over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a drill went. Times are wall seconds; None: it did not come, or was not asked for."""

    name: str
    bounds: Bounds
    detected_s: float | None = None
    paused_s: float | None = None
    recovered_s: float | None = None
    evidence: tuple[str, ...] = ()
    failure: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything came within its bound."""
        return not self.failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """The time of a drill, as its tests give it too."""

    now_s: Callable[[], float]
    sleep: Callable[[float], None]


class Runner:
    """Holds drills one after the other; `tell` hears what is waited for, and for how long it may last."""

    def __init__(
        self, api: Api, hours: Hours, subject: Subject, tell: Callable[[str], None]
    ) -> None:
        self._api, self._hours, self._subject, self._tell = api, hours, subject, tell
        self._resumed_at_s = float("-inf")

    def hold(self, drill: Drill) -> Outcome:
        """Hold a drill. Raises `DrillRefused` when it could not begin; heals also then."""
        outcome = Outcome(name=drill.incident.name, bounds=drill.incident.bounds(self._subject))
        self._await_well()
        met = remember(self._look(), self._subject)
        try:
            self._set_up(drill, met)
            outcome = self._recover(drill, self._provoke(drill, outcome))
        except BaseException:
            self._heal(drill)
            self._back_to_normal()
            raise
        self._acknowledge(met)
        return outcome

    # --- the parts of a drill -------------------------------------------------------------------

    def _set_up(self, drill: Drill, met: Before) -> None:
        if drill.setup is None or drill.is_set_up is None:
            return
        drill.setup.begin()
        found = self._await("set up", {"setup": drill.is_set_up}, met, {"setup": 30.0}, drill)
        if "setup" not in found:
            raise DrillRefused(f"{drill.incident.name}: what it needs was not there in 60 s")

    def _provoke(self, drill: Drill, outcome: Outcome) -> Outcome:
        incident, bounds = drill.incident, outcome.bounds
        before = remember(self._look(), self._subject)
        wanted: dict[str, Judge] = {"detected": incident.detected}
        allowed = {"detected": bounds.detect_s}
        if incident.paused is not None and bounds.pause_s is not None:
            wanted["paused"], allowed["paused"] = incident.paused, bounds.pause_s
        told = one_alert(*incident.told_by)
        wanted["told"] = told
        allowed["told"] = max(allowed.values()) + TOLD_WITHIN_S
        began_s = self._hours.now_s()
        drill.injection.begin()
        found = self._await("broken", wanted, before, allowed, drill, began_s=began_s)
        if "told" in found and self._judge(told, before, silence_counts=False) is None:
            del found["told"]  # another one came after it
        if "told" not in found:
            outcome = replace(outcome, evidence=(*outcome.evidence, self._what_told(drill, before)))
        return _with(outcome, found, allowed)

    def _what_told(self, drill: Drill, before: Before) -> str:
        """Which alerts stand there instead of the one."""
        try:
            roots = roots_since(before, self._look(), drill.incident.told_by)
        except DeskError as away:
            return f"alerts not known: {away}"
        named = ", ".join(sorted(row["alert_id"] for row in roots)) or "none"
        return f"wanted one alert of {' or '.join(drill.incident.told_by)}, there are: {named}"

    def _recover(self, drill: Drill, outcome: Outcome) -> Outcome:
        bound_s = outcome.bounds.recover_s
        healed = remember_or(lambda: remember(self._look(), self._subject))
        began_s = self._hours.now_s()
        self._heal(drill)
        after = healed or remember(self._await_answer(), self._subject)
        step, done = drill.operator, False

        def mended() -> None:
            nonlocal done
            look = self._look()
            self._resume(look)
            if step is not None and not done:
                step(self._api, look, self._subject)
                done = True

        def over(before: Before, now: Look, subject: Subject) -> str | None:
            on, own = deciding(before, now, subject), drill.incident.recovered
            if on is None or (step is not None and not done):
                return None
            return on if own is None else own(before, now, subject)

        found = self._await(
            "healed",
            {"recovered": over},
            after,
            {"recovered": bound_s},
            None,
            began_s=began_s,
            meanwhile=mended,
        )
        return _with(outcome, found, {"recovered": bound_s})

    def _heal(self, drill: Drill) -> None:
        self._tell(f"{drill.incident.name}: healing")
        try:
            drill.injection.heal()
        finally:
            if drill.setup is not None:
                drill.setup.heal()

    def _acknowledge(self, met: Before) -> None:
        """As an operator does who has read them: the next incident raises them again."""
        with suppress(DeskError):
            for row in raised_since(self._look(), met):
                self._api.post(f"/ops/alerts/{row['alert_id']}/ack")

    # --- waiting --------------------------------------------------------------------------------

    def _await(
        self,
        what: str,
        wanted: dict[str, Judge],
        before: Before,
        allowed: dict[str, float],
        drill: Drill | None,
        *,
        began_s: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> dict[str, tuple[float, str]]:
        """Seconds and evidence of each judgement that came true within its patience."""
        began_s = self._hours.now_s() if began_s is None else began_s
        kept_s, found = began_s, dict[str, tuple[float, str]]()
        while len(found) < len(wanted):
            spent_s = self._hours.now_s() - began_s
            missing = [name for name in wanted if name not in found]
            if all(spent_s > PATIENCE * allowed[name] for name in missing):
                break
            bound_s = max(allowed[name] for name in missing)
            self._tell(
                f"{what}, waiting to be {' and '.join(missing)}: {spent_s:.0f} of {bound_s:.0f} s"
            )
            if drill is not None and self._hours.now_s() - kept_s >= KEEP_BROKEN_EVERY_S:
                kept_s = self._hours.now_s()
                (drill.setup if what == "set up" and drill.setup else drill.injection).again()
            if meanwhile is not None:
                with suppress(DeskError):
                    meanwhile()
            may_be_silent = drill is not None and drill.incident.silence_counts
            for name in missing:
                counts_silence = may_be_silent and name != "told"
                evidence = self._judge(wanted[name], before, silence_counts=counts_silence)
                if evidence is not None:
                    found[name] = (self._hours.now_s() - began_s, evidence)
            self._hours.sleep(LOOK_EVERY_S)
        return found

    def _judge(self, judge: Judge, before: Before, *, silence_counts: bool) -> str | None:
        try:
            return judge(before, self._look(), self._subject)
        except DeskError as away:
            return f"the desk answers: {away}" if silence_counts else None

    def _look(self) -> Look:
        return Look(self._api.get)

    def _await_answer(self) -> Look:
        """The first look that a desk which was away lets us have."""
        until_s = self._hours.now_s() + WELL_S
        while True:
            look = self._look()
            try:
                look.run(self._subject)
            except DeskError:
                if self._hours.now_s() > until_s:
                    raise
                self._hours.sleep(LOOK_EVERY_S)
            else:
                return look

    # --- the run --------------------------------------------------------------------------------

    def _resume(self, look: Look) -> None:
        """Ask for the run to go on when it is paused; a refusal is asked again a little later."""
        now_s = self._hours.now_s()
        if look.run(self._subject).get("status") != "paused" or (
            now_s - self._resumed_at_s < RESUME_EVERY_S
        ):
            return
        self._resumed_at_s = now_s
        with suppress(DeskError):
            self._api.post(f"/agents/{self._subject.agent_id}/resume", {"reason": RESUMED})

    def _await_well(self) -> None:
        """Let a desk come to rest. Raises `DrillRefused` when it does not."""
        since = remember(self._await_answer(), self._subject)
        found = self._await("before", {"well": rested}, since, {"well": WELL_S / PATIENCE}, None)
        if "well" not in found:
            look = self._look()
            silent = silent_actors(since, look)
            if silent:
                raise DrillRefused(
                    f"no answer for {WELL_S:.0f} s of {', '.join(silent)}: see `desk status`"
                )
            run = look.run(self._subject)
            state = f"{run.get('status', 'gone')} {run.get('pause_reason', '')}".strip()
            raise DrillRefused(
                f"run {self._subject.run_id} decided nothing for {WELL_S:.0f} s ({state}):"
                " see `desk status` and resume it first"
            )

    def _back_to_normal(self) -> None:
        """After a drill that was cut off: the run was deciding when it began, and shall again."""
        self._tell("healed, resuming the run")
        with suppress(DeskError):
            since = remember(self._await_answer(), self._subject)
            self._await(
                "healed",
                {"well": deciding},
                since,
                {"well": 30.0},
                None,
                meanwhile=lambda: self._resume(self._look()),
            )


def remember_or(note: Callable[[], Before]) -> Before | None:
    """What is there, or None of a desk that does not answer."""
    try:
        return note()
    except DeskError:
        return None


def _with(
    outcome: Outcome, found: dict[str, tuple[float, str]], allowed: dict[str, float]
) -> Outcome:
    """The outcome with what was found, and the first bound that was not kept."""
    failure = outcome.failure
    for name, bound_s in allowed.items():
        came = found.get(name)
        if came is None or came[0] > bound_s:
            took = "not" if came is None else f"after {came[0]:.1f} s, not"
            failure = failure or f"{name} {took} within {bound_s:.0f} s"
    times = {name: round(came[0], 2) for name, came in found.items()}
    return replace(
        outcome,
        failure=failure,
        evidence=(*outcome.evidence, *(text for _, text in found.values())),
        detected_s=times.get("detected", outcome.detected_s),
        paused_s=times.get("paused", outcome.paused_s),
        recovered_s=times.get("recovered", outcome.recovered_s),
    )
