"""Holes in a series of candles: where they are and what became of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from desk.ids import Pair
from desk.market.candles import Ints
from desk.market.interval import Interval, interval_ms


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


def reaches_end(
    runs: Sequence[Run], known: Iterable[GapEvent], interval: Interval, *, end_ms: int
) -> bool:
    """Whether the newest hole goes up to `end_ms` (exclusive) and is not on record in whole."""
    if not runs or runs[-1][1] + interval_ms(interval) < end_ms:
        return False
    return bool(_unknown([runs[-1]], known, interval_ms(interval)))


def known_part(runs: Iterable[Run], known: Sequence[GapEvent], interval: Interval) -> list[Run]:
    """The holes without what of the newest one is not on record."""
    runs = list(runs)
    if not runs:
        return []
    news = _unknown([runs[-1]], known, interval_ms(interval))
    tail = [runs[-1]]
    for part in news:
        tail = [rest for run in tail for rest in _without(run, part, interval_ms(interval))]
    return [*runs[:-1], *tail]


def _unknown(runs: list[Run], known: Iterable[GapEvent], step: int) -> list[Run]:
    for event in known:
        covered = (event.start_ms, event.end_ms)
        runs = [part for run in runs for part in _without(run, covered, step)]
    return runs


def plan_heal(
    gaps: Iterable[GapEvent],
    *,
    now_ms: int,
    cooldown_ms: int,
    max_attempts: int,
    max_gaps: int | None = None,
) -> list[GapEvent]:
    """Return the gaps to fetch again now: those whose last attempt is longest ago, then the newest.

    A gap found in HEALING was left by a crash and counts as open. Each waits `cooldown_ms` of
    market time after an attempt that counted. Attempts that proved nothing do not count, so the
    order is by time and not by attempts: one that is never answered must not starve the others.
    """
    due = [
        gap
        for gap in gaps
        if gap.status in _PENDING
        and gap.attempts < max_attempts
        and gap.last_attempt_ms < now_ms
        and (not gap.attempts or now_ms - gap.last_attempt_ms >= cooldown_ms)
    ]
    due.sort(key=lambda gap: (gap.last_attempt_ms, -gap.end_ms, gap.gap_id))
    return due[:max_gaps]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refetch:
    """One read of one series that covers several gaps, both ends included, and a neighbour each side.

    The later neighbour is the witness: an answer that holds it and not the hole is a proof.
    """

    pair: Pair
    interval: Interval
    start_ms: int
    end_ms: int
    gaps: tuple[GapEvent, ...]


def plan_reads(due: Iterable[GapEvent], *, page_candles: int, max_reads: int) -> list[Refetch]:
    """Put gaps that lie in one page of the venue into one read, in the order of the first of each.

    A read spans at most `page_candles` open times, neighbours included, unless one gap alone is
    longer. Gaps for which no read is left wait for the next run.
    """
    reads: list[Refetch] = []
    for gap in due:
        step = interval_ms(gap.interval)
        alone = Refetch(
            pair=gap.pair,
            interval=gap.interval,
            start_ms=gap.start_ms - step,
            end_ms=gap.end_ms + step,
            gaps=(gap,),
        )
        fits = (
            index
            for index, read in enumerate(reads)
            if (read.pair, read.interval) == (gap.pair, gap.interval)
            and (_both(read, alone).end_ms - _both(read, alone).start_ms) // step < page_candles
        )
        index = next(fits, None)
        if index is not None:
            reads[index] = _both(reads[index], alone)
        elif len(reads) < max_reads:
            reads.append(alone)
    return reads


def _both(read: Refetch, other: Refetch) -> Refetch:
    return replace(
        read,
        start_ms=min(read.start_ms, other.start_ms),
        end_ms=max(read.end_ms, other.end_ms),
        gaps=read.gaps + other.gaps,
    )


def heal_started(gap: GapEvent, *, now_ms: int) -> GapEvent:
    """The gap is being fetched: one more attempt."""
    return replace(gap, status=GapStatus.HEALING, attempts=gap.attempts + 1, last_attempt_ms=now_ms)


def heal_ended(
    gap: GapEvent, *, missing_points: int, max_attempts: int, is_answered: bool = True
) -> GapEvent:
    """What became of an attempt that left `missing_points` candles missing.

    None left: resolved. At `max_attempts` different times the venue answered with a later candle
    and without these: absent at the venue, which ends healing. An attempt without such an answer
    (`is_answered` false) proves nothing and is not counted; one that brought some of them counts as
    the first, for the venue has just shown that it does not always tell what it has.
    """
    if missing_points == 0:
        return replace(gap, status=GapStatus.RESOLVED, missing_points=0)
    attempts = gap.attempts if is_answered else max(gap.attempts - 1, 0)
    if missing_points < gap.missing_points:
        attempts = min(attempts, 1)
    given_up = is_answered and attempts >= max_attempts
    return replace(
        gap,
        status=GapStatus.ABSENT_AT_VENUE if given_up else GapStatus.OPEN,
        missing_points=missing_points,
        attempts=attempts,
    )


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
