"""The audit is one chain: whoever writes at once, and whatever is done to a row afterwards."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.audit import append_row
from desk.audit_chain import GENESIS, Break, Link, first_break, link_of, sealed
from desk.errors import VersionConflict
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Store
from desk.store.valkey import ValkeyStore

START = Link()
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text('aé\n"\\☃', max_size=4),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text("ab", max_size=2), below, max_size=3)
    ),
    max_leaves=6,
)
FACTS = st.dictionaries(st.sampled_from(("status", "limit")), JSON, max_size=2)


def make_row(number: int, before: dict[str, Any] | None = None) -> AuditEvent:
    return AuditEvent(
        audit_id=f"a{number}",
        actor="operator",
        action="run.pause",
        resource="run/r1",
        at_ms=1_000 + number,
        before=before or {},
        after={"n": number},
    )


def make_chain(facts: list[dict[str, Any]]) -> list[AuditEvent]:
    store = MemoryStore()
    return [append_row(store, make_row(n, before)) for n, before in enumerate(facts)]


def removed(rows: list[AuditEvent], at: int, _: int) -> list[AuditEvent]:
    return rows[:at] + rows[at + 1 :]


def swapped(rows: list[AuditEvent], at: int, other: int) -> list[AuditEvent]:
    found = list(rows)
    found[at], found[other] = found[other], found[at]
    return found


def exchanged(rows: list[AuditEvent], at: int, other: int) -> list[AuditEvent]:
    """Two rows take each other's place, numbers and all, and are hashed again."""
    found = list(rows)
    for here, there in ((at, other), (other, at)):
        before = Link(seq=rows[here].seq - 1, sha256=rows[here].previous_sha256)
        found[here] = sealed(rows[there], before)
    return found


def inserted(rows: list[AuditEvent], at: int, _: int) -> list[AuditEvent]:
    end = link_of(rows[at - 1]) if at else START
    return [*rows[:at], sealed(make_row(99), end), *rows[at:]]


def repeated(rows: list[AuditEvent], at: int, _: int) -> list[AuditEvent]:
    return [*rows[: at + 1], *rows[at:]]


def edited(field: str, value: object) -> Callable[[list[AuditEvent], int, int], list[AuditEvent]]:
    def change(rows: list[AuditEvent], at: int, _: int) -> list[AuditEvent]:
        return [*rows[:at], replace(rows[at], **{field: value}), *rows[at + 1 :]]

    return change


def edited_and_hashed_again(rows: list[AuditEvent], at: int, _: int) -> list[AuditEvent]:
    before = Link(seq=rows[at].seq - 1, sha256=rows[at].previous_sha256)
    return [*rows[:at], sealed(replace(rows[at], actor="nobody"), before), *rows[at + 1 :]]


MUTATIONS = (
    *(removed, swapped, exchanged, inserted, repeated, edited_and_hashed_again),
    *(edited(name, "x") for name in ("audit_id", "actor", "action", "resource", "trace_id")),
    *(edited(name, "f" * 64) for name in ("previous_sha256", "sha256")),
    *(edited(name, {"x": 1.5}) for name in ("before", "after")),
    *(edited(name, 10**6) for name in ("at_ms", "seq")),
)


@given(st.lists(FACTS, min_size=1, max_size=6))
def test_rows_as_they_were_written_are_a_whole_chain(facts: list[dict[str, Any]]) -> None:
    rows = make_chain(facts)

    assert first_break(rows, start=START, end=link_of(rows[-1])) is None


@given(st.lists(FACTS, min_size=2, max_size=6), st.data())
def test_any_single_change_of_the_rows_is_found(
    facts: list[dict[str, Any]], data: st.DataObject
) -> None:
    rows = make_chain(facts)
    at, other = data.draw(
        st.lists(st.integers(0, len(rows) - 1), min_size=2, max_size=2, unique=True)
    )
    mutated = data.draw(st.sampled_from(MUTATIONS))(rows, at, other)

    broken = first_break(mutated, start=START, end=link_of(rows[-1]))

    assert isinstance(broken, Break)
    assert broken.seq <= max(at, other) + 2


def test_a_chain_that_was_cut_off_with_its_head_is_found_by_the_copy(any_store: Store) -> None:
    rows = [append_row(any_store, make_row(n)) for n in range(3)]

    assert first_break(rows, start=START, end=link_of(rows[1])) is not None
    assert first_break(rows[:1], start=START, end=link_of(rows[1])) == Break(
        seq=2, problem="is missing"
    )


def test_a_row_is_appended_once_and_only_at_the_end(any_store: Store) -> None:
    first = append_row(any_store, make_row(1, {"limit": 1.0, "legs": ("a",)}))
    again = append_row(any_store, replace(make_row(1), actor="another"))

    assert (first.seq, first.previous_sha256, again) == (1, GENESIS, first)
    with pytest.raises(VersionConflict):
        any_store.append_audit(sealed(make_row(2), Link(seq=3, sha256="x")))
    assert any_store.audit_rows(0, 10) == [first]
    assert [doc.value for doc in any_store.list(kinds.AUDIT)] == [first]


def test_what_left_the_store_stays_counted(any_store: Store) -> None:
    rows = [append_row(any_store, make_row(n)) for n in range(5)]

    any_store.trim_audit(rows[:3])
    any_store.trim_audit([])

    head = any_store.audit_head()
    assert (head.seq, head.trimmed_seq, head.rows) == (5, 3, 2)
    assert any_store.audit_rows(0, 10) == rows[3:]
    assert first_break(rows[3:], start=link_of(rows[2]), end=link_of(rows[4])) is None


def test_writers_at_once_leave_one_unbroken_chain(store: ValkeyStore) -> None:
    writers, each = 6, 40
    barrier = threading.Barrier(writers)
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        own = ValkeyStore(store.url)
        barrier.wait()
        try:
            for number in range(each):
                append_row(own, make_row(writer * each + number))
        except BaseException as failed:  # noqa: BLE001 - told by the test's own thread
            failures.append(failed)
        finally:
            own.close()

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    rows, head = store.audit_rows(0, 1_000), store.audit_head()
    assert failures == []
    assert {row.audit_id for row in rows} == {f"a{n}" for n in range(writers * each)}
    assert first_break(rows, start=START, end=Link(seq=head.seq, sha256=head.sha256)) is None
