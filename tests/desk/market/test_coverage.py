"""Spans of a series: every candle is in one of them, and nothing is missing that was never there."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market.coverage import spans
from desk.market.gaps import find_gaps


@given(
    st.sets(st.integers(0, 300), max_size=300),
    st.integers(-20, 200),
    st.integers(1, 300),
    st.integers(1, 40),
)
def test_spans_lie_side_by_side_and_hold_every_candle_of_the_period(
    slots: set[int], first: int, length: int, count: int
) -> None:
    open_ms = np.array(sorted(slots), dtype=np.int64) * MINUTE_MS
    start_ms, end_ms = first * MINUTE_MS, (first + length) * MINUTE_MS
    begins_ms = int(open_ms[0]) if len(open_ms) else None

    made = spans(
        open_ms, "1m", start_ms=start_ms, end_ms=end_ms, count=count, begins_ms=begins_ms, absent=[]
    )

    assert 1 <= len(made) <= count
    assert (made[0].start_ms, made[-1].end_ms) == (start_ms, end_ms)
    assert all(one.end_ms == two.start_ms for one, two in pairwise(made))
    inside = open_ms[(open_ms >= start_ms) & (open_ms < end_ms)]
    assert sum(span.present for span in made) == len(inside)
    known_ms = max(start_ms, begins_ms) if begins_ms is not None else end_ms
    holes = find_gaps(inside, "1m", start_ms=known_ms, end_ms=end_ms) if known_ms < end_ms else []
    missing = sum((last - gone) // MINUTE_MS + 1 for gone, last in holes)
    assert sum(span.expected - span.present for span in made) == missing


def test_what_the_venue_does_not_have_is_not_missed() -> None:
    open_ms = np.array([0, 1, 2, 6, 7, 8, 9], dtype=np.int64) * MINUTE_MS

    made = spans(
        open_ms,
        "1m",
        start_ms=0,
        end_ms=10 * MINUTE_MS,
        count=2,
        begins_ms=0,
        absent=[(3 * MINUTE_MS, 4 * MINUTE_MS)],
    )

    assert [(span.expected, span.present) for span in made] == [(3, 3), (5, 4)]


def test_before_the_first_candle_nothing_is_expected_and_without_a_period_there_is_no_span() -> (
    None
):
    open_ms = np.array([8, 9], dtype=np.int64) * MINUTE_MS

    made = spans(
        open_ms,
        "1m",
        start_ms=0,
        end_ms=10 * MINUTE_MS,
        count=2,
        begins_ms=8 * MINUTE_MS,
        absent=[],
    )

    assert [(span.expected, span.present) for span in made] == [(0, 0), (2, 2)]
    assert not spans(
        open_ms, "1m", start_ms=5, end_ms=5, count=3, begins_ms=8 * MINUTE_MS, absent=[]
    )
