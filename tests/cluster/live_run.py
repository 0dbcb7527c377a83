"""A live run at the simulator, put where a start that passed every gate would put it."""

from dataclasses import replace
from decimal import Decimal

from actors.commands import StartRun
from actors.seed import AGENT_ID
from actors.start_gates import draft_plan
from actors.wiring import LIVE
from desk.runs import Mode, RunStatus
from desk.store import kinds
from desk.trading import risk
from desk.trading.orders import OrderState
from desk.wallclock import wall_ms
from tests.cluster.desk_on_ray import BUSY_VERSION, RunningDesk, eventually
from tests.orders.verdict import orders_of

RUN_ID = "live-under-load"


def compared_since(desk: RunningDesk, since_ms: int) -> bool:
    found = desk.store.get(kinds.VENUES, LIVE)
    return found is not None and found.value.seen_wall_ms > since_ms


def decided_since(desk: RunningDesk, since_ms: int) -> bool:
    """A decision of the live run on a candle that closed after a wall time."""
    clock = desk.store.get(kinds.STATE, "clock")
    assert clock is not None
    speed, anchor = clock.value["speed"], clock.value
    market_ms = anchor["market_ms"] + (since_ms - anchor["wall_ms"]) * speed
    docs = desk.store.list(kinds.decisions_of_run(RUN_ID), limit=1)
    return bool(docs) and docs[0].value.open_ms > market_ms


def start_live_run(desk: RunningDesk) -> None:
    """Put a live run where a start that passed every gate would put it; small, to trade for long."""
    now_ms = wall_ms()
    limits = risk.default_limits()
    small = replace(limits, set_id="small", max_position_size=Decimal(100))
    desk.store.put(kinds.RISK_LIMITS, "small", small, at_ms=now_ms)
    ask = StartRun(
        mode=Mode.PAPER,
        pair="BTC-USDT",
        risk_limit_set_id="small",
        version_id=BUSY_VERSION,
        decision_threshold=0.0,
    )
    # The paper run holds the pair, and live would ask for more gates than this is about.
    plan = draft_plan(
        desk.store,
        desk.wiring,
        AGENT_ID,
        ask,
        run_id=RUN_ID,
        now_ms=desk.run_row().started_ms,
    )
    run = replace(plan.run, mode=Mode.LIVE, account=LIVE)
    desk.store.put(kinds.RUNS, RUN_ID, run, at_ms=run.started_ms)


def stop_live_run(desk: RunningDesk) -> None:
    """End the run and wait until nothing of the account is on its way."""
    found = desk.store.get(kinds.RUNS, RUN_ID)
    assert found is not None
    assert found.value.status is RunStatus.RUNNING, found.value
    ended = replace(found.value, status=RunStatus.STOPPED)
    desk.store.put(kinds.RUNS, RUN_ID, ended, at_ms=ended.started_ms)
    eventually(lambda: not desk.store.active_orders(LIVE), within_s=60, what="nothing on its way")
    desk.reconcile(LIVE)


def live_orders_filled(desk: RunningDesk, since_ms: int) -> bool:
    found = [order for order in orders_of(desk.store) if order.sent_wall_ms > since_ms]
    return any(order.state is OrderState.FILLED for order in found)
