"""The observer's part in service levels: judged all the time, an alert while one is missed."""

from dataclasses import dataclass
from math import isfinite

import structlog

from actors.alerts import Cause, raise_alert, resolve_alert
from actors.market_time import MarketClock, acceleration_grace_ms
from actors.store_calls import stored
from desk import slo
from desk.market.interval import interval_ms, parse_interval
from desk.slo import Judged, Level
from desk.store import kinds
from desk.store.port import Store
from desk.wallclock import monotonic_s

log = structlog.stdlib.get_logger()

EVERY_S = 10.0
STATE_KEY = "service_levels"
LAG = "slo_ingestion_lag"
CANDLES = "bingx_candles"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The operator's settings."""

    decision_latency_ms: float = 1500.0
    ingestion_lag_s: float = 120.0
    slippage_bps: float = 50.0


class SloWatch:
    """Its memory is the alerts: a restart goes on with what was missed."""

    def __init__(self, store: Store, clock: MarketClock, thresholds: Thresholds) -> None:
        self._store, self._clock, self._thresholds = store, clock, thresholds
        self._looked_s = float("-inf")

    async def look(self) -> int:
        """Judge every level, where that is due; returns how many are missed."""
        if monotonic_s() - self._looked_s < EVERY_S:
            return 0
        self._looked_s = monotonic_s()
        return await self.judge_all()

    async def judge_all(self) -> int:
        """Judge every level, tell what changed, and keep the figures for the pages."""
        now_ms = self._clock.now_ms()
        # An accelerated market runs ahead of any process: its seconds are not the wall's.
        grace_s = acceleration_grace_ms(self._clock.anchor.speed) / 1000
        wanted = self._thresholds
        found = [
            await stored(lambda level=level: self._judge(level, now_ms))
            for level in slo.levels(
                latency_ms=wanted.decision_latency_ms,
                lag_s=wanted.ingestion_lag_s + grace_s,
                slippage_bps=wanted.slippage_bps,
            )
        ]
        for judged in found:
            await self._tell(judged, now_ms)
        fact = {"at_ms": now_ms, "levels": [_fact(judged) for judged in found]}
        await stored(lambda: self._store.put(kinds.STATE, STATE_KEY, fact, at_ms=now_ms))
        return sum(judged.missed for judged in found)

    def _judge(self, level: Level, now_ms: int) -> Judged:
        alert = self._store.get(kinds.ALERTS, _alert_id(level))
        was_missed = alert is not None and alert.value.status != "resolved"
        values = self._values(level, now_ms - slo.RECENT_MS, now_ms)
        if len(values) < level.least:
            values = self._values(level, now_ms - slo.LONGEST_MS, now_ms)
        floor = self._overdue_s(now_ms) if level.code == LAG else None
        return slo.judge(level, values, was_missed=was_missed, floor=floor)

    def _values(self, level: Level, start_ms: int, now_ms: int) -> list[float]:
        samples = self._store.samples(level.metric, start_ms=max(start_ms, 0), end_ms=now_ms + 1)
        # A latency has stages; only the whole of it is promised.
        return [one.value for one in samples if one.tags.get("stage", "total") == "total"]

    def _overdue_s(self, now_ms: int) -> float | None:
        """How long the latest of the candles that are polled should have been there: one that never
        comes leaves no sample."""
        late: list[int] = [
            now_ms - row.last_event_ms - interval_ms(parse_interval(row.interval))
            for doc in self._store.list(kinds.SOURCES, limit=1_000)
            if (row := doc.value).source_type == CANDLES and row.enabled and row.last_event_ms
        ]
        return max(max(late) / 1000, 0.0) if late else None

    async def _tell(self, judged: Judged, now_ms: int) -> None:
        level = judged.level
        alert_id = _alert_id(level)
        if not judged.missed:
            await stored(lambda: resolve_alert(self._store, alert_id, at_ms=now_ms))
            return
        cause = Cause(
            code=level.code,
            about="desk",
            category="slo",
            severity="warning",
            detail=f"{level.metric} is {judged.value:.4g} {level.unit} (p95 of the newest"
            f" {judged.samples}), promised are {level.threshold:.4g}",
            metric=level.metric,
            value=f"{judged.value:.6g}",
            threshold=f"{level.threshold:.6g}",
        )
        log.warning("service_level_missed", level=level.code, value=judged.value)
        await raise_alert(self._store, cause, at_ms=now_ms)


def _alert_id(level: Level) -> str:
    return f"{level.code}:desk"


def _fact(judged: Judged) -> dict[str, object]:
    return {
        "code": judged.level.code,
        "metric": judged.level.metric,
        "unit": judged.level.unit,
        "threshold": judged.level.threshold,
        "value": judged.value if judged.value is None or isfinite(judged.value) else None,
        "samples": judged.samples,
        "missed": judged.missed,
    }
