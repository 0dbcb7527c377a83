"""What actors do by themselves is in the audit, once, whatever dies in between."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false

import asyncio
from dataclasses import replace
from decimal import Decimal

import pytest

from actors.audit_watch import AuditWatch
from actors.event_follower import EventFollower
from actors.gap_book import GapBook
from actors.run_book import RunBook
from desk.audit_chain import Link, first_break
from desk.clock import ManualClock
from desk.market.gaps import GapEvent, GapStatus
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.layout import audit_key
from desk.store.memory import MemoryStore
from desk.store.port import Event, Store
from desk.trading import ledger as books
from tests.actors.stage import BEGIN_MS, PAIR, RUN_ID, Stage


def rows_of(store: Store) -> list[AuditEvent]:
    """What the audit says after the observer followed the streams."""
    watch = AuditWatch(store, ManualClock(BEGIN_MS))
    asyncio.run(EventFollower(store, ManualClock(BEGIN_MS), [watch.hear]).turn())
    return store.audit_rows(0, 1_000)


def test_a_pause_by_an_actor_is_on_record_with_who_what_and_why() -> None:
    stage = Stage()
    runs = RunBook(stage.store, stage.clock, actor="decision_loop:run1")

    asyncio.run(runs.pause(RUN_ID, "data_source_unavailable", category="data", trace_id="tr9"))

    [row] = [row for row in rows_of(stage.store) if row.action == "run.paused"]
    assert (row.actor, row.resource, row.trace_id) == ("decision_loop:run1", f"run/{RUN_ID}", "tr9")
    assert row.before["status"] == "running"
    assert row.after == {"status": "paused", "pause_reason": "data_source_unavailable"}


def test_a_command_of_an_operator_is_left_to_its_own_row() -> None:
    stage = Stage()

    asyncio.run(RunBook(stage.store, stage.clock).pause(RUN_ID, "operator", category="ops"))

    assert [row for row in rows_of(stage.store) if row.action == "run.paused"] == []


def test_a_breaker_that_trips_and_recovers_is_on_record() -> None:
    stage = Stage()
    ledger = stage.store.ledger("paper")
    assert ledger is not None
    poor = replace(ledger, cash=books.equity(ledger) * Decimal("0.5"))
    fence = stage.ledger._fence
    event = Event(topic="position", key="paper", data={}, at_ms=BEGIN_MS)
    stage.store.move_ledger(ledger, poor, fence=fence, request_id="loss", event=event)

    asyncio.run(stage.ledger.turn())

    [row] = [row for row in rows_of(stage.store) if row.action.startswith("breaker.")]
    assert (row.actor, row.action, row.after["state"]) == (
        "risk_ledger:paper",
        "breaker.tripped",
        "cooldown",
    )


@pytest.mark.parametrize("status", [GapStatus.RESOLVED, GapStatus.ABSENT_AT_VENUE])
def test_the_end_of_a_gap_is_on_record(status: GapStatus) -> None:
    store = MemoryStore()
    gap = GapEvent(
        gap_id="g1",
        pair=PAIR,
        interval="1m",
        source_type="bingx_candles",
        start_ms=BEGIN_MS,
        end_ms=BEGIN_MS,
        missing_points=1,
        status=GapStatus.HEALING,
        detected_ms=BEGIN_MS,
    )
    book = GapBook(store, ManualClock(BEGIN_MS))

    for each in (gap, replace(gap, status=status, attempts=2)):
        asyncio.run(book.put(each))

    [row] = rows_of(store)
    assert (row.action, row.resource, row.after["attempts"]) == (f"gap.{status.value}", "gap/g1", 2)


def test_a_crash_anywhere_while_following_leaves_each_row_once() -> None:
    stage = Stage()
    runs = RunBook(stage.store, stage.clock, actor="supervisor")
    asyncio.run(runs.pause(RUN_ID, "disk_low", category="ops"))
    before = len(rows_of(stage.store))
    stage.store.delete(kinds.STATE, "observer_cursor")  # as if it had died before it was stored

    again = rows_of(stage.store)

    assert len(again) == before
    head = stage.store.audit_head()
    end = Link(seq=head.seq, sha256=head.sha256)
    assert first_break(again, start=Link(), end=end) is None


def test_a_chain_that_is_broken_is_a_critical_alert_of_the_observer() -> None:
    stage = Stage()
    runs = RunBook(stage.store, stage.clock, actor="supervisor")
    asyncio.run(runs.pause(RUN_ID, "disk_low", category="ops"))
    row = rows_of(stage.store)[0]
    watch = AuditWatch(stage.store, stage.clock)

    assert asyncio.run(watch.look())
    changed = replace(row, actor="nobody")
    stage.store.put(kinds.AUDIT, audit_key(row.seq), changed, at_ms=row.at_ms)

    assert asyncio.run(watch.look())  # not due yet
    assert not asyncio.run(AuditWatch(stage.store, stage.clock).look())
    alert = stage.store.get(kinds.ALERTS, "audit_chain_broken:audit")
    assert alert is not None
    assert (alert.value.severity, alert.value.value) == ("critical", str(row.seq))
