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
    duplicated: int = 0
    unsorted_batches: int = 0
    revised: int = 0
    without_volume: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeTally:
    """What came in of one series lately."""

    source_type: str
    pair: Pair
    interval: Interval
    current: Counts = field(default_factory=Counts)
    previous: Counts = field(default_factory=Counts)
    is_misaligned: bool = False
    """The newest batch held open times off the grid."""
    total_rejected: int = 0
    total_revised: int = 0
    updated_ms: int = 0


def counted(tally: IntakeTally, batch: Counts, *, is_misaligned: bool, now_ms: int) -> IntakeTally:
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


def intake_status(tally: IntakeTally, *, now_ms: int) -> tuple[QualityStatus, str]:
    """How well the rows of a feed can be read now, and what is wrong with it."""
    counts = recent(tally, now_ms=now_ms)
    if not counts.rejected:
        return QualityStatus.OK, ""
    confidence = parse_confidence(counts)
    status = _graded(confidence, OK_CONFIDENCE, FAILED_CONFIDENCE)
    if counts.received < MIN_ROWS:
        status = QualityStatus.DEGRADED
    return status, f"{counts.rejected} of {counts.received} rows refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """One feed of one pair as one run of the quality check found it."""

    report_id: str
    run_id: str
    """The scan that made it; every report of one scan has the same."""
    source_type: str
    pair: Pair
    interval: Interval
    at_ms: int
    start_ms: int
    end_ms: int
    expected: int
    """Open times on the grid in `[start_ms, end_ms)`, without those the venue has no candle for."""
    present: int
    absent_at_venue: int
    coverage: float
    """`present` over `expected`; 1 where nothing is expected."""
    received: int
    rejected: int
    missing_fields: int
    parse_confidence: float
    duplicated: int
    revised: int
    flat: int
    """Candles without volume: accepted, and counted."""
    outliers: int
    cross_interval_mismatches: int
    drift_bps: float | None
    """Of the newest price against the second opinion that differs most; None without any."""
    status: QualityStatus
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    """What keeps it from being ok: the figure's name and what it is."""


def judged(report: QualityReport, *, source_status: str = "ok", detail: str = "") -> QualityReport:
    """Give a report its status: that of its worst figure.

    `source_status` is the freshness of the feed: a stale one is degraded, an unavailable one failed.
    """
    figures = {
        "coverage": (
            _graded(report.coverage, OK_COVERAGE, FAILED_COVERAGE),
            f"{report.present} of {report.expected} candles",
        ),
        "parse_confidence": (
            _graded(report.parse_confidence, OK_CONFIDENCE, FAILED_CONFIDENCE),
            f"{report.rejected} of {report.received} rows refused",
        ),
        "missing_fields": (
            QualityStatus.DEGRADED if report.missing_fields else QualityStatus.OK,
            f"{report.missing_fields} rows lacked a field",
        ),
        "cross_interval": (
            QualityStatus.DEGRADED if report.cross_interval_mismatches else QualityStatus.OK,
            f"{report.cross_interval_mismatches} candles differ from their minutes",
        ),
        "freshness": (
            {"ok": QualityStatus.OK, "stale": QualityStatus.DEGRADED}.get(
                source_status, QualityStatus.FAILED
            ),
            detail or source_status,
        ),
    }
    status = max((grade for grade, _ in figures.values()), key=_ORDER.index)
    reasons = {name: why for name, (grade, why) in figures.items() if grade is not QualityStatus.OK}
    return replace(report, status=status, reasons=reasons)


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
        duplicated=span.duplicated + batch.duplicated,
        unsorted_batches=span.unsorted_batches + batch.unsorted_batches,
        revised=span.revised + batch.revised,
        without_volume=span.without_volume + batch.without_volume,
    )
