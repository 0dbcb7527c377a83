"""The rows of the gap ledger: read once a scan, written with their event, old ones forgotten."""

from collections import defaultdict
from collections.abc import Sequence

import structlog

from actors.alerts import Cause, raise_alert
from actors.audit import Did, with_audit
from actors.events import ops_event
from actors.store_calls import measured, stored
from desk import meters
from desk.clock import Clock
from desk.ids import Pair
from desk.market.gaps import GapEvent, GapStatus
from desk.market.interval import Interval
from desk.store import kinds
from desk.store.port import Sample, Store

log = structlog.stdlib.get_logger()

KNOWN_LIMIT = 20_000
"""Rows read in one scan. More gaps than that in the range of a scan are found again, not doubled:
the id of a gap is made of its place."""

_ENDED = {
    GapStatus.RESOLVED: "gap.resolved",
    GapStatus.ABSENT_AT_VENUE: "gap.absent_at_venue",
}

type Series = tuple[Pair, Interval]


class GapBook:
    """Written by the gap monitor alone."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def standing(self) -> dict[Series, list[GapEvent]]:
        """The gaps that are not resolved, by series."""
        docs = await stored(lambda: self._store.list(kinds.GAPS, limit=KNOWN_LIMIT))
        found: dict[Series, list[GapEvent]] = defaultdict(list)
        for gap in (doc.value for doc in docs):
            if gap.status is not GapStatus.RESOLVED:
                found[gap.pair, gap.interval].append(gap)
        return found

    async def put(self, gap: GapEvent) -> None:
        """Store a gap and say so."""
        event = ops_event(
            "gap",
            gap.gap_id,
            {
                "gap_id": gap.gap_id,
                "pair": gap.pair,
                "interval": gap.interval,
                "start_ms": gap.start_ms,
                "end_ms": gap.end_ms,
                "missing_points": gap.missing_points,
                "status": gap.status.value,
                "attempts": gap.attempts,
            },
            at_ms=self._clock.now_ms(),
        )
        if gap.status in _ENDED:
            did = Did(
                actor="gap_monitor",
                action=_ENDED[gap.status],
                resource=f"gap/{gap.gap_id}",
                before={},
                after={"attempts": gap.attempts, "missing_points": gap.missing_points},
            )
            event = with_audit(event, did)
        meters.GAPS.count(gap.status.value)
        # Sorted by the last missing open time: a decision reads those that touch its window.
        await stored(
            lambda: self._store.put(kinds.GAPS, gap.gap_id, gap, at_ms=gap.end_ms, event=event)
        )

    async def tell(self, found: Sequence[GapEvent]) -> None:
        """Alert about gaps of one series that stay: one alert, however many there are."""
        if not found:
            return
        first = found[0]
        missing = sum(gap.missing_points for gap in found)
        log.info("candle_gap_found", gap_id=first.gap_id, gaps=len(found), missing=missing)
        cause = Cause(
            code="candle_gap",
            about=f"{first.pair}:{first.interval}",
            category="data",
            severity="warning",
            detail=f"{first.pair} {first.interval}: {missing} candles missing in {len(found)} gaps",
            metric="gap_missing_candles",
            value=str(missing),
            threshold="0",
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())

    async def close_scan(
        self, standing: Sequence[GapEvent], pairs: Sequence[Pair], *, before_ms: int
    ) -> None:
        """Note when the scan ended, record its figures, forget what was resolved long ago."""
        now_ms = self._clock.now_ms()
        pending = [gap for gap in standing if gap.status in (GapStatus.OPEN, GapStatus.HEALING)]
        absent = [gap for gap in standing if gap.status is GapStatus.ABSENT_AT_VENUE]
        fact = {"at_ms": now_ms, "open": len(pending), "absent_at_venue": len(absent)}
        await stored(lambda: self._store.put(kinds.STATE, "gap_scan", fact, at_ms=now_ms))
        samples = [
            sample
            for pair in pairs
            for sample in (
                Sample(
                    name="gap_missing_candles",
                    value=_candles_of(pair, pending),
                    unit="candles",
                    recorded_at_ms=now_ms,
                    tags={"pair": pair},
                ),
                Sample(
                    name="gap_absent_candles",
                    value=_candles_of(pair, absent),
                    unit="candles",
                    recorded_at_ms=now_ms,
                    tags={"pair": pair},
                ),
            )
        ]
        await measured(self._store, samples)
        await self._forget(before_ms)

    async def _forget(self, before_ms: int) -> None:
        """Gaps older than every scan's range say nothing any more."""
        docs = await stored(lambda: self._store.list(kinds.GAPS, before_ms=before_ms))
        for doc in docs:
            await stored(lambda key=doc.key: self._store.delete(kinds.GAPS, key))


def _candles_of(pair: Pair, gaps: Sequence[GapEvent]) -> float:
    return float(sum(gap.missing_points for gap in gaps if gap.pair == pair))
