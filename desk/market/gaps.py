"""Holes in a series of candles: where they are and what became of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

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

_FULL = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Presence:
    """Which open times of a grid have a candle: one bit each, 197 KB for three years of minutes.

    Slot i is the open time `start_ms + i * step_ms`; its bit is bit `7 - i % 8` of `bits[i // 8]`.
    """

    start_ms: int
    """On the grid."""
    step_ms: int
    count: int
    """Slots; nothing is present outside them."""
    bits: NDArray[np.uint8]
    """uint8[8 * ceil(count / 64)]: whole words, the rest of the last one 0; not to be changed."""

    @classmethod
    def of(cls, open_ms: Ints, interval: Interval) -> "Presence":
        """The slots from the first to the last of open times that may be unsorted, repeated or off
        the grid (those are left out)."""
        step = interval_ms(interval)
        slots = open_ms // step  # by a constant: several times as fast as `divmod`
        is_on_grid = slots * step == open_ms
        if not np.all(is_on_grid):
            slots = slots[is_on_grid]
        if not len(slots):
            return cls(start_ms=0, step_ms=step, count=0, bits=np.zeros(0, dtype=np.uint8))
        first = int(slots.min())
        count = int(slots.max()) - first + 1
        present = np.zeros(64 * -(-count // 64), dtype=np.bool_)
        present[slots - first] = True
        return cls(start_ms=first * step, step_ms=step, count=count, bits=np.packbits(present))

    @property
    def end_ms(self) -> int:
        """End of the slots, exclusive."""
        return self.start_ms + self.count * self.step_ms

    def gaps(self, start_ms: int, end_ms: int) -> list[Run]:
        """Return the runs of grid times in `[start_ms, end_ms)` without a candle, oldest first.

        Head, tail and inner holes alike; an empty series is one hole. Both ends of a run are missing
        open times.
        """
        step = self.step_ms
        first, stop = _ceil(start_ms, step), _ceil(end_ms, step)
        if first >= stop:
            return []
        low, high = max(first, self.start_ms), min(stop, self.end_ms)
        if low >= high:
            return [(first, stop - step)]
        edges = _zero_runs(self.bits, (low - self.start_ms) // step, (high - self.start_ms) // step)
        ends: list[int] = (self.start_ms + step * edges).tolist()
        if first < low:
            ends = [first, *ends[1:]] if ends and ends[0] == low else [first, low, *ends]
        if high < stop:
            ends = [*ends[:-1], stop] if ends and ends[-1] == high else [*ends, high, stop]
        return [(begin, end - step) for begin, end in zip(ends[::2], ends[1::2], strict=True)]


def find_gaps(open_ms: Ints, interval: Interval, *, start_ms: int, end_ms: int) -> list[Run]:
    """Return the runs of grid times in `[start_ms, end_ms)` that are not among `open_ms`.

    `open_ms` may be unsorted, repeated or off the grid; the runs are those of `Presence.gaps`, for an
    interval that the venue anchors one run for each missing candle.
    """
    if interval in CALENDAR_MS:
        return _calendar_gaps(open_ms, interval, start_ms, end_ms)
    inside = open_ms[(open_ms >= start_ms) & (open_ms < end_ms)]
    return Presence.of(inside, interval).gaps(start_ms, end_ms)


def _zero_runs(bits: NDArray[np.uint8], first: int, stop: int) -> Ints:
    """Where zeros begin and end among the slots `[first, stop)`: begin, end, begin, end, …

    A bit that differs from the one before it is an edge. Only words of 64 slots that are not full, and
    those behind them, are looked at, and only those with an edge unpacked: the time goes with the
    words, not with the slots, however long or many the holes.
    """
    base = first // 64
    words = bits.view(">u8")[base : -(-stop // 64)]
    may_have = words.view(np.uint64) != _FULL
    may_have[1:] |= may_have[:-1].copy()
    may_have[0] = may_have[-1] = True
    at = np.flatnonzero(may_have)
    values, before = words[at].astype(np.uint64), words[at - 1].astype(np.uint64)
    # What is before the first slot and after the last counts as present.
    before[0] = 1
    values[0] |= _FULL ^ (_FULL >> np.uint64(first % 64))
    if stop % 64:
        values[-1] |= _FULL >> np.uint64(stop % 64)
    edges = values ^ (values >> np.uint64(1) | before << np.uint64(63))
    has_edge = edges != 0
    at, edges = at[has_edge], edges[has_edge]
    slots = np.flatnonzero(np.unpackbits(edges.astype(">u8").view(np.uint8)).view(np.bool_))
    found = 64 * (base + at[slots >> 6]) + (slots & 63)
    return np.append(found, stop) if len(found) % 2 else found


def missing_ends(
    open_ms: Ints, interval: Interval, *, start_ms: int, end_ms: int
) -> list[tuple[int, int]]:
    """Return the head and the tail of `[start_ms, end_ms)` that have no candle, half-open.

    None, one or both; holes further in are none of its business. `interval` is one that a run may
    decide on: its open times are multiples of its length.
    """
    step = interval_ms(interval)
    first, stop = _ceil(start_ms, step), _ceil(end_ms, step)
    inside = open_ms[(open_ms >= first) & (open_ms < stop)]
    if first >= stop:
        return []
    if not len(inside):
        return [(first, stop)]
    ends = [(first, int(inside.min())), (int(inside.max()) + step, stop)]
    return [window for window in ends if window[0] < window[1]]


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
    max_gaps: int | None = None,
) -> list[GapEvent]:
    """Return the gaps to fetch again now: those whose last attempt is longest ago, then the newest.

    A gap found in HEALING was left by a crash and counts as open, its last attempt too. What was
    tried often enough is absent: one that is not, though it had its attempts, was cut short at the
    last of them, or fewer are wanted since, and has one more. Each waits `cooldown_ms` of
    market time after an attempt that counted. Attempts that proved nothing do not count, so the
    order is by time and not by attempts: one that is never answered must not starve the others.
    """
    due = [
        gap
        for gap in gaps
        if gap.status in _PENDING
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
