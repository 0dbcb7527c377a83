"""Ingestion runs: counts add up whatever the order, and an end says what happened."""

from dataclasses import replace
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from desk.clock import HOUR_MS, MINUTE_MS
from desk.market import ingestion
from desk.market.ingestion import IngestionKind, IngestionRun, IngestionStatus, Reading

FRESH = IngestionRun(
    run_id="ing1",
    source="bingx",
    source_type="bingx_candles",
    kind=IngestionKind.POLL,
    started_ms=1_000,
    updated_ms=1_000,
)
COUNT = st.integers(0, 100)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    start = draw(st.none() | st.integers(0, 1_000))
    return Reading(
        answers=draw(st.integers(0, 1)),
        new=draw(COUNT),
        updated=draw(COUNT),
        errors=draw(COUNT),
        from_ms=start,
        to_ms=None if start is None else start + draw(st.integers(1, 100)),
    )


@given(st.lists(readings()), st.randoms())
def test_counts_are_sums_and_the_range_covers_every_reading(
    given: list[Reading], order: object
) -> None:
    run = reduce(lambda run, one: ingestion.counted(run, one, now_ms=2_000), given, FRESH)
    order.shuffle(given)  # type: ignore[attr-defined]  # hypothesis' Random
    again = reduce(lambda run, one: ingestion.counted(run, one, now_ms=2_000), given, FRESH)

    assert run == again
    for name in ("answers", "new", "updated", "errors"):
        assert getattr(run, name) == sum(getattr(one, name) for one in given)
    for one in given:
        if one.from_ms is not None and one.to_ms is not None:
            assert ingestion.has_read(run, one.from_ms, one.to_ms)
            assert run.from_ms is not None
            assert run.from_ms <= one.from_ms


@given(st.lists(readings()))
def test_a_run_fails_exactly_if_nothing_was_ever_answered(given: list[Reading]) -> None:
    run = reduce(lambda run, one: ingestion.counted(run, one, now_ms=2_000), given, FRESH)

    end = ingestion.ended(run, now_ms=3_000)

    is_failed = end.status is IngestionStatus.FAILED
    assert is_failed == (run.errors > 0 and run.answers == 0)
    assert end.finished_ms == end.updated_ms == 3_000


def test_the_end_of_a_range_is_not_in_it() -> None:
    run = ingestion.counted(FRESH, Reading(from_ms=60, to_ms=120), now_ms=1)

    assert ingestion.has_read(run, 0, 61)
    assert not ingestion.has_read(run, 0, 60)
    assert not ingestion.has_read(run, 120, 180)
    assert not ingestion.has_read(FRESH, 0, 10**9)


def test_an_error_is_cut_and_the_newest_stays() -> None:
    run = ingestion.counted(FRESH, Reading(errors=1, error="x" * 1_000), now_ms=1)
    run = ingestion.counted(run, Reading(), now_ms=1)

    assert len(run.error) == ingestion.MAX_ERROR
    assert ingestion.counted(run, Reading(error="new"), now_ms=1).error == "new"


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 60 * 60_000 - 1)), max_size=50))
def test_rows_of_a_session_stand_in_the_minute_that_brought_them(
    brought: list[tuple[int, int]],
) -> None:
    hour_ms = 471_000 * HOUR_MS
    run = replace(FRESH, hour_wall_ms=hour_ms)

    for new, after_ms in brought:
        run = ingestion.counted_in_minute(run, new, wall_ms=hour_ms + after_ms)

    assert sum(run.new_by_minute) == sum(new for new, _ in brought)
    assert len(run.new_by_minute) <= 60
    for minute, count in enumerate(run.new_by_minute):
        assert count == sum(new for new, after_ms in brought if after_ms // MINUTE_MS == minute)


def test_rows_of_another_hour_and_of_what_is_no_session_stand_in_no_minute() -> None:
    session = replace(FRESH, hour_wall_ms=HOUR_MS)

    assert ingestion.counted_in_minute(session, 5, wall_ms=2 * HOUR_MS) == session
    assert ingestion.counted_in_minute(session, 5, wall_ms=HOUR_MS - 1) == session
    assert ingestion.counted_in_minute(FRESH, 5, wall_ms=HOUR_MS) == FRESH
