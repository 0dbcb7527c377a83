"""Counts: what goes in comes out, sums are sums, and no caller's mistake makes them grow without end."""

import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk import counting, meters
from desk.counting import (
    MOST_SERIES,
    OTHER,
    Counts,
    Meter,
    added,
    as_document,
    counted,
    from_document,
    since,
)

SUFFIXES = ("_seconds", "_bytes", "_ratio", "_usdt", "_bps", "_rows")

whole = st.integers(1, 1_000).map(float)
series = st.dictionaries(
    st.tuples(st.sampled_from("abc")), st.tuples(whole, whole, whole), min_size=1, max_size=3
)
counts = st.dictionaries(st.sampled_from(["one", "two"]), series, max_size=2)


def of(meter: Meter) -> dict[tuple[str, ...], tuple[float, ...]]:
    return dict(counted().get(meter.name, {}))


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False, width=16)))
def test_a_value_falls_into_the_first_bucket_that_holds_it(values: list[float]) -> None:
    meter = Meter(f"test_{threading.get_ident()}_{id(values)}", "", (), (0.0, 1.0, 5.0))
    numbers = [value for value in values if not math.isnan(value)]
    before = of(meter).get((), (0.0,) * 5)

    for value in values:
        meter.observe(value)

    found = tuple(a - b for a, b in zip(of(meter).get((), (0.0,) * 5), before, strict=True))
    assert found[:-1] == (
        sum(value <= 0 for value in numbers),
        sum(0 < value <= 1 for value in numbers),
        sum(1 < value <= 5 for value in numbers),
        sum(value > 5 for value in numbers),
    )
    assert found[-1] == pytest.approx(sum(numbers), abs=1e-6 * (1 + sum(map(abs, numbers))))


@given(counts, counts)
def test_what_was_counted_since_a_reading_added_to_it_is_the_later_reading(
    first: Counts, more: Counts
) -> None:
    later = added(first, more)

    fresh = since(later, first)

    assert added(first, fresh) == later
    assert all(any(values) for rows in fresh.values() for values in rows.values())
    assert since(later, later) == {}


@given(counts)
def test_counts_come_back_from_the_store_as_they_went(given_counts: Counts) -> None:
    assert from_document(as_document(given_counts)) == given_counts


def test_a_histogram_whose_buckets_a_release_has_changed_begins_anew() -> None:
    old, new = {"h": {(): (1.0, 1.0, 9.0)}}, {"h": {(): (1.0, 1.0)}}

    assert added(old, new) == new


def test_labels_beyond_the_bound_share_one_series() -> None:
    meter = Meter("test_bounded_total", "", ("who", "what"))

    for number in range(MOST_SERIES + 50):
        meter.count(str(number), "x")

    assert len(of(meter)) == MOST_SERIES + 1
    assert of(meter)[OTHER, OTHER] == (50.0,)


def test_labels_that_a_family_does_not_have_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="has the labels"):
        Meter("test_labels_total", "", ("a",)).count()


def test_nothing_and_less_than_nothing_is_not_counted() -> None:
    meter = Meter("test_nothing_total", "")

    for by in (0.0, -1.0, math.nan):
        meter.count(by=by)

    assert of(meter) == {}


def test_threads_that_count_at_once_lose_nothing() -> None:
    meter = Meter("test_threads_total", "")
    threads = [
        threading.Thread(target=lambda: [meter.count() for _ in range(2_000)]) for _ in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert of(meter)[()] == (8_000.0,)


def test_every_family_says_its_unit_and_has_buckets_in_order() -> None:
    assert meters.METERS
    for name, meter in meters.METERS.items():
        assert name.startswith("desk_")
        assert meter.text.endswith(".")
        if meter.buckets:
            assert name.endswith(SUFFIXES), name
            assert list(meter.buckets) == sorted(set(meter.buckets))
        else:
            assert name.endswith("_total"), name
        assert not {"id", "run_id", "trace_id", "order", "client_order_id"} & set(meter.labels)


def test_no_two_meters_have_one_name() -> None:
    declared = [value for value in vars(meters).values() if isinstance(value, counting.Meter)]

    assert len(declared) == len(meters.METERS)
