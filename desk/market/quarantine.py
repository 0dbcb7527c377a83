"""Rows that may never become candles, kept as they came, with the reason."""

import hashlib
import json
from dataclasses import dataclass, replace

from desk.ids import Pair
from desk.market.interval import Interval

WRONG_TYPE, MISSING_FIELD = "wrong_type", "missing_field"
MAX_RAW = 500
"""Characters of a raw row that are kept."""


MAX_ROWS = 200
"""Rows kept of one pair and interval; the oldest are forgotten."""
MAX_OF_BATCH = 20
"""Rows of one batch that are kept; all are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that could not be stored: the text of what the source sent, and why not."""

    raw: str
    reason: str
    open_ms: int | None = None
    """None where not even the time could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedRow:
    """A refused row on record; the same row refused again is counted up."""

    row_id: str
    pair: Pair
    interval: Interval
    raw: str
    reason: str
    open_ms: int | None
    first_seen_ms: int
    last_seen_ms: int
    count: int = 1


def raw_text(item: object) -> str:
    """A row as text, cut to `MAX_RAW` and never interpreted."""
    return json.dumps(item, default=str)[:MAX_RAW]


def quarantined(row: RefusedRow, *, pair: Pair, interval: Interval, now_ms: int) -> QuarantinedRow:
    """Put a refused row on record. Long, binary or hostile text stays text, cut to `MAX_RAW`."""
    raw = row.raw[:MAX_RAW].encode("utf-8", "replace").decode("utf-8")
    digest = hashlib.sha256(f"{row.reason}\n{raw}".encode()).hexdigest()[:16]
    return QuarantinedRow(
        row_id=digest,
        pair=pair,
        interval=interval,
        raw=raw,
        reason=row.reason,
        open_ms=row.open_ms,
        first_seen_ms=now_ms,
        last_seen_ms=now_ms,
    )


def seen_again(before: QuarantinedRow, now: QuarantinedRow) -> QuarantinedRow:
    """Count a row up that was refused before."""
    return replace(now, first_seen_ms=before.first_seen_ms, count=before.count + 1)
