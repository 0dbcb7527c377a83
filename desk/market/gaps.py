"""Holes in a series of candles: where they are and what became of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from desk.ids import Pair
from desk.market.candles import Ints
from desk.market.interval import (
    CALENDAR_MS,
    Interval,
    floor_ms,
    interval_ms,
    next_open_ms,
)


class GapStatus(StrEnum):
    OPEN = "open"
    HEALING = "healing"
    RESOLVED = "resolved"
    ABSENT_AT_VENUE = "absent_at_venue"


@dataclass(frozen=True, slots=True, kw_only=True)
class GapEvent:
    """One run of missing candles; `start_ms` and `end_ms` are open times, both ends missing."""

    gap_id: str
    pair: Pair
    interval: Interval
    source_type: str
    start_ms: int
    end_ms: int
    missing_points: int
    status: GapStatus
    detected_ms: int
    attempts: int = 0
    last_attempt_ms: int = 0


type Run = tuple[int, int]
"""Open times of the first and the last missing candle of one hole."""


def find_gaps(open_ms: Ints, interval: Interval, *, start_ms: int, end_ms: int) -> list[Run]:
    """Return the runs of grid times in `[start_ms, end_ms)` that are not among `open_ms`, oldest first.

    Head, tail and inner holes alike; an empty series is one hole. Both ends of a run are missing
    open times. `open_ms` may be unsorted, repeated or off the grid.
    """
    step = interval_ms(interval)
    if interval in CALENDAR_MS:
        return _calendar_gaps(open_ms, interval, start_ms, end_ms)
    first, stop = _ceil(start_ms, step), _ceil(end_ms, step)
    if first >= stop:
        return []
    inside = (open_ms >= first) & (open_ms < stop) & (open_ms % step == 0)
    present = np.unique(open_ms[inside])
    fenced = np.concatenate(([first - step], present, [stop]))
    before = np.flatnonzero(np.diff(fenced) > step)
    return [(int(fenced[i]) + step, int(fenced[i + 1]) - step) for i in before]


def missing_count(run: Run, interval: Interval) -> int:
    """How many candles a run lacks."""
    return (run[1] - run[0]) // interval_ms(interval) + 1


# --- the life of a gap ------------------------------------------------------------------------

_PENDING = frozenset({GapStatus.OPEN, GapStatus.HEALING})


def gap_id(pair: Pair, interval: Interval, source_type: str, start_ms: int) -> str:
    """Return the id of the gap that begins at an open time: seen twice, it is one gap."""
    return f"{source_type}:{pair}:{interval}:{start_ms}"


def track(
    known: Sequence[GapEvent],
    runs: Iterable[Run],
    *,
    pair: Pair,
    interval: Interval,
    source_type: str,
    now_ms: int,
) -> list[GapEvent]:
    """Compare the holes found now with the gaps on record and return the events that changed or are new.

    A recorded gap keeps its range: its missing points are counted anew, and without any it is
    resolved, even if it had been given up. Holes outside all unresolved ranges become new gaps.
    `runs` must come from a scan that covers every range in `known`.
    """
    step = interval_ms(interval)
    standing = [event for event in known if event.status is not GapStatus.RESOLVED]
    uncovered = list(runs)
    changed: list[GapEvent] = []
    for event in standing:
        covered = (event.start_ms, event.end_ms)
        missing = sum(_overlap(run, covered, step) for run in uncovered)
        uncovered = [part for run in uncovered for part in _without(run, covered, step)]
        if not missing:
            changed.append(replace(event, status=GapStatus.RESOLVED, missing_points=0))
        elif missing != event.missing_points:
            changed.append(replace(event, missing_points=missing))
    return changed + [
        GapEvent(
            gap_id=gap_id(pair, interval, source_type, run[0]),
            pair=pair,
            interval=interval,
            source_type=source_type,
            start_ms=run[0],
            end_ms=run[1],
            missing_points=missing_count(run, interval),
            status=GapStatus.OPEN,
            detected_ms=now_ms,
        )
        for run in uncovered
    ]


def plan_heal(
    gaps: Iterable[GapEvent], *, now_ms: int, cooldown_ms: int, max_attempts: int, max_gaps: int
) -> list[GapEvent]:
    """Return the gaps to fetch again now, least tried first and then newest first.

    A gap found in HEALING was left by a crash and counts as open. Each waits `cooldown_ms` of
    market time after its last attempt.
    """
    due = [
        gap
        for gap in gaps
        if gap.status in _PENDING
        and gap.attempts < max_attempts
        and (not gap.attempts or now_ms - gap.last_attempt_ms >= cooldown_ms)
    ]
    due.sort(key=lambda gap: (gap.attempts, -gap.end_ms, gap.gap_id))
    return due[:max_gaps]


def heal_started(gap: GapEvent, *, now_ms: int) -> GapEvent:
    """The gap is being fetched: one more attempt."""
    return replace(gap, status=GapStatus.HEALING, attempts=gap.attempts + 1, last_attempt_ms=now_ms)


def heal_ended(
    gap: GapEvent, *, missing_points: int, max_attempts: int, is_answered: bool = True
) -> GapEvent:
    """What became of an attempt that left `missing_points` candles missing.

    None left: resolved. The venue answered `max_attempts` times and still lacks them: absent at the
    venue, which ends healing. An attempt that was not answered proves nothing and is not counted.
    """
    if missing_points == 0:
        return replace(gap, status=GapStatus.RESOLVED, missing_points=0)
    attempts = gap.attempts if is_answered else max(gap.attempts - 1, 0)
    given_up = is_answered and attempts >= max_attempts
    return replace(
        gap,
        status=GapStatus.ABSENT_AT_VENUE if given_up else GapStatus.OPEN,
        missing_points=missing_points,
        attempts=attempts,
    )


def _calendar_gaps(open_ms: Ints, interval: Interval, start_ms: int, end_ms: int) -> list[Run]:
    """Holes of an interval with an anchor of its own: one run for each missing open time."""
    present = {floor_ms(int(at_ms), interval) for at_ms in open_ms}
    at_ms = next_open_ms(start_ms - 1, interval)
    runs: list[Run] = []
    while at_ms < end_ms:
        if at_ms not in present:
            runs.append((at_ms, at_ms))
        at_ms = next_open_ms(at_ms, interval)
    return runs


def _ceil(at_ms: int, step: int) -> int:
    return -(-at_ms // step) * step


def _overlap(run: Run, covered: Run, step: int) -> int:
    first, last = max(run[0], covered[0]), min(run[1], covered[1])
    return (last - first) // step + 1 if first <= last else 0


def _without(run: Run, covered: Run, step: int) -> list[Run]:
    """The parts of a run before and after a covered range."""
    before = (run[0], min(run[1], covered[0] - step))
    after = (max(run[0], covered[1] + step), run[1])
    if run[1] < covered[0] or run[0] > covered[1]:
        return [run]
    return [part for part in (before, after) if part[0] <= part[1]]
