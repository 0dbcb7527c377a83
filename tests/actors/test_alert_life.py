"""Alerts over a store: raised, counted, acknowledged, closed by themselves, and counted anew."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.alert_life import AlertLife
from actors.alerts import Cause, raise_alert, resolve_alert
from actors.run_book import RunBook
from desk import runs
from desk.alert_codes import CODES
from desk.clock import HOUR_MS, ManualClock
from desk.market.gaps import GapEvent, GapStatus
from desk.runs import ActorStatus, Alert, SourceStatus
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.venue_health import Condition, VenueHealth
from desk.wallclock import wall_ms
from tests.actors.stage import BEGIN_MS, RUN_ID, Stage


class Desk:
    """A store, a clock and the observer's look at alerts."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), ManualClock(BEGIN_MS)

    def tell(self, code: str, about: str, severity: str = "warning") -> None:
        cause = Cause(code=code, about=about, category="ops", severity=severity, detail="")
        asyncio.run(raise_alert(self.store, cause, at_ms=self.clock.now_ms()))

    def change(self, alert_id: str, status: str, **parts: int) -> None:
        doc = self.store.get(kinds.ALERTS, alert_id)
        assert doc is not None
        changed = replace(doc.value, status=status, **parts)
        self.store.put(kinds.ALERTS, alert_id, changed, at_ms=doc.at_ms)

    def alert(self, alert_id: str) -> Alert:
        doc = self.store.get(kinds.ALERTS, alert_id)
        assert doc is not None
        return doc.value

    def look(self) -> int:
        return AlertLife(self.store, self.clock).close_all()


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_cause_that_lasts_is_counted_and_stays_acknowledged(desk: Desk) -> None:
    desk.tell("foreign_order", "paper:x")
    desk.change("foreign_order:paper:x", "acknowledged", raised_wall_ms=1, acknowledged_wall_ms=7)
    begun_wall_ms = wall_ms()
    desk.clock.advance(60_000)
    desk.tell("foreign_order", "paper:x")

    found = desk.alert("foreign_order:paper:x")
    assert found.raised_wall_ms >= begun_wall_ms
    assert found.acknowledged_wall_ms == 7
    assert (found.status, found.count, found.created_ms) == ("acknowledged", 2, BEGIN_MS)

    desk.tell("foreign_order", "paper:x", "critical")
    assert desk.alert("foreign_order:paper:x").status == "open"


def test_one_that_comes_back_after_its_end_counts_anew(desk: Desk) -> None:
    for _ in range(3):
        desk.tell("foreign_order", "paper:x")
    resolve_alert(desk.store, "foreign_order:paper:x", at_ms=BEGIN_MS)
    desk.clock.advance(60_000)
    desk.tell("foreign_order", "paper:x")

    found = desk.alert("foreign_order:paper:x")
    assert (found.status, found.count, found.created_ms) == ("open", 1, BEGIN_MS + 60_000)


def test_one_that_is_raised_while_it_is_being_closed_stays_open(desk: Desk) -> None:
    desk.tell("late_fill", "c1")
    seen = desk.store.get(kinds.ALERTS, "late_fill:c1")
    assert seen is not None
    desk.tell("late_fill", "c1")

    resolve_alert(desk.store, "late_fill:c1", at_ms=BEGIN_MS, seen_version=seen.version)

    assert desk.alert("late_fill:c1").status == "open"


def test_what_happened_lapses_and_what_needs_an_eye_waits_for_it(desk: Desk) -> None:
    desk.tell("candles_rejected", "BTC-USDT:1m")
    desk.tell("illegal_transition", "c1", "critical")
    assert desk.look() == 0

    desk.clock.advance(CODES["candles_rejected"].lapse_ms)
    assert desk.look() == 1
    assert desk.alert("candles_rejected:BTC-USDT:1m").status == "resolved"

    desk.change("illegal_transition:c1", "acknowledged")
    assert desk.look() == 1


def test_the_alert_of_a_pause_ends_with_the_pause() -> None:
    stage = Stage()
    book = RunBook(stage.store, stage.clock)
    life = AlertLife(stage.store, stage.clock)
    alert_id = f"data_source_unavailable:{RUN_ID}"
    asyncio.run(book.pause(RUN_ID, "data_source_unavailable", category="data"))
    stage.clock.advance(48 * HOUR_MS)

    assert life.close_all() == 0
    asyncio.run(book.change(RUN_ID, runs.resume))
    assert life.close_all() == 1

    found = stage.store.get(kinds.ALERTS, alert_id)
    assert found is not None
    assert found.value.status == "resolved"


def breaker(state: BreakerState) -> Callable[[MemoryStore], None]:
    row = Breaker(account="paper", state=state)
    return lambda store: _put(store, kinds.BREAKERS, "paper", row)


def venue(condition: Condition) -> Callable[[MemoryStore], None]:
    row = VenueHealth(account="live", condition=condition)
    return lambda store: _put(store, kinds.VENUES, "live", row)


def actor(status: str) -> Callable[[MemoryStore], None]:
    row = ActorStatus(
        name="reconciler:paper",
        role="reconciler",
        node="",
        pid=1,
        epoch=0,
        restarts=0,
        started_wall_ms=0,
        last_heartbeat_wall_ms=0,
        rss_bytes=0,
        status=status,
    )
    return lambda store: _put(store, kinds.ACTORS, row.name, row)


def gap(status: GapStatus) -> Callable[[MemoryStore], None]:
    row = GapEvent(
        gap_id="g1",
        pair="BTC-USDT",
        interval="1m",
        source_type="bingx_candles",
        start_ms=0,
        end_ms=0,
        missing_points=1,
        status=status,
        detected_ms=0,
    )
    return lambda store: _put(store, kinds.GAPS, "g1", row)


def feed(status: str) -> Callable[[MemoryStore], None]:
    row = SourceStatus(
        source_type="signals",
        pair="",
        interval="",
        enabled=True,
        status=status,
        freshness_threshold_s=1,
        last_event_ms=0,
        last_success_ms=0,
        source_id="tv",
    )
    return lambda store: _put(store, kinds.SOURCES, "signals:tv", row)


def _put(store: MemoryStore, kind, key: str, row) -> None:
    store.put(kind, key, row, at_ms=0)


@pytest.mark.parametrize(
    ("code", "about", "ill", "well"),
    [
        ("circuit_breaker", "paper", breaker(BreakerState.COOLDOWN), breaker(BreakerState.OK)),
        ("exchange_maintenance", "live", venue(Condition.AWAY), venue(Condition.WELL)),
        ("exchange_ban", "live", venue(Condition.BANNED), venue(Condition.AWAY)),
        ("actor_quarantined", "reconciler:paper", actor("quarantined"), actor("restarting")),
        ("candle_gap", "BTC-USDT:1m", gap(GapStatus.OPEN), gap(GapStatus.RESOLVED)),
        ("feed_route_failed", "tv", feed("unavailable"), feed("ok")),
    ],
)
def test_a_condition_ends_its_alert_when_its_row_is_well(
    desk: Desk, code: str, about: str, ill, well
) -> None:
    ill(desk.store)
    desk.tell(code, about)
    desk.clock.advance(48 * HOUR_MS)

    assert desk.look() == 0
    well(desk.store)
    assert desk.look() == 1
    assert desk.alert(f"{code}:{about}").status == "resolved"
