"""The grid of every interval, also of those that the calendar anchors."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import DAY_MS, HOUR_MS, from_iso
from desk.market.candles import Candle, Candles, closed_only
from desk.market.gaps import find_gaps
from desk.market.integrity import inspect
from desk.market.interval import (
    ALL_INTERVALS,
    CALENDAR_MS,
    close_ms,
    floor_ms,
    interval_ms,
    is_aligned,
    last_closed_open_ms,
    next_open_ms,
    slot_ms,
)

TIMES = st.integers(from_iso("2010-01-01"), from_iso("2060-01-01"))
INTERVALS = st.sampled_from(ALL_INTERVALS)


def one(open_ms: int) -> Candles:
    return Candles.of([Candle(open_ms, 1.0, 2.0, 0.5, 1.5, 3.0)])


@given(TIMES, INTERVALS)
def test_every_moment_lies_in_one_candle_whose_neighbours_join(at_ms: int, interval: str) -> None:
    open_ms, following_ms = floor_ms(at_ms, interval), next_open_ms(at_ms, interval)

    assert open_ms <= at_ms < following_ms
    assert floor_ms(following_ms, interval) == following_ms
    assert floor_ms(following_ms - 1, interval) == open_ms
    assert int(close_ms(np.array([open_ms]), interval)[0]) == following_ms
    assert last_closed_open_ms(following_ms, interval) == open_ms
    assert open_ms % slot_ms(interval) == 0


@pytest.mark.catalogue("D11")
def test_weeks_begin_on_mondays_and_months_on_their_first_day_utc() -> None:
    monday = datetime.fromtimestamp(floor_ms(from_iso("2026-02-26"), "1w") / 1000, UTC)

    assert (monday.weekday(), monday.hour) == (0, 0)
    assert floor_ms(from_iso("2024-02-29T23:59:59"), "1M") == from_iso("2024-02-01")
    assert next_open_ms(from_iso("2024-02-01"), "1M") == from_iso("2024-03-01")
    assert last_closed_open_ms(from_iso("2024-03-15"), "1M") == from_iso("2024-02-01")


@pytest.mark.parametrize(
    ("month", "end"), [("2023-02-01", "2023-03-01"), ("2024-12-01", "2025-01-01")]
)
def test_a_month_is_stored_once_its_last_day_is_over(month: str, end: str) -> None:
    candle, end_ms = one(from_iso(month)), from_iso(end)

    assert len(closed_only(candle, "1M", end_ms - 1)) == 0
    assert len(closed_only(candle, "1M", end_ms)) == 1
    assert len(inspect(candle, "1M", now_ms=end_ms - 1).candles) == 0
    assert len(inspect(candle, "1M", now_ms=end_ms).candles) == 1


@pytest.mark.catalogue("D04")
@pytest.mark.parametrize("interval", ALL_INTERVALS)
def test_a_time_off_the_grid_is_refused_for_every_interval(interval: str) -> None:
    aligned_ms = floor_ms(from_iso("2026-01-20"), interval)

    verdicts = [
        inspect(one(aligned_ms + off), interval, now_ms=aligned_ms + 100 * DAY_MS)
        for off in (0, 1_000)
    ]

    assert [len(verdict.candles) for verdict in verdicts] == [1, 0]
    assert verdicts[1].blocks == ("timestamp_misalignment",)


@pytest.mark.parametrize("interval", CALENDAR_MS)
def test_any_midnight_is_taken_for_an_interval_that_the_venue_anchors(interval: str) -> None:
    midnights = from_iso("2026-01-01") + DAY_MS * np.arange(9, dtype=np.int64)

    assert is_aligned(midnights, interval).all()
    assert not is_aligned(midnights + 8 * HOUR_MS, interval).any()  # spot's days began at UTC+8


@pytest.mark.catalogue("D01")
@pytest.mark.parametrize("interval", CALENDAR_MS)
def test_gaps_of_calendar_intervals_are_found_wherever_the_venue_anchors_them(
    interval: str,
) -> None:
    start_ms, end_ms = from_iso("2025-01-01"), from_iso("2026-01-01")
    grid = [next_open_ms(start_ms - 1, interval)]
    while (following := next_open_ms(grid[-1], interval)) < end_ms:
        grid.append(following)
    shift = DAY_MS if interval != "1M" else 0
    present = np.array([at + shift for at in grid if at != grid[4]], dtype=np.int64)

    assert find_gaps(present, interval, start_ms=start_ms, end_ms=end_ms) == [(grid[4], grid[4])]


def test_lengths_rise_in_the_order_of_the_list() -> None:
    lengths = [interval_ms(interval) for interval in ALL_INTERVALS]

    assert lengths == sorted(lengths)
    assert len(lengths) == 15
