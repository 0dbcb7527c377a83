"""The active version of an agent: the store itself looks at the gate before it moves the pointer."""

import threading
from dataclasses import replace
from typing import Any

import pytest

from desk.errors import BadInput, DeskError, IllegalTransition, VersionConflict
from desk.runs import Agent
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Doc, Gate, Store, Stream

GATE = Gate(evaluation_id="e1", evaluation_version=1, pair="BTC-USDT")


@pytest.fixture
def agents(any_store: Store, rows: Any) -> Store:
    """A store with an agent on version v0, and with v1, which has passed evaluation e1 on BTC-USDT."""
    any_store.put(kinds.AGENTS, "desk", rows.agent("v0"), at_ms=3)
    for name in ("v0", "v1"):
        any_store.put(kinds.VERSIONS, name, rows.version(name), at_ms=500)
    evaluate(any_store, rows)
    return any_store


def evaluate(store: Store, rows: Any, name: str = "e1", **changes: Any) -> None:
    report = rows.evaluation(name, **changes)
    store.put(kinds.EVALUATIONS, name, report, at_ms=report.created_ms)


def agent_of(store: Store) -> Doc[Agent]:
    found = store.get(kinds.AGENTS, "desk")
    assert found is not None
    return found


def flip(
    store: Store,
    rows: Any,
    gate: Gate = GATE,
    *,
    to: str = "v1",
    before: Doc[Agent] | None = None,
    request_id: str = "q1",
) -> Doc[Agent]:
    before = before or agent_of(store)
    return store.flip_version(
        before,
        replace(before.value, active_version_id=to),
        gate,
        request_id=request_id,
        event=rows.event("version", to),
    )


def test_a_version_that_passed_becomes_active_together_with_its_event(agents, rows):
    flipped = flip(agents, rows)

    assert flipped == agent_of(agents)
    assert flipped.value == rows.agent("v1")
    assert (flipped.version, flipped.at_ms) == (2, 3)
    [event] = agents.read_events({Stream.ORDERS: "0-0"})
    assert (event.topic, event.key) == ("version", "v1")


def test_a_repeated_flip_returns_the_first_answer(agents, rows):
    before = agent_of(agents)

    first, second = (flip(agents, rows, before=before) for _ in range(2))

    assert first == second == agent_of(agents)
    assert len(agents.read_events({Stream.ORDERS: "0-0"})) == 1
    agents.put(kinds.AGENTS, "other", rows.agent("v0"), at_ms=3)
    other = agents.get(kinds.AGENTS, "other")
    with pytest.raises(BadInput, match="derive a new one"):
        flip(agents, rows, before=other)


REFUSED: dict[str, tuple[Gate, type[DeskError], str]] = {
    "no such evaluation": (replace(GATE, evaluation_id="e9"), VersionConflict, "evaluation/e9"),
    "judged at another version": (replace(GATE, evaluation_version=2), VersionConflict, "was at"),
    "an evaluation on another pair": (replace(GATE, pair="ETH-USDT"), IllegalTransition, "gate"),
    "never promoted": (Gate(evaluation_id="e1"), IllegalTransition, "never promoted"),
    "a record without an evaluation": (Gate(evaluation_id=""), IllegalTransition, "never promoted"),
}


@pytest.mark.catalogue("M04")
@pytest.mark.parametrize("case", REFUSED)
def test_m04_a_gate_that_does_not_stand_moves_nothing(agents, rows, case):
    gate, error, words = REFUSED[case]
    before = agent_of(agents)

    with pytest.raises(error, match=words):
        flip(agents, rows, gate)

    assert agent_of(agents) == before
    assert agents.read_events({Stream.ORDERS: "0-0"}) == []


@pytest.mark.catalogue("M04")
def test_m04_an_evaluation_opens_the_gate_for_its_own_version_only(agents, rows):
    agents.put(kinds.VERSIONS, "v2", rows.version("v2"), at_ms=500)

    with pytest.raises(IllegalTransition, match="move to v2"):
        flip(agents, rows, to="v2")


@pytest.mark.catalogue("M04")
def test_m04_a_failed_evaluation_opens_no_gate(agents, rows):
    evaluate(agents, rows, "e2", verdict="fail", version_id="v0")

    with pytest.raises(IllegalTransition, match="gate fail"):
        flip(agents, rows, replace(GATE, evaluation_id="e2"), to="v0")


LATER = 1_700_000_000_002


@pytest.mark.catalogue("M04")
@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({"created_ms": LATER}, True),
        ({"created_ms": LATER, "verdict": "fail"}, True),
        ({"name": "e2"}, True),
        ({"name": "e0"}, False),
        ({"created_ms": LATER - 2}, False),
        ({"created_ms": LATER, "pair": "ETH-USDT"}, False),
        ({"created_ms": LATER, "version_id": "v0"}, False),
    ],
)
def test_m04_a_newer_evaluation_of_the_same_version_and_pair_closes_the_gate(
    agents, rows, changes, counts
):
    evaluate(agents, rows, **{"name": "e5", **changes})

    if counts:
        with pytest.raises(VersionConflict, match="doc:evaluation/e"):
            flip(agents, rows)
    else:
        flip(agents, rows)

    assert agent_of(agents).value.active_version_id == ("v0" if counts else "v1")


def test_going_back_rests_on_the_record_of_the_version(agents, rows):
    promoted = rows.version("v1", promoted_at_ms=7, promoted_by_evaluation_id="e1")
    agents.put(kinds.VERSIONS, "v1", promoted, at_ms=500)
    evaluate(agents, rows, "e2", created_ms=LATER, verdict="fail")

    flipped = flip(agents, rows, Gate(evaluation_id="e1"))

    assert flipped.value.active_version_id == "v1"


@pytest.mark.catalogue("M04")
def test_m04_of_two_flips_at_once_one_wins(agents, rows):
    before = agent_of(agents)
    evaluate(agents, rows, "e2", version_id="v0")
    wins, losses = list[str](), list[DeskError]()

    def race(to: str, gate: Gate) -> None:
        try:
            flipped = flip(agents, rows, gate, to=to, before=before, request_id=to)
        except VersionConflict as lost:
            losses.append(lost)
        else:
            wins.append(flipped.value.active_version_id)

    racers = [
        threading.Thread(target=race, args=("v1", GATE)),
        threading.Thread(target=race, args=("v0", replace(GATE, evaluation_id="e2"))),
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(10)

    assert (len(wins), len(losses)) == (1, 1)
    assert agent_of(agents).value.active_version_id == wins[0]
    assert agent_of(agents).version == 2


def test_an_agent_that_is_gone_has_no_version(rows):
    store = MemoryStore()
    gone = Doc(key="desk", value=rows.agent(), version=1, at_ms=0)

    with pytest.raises(VersionConflict, match="version 0"):
        flip(store, rows, before=gone)
