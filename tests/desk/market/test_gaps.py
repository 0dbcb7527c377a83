"""Where candles are missing, and what becomes of a hole."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.market.gaps import (
    GapEvent,
    GapStatus,
    Presence,
    find_gaps,
    heal_ended,
    heal_started,
    missing_count,
    plan_heal,
    track,
)

MINUTE = 60_000
START = 1_700_000_040_000 // MINUTE * MINUTE


def minutes(*numbers: int) -> np.ndarray:
    return np.array([START + number * MINUTE for number in numbers], dtype=np.int64)


def holes(*numbers: int, count: int = 10) -> list[tuple[int, int]]:
    """Gaps among the first `count` minutes as minute numbers."""
    found = find_gaps(minutes(*numbers), "1m", start_ms=START, end_ms=START + count * MINUTE)
    return [((first - START) // MINUTE, (last - START) // MINUTE) for first, last in found]


def grid_of(runs: list[tuple[int, int]], step: int) -> set[int]:
    return {at for first, last in runs for at in range(first, last + 1, step)}


@given(
    st.sets(st.integers(-5, 60)),
    st.integers(-3 * MINUTE, 50 * MINUTE),
    st.integers(0, 50 * MINUTE),
    st.sampled_from(["1m", "3m", "5m"]),
)
def test_gaps_and_candles_together_are_the_grid(
    present: set[int], offset: int, span: int, interval: str
) -> None:
    step = {"1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE}[interval]
    open_ms = np.array([START // step * step + n * step for n in present], dtype=np.int64)
    start_ms, end_ms = START + offset, START + offset + span

    gaps = grid_of(find_gaps(open_ms, interval, start_ms=start_ms, end_ms=end_ms), step)

    grid = {at for at in range(-(-start_ms // step) * step, end_ms, step)}
    candles = set(open_ms.tolist()) & grid
    assert gaps | candles == grid
    assert not gaps & candles


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ((), [(0, 9)]),
        ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9), []),
        ((3, 4, 5, 6, 7, 8, 9), [(0, 2)]),
        ((0, 1, 2, 3, 4, 5), [(6, 9)]),
        ((0, 1, 5, 6, 7, 8, 9), [(2, 4)]),
        ((4,), [(0, 3), (5, 9)]),
    ],
)
def test_regression_12_head_tail_inner_holes_and_an_empty_series_are_all_seen(
    present: tuple[int, ...], expected: list[tuple[int, int]]
) -> None:
    assert holes(*present) == expected


def test_order_repeats_and_rows_off_the_grid_change_nothing() -> None:
    messy = np.concatenate([minutes(9, 2, 2, 0, 1, 12, -4), minutes(5) + 1_000])

    found = find_gaps(messy, "1m", start_ms=START, end_ms=START + 10 * MINUTE)

    assert found == [(START + 3 * MINUTE, START + 8 * MINUTE)]
    assert missing_count(found[0], "1m") == 6


def test_a_range_without_a_grid_time_has_no_gap() -> None:
    assert find_gaps(minutes(), "1m", start_ms=START + 1, end_ms=START + MINUTE) == []
    assert find_gaps(minutes(), "1m", start_ms=START, end_ms=START) == []


@pytest.mark.parametrize("lost", [1, 10, 500])
def test_every_lost_candle_of_a_day_is_found(lost: int) -> None:
    kept = [number for number in range(1440) if not 300 <= number < 300 + lost]

    assert holes(*kept, count=1440) == [(300, 299 + lost)]


def test_a_year_of_a_real_venue_has_the_holes_its_data_sheet_counts(
    tape: Callable[[str], Path],
) -> None:
    path = tape("bitfinex_spot_BTCUSD_1m_2018.parquet")
    open_ms = pq.read_table(path, columns=["open_time"])["open_time"].to_numpy()

    found = find_gaps(open_ms, "1m", start_ms=1_514_764_800_000, end_ms=1_546_300_800_000)

    lengths = [missing_count(run, "1m") for run in found]
    assert (len(found), sum(lengths), max(lengths)) == (3_992, 5_101, 67)
    assert (lengths.count(1), sum(length >= 10 for length in lengths)) == (3_492, 18)


def test_the_outage_of_march_2023_is_one_hole_of_eighty_minutes(
    tape: Callable[[str], Path],
) -> None:
    path = tape("binance_spot_BTCUSDT_1m_2023-03-16_2023-05-01.parquet")
    open_ms = pq.read_table(path, columns=["open_time"])["open_time"].to_numpy()

    found = find_gaps(open_ms, "1m", start_ms=int(open_ms[0]), end_ms=int(open_ms[-1]) + MINUTE)

    assert [missing_count(run, "1m") for run in found] == [80]


def holes_by_differences(
    open_ms: np.ndarray, step: int, start_ms: int, end_ms: int
) -> list[tuple[int, int]]:
    """The rule in its plainest form: where two neighbours are further apart than one step."""
    first, stop = (-(-at // step) * step for at in (start_ms, end_ms))
    if first >= stop:
        return []
    inside = (open_ms >= first) & (open_ms < stop) & (open_ms % step == 0)
    fenced = np.concatenate(([first - step], np.unique(open_ms[inside]), [stop]))
    before = np.flatnonzero(np.diff(fenced) > step)
    return [(int(fenced[i]) + step, int(fenced[i + 1]) - step) for i in before]


@settings(max_examples=200)
@given(
    stretches=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200)), max_size=12),
    off_grid=st.lists(st.integers(0, 10 * MINUTE), max_size=3),
    offset=st.integers(-90 * MINUTE, 500 * MINUTE),
    span=st.integers(0, 3_000 * MINUTE),
)
def test_bits_show_the_same_holes_as_the_differences_of_open_times(
    stretches: list[tuple[int, int]], off_grid: list[int], offset: int, span: int
) -> None:
    numbers, at = list[int](), 0
    for skipped, length in stretches:
        numbers += range(at + skipped, at + skipped + length)
        at += skipped + length
    open_ms = np.concatenate([minutes(*numbers[::-1]), START + np.array(off_grid, dtype=np.int64)])
    start_ms, end_ms = START + offset, START + offset + span

    found = Presence.of(open_ms, "1m").gaps(start_ms, end_ms)

    assert found == holes_by_differences(open_ms, MINUTE, start_ms, end_ms)
    assert found == find_gaps(open_ms, "1m", start_ms=start_ms, end_ms=end_ms)


def test_three_years_of_minutes_are_two_hundred_kilobytes_of_bits() -> None:
    minute_numbers = np.delete(np.arange(3 * 525_600), [7, 8, 900_000])
    present = Presence.of(START + MINUTE * minute_numbers, "1m")

    runs = present.gaps(START, START + MINUTE * 3 * 525_600)

    assert present.bits.nbytes == 197_104
    assert [missing_count(run, "1m") for run in runs] == [2, 1]


# --- the life of a gap ------------------------------------------------------------------------


def gap(first: int, last: int, **changes: object) -> GapEvent:
    event = GapEvent(
        gap_id=f"bingx_candles:BTC-USDT:1m:{START + first * MINUTE}",
        pair="BTC-USDT",
        interval="1m",
        source_type="bingx_candles",
        start_ms=START + first * MINUTE,
        end_ms=START + last * MINUTE,
        missing_points=last - first + 1,
        status=GapStatus.OPEN,
        detected_ms=START,
    )
    return replace(event, **changes)  # pyright: ignore[reportArgumentType]


def tracked(known: list[GapEvent], *runs: tuple[int, int]) -> list[GapEvent]:
    return track(
        known,
        [(START + first * MINUTE, START + last * MINUTE) for first, last in runs],
        pair="BTC-USDT",
        interval="1m",
        source_type="bingx_candles",
        now_ms=START,
    )


def test_new_holes_become_gaps_and_known_ones_are_not_repeated() -> None:
    assert tracked([], (2, 4), (7, 7)) == [gap(2, 4), gap(7, 7)]
    assert tracked([gap(2, 4)], (2, 4)) == []


def test_a_tail_that_grows_adds_only_its_new_part() -> None:
    assert tracked([gap(6, 9)], (6, 14)) == [gap(10, 14)]


def test_a_gap_healed_in_part_counts_what_is_still_missing() -> None:
    known = gap(2, 8)

    assert tracked([known], (2, 3), (8, 8)) == [replace(known, missing_points=3)]
    assert tracked([known]) == [replace(known, status=GapStatus.RESOLVED, missing_points=0)]


def test_a_gap_given_up_is_not_found_again_but_resolves_when_candles_come() -> None:
    absent = gap(2, 4, status=GapStatus.ABSENT_AT_VENUE, attempts=5)

    assert tracked([absent], (2, 4)) == []
    assert tracked([absent]) == [replace(absent, status=GapStatus.RESOLVED, missing_points=0)]


def test_a_resolved_gap_that_opens_again_is_a_gap_again() -> None:
    resolved = gap(2, 4, status=GapStatus.RESOLVED, missing_points=0)

    assert tracked([resolved], (2, 4)) == [gap(2, 4)]


MINUTE_SETS = st.sets(st.integers(0, 40), max_size=25)


@given(MINUTE_SETS, MINUTE_SETS, MINUTE_SETS)
def test_standing_gaps_cover_exactly_what_is_missing(
    first: set[int], second: set[int], third: set[int]
) -> None:
    known: dict[str, GapEvent] = {}
    for missing in (first, second, third):
        present = minutes(*(set(range(41)) - missing))
        runs = find_gaps(present, "1m", start_ms=START, end_ms=START + 41 * MINUTE)
        standing = [event for event in known.values() if event.status is not GapStatus.RESOLVED]
        for event in track(
            standing,
            runs,
            pair="BTC-USDT",
            interval="1m",
            source_type="bingx_candles",
            now_ms=START,
        ):
            known[event.gap_id] = event

        standing = [event for event in known.values() if event.status is not GapStatus.RESOLVED]
        covered = [at for e in standing for at in range(e.start_ms, e.end_ms + 1, MINUTE)]
        assert len(covered) == len(set(covered))
        assert grid_of(runs, MINUTE) <= set(covered)
        assert sum(event.missing_points for event in standing) == len(missing)


def planned(*gaps: GapEvent, now: int = 100, most: int = 5) -> list[GapEvent]:
    return plan_heal(
        gaps,
        now_ms=START + now * MINUTE,
        cooldown_ms=30 * MINUTE,
        max_gaps=most,
    )


def test_healing_takes_the_least_tried_then_the_newest_up_to_the_cap() -> None:
    old, new, tried = gap(1, 2), gap(8, 9), gap(5, 5, attempts=1, last_attempt_ms=START)

    assert planned(tried, old, new) == [new, old, tried]
    assert planned(tried, old, new, most=2) == [new, old]


def test_a_gap_waits_for_its_cool_down_and_only_unresolved_ones_are_healed() -> None:
    waiting = gap(1, 1, attempts=1, last_attempt_ms=START + 71 * MINUTE)

    assert planned(waiting, now=100) == []
    assert planned(waiting, now=101) == [waiting]
    for status in (GapStatus.RESOLVED, GapStatus.ABSENT_AT_VENUE):
        assert planned(gap(1, 1, status=status)) == []


def test_a_gap_left_healing_by_a_crash_is_healed_again() -> None:
    for attempts in (1, 5, 6):
        left = gap(1, 1, status=GapStatus.HEALING, attempts=attempts, last_attempt_ms=START)

        assert planned(left) == [left]


def test_healing_ends_resolved_or_after_five_answers_absent_at_the_venue() -> None:
    event = gap(1, 3)
    for _ in range(4):
        event = heal_ended(heal_started(event, now_ms=START + 1), missing_points=3, max_attempts=5)
        assert event.status is GapStatus.OPEN
    healing = heal_started(event, now_ms=START + 2)

    assert (healing.status, healing.attempts) == (GapStatus.HEALING, 5)
    assert healing.last_attempt_ms == START + 2
    absent = heal_ended(healing, missing_points=3, max_attempts=5)
    resolved = heal_ended(healing, missing_points=0, max_attempts=5)
    assert absent.status is GapStatus.ABSENT_AT_VENUE
    assert (resolved.status, resolved.missing_points) == (GapStatus.RESOLVED, 0)


def test_an_attempt_without_an_answer_proves_nothing() -> None:
    event = gap(1, 3, attempts=4)

    unanswered = heal_ended(
        heal_started(event, now_ms=START), missing_points=3, max_attempts=5, is_answered=False
    )

    assert (unanswered.status, unanswered.attempts) == (GapStatus.OPEN, 4)
