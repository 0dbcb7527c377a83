"""The active version of an agent: the store itself looks at the gate before it moves the pointer."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from desk.errors import BadInput, DeskError, IllegalTransition, VersionConflict
from desk.learning.versions import MOVES, VersionStatus, promoted, retired
from desk.runs import Agent
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Doc, Gate, Store, Stream, VersionMove

GATE = Gate(evaluation_id="e1", evaluation_version=1, pair="BTC-USDT", dataset_sha256="00")


@pytest.fixture
def agents(any_store: Store, rows: Any) -> Store:
    """A store with an agent on version v0, and with v1, which has passed evaluation e1 on BTC-USDT."""
    any_store.put(kinds.AGENTS, "desk", rows.agent("v0"), at_ms=3)
    for name in ("v0", "v1"):
        any_store.put(kinds.VERSIONS, name, rows.version(name), at_ms=500)
    any_store.put(kinds.DATASETS, "ds-1", rows.dataset(), at_ms=3)
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
    moves: Sequence[VersionMove] = (),
    request_id: str = "q1",
) -> Doc[Agent]:
    before = before or agent_of(store)
    return store.flip_version(
        before,
        replace(before.value, active_version_id=to),
        gate,
        moves=moves,
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
    "judged on other candles": (
        replace(GATE, dataset_sha256="ff"),
        IllegalTransition,
        "another dataset",
    ),
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


@pytest.mark.catalogue("M04")
@pytest.mark.parametrize("sha256", ["ff", None])
def test_m04_an_evaluation_whose_dataset_is_not_the_one_on_record_opens_no_gate(
    agents, rows, sha256
):
    if sha256:
        agents.put(kinds.DATASETS, "ds-1", rows.dataset(sha256=sha256), at_ms=3)
    else:
        agents.delete(kinds.DATASETS, "ds-1")

    for gate in (GATE, replace(GATE, dataset_sha256=sha256 or "")):
        with pytest.raises(IllegalTransition, match="another dataset"):
            flip(agents, rows, gate, request_id=gate.dataset_sha256)


def version_doc(store: Store, name: str) -> Any:
    found = store.get(kinds.VERSIONS, name)
    assert found is not None
    return found


def test_regression_13_versions_move_together_with_the_pointer(agents, rows):
    for name, status in (("v0", VersionStatus.PROMOTED), ("v1", VersionStatus.EVALUATING)):
        agents.put(kinds.VERSIONS, name, rows.version(name, status=status), at_ms=500)
    old, new = version_doc(agents, "v0"), version_doc(agents, "v1")
    after = promoted(new.value, evaluation_id="e1", pair="BTC-USDT", now_ms=7)
    moves = [
        VersionMove(before=old, after=retired(old.value)),
        VersionMove(before=new, after=after),
    ]

    flip(agents, rows, moves=moves)

    assert version_doc(agents, "v1").value == after
    assert version_doc(agents, "v0").value.status is VersionStatus.RETIRED
    assert version_doc(agents, "v1").version == new.version + 1
    assert version_doc(agents, "v1").at_ms == new.at_ms


def test_a_version_that_moved_meanwhile_keeps_everything_where_it_was(agents, rows):
    seen = version_doc(agents, "v0")
    agents.put(kinds.VERSIONS, "v0", replace(seen.value, seed=9), at_ms=500)
    agents.put(kinds.VERSIONS, "v1", rows.version("v1", status=VersionStatus.EVALUATING), at_ms=500)
    new = version_doc(agents, "v1")
    after = promoted(new.value, evaluation_id="e1", pair="BTC-USDT", now_ms=7)
    before = agent_of(agents)

    with pytest.raises(VersionConflict, match="doc:version/v0 was at version 2"):
        flip(
            agents,
            rows,
            moves=[
                VersionMove(before=new, after=after),
                VersionMove(before=seen, after=retired(seen.value)),
            ],
        )

    assert (agent_of(agents), version_doc(agents, "v1")) == (before, new)


@pytest.mark.parametrize("to", VersionStatus)
@pytest.mark.parametrize("status", VersionStatus)
def test_versions_make_only_the_moves_there_are(agents, rows, status, to):
    agents.put(kinds.VERSIONS, "v1", rows.version("v1", status=status), at_ms=500)
    doc = version_doc(agents, "v1")
    move = VersionMove(before=doc, after=replace(doc.value, status=to))

    if status is to or to in MOVES[status]:
        flip(agents, rows, moves=[move])
        assert version_doc(agents, "v1").value.status is to
    else:
        with pytest.raises(IllegalTransition, match=f"move to {to.value}"):
            flip(agents, rows, moves=[move])
        assert version_doc(agents, "v1") == doc
        assert agent_of(agents).value.active_version_id == "v0"


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
