"""Time: integer milliseconds, the market clock and its texts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import DAY_MS, HOUR_MS, ClockAnchor, ManualClock, from_iso, to_iso
from desk.errors import BadInput
from desk.market.interval import (
    INTERVAL_MS,
    floor_ms,
    interval_ms,
    last_closed_open_ms,
    parse_interval,
)

TIMES = st.integers(0, 4_102_444_800_000)


@given(TIMES)
def test_a_time_survives_its_text(at_ms: int) -> None:
    assert from_iso(to_iso(at_ms)) == at_ms


def test_texts_are_utc_whatever_zone_they_name() -> None:
    assert to_iso(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert from_iso("2023-11-15T06:13:20+08:00") == 1_700_000_000_000
    assert from_iso("2023-11-14") == from_iso("2023-11-14T00:00:00Z")
    with pytest.raises(ValueError, match="soon"):
        from_iso("soon")


@pytest.mark.catalogue("D11")
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])
def test_D11_the_zone_of_the_machine_changes_no_time(
    zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        days = [from_iso(f"2026-03-{day:02d}") for day in range(1, 31)]
        texts = [to_iso(day) for day in days]
    finally:
        monkeypatch.undo()
        time.tzset()

    assert {later - day for day, later in pairwise(days)} == {DAY_MS}
    assert all(text.endswith("T00:00:00.000Z") for text in texts)


def test_a_fast_market_runs_at_its_speed() -> None:
    anchor = ClockAnchor(market_ms=1_000_000, wall_ms=500, speed=30.0)

    assert anchor.market_at(500) == 1_000_000
    assert anchor.market_at(2_500) == 1_060_000
    assert anchor.wall_seconds(60_000) == 2.0


def test_a_manual_clock_stands_until_it_is_moved() -> None:
    clock = ManualClock(5)

    clock.advance(10)
    moved = clock.now_ms()
    clock.set(7)

    assert (moved, clock.now_ms()) == (15, 7)


@given(TIMES, st.sampled_from(sorted(INTERVAL_MS)))
def test_the_last_closed_candle_has_closed_and_the_next_has_not(at_ms: int, interval: str) -> None:
    step, open_ms = interval_ms(interval), last_closed_open_ms(at_ms, interval)

    assert open_ms % step == 0
    assert open_ms + step <= at_ms < open_ms + 2 * step
    assert floor_ms(at_ms, interval) == open_ms + step


def test_an_unknown_interval_lists_the_known_ones() -> None:
    assert parse_interval("1h") == "1h"
    assert interval_ms("1h") == HOUR_MS
    with pytest.raises(BadInput, match="1m 3m 5m"):
        parse_interval("7m")


@pytest.mark.parametrize(
    ("round_trip_ms", "error_ms"), [(0, 120_000), (4_000, 120_000), (9_000, 270_000)]
)
def test_a_reading_may_be_wrong_by_half_of_its_round_trip(
    round_trip_ms: int, error_ms: int
) -> None:
    anchor = ClockAnchor(market_ms=0, wall_ms=0, speed=60.0, round_trip_ms=round_trip_ms)

    assert anchor.error_ms == error_ms
