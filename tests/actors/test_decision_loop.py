"""The decision loop with the real ledger, executor and paper venue, without Ray: once per candle."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from actors import decision_loop, source_book
from actors.candle_messages import CandleClosed
from actors.decision_loop import TURN_S
from actors.decision_scene import silence
from actors.order_executor import Execute
from actors.source_book import CANDLES, key_of, new_status
from desk import runs
from desk.clock import MINUTE_MS
from desk.errors import ArtifactRefused
from desk.market.candles import Candles
from desk.market.gaps import GapEvent, GapStatus
from desk.market.interval import interval_ms
from desk.market.quality import IntakeTally
from desk.runs import Action, DecisionRecord, PauseLift, RunStatus, SourcePolicy, SourceStatus
from desk.store import kinds
from desk.store.port import Event, Stream
from desk.trading import invariants, risk
from desk.trading.orders import Order, OrderEvent, OrderState, Side
from desk.trading.risk import Approved
from desk.venues.port import MarkPrice
from tests.actors.fakes import PAIR
from tests.actors.stage import BEGIN_MS, Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_decision_to_be_long_becomes_one_order_that_fills_at_the_next_open(stage: Stage) -> None:
    record = stage.decide(1.0)
    stage.next_candle()

    [order], [fill] = stage.orders(), stage.fills()
    assert (record.action, record.client_order_ids) == (Action.TRADE, (order.client_order_id,))
    assert order.state is OrderState.FILLED
    assert fill.filled_ms == record.open_ms + MINUTE_MS + 1_000
    assert stage.held == order.quantity == fill.quantity
    assert order.quantity * order.reference_price <= 1_000


def test_the_story_carries_one_trace_id_from_candle_to_fill(stage: Stage) -> None:
    record = stage.decide(1.0)
    stage.next_candle()

    told = stage.store.read_events({Stream.ORDERS: "0-0", Stream.OPS: "0-0"})
    story = [event.topic for event in told if event.trace_id == record.trace_id]
    assert {"order", "fill", "decision"} <= set(story)
    assert {order.trace_id for order in stage.orders()} == {record.trace_id}


def test_keeping_a_position_makes_no_order(stage: Stage) -> None:
    stage.decide(1.0)

    record = stage.decide(1.0)

    assert record.action is Action.KEEP
    assert len(stage.orders()) == 1


def test_a_flip_closes_the_whole_position_and_opens_the_other_side(stage: Stage) -> None:
    stage.decide(1.0)
    stage.decide(1.0)
    held = stage.held

    record = stage.decide(-1.0)
    stage.next_candle()

    entry, exit_, opposite = stage.orders()
    assert len(record.client_order_ids) == 2
    assert (exit_.side, exit_.quantity, exit_.reduce_only) == (Side.SELL, held, True)
    assert exit_.trade_id == entry.trade_id
    assert opposite.trade_id == opposite.client_order_id
    assert stage.held == -opposite.quantity < 0


def test_the_agent_can_go_flat(stage: Stage) -> None:
    stage.decide(1.0)
    stage.decide(0.0)
    stage.next_candle()

    assert stage.held == 0
    assert [order.reduce_only for order in stage.orders()] == [False, True]


def test_a_candle_delivered_twice_is_one_decision_and_one_order(stage: Stage) -> None:
    stage.policy.target = 1.0
    closed = stage.next_candle()

    async def all_at_once() -> None:
        await asyncio.gather(*(stage.loop.on_candle_closed(closed) for _ in range(5)))

    asyncio.run(all_at_once())
    stage.tell(closed)

    assert len(stage.decisions()) == 1
    assert len(stage.orders()) == 1
    assert len(stage.policy.asked) == 1


def test_what_a_turn_knew_of_the_run_decides_nothing_once_it_is_otherwise(stage: Stage) -> None:
    stage.decide(0.0)
    asyncio.run(stage.loop.turn())
    stage.policy.target = 1.0
    stage.change_run(lambda run: runs.pause(run, "operator"))

    stage.tell(stage.next_candle())

    assert len(stage.decisions()) == 1
    assert stage.orders() == []
    assert len(stage.policy.asked) == 2, "ahead, and in vain"


def test_a_decision_after_a_turn_stands_on_the_run_as_it_is_now(stage: Stage) -> None:
    stage.decide(0.0)
    asyncio.run(stage.loop.turn())
    tight = replace(risk.default_limits(), set_id="tight", max_position_size=Decimal(100))
    stage.store.put(kinds.RISK_LIMITS, "tight", tight, at_ms=stage.clock.now_ms())
    stage.change_run(lambda run: replace(run, risk_limit_set_id="tight"))

    record = stage.decide(1.0)
    stage.tell(_again(record))

    (order,) = stage.orders()
    assert order.quantity * order.reference_price <= 100
    assert len(stage.decisions()) == 2


def _again(record: DecisionRecord) -> CandleClosed:
    return CandleClosed(
        pair=record.pair,
        interval=record.interval,
        open_ms=record.open_ms,
        trace_id=record.trace_id,
    )


def test_two_loops_of_one_run_make_one_decision_and_one_order(stage: Stage) -> None:
    stage.policy.target = 1.0
    closed, twin = stage.next_candle(), stage.new_loop()

    async def both() -> None:
        await asyncio.gather(stage.loop.on_candle_closed(closed), twin.on_candle_closed(closed))
        await stage.executor.quiet()

    asyncio.run(both())
    stage.next_candle()

    assert len(stage.decisions()) == 1
    assert len(stage.orders()) == 1
    assert len(stage.fills()) == 1


def test_a_twin_that_wants_something_else_trades_nothing(stage: Stage) -> None:
    """The first leg and the claim leave together: whose claim is not the one gets no order."""
    stage.decide(0.5)
    closed, twin = stage.next_candle(), stage.new_loop()
    stage.policy.targets = [0.0, 1.0]  # one leaves, the other adds: their legs have different ids
    before = len(stage.orders())

    async def both() -> None:
        await asyncio.gather(stage.loop.on_candle_closed(closed), twin.on_candle_closed(closed))
        await stage.executor.quiet()

    asyncio.run(both())

    decided = stage.decisions()[0]
    placed = [order.client_order_id for order in stage.orders()[before:]]
    assert placed == list(decided.client_order_ids)
    assert decided.evidence is not None
    assert set(placed) <= set(decided.evidence.legs)


def test_an_order_waits_for_a_claim_that_is_slower_than_its_leg(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.policy.target = 1.0
    closed, claim = stage.next_candle(), stage.loop._book.claim
    known: list[int] = []

    async def late(record: DecisionRecord) -> bool:
        await asyncio.sleep(0.3)  # longer than the ledger asks again
        known.append(len(stage.orders()))
        return await claim(record)

    monkeypatch.setattr(stage.loop._book, "claim", late)
    stage.tell(closed)

    [record], [order] = stage.decisions(), stage.orders()
    assert known == [0]
    assert (record.action, record.client_order_ids) == (Action.TRADE, (order.client_order_id,))


@pytest.mark.parametrize("is_lost", [False, True])
def test_the_ledger_hands_an_order_to_the_executor_and_the_loop_does_where_that_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    asked: list[str] = []
    execute = stage.executor.execute

    async def counted(ask: Execute) -> Order:
        asked.append(ask.approved.value.client_order_id)
        return await execute(ask)

    monkeypatch.setattr(stage.executor, "execute", counted)
    stage.is_hand_over_lost = is_lost
    record = stage.decide(1.0)

    [order] = stage.orders()
    assert asked == [order.client_order_id]
    assert (record.action, order.state) == (Action.TRADE, OrderState.OPEN)
    assert {"risk", "execute"} <= set(record.stage_began_ms)
    assert record.stage_began_ms["risk"] < record.stage_began_ms["execute"]
    assert min(record.latency_ms["risk"], record.latency_ms["execute"]) > 0


@pytest.mark.catalogue("O01")
def test_an_order_that_two_ask_for_at_once_is_sent_once_and_both_hear_of_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    submit = stage.executor._talk.submit

    async def slow(order: Order) -> OrderEvent:
        sent.append(order.client_order_id)
        await asyncio.sleep(0.02)
        return await submit(order)

    monkeypatch.setattr(stage.executor._talk, "submit", slow)
    stage.is_executor_away = True
    stage.decide(1.0)
    [order] = stage.orders()
    assert order.state is OrderState.INTENT
    ask = Execute(approved=Approved(value=order, limits_set_id="default"))

    async def both() -> list[Order]:
        return list(await asyncio.gather(stage.executor.execute(ask), stage.executor.execute(ask)))

    first, second = asyncio.run(both())

    assert sent == [order.client_order_id]
    assert first == second
    assert first.state is OrderState.OPEN


@pytest.mark.parametrize("crash_at", ["claim", "approve", "execute", "complete", "decided"])
def test_a_loop_that_dies_anywhere_trades_once_after_its_restart(
    stage: Stage, crash_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.policy.target = 1.0
    closed = stage.next_candle()
    crash_after(stage, crash_at, monkeypatch)

    with pytest.raises(Killed):
        stage.tell(closed)
    monkeypatch.undo()
    restarted = stage.new_loop()
    asyncio.run(turn_until_quiet(stage, restarted))
    stage.tell(closed, restarted)
    stage.next_candle()

    [record], [order], [fill] = stage.decisions(), stage.orders(), stage.fills()
    assert (record.action, record.client_order_ids) == (Action.TRADE, (order.client_order_id,))
    assert stage.run.last_decided_open_ms == closed.open_ms
    assert stage.held == fill.quantity == order.quantity
    assert len(stage.policy.asked) == 1


def test_a_claim_whose_candle_is_over_is_not_traded_on_any_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.policy.target = 1.0
    closed = stage.next_candle()
    crash_after(stage, "claim", monkeypatch)
    stage.is_ledger_away = True  # what was on its way to it is lost
    with pytest.raises(Killed):
        stage.tell(closed)
    monkeypatch.undo()
    stage.is_ledger_away = False
    stage.policy.target = 0.0

    restarted = stage.new_loop()
    newer = stage.next_candle()
    stage.tell(newer, restarted)

    second, first = stage.decisions()
    assert (first.action, first.hold_reason) == (Action.HOLD, decision_loop.NOT_PLACED)
    assert first.client_order_ids == ()
    assert second.open_ms == newer.open_ms
    assert stage.orders() == []


def test_an_executor_that_was_away_gets_the_order_once_it_is_back(stage: Stage) -> None:
    stage.policy.target = 1.0
    closed = stage.next_candle()
    stage.is_executor_away = True
    stage.tell(closed)
    assert stage.orders()[0].state is OrderState.INTENT

    stage.is_executor_away = False
    asyncio.run(turn_until_quiet(stage, stage.loop))

    [record], [order] = stage.decisions(), stage.orders()
    assert order.state is OrderState.OPEN
    assert record.client_order_ids == (order.client_order_id,)


def test_a_ledger_that_was_away_approves_the_same_decision_once_it_is_back(stage: Stage) -> None:
    stage.policy.target = 1.0
    closed = stage.next_candle()
    stage.is_ledger_away = True
    stage.tell(closed)
    assert stage.orders() == []

    stage.is_ledger_away = False
    asyncio.run(turn_until_quiet(stage, stage.loop))

    [record], [order] = stage.decisions(), stage.orders()
    assert record.action is Action.TRADE
    assert order.state is OrderState.OPEN


def test_after_downtime_only_the_newest_candle_is_decided_on(stage: Stage) -> None:
    stage.decide(0.0)
    stage.store_candles(19)
    stage.next_candle()
    stage.policy.target = 1.0
    restarted = stage.new_loop()

    async def until_caught_up() -> None:
        await restarted.turn()
        restarted._unheard = (restarted._unheard[0], restarted._unheard[1] - 5)
        await restarted.turn()
        await stage.executor.quiet()

    asyncio.run(until_caught_up())

    newest, oldest = stage.decisions()
    assert newest.open_ms - oldest.open_ms == 20 * MINUTE_MS
    assert len(stage.orders()) == 1


def test_orders_still_in_flight_hold_the_next_decision(stage: Stage) -> None:
    stage.decide(1.0)
    closed = stage.store_candles(1)  # stored, but the paper venue has not settled it yet

    stage.tell(closed)

    assert stage.decisions()[0].hold_reason == decision_loop.ORDERS_IN_FLIGHT
    assert len(stage.orders()) == 1


@pytest.mark.catalogue("M06")
@pytest.mark.parametrize("trouble", ["error", "hang"])
def test_a_policy_that_fails_or_hangs_means_hold(stage: Stage, trouble: str) -> None:
    stage.policy.failure = ArtifactRefused("gone") if trouble == "error" else None
    stage.policy.hang_s = 5.0 if trouble == "hang" else 0.0

    record = stage.decide(1.0)

    assert (record.action, record.hold_reason) == (Action.HOLD, "policy_unavailable")
    assert record.latency_ms["policy"] < 2_500.0, "the stage's deadline is 50 ms, the hang 5 s"
    assert stage.orders() == []
    assert stage.run.status is RunStatus.RUNNING


def test_a_doubtful_policy_means_hold(stage: Stage) -> None:
    stage.policy.held = True

    record = stage.decide(1.0)

    assert (record.action, record.hold_reason) == (Action.HOLD, "low_confidence")
    assert stage.orders() == []


def test_a_limit_of_the_run_refuses_pauses_and_alerts(stage: Stage) -> None:
    limits = replace(risk.default_limits(), leverage_cap=Decimal("0.5"))
    stage.store.put(kinds.RISK_LIMITS, "default", limits, at_ms=stage.clock.now_ms())

    record = stage.decide(1.0)

    codes = [doc.value.code for doc in stage.store.list(kinds.ALERTS)]
    refusals = [
        event.data["refused"]
        for event in stage.store.read_events({Stream.RISK: "0-0"})
        if "refused" in event.data
    ]
    assert (record.action, record.hold_reason) == (Action.HOLD, "leverage_cap")
    assert stage.run.status is RunStatus.PAUSED
    assert stage.run.pause_reason == "leverage_cap"
    assert codes == ["leverage_cap"]
    assert refusals == ["leverage_cap"]
    assert stage.orders() == []


def test_a_guardrail_of_the_account_holds_without_pausing(stage: Stage) -> None:
    tight = replace(risk.default_paper_policy(), max_instrument_exposure=Decimal("0.01"))
    stage.store.put(kinds.ACCOUNT_POLICIES, "paper", tight, at_ms=stage.clock.now_ms())

    record = stage.decide(1.0)

    assert record.hold_reason == "max_instrument_exposure"
    assert stage.run.status is RunStatus.RUNNING


def test_the_kill_switch_holds(stage: Stage) -> None:
    event = Event(topic="risk", key="all", data={}, at_ms=stage.clock.now_ms())
    stage.store.set_kill("all", on=True, reason="operator", event=event)

    record = stage.decide(1.0)

    assert (record.action, record.hold_reason) == (Action.HOLD, "kill_switch")
    assert stage.orders() == []


def test_an_open_gap_in_the_window_pauses_the_run(stage: Stage) -> None:
    hole_ms = stage.next_open_ms + MINUTE_MS
    gap = GapEvent(
        gap_id="g",
        pair=PAIR,
        interval="1m",
        source_type="bingx_candles",
        start_ms=hole_ms,
        end_ms=hole_ms,
        missing_points=1,
        status=GapStatus.OPEN,
        detected_ms=hole_ms,
    )
    stage.store.put(kinds.GAPS, "g", gap, at_ms=gap.end_ms)

    record = stage.decide(1.0)

    assert record.hold_reason == "data_integrity_block"
    assert record.gates[-1].detail == "open_gap_events"
    assert stage.run.status is RunStatus.PAUSED


@pytest.mark.catalogue("D09")
def test_a_mark_price_far_from_our_candles_pauses_the_run(stage: Stage) -> None:
    at_ms = stage.next_open_ms + MINUTE_MS - 1
    seen = MarkPrice(
        pair=PAIR,
        mark=Decimal(10_000_000),
        index=Decimal(10_000_000),
        funding_rate=Decimal(0),
        next_funding_ms=0,
        at_ms=at_ms,
    )
    stage.store.put(kinds.MARKS, PAIR, seen, at_ms=at_ms)

    record = stage.decide(1.0)

    assert record.hold_reason == "data_integrity_block"
    assert record.gates[-1].detail == "cross_source_divergence"
    assert stage.run.status is RunStatus.PAUSED
    assert "cross_source_drift" in record.warnings


@pytest.mark.catalogue("D04")
def test_rows_off_the_grid_in_the_newest_batch_pause_the_run(stage: Stage) -> None:
    tally = IntakeTally(pair=PAIR, interval="1m", is_misaligned=True)
    stage.store.put(kinds.INTAKE, f"{PAIR}:1m", tally, at_ms=1)

    record = stage.decide(1.0)

    assert record.gates[-1].detail == "timestamp_misalignment"
    assert stage.run.status is RunStatus.PAUSED


@pytest.mark.catalogue("D03")
def test_a_decision_says_that_its_candles_came_in_disorder(stage: Stage) -> None:
    tally = IntakeTally(pair=PAIR, interval="1m", put_right=("candles_unsorted",))
    stage.store.put(kinds.INTAKE, f"{PAIR}:1m", tally, at_ms=1)

    record = stage.decide(1.0)

    assert record.action is Action.TRADE
    assert record.warnings == ("candles_unsorted",)


@pytest.mark.catalogue("D08")
def test_an_outlier_wick_lets_one_candle_pass_and_the_run_goes_on(stage: Stage) -> None:
    closed = stage.next_candle()
    [row] = [stage.store.last_candles(PAIR, "1m", 1).row(0)]
    stage.store.write_candles(PAIR, "1m", Candles.of([row._replace(high=row.high * 1.05)]))
    stage.policy.target = 1.0

    stage.tell(closed)
    held = stage.decisions()[0]
    after = stage.decide(1.0)

    assert (held.action, held.hold_reason) == (Action.HOLD, "outlier_wick")
    assert stage.run.status is RunStatus.RUNNING
    assert after.action is Action.TRADE
    assert "outlier_wicks" in after.warnings


def test_a_required_source_that_falls_silent_pauses_the_run_without_any_candle(
    stage: Stage,
) -> None:
    stage.decide(0.0)
    stage.clock.advance(121_000)

    asyncio.run(stage.loop.turn())

    assert stage.run.status is RunStatus.PAUSED
    assert stage.run.pause_reason == "data_source_unavailable"
    assert [doc.value.category for doc in stage.store.list(kinds.ALERTS)] == ["data"]


def set_source(stage: Stage, **changes: Any) -> None:
    key = key_of(CANDLES, PAIR, "1m")
    row = stage.store.get(kinds.SOURCES, key)
    assert row is not None
    stage.store.put(kinds.SOURCES, key, replace(row.value, **changes), at_ms=0)


def test_an_exchange_that_stays_away_pauses_the_run_and_a_poll_that_failed_once_does_not(
    stage: Stage,
) -> None:
    stage.decide(0.0)
    set_source(stage, status="unavailable", detail="no answer")

    asyncio.run(stage.loop.turn())
    first = stage.run.status
    stage.clock.advance(121_000)
    asyncio.run(stage.loop.turn())

    assert first is RunStatus.RUNNING
    assert stage.run.pause_reason == "data_source_unavailable"


def test_a_run_whose_candles_were_switched_off_pauses_once_they_are_too_old(stage: Stage) -> None:
    stage.decide(0.0)
    set_source(stage, enabled=False)

    asyncio.run(stage.loop.turn())
    first = stage.run.status
    stage.clock.advance(121_000)
    asyncio.run(stage.loop.turn())

    assert first is RunStatus.RUNNING
    assert stage.run.pause_reason == "data_integrity_block"
    [alert] = [doc.value for doc in stage.store.list(kinds.ALERTS)]
    assert "switched off" in alert.detail


def test_a_run_whose_source_has_no_status_pauses() -> None:
    assert silence([], now_ms=1, speed=1.0) == (
        "data_source_unavailable",
        "bingx_candles: has no status",
    )


def test_an_accelerated_market_leaves_processes_their_wall_seconds(stage: Stage) -> None:
    stage.decide(0.0)
    stage.clock.speed = 30.0
    stage.clock.advance(121_000 + 8_000 * 29)

    asyncio.run(stage.loop.turn())

    assert stage.run.status is RunStatus.RUNNING


def test_a_paused_run_decides_nothing(stage: Stage) -> None:
    stage.change_run(lambda run: runs.pause(run, "operator"))
    stage.policy.target = 1.0

    stage.tell(stage.next_candle())

    assert stage.decisions() == []
    assert stage.orders() == []


def test_a_starting_run_decides_on_candles_that_close_after_its_first_turn(stage: Stage) -> None:
    stage.change_run(lambda run: replace(run, status=RunStatus.STARTING))
    before = stage.next_candle()
    stage.tell(before)

    asyncio.run(stage.loop.turn())
    stage.tell(before)
    after = stage.next_candle()
    stage.tell(after)

    assert stage.run.status is RunStatus.RUNNING
    assert [record.open_ms for record in stage.decisions()] == [after.open_ms]


def test_a_run_that_follows_its_agent_asks_the_version_that_was_promoted(stage: Stage) -> None:
    stage.store.put(kinds.STATE, f"follows:{stage.run.run_id}", {"agent_id": "desk"}, at_ms=0)
    stage.decide(0.0)
    agent = stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    promoted = replace(agent.value, active_version_id="v2")
    stage.store.put(kinds.AGENTS, "desk", promoted, at_ms=0)

    record = stage.decide(0.0)

    assert stage.policy.asked == ["v1", "v1", "v2"], "ahead as before, and anew"
    assert record.version_id == stage.run.version_id == "v2"


def test_a_run_with_its_own_version_keeps_it(stage: Stage) -> None:
    agent = stage.store.get(kinds.AGENTS, "desk")
    assert agent is not None
    promoted = replace(agent.value, active_version_id="v2")
    stage.store.put(kinds.AGENTS, "desk", promoted, at_ms=0)

    record = stage.decide(0.0)

    assert record.version_id == "v1"


def test_a_day_of_random_wishes_leaves_books_that_are_their_fills(stage: Stage) -> None:
    wishes = [1.0, 1.0, -1.0, 0.0, 1.0, -1.0, -1.0, 0.0, 0.0, 1.0]

    for wish in wishes:
        stage.decide(wish)
    stage.next_candle()

    orders, fills = stage.orders(), stage.fills()
    ledger = stage.store.ledger("paper")
    assert ledger is not None
    assert len({order.client_order_id for order in orders}) == len(orders)
    assert invariants.s1_fills_make_the_order(orders, fills) == []
    assert invariants.s2_fill_is_applied_once(fills) == []
    assert invariants.s3_position_is_its_fills(ledger, fills, {}) == []


def test_the_record_says_what_it_rested_on(stage: Stage) -> None:
    record = stage.decide(1.0)

    gates = {gate.gate for gate in record.gates if gate.passed}
    assert {"run_running", "sources", "integrity", "kill_switch", "features", "policy"} <= gates
    assert {"features", "policy", "risk", "execute", "total"} <= set(record.latency_ms)
    assert len(record.observation) == 17
    assert len(record.observation_sha256) == len(record.candles_sha256) == 64
    assert record.confidence == 0.9
    assert Decimal(record.reference_price) > 0
    latencies = stage.store.samples(
        "decision_latency_ms", start_ms=0, end_ms=stage.clock.now_ms() + 1
    )
    assert {sample.tags["stage"] for sample in latencies} == set(record.latency_ms)


def test_a_source_switched_off_by_the_operator_is_not_required(stage: Stage) -> None:
    key = source_book.key_of(source_book.CANDLES, PAIR, "1m")
    row = stage.store.get(kinds.SOURCES, key)
    assert row is not None
    off = replace(row.value, enabled=False, status="unavailable")
    stage.store.put(kinds.SOURCES, key, off, at_ms=0)

    asyncio.run(stage.loop.turn())

    assert stage.run.status is RunStatus.RUNNING


class Killed(BaseException):
    """The process ended here."""


def crash_after(stage: Stage, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop die right after one of its steps has taken effect."""
    holder, name = {
        "claim": (stage.loop._book, "claim"),
        "approve": (stage, "approve"),
        "execute": (stage, "execute"),
        "complete": (stage.loop._book, "complete"),
        "decided": (stage.loop._runs, "decided"),
    }[point]
    step = getattr(holder, name)

    async def step_and_die(*arguments: object, **named: object) -> None:
        await step(*arguments, **named)
        raise Killed

    monkeypatch.setattr(holder, name, step_and_die)


async def turn_until_quiet(stage: Stage, loop: decision_loop.DecisionLoop) -> None:
    await loop.turn()
    await stage.executor.quiet()


def change_agent(stage: Stage, **changes: Any) -> None:
    row = stage.store.get(kinds.AGENTS, "desk")
    assert row is not None
    stage.store.put(kinds.AGENTS, "desk", replace(row.value, **changes), at_ms=0)


def test_a_shadow_run_decides_and_records_and_never_orders(stage: Stage) -> None:
    stage.change_run(lambda run: replace(run, is_shadow=True))

    record = stage.decide(1.0)
    flat = stage.decide(0.0)

    assert (record.action, record.hold_reason) == (runs.Action.HOLD, "shadow_mode")
    assert (record.target, record.confidence, record.client_order_ids) == (1.0, 0.9, ())
    assert record.evidence is not None
    assert len(record.evidence.legs) == 1
    assert record.gates[-1].gate == "mode"
    assert (flat.action, flat.hold_reason) == (runs.Action.KEEP, "")
    assert stage.orders() == []
    assert stage.run.status is RunStatus.RUNNING


def test_no_run_acts_on_less_than_its_agents_least_confidence(stage: Stage) -> None:
    change_agent(stage, min_confidence=0.6)
    stage.change_run(lambda run: replace(run, decision_threshold=0.2))

    record = stage.decide(1.0)

    assert stage.policy.thresholds == [0.6]
    assert record.evidence is not None
    assert record.evidence.decision_threshold == 0.6
    assert stage.run.decision_threshold == 0.2


def test_a_source_that_the_agent_requires_pauses_its_run(stage: Stage) -> None:
    change_agent(stage, source_policies={"mark_price": SourcePolicy.REQUIRED})

    record = stage.decide(1.0)

    assert record.hold_reason == "data_source_unavailable"
    assert record.warnings == ("source_stale:mark_price",)
    assert stage.run.status is RunStatus.PAUSED


def stale(stage: Stage) -> None:
    """Let the run pause for want of candles."""
    stage.decide(0.0)
    stage.clock.advance(121_000)
    asyncio.run(stage.loop.turn())
    assert stage.run.pause_reason == "data_source_unavailable"


def whole_again(stage: Stage) -> None:
    """The candles that were missing come, as a poller brings them."""
    for _ in range(3):
        stage.next_candle()


def test_a_pause_for_stale_data_lifts_by_itself_only_if_the_operator_chose_so(
    stage: Stage,
) -> None:
    stale(stage)
    whole_again(stage)
    asyncio.run(stage.loop.turn())
    assert stage.run.status is RunStatus.PAUSED

    change_agent(stage, data_pause_lift=PauseLift.AUTO)
    asyncio.run(stage.loop.turn())

    assert (stage.run.status, stage.run.pause_reason) == (RunStatus.RUNNING, "")
    [alert] = [doc.value for doc in stage.store.list(kinds.ALERTS)]
    assert alert.status == "resolved"
    [row] = [doc.value for doc in stage.store.list(kinds.AUDIT)]
    assert (row.action, row.actor) == ("run.lifted", "decision_loop")
    assert len(stage.decisions()) == 1  # what closed meanwhile is not decided on
    assert stage.decide(0.0).action is runs.Action.KEEP


def test_the_auto_rule_lifts_nothing_while_the_data_is_not_whole(stage: Stage) -> None:
    change_agent(stage, data_pause_lift=PauseLift.AUTO)
    stale(stage)

    asyncio.run(stage.loop.turn())

    assert stage.run.status is RunStatus.PAUSED


@pytest.mark.parametrize("reason", ["operator", "kill_switch", "max_daily_loss", "model_error"])
def test_the_auto_rule_lifts_no_pause_but_one_of_data(stage: Stage, reason: str) -> None:
    change_agent(stage, data_pause_lift=PauseLift.AUTO)
    stage.decide(0.0)
    stage.change_run(lambda run: runs.pause(run, reason))

    asyncio.run(stage.loop.turn())

    assert stage.run.pause_reason == reason


def test_the_auto_rule_lifts_nothing_while_the_agent_is_killed(stage: Stage) -> None:
    change_agent(stage, data_pause_lift=PauseLift.AUTO)
    stale(stage)
    whole_again(stage)
    change_agent(stage, kill_switch=True, kill_reason="storm")

    asyncio.run(stage.loop.turn())

    assert stage.run.status is RunStatus.PAUSED


def candles_as_of(last_close_ms: int) -> SourceStatus:
    return replace(
        new_status(CANDLES, PAIR, "1m"),
        status="ok",
        last_event_ms=last_close_ms,
        last_success_ms=last_close_ms,
    )


def test_a_simulated_day_of_candles_that_come_late_pauses_nothing() -> None:
    """Looked at twice a second for a day, with candles up to 20 s late and polls that fail."""
    late = np.random.default_rng(7).integers(0, 20_000, size=1_441)
    arrived = np.arange(1_441) * MINUTE_MS + late
    looks = np.arange(MINUTE_MS, 1_440 * MINUTE_MS, 500)
    newest = np.searchsorted(arrived, looks, side="right") - 1

    false_pauses = [
        int(at_ms)
        for at_ms, index in zip(looks, newest, strict=True)
        if silence(
            [candles_as_of(BEGIN_MS + int(index) * MINUTE_MS)],
            now_ms=BEGIN_MS + int(at_ms),
            speed=1.0,
        )
    ]

    assert false_pauses == []


@pytest.mark.parametrize("interval", ["1m", "5m", "1h"])
def test_silence_pauses_within_two_intervals_and_five_seconds(interval: str) -> None:
    source = replace(new_status(CANDLES, PAIR, interval), status="ok", last_event_ms=BEGIN_MS)
    two = 2 * interval_ms(interval)

    def paused_at(after_ms: int) -> bool:
        return silence([source], now_ms=BEGIN_MS + after_ms, speed=1.0) is not None

    assert not paused_at(two)
    assert paused_at(two + round((5 - TURN_S) * 1000))  # the loop looks once a second
