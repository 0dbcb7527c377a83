"""How good a feed is: what it delivered of what it should have, and how much of that could be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from desk.clock import MINUTE_MS
from desk.ids import Pair
from desk.market.interval import Interval

BUCKET_MS = 15 * MINUTE_MS
"""Rows are counted in spans of this length; a feed is judged by the current and the one before."""
MIN_ROWS = 20
"""Fewer rows say nothing about the share that could be read."""

OK_COVERAGE, FAILED_COVERAGE = 0.99, 0.95
"""Less than 1 % of the intervals may be missing after healing; above 5 % a series is no series."""
OK_CONFIDENCE, FAILED_CONFIDENCE = 0.99, 0.80
"""Share of the rows that could be read and were sound."""


class QualityStatus(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"
    FAILED = "failed"


_ORDER = (QualityStatus.OK, QualityStatus.DEGRADED, QualityStatus.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Rows of a feed in one span of time."""

    begin_ms: int = 0
    received: int = 0
    rejected: int = 0
    missing_fields: int = 0
    """Rejected because a field was absent or of another type."""
    revised: int = 0
    without_volume: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeTally:
    """What came in of one series lately."""

    pair: Pair
    interval: Interval
    current: Counts = field(default_factory=Counts)
    previous: Counts = field(default_factory=Counts)
    is_misaligned: bool = False
    """The newest batch held open times off the grid."""
    put_right: tuple[str, ...] = ()
    """Warning codes: what was wrong with the order of the newest batch."""
    total_rejected: int = 0
    total_revised: int = 0
    updated_ms: int = 0


def counted(
    tally: IntakeTally,
    batch: Counts,
    *,
    is_misaligned: bool,
    now_ms: int,
    put_right: tuple[str, ...] = (),
) -> IntakeTally:
    """Add the counts of a batch that arrived at `now_ms`."""
    begin_ms = now_ms - now_ms % BUCKET_MS
    current, previous = tally.current, tally.previous
    if current.begin_ms != begin_ms:
        is_next = current.begin_ms == begin_ms - BUCKET_MS
        current, previous = Counts(begin_ms=begin_ms), current if is_next else Counts()
    return replace(
        tally,
        current=_sum(current, batch),
        previous=previous,
        is_misaligned=is_misaligned,
        put_right=put_right,
        total_rejected=tally.total_rejected + batch.rejected,
        total_revised=tally.total_revised + batch.revised,
        updated_ms=now_ms,
    )


def recent(tally: IntakeTally, *, now_ms: int) -> Counts:
    """The counts of the current span and the one before it, as far as they are not over by now."""
    begin_ms = now_ms - now_ms % BUCKET_MS
    spans = (tally.previous, tally.current)
    alive = [span for span in spans if span.begin_ms >= begin_ms - BUCKET_MS]
    total = Counts(begin_ms=alive[0].begin_ms if alive else begin_ms)
    for span in alive:
        total = _sum(total, span)
    return total


def parse_confidence(counts: Counts) -> float:
    """Share of the received rows that could be read and were sound; 1 where none came."""
    return 1.0 - counts.rejected / counts.received if counts.received else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """One feed of one pair at a moment; made by `judge`."""

    expected: int
    """Open times on the grid of the judged period, without those the venue has no candle for."""
    present: int
    coverage: float
    """`present` over `expected`; 1 where nothing is expected."""
    counts: Counts
    parse_confidence: float
    mismatches: int
    """Longer candles that are not made of their minutes."""
    status: QualityStatus
    reasons: Mapping[str, str]
    """What keeps it from being ok: the figure's name and what it is."""


def judge(
    *,
    expected: int,
    present: int,
    counts: Counts,
    mismatches: int,
    source_status: str,
) -> QualityReport:
    """Judge a feed: its status is that of its worst figure.

    `source_status` is the freshness of the feed: a stale one is degraded, an unavailable one failed.
    """
    coverage = min(present / expected, 1.0) if expected else 1.0
    confidence = parse_confidence(counts)
    read = _graded(confidence, OK_CONFIDENCE, FAILED_CONFIDENCE)
    if counts.received < MIN_ROWS and counts.rejected:
        read = QualityStatus.DEGRADED
    flaw = QualityStatus.DEGRADED
    figures = {
        "coverage": (
            _graded(coverage, OK_COVERAGE, FAILED_COVERAGE),
            f"{present} of {expected} candles",
        ),
        "parse_confidence": (read, f"{counts.rejected} of {counts.received} rows refused"),
        "missing_fields": (
            flaw if counts.missing_fields else QualityStatus.OK,
            f"{counts.missing_fields} rows lacked a field",
        ),
        "cross_interval": (
            flaw if mismatches else QualityStatus.OK,
            f"{mismatches} candles differ from their minutes",
        ),
        "freshness": (
            {"ok": QualityStatus.OK, "stale": flaw}.get(source_status, QualityStatus.FAILED),
            source_status,
        ),
    }
    return QualityReport(
        expected=expected,
        present=present,
        coverage=coverage,
        counts=counts,
        parse_confidence=confidence,
        mismatches=mismatches,
        status=max((grade for grade, _ in figures.values()), key=_ORDER.index),
        reasons={
            name: why for name, (grade, why) in figures.items() if grade is not QualityStatus.OK
        },
    )


def _graded(share: float, ok: float, failed: float) -> QualityStatus:
    if share >= ok:
        return QualityStatus.OK
    return QualityStatus.DEGRADED if share >= failed else QualityStatus.FAILED


def _sum(span: Counts, batch: Counts) -> Counts:
    return Counts(
        begin_ms=span.begin_ms,
        received=span.received + batch.received,
        rejected=span.rejected + batch.rejected,
        missing_fields=span.missing_fields + batch.missing_fields,
        revised=span.revised + batch.revised,
        without_volume=span.without_volume + batch.without_volume,
    )
