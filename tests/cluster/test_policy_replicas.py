"""The policy's replicas die: decisions hold, and go on by themselves."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from desk.runs import Action, DecisionRecord, RunStatus
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.processes import processes_named

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]

REPLICA = "ray::ServeReplica:policy"
LATE_MS = 2_000.0


def asked_since(desk: RunningDesk, open_ms: int) -> list[DecisionRecord]:
    """Decisions on later candles whose gates came as far as the policy, newest first."""
    return [
        each for each in desk.decisions() if each.open_ms > open_ms and "policy" in each.latency_ms
    ]


def longest_ms(desk: RunningDesk) -> float:
    """What a decision may wait for its policy: the deadline, and a busy machine's lateness to notice it."""
    return desk.wiring.policy_deadline_s * 1000 + LATE_MS


def soon[T](desk: RunningDesk, ask: Callable[[], T | None], what: str) -> T:
    """The first truthy answer within 90 s; else how the run stands and why its decisions held."""
    try:
        return eventually(ask, within_s=90, what=what)
    except AssertionError as late:
        run, made = desk.run_row(), desk.decisions()
        reasons = Counter(one.hold_reason or one.action.value for one in made)
        stands = f"run {run.status.value} {run.pause_reason}, {len(made)} decisions: {reasons}"
        raise AssertionError(f"{late}; {stands}") from late


@pytest.mark.catalogue("I06")
def test_I06_decisions_hold_while_every_policy_replica_is_dead_and_go_on_by_themselves(
    desk_on_serve: RunningDesk,
) -> None:
    desk = desk_on_serve
    before = soon(desk, lambda: asked_since(desk, 0), "an answer of the policy")
    assert before[0].hold_reason != "policy_unavailable"
    killed = set[int]()

    def held() -> list[DecisionRecord]:
        """Every replica that comes back is killed until a decision has met none."""
        for pid in processes_named(REPLICA):
            killed.add(pid)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        found = asked_since(desk, before[0].open_ms)
        return [each for each in found if each.hold_reason == "policy_unavailable"]

    refused = soon(desk, held, "a decision without the policy")[0]

    def answered() -> list[DecisionRecord]:
        found = asked_since(desk, refused.open_ms)
        return [each for each in found if each.hold_reason != "policy_unavailable"]

    soon(desk, answered, "an answer after the deaths")
    assert refused.client_order_ids == ()
    assert refused.latency_ms["policy"] <= longest_ms(desk)
    assert len(killed) >= 2
    assert not killed & set(processes_named(REPLICA))
    assert desk.run_row().status is RunStatus.RUNNING


@pytest.mark.catalogue("M06")
def test_M06_decisions_hold_within_their_deadline_while_every_replica_stands_still(
    desk_on_serve: RunningDesk,
) -> None:
    desk = desk_on_serve
    before = soon(desk, lambda: asked_since(desk, 0), "an answer of the policy")[0]
    stopped = set[int]()

    def stop_all() -> None:
        for pid in processes_named(REPLICA):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.add(pid)

    def held() -> list[DecisionRecord]:
        stop_all()  # also those that Serve starts in place of silent ones
        found = asked_since(desk, before.open_ms)
        return [each for each in found if each.hold_reason == "policy_unavailable"]

    try:
        refused = soon(desk, held, "a decision without an answer")[0]
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def answered() -> list[DecisionRecord]:
        found = asked_since(desk, refused.open_ms)
        return [each for each in found if each.hold_reason != "policy_unavailable"]

    after = soon(desk, answered, "an answer after the standstill")
    assert (refused.action, refused.client_order_ids) == (Action.HOLD, ())
    assert refused.latency_ms["policy"] <= longest_ms(desk)
    assert (refused.target, refused.logits) == (0.0, ())
    assert after[-1].open_ms > refused.open_ms
    assert desk.run_row().status is RunStatus.RUNNING
