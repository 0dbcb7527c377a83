"""Every family of `GET /metrics` is fed by a real source: each comes to a value here or on a whole desk.

`FED_BY_A_DESK` are those that a running desk feeds in its first minutes; `tests/cluster` waits for them.
"""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import override
from unittest import mock

import pytest

from actors import store_calls
from actors.alerts import Cause, raise_alert
from actors.heartbeat import Pulse, keep_turning
from actors.store_calls import measured, stored
from desk.counting import Counts, counted, since
from desk.errors import DeskError, FeedError, StoreUnavailable
from desk.logs import LossyLogger
from desk.market.candles import Candles
from desk.market.signals import receive
from desk.meters import METERS
from desk.store import signals
from desk.store.memory import MemoryStore
from desk.store.port import Sample
from serve_apps.metric_facts import GAUGES
from serve_apps.policy_shelf import PolicyShelf
from tests.actors.paper_session import put_version
from tests.actors.stage import Stage
from tests.actors.test_alert_delivery import Scene as Deliveries
from tests.actors.test_candle_poller import SPOILS, Feed
from tests.actors.test_gap_monitor import Watched
from tests.actors.test_reconciler import Office
from tests.actors.test_retry_queue import Queue, Work

FED_BY_A_DESK = frozenset(
    {
        "desk_decisions_total",
        "desk_decision_stage_seconds",
        "desk_risk_checks_total",
        "desk_order_transitions_total",
        "desk_order_acknowledgement_seconds",
        "desk_fills_total",
        "desk_traded_usdt_total",
        "desk_fill_slippage_bps",
        "desk_reconcile_passes_total",
        "desk_reconcile_seconds",
        "desk_venue_calls_total",
        "desk_venue_call_seconds",
        "desk_venue_turn_wait_seconds",
        "desk_candles_stored_total",
        "desk_ingestion_lag_seconds",
        "desk_candle_polls_total",
        "desk_store_call_seconds",
        "desk_http_requests_total",
        "desk_http_request_seconds",
        "desk_equity_usdt",
        "desk_cash_usdt",
        "desk_fees_usdt",
        "desk_realized_pnl_usdt",
        "desk_venue_condition",
        "desk_venue_answer_age_seconds",
        "desk_reconciled_age_seconds",
        "desk_runs",
        "desk_actors",
        "desk_actor_heartbeat_age_seconds",
        "desk_actor_resident_bytes",
        "desk_store_up",
        "desk_build_info",
        "desk_source_age_seconds",
        "desk_source_ok",
        "desk_market_time_seconds",
        "desk_venue_clock_age_seconds",
        "desk_jobs",
        "desk_versions",
        "desk_audit_rows",
        "desk_service_level_ratio",
    }
)
ELSEWHERE = {
    "desk_trace_spans_total": "tests/actors/test_trace_export.py",
    "desk_stream_messages_total": "tests/serve_apps/test_metrics.py",
    "desk_stream_resyncs_total": "tests/serve_apps/test_metrics.py",
}


def bad_and_changed_candles() -> None:
    feed = Feed()
    feed.turn()
    last = feed.store.last_candles("BTC-USDT", "1m", 1)
    feed.store.write_candles("BTC-USDT", "1m", replace(last, close=last.close + 0.5))

    def spoil(batch: Candles) -> Candles:
        rows = [batch.row(number) for number in range(len(batch))]
        return Candles.of([*rows[:-2], SPOILS["not_positive"](rows[-2]), rows[-1]])

    feed.market.spoil = spoil
    feed.turn(minutes=2)


def a_drift() -> None:
    office = Office()
    office.stage.decide(1.0)
    closed = office.stage.store_candles(1)
    asyncio.run(office.venue.settle("BTC-USDT", closed.open_ms))
    office.reconcile()


def a_correction_that_fails() -> None:
    office = Office()

    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    office.stage.decide(1.0)
    closed = office.stage.store_candles(1)
    asyncio.run(office.venue.settle("BTC-USDT", closed.open_ms))
    with mock.patch.object(office, "refresh", away):
        office.reconcile()


def a_retry() -> None:
    desk = Queue(Work(away=True))
    desk.fail()
    desk.pass_until_due()
    desk.turn()


def a_gap() -> None:
    Watched().scan()


def a_signal() -> None:
    store = MemoryStore()
    receipt = receive("feed", b'{"a": 1}', received_ms=1_700_000_000_000)
    signals.append(store, receipt)
    signals.append(store, receipt)


def answers_of_the_policy(home: Path) -> None:
    store = MemoryStore()
    put_version(store, home)
    shelf = PolicyShelf(home, store)
    size = len(Stage().decide(0.0).observation)
    asyncio.run(shelf.answer("v1", [0.0] * size, 0.0))


def a_notice() -> None:
    deliveries = Deliveries()
    deliveries.inbox.failures = [FeedError("away")]
    deliveries.tell("c1")
    deliveries.turn()


def a_turn_that_fails() -> None:
    async def turn() -> float:
        raise StoreUnavailable("away")

    async def for_a_moment() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05):
                await keep_turning(turn, Pulse("worker:one"), retry_s=0.01)

    asyncio.run(for_a_moment())


def a_store_that_stumbles() -> None:
    tries: list[int] = []

    def call() -> None:
        tries.append(1)
        if len(tries) < 2:
            raise StoreUnavailable("away")

    class NoFigures(MemoryStore):
        @override
        def record(self, samples: Sequence[Sample]) -> None:
            raise DeskError("no room")

    sample = Sample(name="n", value=1.0, unit="s", recorded_at_ms=1, tags={})
    with mock.patch.object(store_calls, "PAUSE_S", 0.001):
        asyncio.run(stored(call))
    asyncio.run(measured(NoFigures(), [sample]))


def a_full_disk() -> None:
    stream = io.StringIO()
    stream.close()
    LossyLogger(stream).msg("lost")


def an_alert() -> None:
    cause = Cause(code="late_fill", about="x", category="ops", severity="warning", detail="")
    asyncio.run(raise_alert(MemoryStore(), cause, at_ms=1))


SOURCES: dict[str, Callable[[], None]] = {
    "desk_candles_rejected_total": bad_and_changed_candles,
    "desk_candles_revised_total": bad_and_changed_candles,
    "desk_reconcile_corrections_total": a_drift,
    "desk_reconcile_errors_total": a_correction_that_fails,
    "desk_gap_events_total": a_gap,
    "desk_retry_attempts_total": a_retry,
    "desk_signals_total": a_signal,
    "desk_alert_deliveries_total": a_notice,
    "desk_alerts_raised_total": an_alert,
    "desk_actor_turns_failed_total": a_turn_that_fails,
    "desk_store_repeats_total": a_store_that_stumbles,
    "desk_samples_lost_total": a_store_that_stumbles,
    "desk_log_lines_lost_total": a_full_disk,
}
OF_THE_POLICY = ("desk_policy_batch_rows", "desk_policy_pass_seconds", "desk_policy_loads_total")


@pytest.mark.parametrize("name", [*SOURCES, *OF_THE_POLICY])
def test_a_counter_moves_with_what_it_counts(name: str, tmp_path: Path) -> None:
    before = counted()

    if name in SOURCES:
        SOURCES[name]()
    else:
        answers_of_the_policy(tmp_path)

    moved = since(counted(), before)[name]
    assert sum(sum(values[: len(METERS[name].buckets) + 1]) for values in moved.values()) > 0


def test_a_trade_on_paper_moves_what_orders_and_money_are_counted_by() -> None:
    before, stage = counted(), Stage()

    decision = stage.decide(1.0)
    stage.next_candle()

    moved: Counts = since(counted(), before)
    [order] = stage.orders()
    assert moved["desk_decisions_total"]["trade", ""] == (1.0,)
    stages = moved["desk_decision_stage_seconds"]
    assert {labels[0] for labels in stages} == set(decision.latency_ms)
    assert stages["total",][-1] == pytest.approx(decision.latency_ms["total"] / 1000)
    assert moved["desk_risk_checks_total"]["paper", "approved"] == (1.0,)
    states = {labels[1] for labels in moved["desk_order_transitions_total"]}
    assert {"sending", "open"} <= states
    assert sum(moved["desk_order_acknowledgement_seconds"]["paper", "accepted"][:-1]) == 1
    assert moved["desk_fills_total"]["paper",] == (1.0,)
    notional = float(order.filled_quantity * order.average_price)
    assert moved["desk_traded_usdt_total"]["paper",][0] == pytest.approx(notional)
    assert sum(moved["desk_fill_slippage_bps"]["paper",][:-1]) == 1


def test_every_family_is_fed_somewhere() -> None:
    here = {*SOURCES, *OF_THE_POLICY, *ELSEWHERE}

    assert {*METERS} <= here | FED_BY_A_DESK
    assert here | FED_BY_A_DESK <= {*METERS, *GAUGES}
