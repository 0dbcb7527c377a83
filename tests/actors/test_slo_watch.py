"""Service levels over hours of market time: one alert while a level is missed, closed when it is met."""

import asyncio

import pytest

from actors.slo_watch import STATE_KEY, SloWatch, Thresholds
from desk.clock import HOUR_MS, MINUTE_MS
from desk.runs import Alert, SourceStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Sample
from tests.actors.stage import BEGIN_MS, MarketTime


class Hours:
    """A store that fills with samples while market time passes."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), MarketTime(BEGIN_MS)

    def minutes(self, count: int, name: str, value: float, **tags: str) -> None:
        for _ in range(count):
            self.clock.advance(MINUTE_MS)
            now_ms = self.clock.now_ms()
            sample = Sample(name=name, value=value, unit="", recorded_at_ms=now_ms, tags=tags)
            self.store.record([sample])

    def look(self) -> int:
        """A fresh watch each time: it remembers nothing but the store."""
        thresholds = Thresholds(decision_latency_ms=1500, ingestion_lag_s=120, slippage_bps=50)
        return asyncio.run(SloWatch(self.store, self.clock, thresholds).judge_all())

    def alert(self, code: str) -> Alert | None:
        found = self.store.get(kinds.ALERTS, f"{code}:desk")
        return found.value if found else None

    def candles_until(self, last_event_ms: int, *, enabled: bool = True) -> None:
        row = SourceStatus(
            source_type="bingx_candles",
            pair="BTC-USDT",
            interval="1m",
            enabled=enabled,
            status="ok",
            freshness_threshold_s=120,
            last_event_ms=last_event_ms,
            last_success_ms=last_event_ms,
        )
        self.store.put(kinds.SOURCES, "bingx_candles:BTC-USDT:1m", row, at_ms=0)


@pytest.fixture
def hours() -> Hours:
    return Hours()


@pytest.mark.parametrize(
    ("code", "metric", "values"),
    [
        ("slo_decision_latency", "decision_latency_ms", (200.0, 1600.0, 1400.0)),
        ("slo_ingestion_lag", "ingestion_lag_seconds", (2.0, 130.0, 110.0)),
        ("slo_slippage", "slippage_bps", (5.0, 60.0, 45.0)),
    ],
)
def test_a_missed_level_is_one_alert_until_it_is_well_met(
    hours: Hours, code: str, metric: str, values: tuple[float, float, float]
) -> None:
    good, bad, near = values
    hours.minutes(30, metric, good)
    assert (hours.look(), hours.alert(code)) == (0, None)

    hours.minutes(110, metric, bad)
    assert hours.look() == hours.look() == 1
    missed = hours.alert(code)
    assert missed is not None
    assert (missed.status, missed.category, missed.count) == ("open", "slo", 2)
    assert (missed.metric, float(missed.value)) == (metric, bad)
    assert float(missed.threshold) == {"slo_decision_latency": 1500, "slo_ingestion_lag": 120}.get(
        code, 50
    )

    hours.minutes(110, metric, near)
    assert hours.look() == 1

    hours.minutes(110, metric, good)
    assert hours.look() == 0
    met = hours.alert(code)
    assert met is not None
    assert met.status == "resolved"


def test_only_the_whole_of_a_latency_is_promised(hours: Hours) -> None:
    hours.minutes(60, "decision_latency_ms", 9_000.0, stage="policy")
    hours.minutes(60, "decision_latency_ms", 90.0, stage="total")

    assert hours.look() == 0


def test_candles_that_never_come_miss_the_level_without_a_sample(hours: Hours) -> None:
    hours.candles_until(hours.clock.now_ms())
    assert hours.look() == 0

    hours.clock.advance(4 * MINUTE_MS)
    assert hours.look() == 1
    hours.candles_until(hours.clock.now_ms(), enabled=False)
    assert hours.look() == 0


def test_a_quiet_desk_misses_nothing(hours: Hours) -> None:
    hours.minutes(60, "decision_latency_ms", 9_000.0)
    assert hours.look() == 1

    hours.clock.advance(25 * HOUR_MS)

    assert hours.look() == 0
    facts = hours.store.get(kinds.STATE, STATE_KEY)
    assert facts is not None
    assert [level["value"] for level in facts.value["levels"]] == [None, None, None]


def test_a_market_that_runs_fast_is_given_the_time_that_requests_take(hours: Hours) -> None:
    hours.clock.speed = 60.0
    hours.minutes(60, "ingestion_lag_seconds", 300.0)

    assert hours.look() == 0
