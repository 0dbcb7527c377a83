"""Decisions of the store and of the history, read as one: whatever was moved, and whoever died meanwhile."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.clock import DAY_MS, MINUTE_MS
from desk.runs import Action, DecisionRecord, Mode, Run, RunStatus
from desk.store import decision_history, kinds
from desk.store.decision_archive import DecisionArchive
from desk.store.decision_history import KEPT_MS, DecisionHistory, keep_decisions
from desk.store.history import History
from desk.store.memory import MemoryStore
from desk.store.port import Store

RUN = "run-1"
BEGIN_MS = 1_800_000_000_000 // DAY_MS * DAY_MS
STEP_MS = 6 * 60 * MINUTE_MS
ALL_MOST = 10_000


def decision(number: int, run_id: str = RUN) -> DecisionRecord:
    return DecisionRecord(
        decision_id=f"{run_id}-{number:03d}",
        run_id=run_id,
        pair="BTC-USDT",
        interval="6h",
        open_ms=BEGIN_MS + number * STEP_MS,
        decided_at_ms=BEGIN_MS + (number + 1) * STEP_MS,
        action=Action.HOLD,
        hold_reason="low_confidence",
        target=0.0,
        confidence=0.25,
        version_id="v1",
        feature_set_id="v1-1",
        observation_sha256="a",
        candles_sha256="b",
        reference_price="60000.10",
        gates=(),
        trace_id=f"tr{number}",
        latency_ms={"total": 1.5},
        observation=(0.5, float("nan"), -0.0),
    )


def with_runs(store: Store, *names: str) -> None:
    for name in names:
        run = Run(
            run_id=name,
            agent_id="desk",
            account="paper",
            mode=Mode.PAPER,
            pair="BTC-USDT",
            interval="6h",
            version_id="v1",
            risk_limit_set_id="default",
            decision_threshold=0.35,
            status=RunStatus.RUNNING,
            started_ms=1,
        )
        store.put(kinds.RUNS, name, run, at_ms=1)


def decided(store: Store, count: int, run_id: str = RUN) -> list[DecisionRecord]:
    """So many decisions in the store, the newest first."""
    with_runs(store, run_id)
    records = [decision(number, run_id) for number in range(count)]
    for record in records:
        kind = kinds.decisions_of_run(run_id)
        store.put(kind, record.decision_id, record, at_ms=record.open_ms)
    return records[::-1]


def ids_of(records: Iterator[DecisionRecord] | list[DecisionRecord]) -> list[str]:
    return [record.decision_id for record in records]


def days_after(number: int, days: float) -> int:
    return BEGIN_MS + number * STEP_MS + round(days * DAY_MS)


@pytest.fixture(autouse=True)
def few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision_history, "KEPT_ROWS", 3)


def dying_after(delete: Callable[..., None], left: int) -> Callable[..., None]:
    deletions = iter(range(left))

    def dying(*arguments: object) -> None:
        if next(deletions, None) is None:
            raise KeyboardInterrupt
        delete(*arguments)

    return dying


@settings(max_examples=60)
@given(
    count=st.integers(0, 30),
    age=st.floats(-2, 15),
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 40)),
    deaths=st.lists(st.integers(0, 6), max_size=3),
    bounds=st.tuples(st.integers(0, 31), st.integers(0, 31)),
)
def test_store_and_history_together_are_what_was_decided_whatever_was_moved(  # noqa: PLR0917 - each is drawn
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    age: float,
    sizes: tuple[int, int],
    deaths: list[int],
    bounds: tuple[int, int],
) -> None:
    page, most = sizes
    store, archive = MemoryStore(), DecisionArchive(tmp_path_factory.mktemp("history"))
    wanted = decided(store, count)
    now_ms = days_after(count, age)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decision_history, "KEPT_ROWS", 3)
        patch.setattr(decision_history, "_PAGE", page)
        for left in deaths:  # the process dies after so many rows have left the store
            with patch.context() as crash, contextlib.suppress(KeyboardInterrupt):
                crash.setattr(store, "delete", dying_after(store.delete, left))
                keep_decisions(store, archive, now_ms=now_ms, most=most)
        keep_decisions(store, archive, now_ms=now_ms, most=most)
        past = DecisionHistory(store, archive)

        assert ids_of(past.newest_first(RUN)) == ids_of(wanted)
        assert [past.find(RUN, one.decision_id, one.open_ms) for one in wanted].count(None) == 0
        start_ms, before_ms = (BEGIN_MS + bound * STEP_MS for bound in bounds)
        inside = [one for one in wanted if start_ms <= one.open_ms < before_ms]
        between = past.newest_first(RUN, start_ms=start_ms, before_ms=before_ms)
        assert ids_of(between) == ids_of(inside)
        docs = past.docs(RUN, start_ms=start_ms, before_ms=before_ms, limit=page)
        assert [doc.key for doc in docs] == ids_of(inside[:page])


def test_what_is_young_and_the_newest_of_each_run_stay_in_the_store(tmp_path: Path) -> None:
    store, archive = MemoryStore(), DecisionArchive(tmp_path)
    ours, others = decided(store, 40), decided(store, 2, "run-2")
    now_ms = days_after(39, 0)

    moved = keep_decisions(store, archive, now_ms=now_ms, most=ALL_MOST)

    kept = store.list(kinds.decisions_of_run(RUN), limit=100)
    assert min(doc.at_ms for doc in kept) == now_ms - KEPT_MS
    assert moved == archive.rows(RUN) == 40 - len(kept) > 0
    assert len(store.list(kinds.decisions_of_run("run-2"))) == len(others) == 2
    assert (
        keep_decisions(store, archive, now_ms=now_ms + 90 * DAY_MS, most=ALL_MOST) == len(kept) - 3
    )
    assert ids_of([doc.value for doc in store.list(kinds.decisions_of_run(RUN))]) == ids_of(
        ours[:3]
    )
    assert keep_decisions(store, archive, now_ms=now_ms + 90 * DAY_MS, most=ALL_MOST) == 0


def test_a_round_moves_so_many_at_most_over_all_runs(tmp_path: Path) -> None:
    store, archive = MemoryStore(), DecisionArchive(tmp_path)
    decided(store, 20)
    decided(store, 20, "run-2")
    later_ms = days_after(20, 60)

    assert keep_decisions(store, archive, now_ms=later_ms, most=25) == 25
    assert keep_decisions(store, archive, now_ms=later_ms, most=25) == 2 * 17 - 25


def test_a_decision_comes_back_as_it_was_and_so_does_its_number(tmp_path: Path) -> None:
    store, archive = MemoryStore(), DecisionArchive(tmp_path)
    decided(store, 10)
    keep_decisions(store, archive, now_ms=days_after(10, 60), most=ALL_MOST)
    past = DecisionHistory(store, archive)

    found = past.find(RUN, f"{RUN}-000", BEGIN_MS)

    assert repr(found) == repr(decision(0)), "NaN is not equal to itself"
    assert past.find(RUN, "never", BEGIN_MS) is None
    assert (past.count(RUN, most=100), past.count(RUN, most=4)) == (10, 4)
    assert DecisionHistory(store).find(RUN, f"{RUN}-000", BEGIN_MS) is None
    assert History(tmp_path).series() == [], "no pair"


def test_the_copy_that_earlier_releases_kept_goes_with_its_decision(tmp_path: Path) -> None:
    store, archive = MemoryStore(), DecisionArchive(tmp_path)
    for record in decided(store, 5):
        store.put(kinds.DECISIONS, record.decision_id, record, at_ms=record.open_ms)

    keep_decisions(store, archive, now_ms=days_after(5, 60), most=ALL_MOST)

    assert len(store.list(kinds.DECISIONS)) == 3
