"""From a batch as the venue sent it to stored candles: inspected, closed, sound, each time the same."""

from dataclasses import dataclass

import numpy as np
import structlog

from actors.alerts import Cause, raise_alert
from actors.events import ops_event
from actors.heartbeat import Pulse
from actors.store_calls import stored
from desk.clock import Clock
from desk.ids import Pair
from desk.market import integrity
from desk.market.candles import Candle, Candles
from desk.market.integrity import Verdict
from desk.market.interval import Interval
from desk.store.port import Store

log = structlog.stdlib.get_logger()

REVISION_ALERT = 0.001
"""A closed candle whose close moved by more than this fraction afterwards is worth an alert."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a batch brought: its sound closed candles, oldest first, and how many were new."""

    candles: Candles
    added: int


class CandleIntake:
    """The one way of a pair's candles into the store."""

    def __init__(self, pair: Pair, store: Store, clock: Clock, pulse: Pulse) -> None:
        self._pair, self._store, self._clock, self._pulse = pair, store, clock, pulse

    async def take(self, interval: Interval, batch: Candles) -> Taken:
        """Store what is sound; report what was not, and what differs from what was stored."""
        verdict = integrity.inspect(batch, interval, now_ms=self._clock.now_ms())
        candles = verdict.candles
        if verdict.rejected:
            await self._report_rejected(interval, verdict)
        if not len(candles):
            return Taken(candles=candles, added=0)
        await self._report_revised(interval, candles)
        added = await stored(lambda: self._store.write_candles(self._pair, interval, candles))
        self._pulse.count("candles", added)
        return Taken(candles=candles, added=added)

    async def _report_rejected(self, interval: Interval, verdict: Verdict) -> None:
        self._pulse.count("candles_rejected", len(verdict.rejected))
        row, reason = verdict.rejected[0]
        detail = f"{len(verdict.rejected)} candles of {self._pair} {interval}: {reason} at {row[0]}"
        await self._alert("candles_rejected", interval, "warning", detail)

    async def _report_revised(self, interval: Interval, fresh: Candles) -> None:
        first_ms, last_ms = int(fresh.open_ms[0]), int(fresh.open_ms[-1])
        known = await stored(
            lambda: self._store.read_candles(self._pair, interval, first_ms, last_ms + 1)
        )
        for before, after in revisions(known, fresh):
            self._pulse.count("candles_revised")
            event = ops_event(
                "candle_revised",
                f"{self._pair}:{interval}",
                {"t": before.open_ms, "before": list(before[1:]), "after": list(after[1:])},
                at_ms=self._clock.now_ms(),
            )
            await stored(lambda event=event: self._store.emit(event))
            if abs(after.close / before.close - 1.0) > REVISION_ALERT:
                detail = f"{self._pair} {interval} at {before.open_ms}: close {before.close} became {after.close}"
                await self._alert("candle_revised", interval, "warning", detail)

    async def _alert(self, code: str, interval: Interval, severity: str, detail: str) -> None:
        cause = Cause(
            code=code,
            about=f"{self._pair}:{interval}",
            category="data",
            severity=severity,
            detail=detail,
        )
        await raise_alert(self._store, cause, at_ms=self._clock.now_ms())


def revisions(known: Candles, fresh: Candles) -> list[tuple[Candle, Candle]]:
    """Rows of both (each sorted and unique) with one open time and different values: before, after."""
    _, at, of = np.intersect1d(
        known.open_ms, fresh.open_ms, assume_unique=True, return_indices=True
    )
    pairs = [(known.row(int(i)), fresh.row(int(j))) for i, j in zip(at, of, strict=True)]
    return [(before, after) for before, after in pairs if before != after]
