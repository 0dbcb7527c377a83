"""Cursors: every row once, whatever shares a millisecond."""

from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.store.memory import MemoryStore
from desk.store.port import Kind
from serve_apps.paging import MAX_MS, Asked, Place, Window, decode, page_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    number: int


ROWS = Kind(name="row", type=Row)


def walk(store: MemoryStore, limit: int, window: Window, wanted: int) -> list[int]:
    seen: list[int] = []
    cursor: str | None = None
    while True:
        docs, cursor = page_of(
            store,
            ROWS,
            Asked(limit, cursor),
            window=window,
            keep=lambda row: row.number % wanted == 0,
        )
        assert len(docs) <= limit
        seen += [doc.value.number for doc in docs]
        if cursor is None:
            return seen


times = st.lists(st.integers(0, 6), min_size=0, max_size=60)


@given(times, st.integers(1, 9), st.integers(1, 3), st.tuples(st.integers(0, 3), st.integers(4, 7)))
def test_walking_a_list_gives_every_wanted_row_once_newest_first(
    at_ms: list[int], limit: int, wanted: int, bounds: tuple[int, int]
) -> None:
    store = MemoryStore()
    for number, when in enumerate(at_ms):
        store.put(ROWS, f"r{number}", Row(number=number), at_ms=when)

    seen = walk(store, limit, Window(*bounds), wanted)

    fitting = [n for n, at in enumerate(at_ms) if bounds[0] <= at < bounds[1] and n % wanted == 0]
    assert sorted(seen) == fitting
    assert [at_ms[n] for n in seen] == sorted((at_ms[n] for n in seen), reverse=True)


def test_a_row_deleted_between_pages_does_not_break_the_walk() -> None:
    store = MemoryStore()
    for number in range(6):
        store.put(ROWS, f"r{number}", Row(number=number), at_ms=number)
    first, cursor = page_of(store, ROWS, Asked(2, None))
    store.delete(ROWS, first[-1].key)

    rest, _ = page_of(store, ROWS, Asked(10, cursor))

    assert [doc.value.number for doc in rest] == [3, 2, 1, 0]


@given(st.integers(0, MAX_MS), st.text(max_size=40))
def test_a_cursor_comes_back_as_it_was(at_ms: int, key: str) -> None:
    assert decode(Place(at_ms, key).encode()) == Place(at_ms, key)


@given(st.text(min_size=1, max_size=60))
def test_any_text_is_a_time_of_ours_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        place = decode(text)
        assert place is not None
        assert 0 <= place.at_ms <= MAX_MS


def test_a_window_must_not_be_empty() -> None:
    with pytest.raises(BadInput):
        Window(5, 5)
