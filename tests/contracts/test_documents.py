"""Documents, events and metric samples in the store."""

import math
import threading
from decimal import Decimal
from typing import Any

import pytest

from desk.errors import BadInput, VersionConflict
from desk.runs import Action, DecisionRecord, GateResult, Mode, Run, RunStatus
from desk.store import kinds
from desk.store.port import Event, Kind, Sample, Store, Stream

NOTES: Kind[dict[str, Any]] = Kind(name="note", type=dict[str, Any])


def _run(**changes: Any) -> Run:
    fields: dict[str, Any] = {
        "run_id": "r1",
        "agent_id": "desk",
        "account": "paper",
        "mode": Mode.PAPER,
        "pair": "BTC-USDT",
        "interval": "1m",
        "version_id": "baseline-trend-v1",
        "risk_limit_set_id": "default",
        "decision_threshold": 0.35,
        "status": RunStatus.RUNNING,
        "started_ms": 7,
    }
    return Run(**{**fields, **changes})


def test_a_document_comes_back_equal_with_its_version_and_time(any_store: Store):
    stored = any_store.put(kinds.RUNS, "r1", _run(), at_ms=7)

    assert (stored.key, stored.value, stored.version, stored.at_ms) == ("r1", _run(), 1, 7)
    assert any_store.get(kinds.RUNS, "r1") == stored
    assert any_store.get(kinds.RUNS, "r2") is None


def test_a_decision_with_values_that_are_not_numbers_comes_back_as_it_was(any_store: Store):
    record = DecisionRecord(
        decision_id="d1",
        run_id="r1",
        pair="BTC-USDT",
        interval="1m",
        open_ms=1,
        decided_at_ms=2,
        action=Action.HOLD,
        hold_reason="policy_not_finite",
        target=0.0,
        confidence=math.nan,
        version_id="v1",
        feature_set_id="f1",
        observation_sha256="a",
        candles_sha256="b",
        reference_price="60000.10",
        gates=(GateResult(gate="data", passed=True),),
        trace_id="tr",
        latency_ms={"policy": 0.1 + 0.2},
        logits=(math.nan, math.inf, -math.inf, 5e-324),
    )

    any_store.put(kinds.DECISIONS, "d1", record, at_ms=1)

    found = any_store.get(kinds.DECISIONS, "d1")
    assert found is not None
    assert math.isnan(found.value.confidence)
    assert math.isnan(found.value.logits[0])
    assert found.value.logits[1:] == record.logits[1:]
    assert found.value.latency_ms == record.latency_ms
    assert found.value.gates == record.gates


def test_an_expected_version_guards_a_document(any_store: Store):
    any_store.put(NOTES, "k", {"n": 1}, at_ms=1, expected_version=0)

    with pytest.raises(VersionConflict) as late:
        any_store.put(NOTES, "k", {"n": 2}, at_ms=1, expected_version=0)
    assert (late.value.expected, late.value.found) == (0, 1)
    with pytest.raises(VersionConflict):
        any_store.put(NOTES, "absent", {"n": 2}, at_ms=1, expected_version=3)

    assert any_store.put(NOTES, "k", {"n": 3}, at_ms=1, expected_version=1).version == 2
    assert any_store.put(NOTES, "k", {"n": 4}, at_ms=1).version == 3


def test_of_many_writers_on_one_version_one_wins(any_store: Store):
    any_store.put(NOTES, "k", {"n": 0}, at_ms=1)
    outcomes: list[bool] = []
    start = threading.Barrier(8)

    def write(n: int) -> None:
        start.wait()
        try:
            any_store.put(NOTES, "k", {"n": n}, at_ms=1, expected_version=1)
            outcomes.append(True)
        except VersionConflict:
            outcomes.append(False)

    writers = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()

    assert sorted(outcomes) == [False] * 7 + [True]


def test_a_document_and_its_event_are_written_once_per_request(any_store: Store):
    event = Event(topic="note", key="k", data={"amount": Decimal("1.50")}, at_ms=1)

    first = any_store.put(NOTES, "k", {"n": 1}, at_ms=1, event=event, request_id="q")
    again = any_store.put(NOTES, "k", {"n": 2}, at_ms=2, event=event, request_id="q")

    assert again == first
    found = any_store.get(NOTES, "k")
    assert found == first
    [written] = any_store.read_events({Stream.OPS: "0-0"})
    assert (written.topic, written.key, written.data) == ("note", "k", {"amount": "1.50"})
    with pytest.raises(BadInput, match="request_id"):
        any_store.put(NOTES, "other", {"n": 1}, at_ms=1, request_id="q")


def test_documents_are_listed_newest_first_in_a_half_open_range(any_store: Store):
    for key, at_ms in (("a", 10), ("b", 30), ("c", 20), ("d", 20)):
        any_store.put(NOTES, key, {}, at_ms=at_ms)

    def keys(**bounds: Any) -> list[str]:
        return [doc.key for doc in any_store.list(NOTES, **bounds)]

    assert keys() == ["b", "d", "c", "a"]
    assert keys(start_ms=20) == ["b", "d", "c"]
    assert keys(before_ms=20) == ["a"]
    assert keys(start_ms=10, before_ms=30, limit=2) == ["d", "c"]
    any_store.put(NOTES, "a", {}, at_ms=40)
    assert keys(limit=1) == ["a"]


def test_a_deleted_document_is_gone_and_starts_anew(any_store: Store):
    any_store.put(NOTES, "k", {}, at_ms=1)
    any_store.put(NOTES, "k", {}, at_ms=1)

    any_store.delete(NOTES, "k")
    any_store.delete(NOTES, "k")

    assert any_store.get(NOTES, "k") is None
    assert any_store.list(NOTES) == []
    assert any_store.put(NOTES, "k", {}, at_ms=1).version == 1


def test_kinds_and_keys_never_meet(any_store: Store):
    any_store.put(kinds.STATE, "kill:all", {"n": 1}, at_ms=1)
    any_store.put(Kind(name="state:kill", type=dict[str, Any]), "all", {"n": 2}, at_ms=1)

    found = any_store.get(kinds.STATE, "kill:all")
    assert found is not None
    assert found.value == {"n": 1}
    assert [doc.key for doc in any_store.list(kinds.STATE)] == ["kill:all"]
    assert any_store.kill_reason("all") is None


def test_events_are_read_on_from_where_one_stopped(any_store: Store):
    ids = [any_store.emit(Event(topic="t", key=str(n), data={"n": n}, at_ms=n)) for n in range(7)]

    first = any_store.read_events({Stream.OPS: "0-0"}, limit=3)
    rest = any_store.read_events({Stream.OPS: first[-1].event_id})

    assert [event.key for event in first + rest] == list("0123456")
    assert [event.event_id for event in first + rest] == ids
    assert any_store.last_event_ids()[Stream.OPS] == ids[-1]
    assert any_store.read_events({Stream.OPS: ids[-1]}) == []
    assert any_store.read_events({}) == []


def test_streams_are_apart(any_store: Store):
    any_store.emit(Event(topic="risk", key="k", data={}, at_ms=1, stream=Stream.RISK))
    any_store.emit(Event(topic="ops", key="k", data={}, at_ms=1))

    assert [e.topic for e in any_store.read_events({Stream.RISK: "0-0"})] == ["risk"]
    both = any_store.read_events({Stream.RISK: "0-0", Stream.OPS: "0-0"})
    assert [e.topic for e in both] == ["risk", "ops"]
    assert any_store.last_event_ids()[Stream.ORDERS] == "0-0"


def test_a_waiting_reader_gets_the_first_event(any_store: Store):
    heard: list[Event] = []
    reader = threading.Thread(
        target=lambda: heard.extend(any_store.read_events({Stream.OPS: "0-0"}, block_ms=20_000))
    )
    reader.start()

    any_store.emit(Event(topic="t", key="k", data={}, at_ms=1))

    reader.join(10)
    assert [event.topic for event in heard] == ["t"]


def test_a_waiting_reader_gives_up_empty_handed(any_store: Store):
    assert any_store.read_events({Stream.OPS: "0-0"}, block_ms=20) == []


def test_trimming_keeps_the_newest_and_never_reuses_an_id(any_store: Store):
    ids = [any_store.emit(Event(topic="t", key=str(n), data={}, at_ms=n)) for n in range(5)]

    any_store.trim_events(Stream.OPS, keep=2)

    left = any_store.read_events({Stream.OPS: "0-0"})
    assert [event.key for event in left] == ["3", "4"]
    any_store.trim_events(Stream.OPS, keep=0)
    assert any_store.last_event_ids()[Stream.OPS] == ids[-1]
    assert any_store.emit(Event(topic="t", key="5", data={}, at_ms=5)) not in ids


def test_samples_come_back_by_their_time_even_when_they_arrived_late(any_store: Store):
    def sample(at_ms: int, value: float) -> Sample:
        return Sample(name="lag", value=value, unit="s", recorded_at_ms=at_ms, tags={"pair": "x"})

    any_store.record([sample(10, 1.0), sample(30, 3.0)])
    any_store.record([sample(20, 2.0), sample(40, math.inf)])
    any_store.record([])

    assert any_store.samples("lag", start_ms=10, end_ms=40) == [
        sample(10, 1.0),
        sample(20, 2.0),
        sample(30, 3.0),
    ]
    assert any_store.samples("lag", start_ms=0, end_ms=100, limit=1) == [sample(40, math.inf)]
    assert any_store.samples("other", start_ms=0, end_ms=100) == []
