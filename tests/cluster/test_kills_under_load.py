"""Every trading actor is killed again and again while a live run trades at the exchange."""

import asyncio
import os
import time
from decimal import Decimal

import pytest

from actors.doors import ExecutorDoor, LedgerDoor
from actors.names import CANDLE_POLLER, DECISION_LOOP, ORDER_EXECUTOR, RECONCILER, RISK_LEDGER
from actors.wiring import LIVE
from desk.errors import DeskError
from desk.runs import RunStatus
from desk.trading.intents import OrderIntent
from desk.trading.orders import TERMINAL, Leg, Order, OrderState, Side
from desk.trading.risk import Approved
from desk.wallclock import wall_ms
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.cluster.live_run import (
    RUN_ID,
    compared_since,
    decided_since,
    live_orders_filled,
    start_live_run,
    stop_live_run,
)
from tests.orders.verdict import judge

KILLS = int(os.environ.get("RAYDESK_KILLS", "30"))
"""Of each actor."""
BACK_WITHIN_S = 15.0
DECISIONS = 5
PROBE_RUN_ID = "probe-under-load"
"""Of the orders that show that trading is allowed again; no loop decides for it."""

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.nightly,
    pytest.mark.timeout(300 + 5 * KILLS * 40),
]


@pytest.mark.catalogue("I01")
@pytest.mark.catalogue("I03")
@pytest.mark.catalogue("I04")
@pytest.mark.catalogue("I05")
def test_after_every_kill_trading_is_allowed_again_in_time_and_no_order_is_lost_or_doubled(
    desk: RunningDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    start_live_run(desk)
    desk.put_live_run(PROBE_RUN_ID, RunStatus.STOPPED, "ETH-USDT")
    eventually(lambda: live_orders_filled(desk, since_ms=0), within_s=60, what="live fills")
    names = [
        CANDLE_POLLER.of("BTC-USDT"),
        RISK_LEDGER.of(LIVE),
        ORDER_EXECUTOR.of(LIVE),
        RECONCILER.of(LIVE),
        DECISION_LOOP.of(RUN_ID),
    ]
    took_s: dict[str, list[float]] = {name: [] for name in names}

    for round_ in range(KILLS):
        for name in names:
            took_s[name].append(killed_and_back(desk, name, f"{round_}-{name}"))

    stop_live_run(desk)
    states = judge(desk.store, desk.simulator)
    everything = sorted(took for each in took_s.values() for took in each)
    with capsys.disabled():
        for name, each in took_s.items():
            print(f"\n{name}: n={len(each)} p50={quantile(each, 0.5):.1f} max={max(each):.1f} s")
        print(f"all: p99={quantile(everything, 0.99):.1f} s; orders {dict(states)}")
    assert quantile(everything, 0.99) <= BACK_WITHIN_S
    assert states["filled"] > len(everything)


def killed_and_back(desk: RunningDesk, name: str, probe: str) -> float:
    """Kill an actor; seconds until it is up, the exchange compared, and trading as before."""
    began_s, began_ms = time.monotonic(), wall_ms()
    old_pid = desk.kill(name)
    eventually(lambda: desk.is_back(name, old_pid), within_s=60, what=f"{name} up")
    back_ms = wall_ms()
    eventually(lambda: compared_since(desk, back_ms), within_s=60, what="a comparison")
    allowed_s = round_trip(desk, probe) - began_s
    eventually(lambda: decided_since(desk, began_ms), within_s=60, what=f"{name}: a decision")
    return allowed_s


def round_trip(desk: RunningDesk, probe: str) -> float:
    """Open a small position on the other pair; returns when its entry was taken. Then close it."""
    taken_s = traded(desk, probe, Side.BUY)
    traded(desk, probe, Side.SELL)
    return taken_s


def traded(desk: RunningDesk, probe: str, side: Side) -> float:
    """Decide until an order is filled; returns when that one was taken.

    A decision that grew too old while an actor was away is not placed, and is made anew.
    """
    for attempt in range(DECISIONS):
        decision_id = f"probe-{probe}-{attempt}"
        order = eventually(
            lambda: sent(desk, decision_id, side),  # noqa: B023 - asked here
            within_s=60,
            what=f"{side} of {probe} that passes",
        )
        taken_s = time.monotonic()
        ended = eventually(lambda: ended_order(desk, order), what=f"an end of {order}")  # noqa: B023
        if ended.state is OrderState.FILLED:
            return taken_s
        assert ended.reason == "decision_stale", ended
    pytest.fail(f"{DECISIONS} decisions of {probe} grew too old")


def ended_order(desk: RunningDesk, order: Order) -> Order | None:
    now = desk.order(order.client_order_id)
    return now if now.state in TERMINAL else None


def sent(desk: RunningDesk, decision_id: str, side: Side) -> Order | None:
    """Approve and execute, as any caller does: the same decision again while an actor is away."""
    ledger = desk.ledger(LIVE)
    exits = side is Side.SELL
    intent = OrderIntent(
        account=LIVE,
        run_id=PROBE_RUN_ID,
        decision_id=decision_id,
        pair="ETH-USDT",
        leg=Leg.EXIT if exits else Leg.ENTRY,
        side=side,
        quantity=Decimal("0.01"),
        reduce_only=exits,
        reference_price=ledger.marks["ETH-USDT"],
        decided_open_ms=ledger.marked_ms,
        trace_id=f"tr-{decision_id}",
    )
    namespace = desk.wiring.namespace

    async def send() -> Order | None:
        verdict = await LedgerDoor(LIVE, namespace=namespace).approve(intent, "small")
        if not isinstance(verdict, Approved):
            print(f"{decision_id}: {verdict}")  # shown when the test fails
            return None
        return await ExecutorDoor(LIVE, namespace=namespace).execute(verdict)

    try:
        return asyncio.run(send())
    except DeskError as away:
        print(f"{decision_id}: {away}")
        return None


def quantile(values: list[float], fraction: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]
