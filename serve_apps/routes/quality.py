"""Data quality: what each feed delivered of what it should have, and the rows that were refused."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from actors.source_book import CANDLES
from desk.clock import DAY_MS
from desk.errors import BadInput
from desk.ids import Pair, parse_pair
from desk.market import bar_closes, cross, quality
from desk.market.candles import Candles
from desk.market.coverage import spans
from desk.market.gaps import GapStatus, Run, missing_count
from desk.market.interval import Interval, interval_ms, last_closed_open_ms, parse_interval
from desk.market.quality import Counts
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import Context, Ctx
from serve_apps.paging import Windowed
from serve_apps.parameters import AnyInterval, AnyPair
from serve_apps.schemas import CoverageSpan, FeedQuality, Page, RefusedRowView

router = APIRouter(tags=["data sources"])

JUDGED_MS = DAY_MS
"""Coverage is judged over the newest market day, from the oldest stored candle on."""
SHOWN_ROWS = 20
MOST_BUCKETS = 400


@dataclass(frozen=True, slots=True)
class Map:
    """How a series is drawn as a map: at most so many spans of a period (default: all of it)."""

    interval: AnyInterval = None
    buckets: Annotated[int | None, Query(ge=1, le=MOST_BUCKETS)] = None


Mapped = Annotated[Map, Depends()]


@router.get("/data-quality/status")
def read_quality(
    ctx: Ctx,
    wanted_map: Mapped,
    window: Windowed,
    pair: AnyPair = None,
) -> Page[FeedQuality]:
    """Judge the candle feeds now: coverage, unreadable rows, revisions, and the newest refused rows.

    With `buckets` (and one `pair` and `interval`) also which parts of `start_ms` to `end_ms` are there.
    """
    wanted = parse_pair(pair) if pair else None
    interval_wanted = parse_interval(wanted_map.interval) if wanted_map.interval else None
    if wanted_map.buckets and not (wanted and interval_wanted):
        missing = "interval" if wanted else "pair"
        raise BadInput(missing, "was not given: a map is of one pair and interval")
    statuses = {
        (row.pair, row.interval): row.status
        for row in lookups.sources(ctx)
        if row.source_type == CANDLES
    }
    items = [
        _feed(ctx, each, interval, statuses.get((each, interval), "unavailable"))
        for each in ctx.facts.pairs
        if wanted in {None, each}
        for interval in ctx.facts.intervals
        if interval_wanted in {None, interval}
    ]
    if wanted_map.buckets:
        period = window.start_ms, window.end_ms
        items = [
            item.model_copy(update={"spans": _spans(ctx, item, period, wanted_map.buckets)})
            for item in items
        ]
    return Page(items=items)


def _spans(
    ctx: Context, feed: FeedQuality, period: tuple[int | None, int | None], count: int
) -> list[CoverageSpan]:
    pair, interval = parse_pair(feed.pair), parse_interval(feed.interval)
    bounds = ctx.candles.bounds(pair, interval)
    start_ms, end_ms = period
    if end_ms is None or end_ms > feed.end_ms:
        end_ms = feed.end_ms  # what has not closed is not missing
    if start_ms is None:
        start_ms = bounds[0] if bounds else feed.start_ms
    if start_ms >= end_ms:
        return []
    candles = ctx.candles.read(pair, interval, start_ms, end_ms)
    found = spans(
        candles.open_ms,
        interval,
        start_ms=start_ms,
        end_ms=end_ms,
        count=count,
        begins_ms=bounds[0] if bounds else None,
        absent=_runs_absent(ctx, pair, interval, start_ms, end_ms),
    )
    return [
        CoverageSpan(
            start_ms=one.start_ms, end_ms=one.end_ms, expected=one.expected, present=one.present
        )
        for one in found
    ]


def _feed(ctx: Context, pair: Pair, interval: Interval, source_status: str) -> FeedQuality:
    now_ms, step_ms = ctx.clock.now_ms(), interval_ms(interval)
    bounds = ctx.candles.bounds(pair, interval)
    end_ms = last_closed_open_ms(now_ms, interval) + step_ms
    start_ms = end_ms - max(JUDGED_MS // step_ms, 1) * step_ms
    if bounds is not None:
        start_ms = min(max(start_ms, bounds[0]), end_ms)
    candles = ctx.store.read_candles(pair, interval, start_ms, end_ms)
    mismatches = 0
    if interval != "1m":
        minutes = ctx.store.read_candles(pair, "1m", start_ms, end_ms)
        mismatches = len(cross.mismatches(minutes, candles, "1m", interval))
    doc = ctx.store.get(kinds.INTAKE, f"{pair}:{interval}")
    tally = doc.value if doc else None
    absent = _absent(ctx, pair, interval, start_ms, end_ms)
    report = quality.judge(
        expected=(end_ms - start_ms) // step_ms - absent,
        present=len(candles),
        counts=quality.recent(tally, now_ms=now_ms) if tally else Counts(),
        mismatches=mismatches,
        source_status=source_status,
    )
    rows = ctx.store.list(kinds.quarantine(pair, interval), limit=SHOWN_ROWS)
    return FeedQuality(
        source_type=CANDLES,
        pair=pair,
        interval=interval,
        status=report.status.value,
        reasons=dict(report.reasons),
        start_ms=start_ms,
        end_ms=end_ms,
        expected=report.expected,
        present=report.present,
        absent_at_venue=absent,
        coverage=report.coverage,
        received=report.counts.received,
        rejected=report.counts.rejected,
        missing_fields=report.counts.missing_fields,
        parse_confidence=report.parse_confidence,
        without_volume=report.counts.without_volume,
        cross_interval_mismatches=report.mismatches,
        second_feed_bps=_second_feed_bps(ctx, pair, candles, interval),
        total_rejected=tally.total_rejected if tally else 0,
        total_revised=tally.total_revised if tally else 0,
        quarantine=[
            RefusedRowView(
                raw=row.value.raw,
                reason=row.value.reason,
                open_ms=row.value.open_ms,
                first_seen_ms=row.value.first_seen_ms,
                last_seen_ms=row.value.last_seen_ms,
                count=row.value.count,
            )
            for row in rows
        ],
    )


def _second_feed_bps(
    ctx: Context, pair: Pair, candles: Candles, interval: Interval
) -> float | None:
    """What the gate compares, with the other feeds' closes as they are now."""
    doc = ctx.store.get(kinds.BAR_CLOSES, pair)
    return bar_closes.drift_bps(candles, interval, doc.value.closes) if doc else None


def _absent(ctx: Context, pair: Pair, interval: Interval, start_ms: int, end_ms: int) -> int:
    """Candles of the period that the venue is proven not to have."""
    runs = _runs_absent(ctx, pair, interval, start_ms, end_ms)
    return sum(missing_count(run, interval) for run in runs)


def _runs_absent(
    ctx: Context, pair: Pair, interval: Interval, start_ms: int, end_ms: int
) -> list[Run]:
    step_ms = interval_ms(interval)
    gaps = [doc.value for doc in ctx.store.list(kinds.GAPS, start_ms=start_ms, limit=lookups.MANY)]
    inside = [
        (max(gap.start_ms, start_ms), min(gap.end_ms, end_ms - step_ms))
        for gap in gaps
        if (gap.pair, gap.interval, gap.status) == (pair, interval, GapStatus.ABSENT_AT_VENUE)
    ]
    return [run for run in inside if run[0] <= run[1]]
