"""Data quality: what each feed delivered of what it should have, and the rows that were refused."""

from fastapi import APIRouter

from actors.source_book import CANDLES
from desk.clock import DAY_MS
from desk.ids import Pair, parse_pair
from desk.market import bar_closes, cross, quality
from desk.market.candles import Candles
from desk.market.gaps import GapStatus, missing_count
from desk.market.interval import Interval, interval_ms, last_closed_open_ms
from desk.market.quality import Counts
from desk.store import kinds
from serve_apps import lookups
from serve_apps.context import Context, Ctx
from serve_apps.parameters import AnyPair
from serve_apps.schemas import FeedQuality, Page, RefusedRowView

router = APIRouter(tags=["data sources"])

JUDGED_MS = DAY_MS
"""Coverage is judged over the newest market day, from the oldest stored candle on."""
SHOWN_ROWS = 20


@router.get("/data-quality/status")
def read_quality(ctx: Ctx, pair: AnyPair = None) -> Page[FeedQuality]:
    """Judge the candle feeds now: coverage, unreadable rows, revisions, and the newest refused rows."""
    wanted = parse_pair(pair) if pair else None
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
    ]
    return Page(items=items)


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
    step_ms = interval_ms(interval)
    gaps = [doc.value for doc in ctx.store.list(kinds.GAPS, start_ms=start_ms, limit=lookups.MANY)]
    inside = [
        (max(gap.start_ms, start_ms), min(gap.end_ms, end_ms - step_ms))
        for gap in gaps
        if (gap.pair, gap.interval, gap.status) == (pair, interval, GapStatus.ABSENT_AT_VENUE)
    ]
    return sum(missing_count(run, interval) for run in inside if run[0] <= run[1])
