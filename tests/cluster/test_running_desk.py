"""A run trades on real parts while its actors are killed: state kept, trading goes on, nothing doubled."""

from collections import Counter
from decimal import Decimal

import pytest

from actors.names import (
    CANDLE_POLLER,
    DECISION_LOOP,
    GAP_MONITOR,
    ORDER_EXECUTOR,
    RECONCILER,
    RISK_LEDGER,
    SUPERVISOR,
)
from actors.wiring import LIVE
from desk.clock import MINUTE_MS
from desk.market.gaps import find_gaps
from desk.runs import Action, RunStatus
from desk.store import kinds
from desk.store.port import Stream
from desk.trading import invariants
from desk.trading import ledger as books
from desk.trading.ledger import Position
from desk.trading.orders import OrderState, Side
from tests.cluster.desk_on_ray import PAIRS, RunningDesk, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

TRADING_ACTORS = [
    pytest.param(CANDLE_POLLER.of("BTC-USDT"), marks=pytest.mark.catalogue("I01")),
    pytest.param(GAP_MONITOR.of(), marks=pytest.mark.catalogue("I02")),
    pytest.param(RISK_LEDGER.of("paper"), marks=pytest.mark.catalogue("I03")),
    pytest.param(ORDER_EXECUTOR.of("paper"), marks=pytest.mark.catalogue("I04")),
    pytest.param(RECONCILER.of("paper"), marks=pytest.mark.catalogue("I05")),
    pytest.param("decision_loop", id="decision_loop"),
    pytest.param(SUPERVISOR.of(), id="supervisor"),
]


@pytest.mark.parametrize("name", TRADING_ACTORS)
def test_a_killed_actor_is_back_with_its_state_and_trading_goes_on(
    desk: RunningDesk, name: str
) -> None:
    name = DECISION_LOOP.of(desk.run_id) if name == "decision_loop" else name
    eventually(desk.fills, what="a first fill")
    before, orders_before = desk.ledger(), {order.client_order_id for order in desk.orders()}
    decided, filled = len(desk.decisions()), len(desk.fills())

    old_pid = desk.kill(name)

    eventually(lambda: desk.is_back(name, old_pid), within_s=30, what=f"{name} up again")
    eventually(lambda: len(desk.decisions()) > decided + 2, what="new decisions")
    eventually(lambda: len(desk.fills()) > filled, within_s=120, what="a new fill")
    after = desk.ledger()
    assert after.version > before.version
    assert orders_before <= {order.client_order_id for order in desk.orders()}
    assert desk.run_row().status is RunStatus.RUNNING
    check_money(desk)
    check_decisions(desk)


@pytest.mark.catalogue("I08")
def test_a_killed_store_loses_nothing_and_no_actor_has_to_be_restarted(desk: RunningDesk) -> None:
    eventually(desk.fills, what="a first fill")
    pids = {doc.key: doc.value.pid for doc in desk.store.list(kinds.ACTORS)}
    before = {order.client_order_id: order.version for order in desk.orders()}
    decided, filled = len(desk.decisions()), len(desk.fills())

    desk.kill_store()

    eventually(lambda: len(desk.decisions()) > decided + 2, what="new decisions")
    eventually(lambda: len(desk.fills()) > filled, within_s=120, what="a new fill")
    after = {order.client_order_id: order.version for order in desk.orders()}
    assert {cid for cid, version in before.items() if after.get(cid, 0) < version} == set()
    assert {doc.key: doc.value.pid for doc in desk.store.list(kinds.ACTORS)} == pids
    assert desk.run_row().status is RunStatus.RUNNING
    check_money(desk)
    check_decisions(desk)


@pytest.mark.catalogue("D12")
def test_a_hung_actor_is_killed_by_its_supervisor(desk: RunningDesk) -> None:
    name = CANDLE_POLLER.of("ETH-USDT")

    old_pid = desk.freeze(name)

    eventually(lambda: desk.is_back(name, old_pid), within_s=60, what=f"{name} up again")


def test_candles_of_every_pair_stay_without_holes(desk: RunningDesk) -> None:
    for pair in PAIRS:
        earliest_ms, latest_ms, _ = desk.store.candle_bounds(pair, "1m") or (0, 0, 0)
        candles = desk.store.read_candles(pair, "1m", earliest_ms, latest_ms + MINUTE_MS)

        holes = find_gaps(candles.open_ms, "1m", start_ms=earliest_ms, end_ms=latest_ms)

        assert len(candles) > 1_440
        assert holes == []


def test_an_operators_stop_flattens_and_a_new_run_may_start(desk: RunningDesk) -> None:
    eventually(lambda: desk.ledger().positions, within_s=120, what="an open position")

    stopped = desk.stop_run(flatten=True)
    eventually(lambda: not desk.ledger().positions, within_s=60, what="a flat account")
    desk.start_run()

    assert stopped.status is RunStatus.STOPPED
    assert not [order for order in desk.orders() if order.state is OrderState.QUARANTINED]
    eventually(lambda: len(desk.decisions()) > 1, what="decisions of the new run")
    check_money(desk)


def test_a_reconciliation_finds_both_sides_equal(desk: RunningDesk) -> None:
    report = desk.reconcile()

    assert report.errors == 0
    assert [
        doc for doc in desk.store.list(kinds.ALERTS) if doc.value.code == "position_drift"
    ] == []


def test_an_order_of_the_live_account_is_sent_filled_and_closed_over_the_wire(
    desk: RunningDesk,
) -> None:
    eventually(lambda: desk.ledger(LIVE).marks.get("BTC-USDT"), what="a mark")
    seen = len(desk.simulator.journal())

    entry = desk.send_live("wire-entry", Side.BUY, "0.0050")
    eventually(lambda: desk.order(entry.client_order_id).state is OrderState.FILLED)
    held = books.held_quantity(desk.ledger(LIVE), "BTC-USDT")
    exit_ = desk.send_live("wire-exit", Side.SELL, "0.0050")
    eventually(lambda: desk.order(exit_.client_order_id).state is OrderState.FILLED)

    sent = submissions(desk, seen)
    assert held == Decimal("0.0050")
    assert sent == Counter([entry.client_order_id, exit_.client_order_id])
    eventually(lambda: not desk.ledger(LIVE).positions)
    assert desk.reconcile(LIVE).errors == 0


@pytest.mark.catalogue("O06")
def test_an_order_whose_answer_was_lost_is_found_at_the_venue_and_sent_once(
    desk: RunningDesk,
) -> None:
    eventually(lambda: desk.ledger(LIVE).marks.get("BTC-USDT"), what="a mark")
    seen = len(desk.simulator.journal())
    desk.simulator.fault({"kind": "drop_response"}, times=1, method="POST", path="trade/order")

    entry = desk.send_live("lost-entry", Side.BUY, "0.0050")
    eventually(lambda: desk.order(entry.client_order_id).state is OrderState.FILLED)
    desk.simulator.clear_faults()
    exit_ = desk.send_live("lost-exit", Side.SELL, "0.0050")
    eventually(lambda: not desk.ledger(LIVE).positions)

    assert entry.state is OrderState.UNKNOWN
    assert submissions(desk, seen) == Counter([entry.client_order_id, exit_.client_order_id])
    assert len(desk.store.fills_of_order(entry.client_order_id)) == 1


def test_a_live_run_trades_under_stops_at_the_venue_and_a_stop_ends_its_trade(
    desk: RunningDesk,
) -> None:
    eventually(lambda: desk.ledger(LIVE).marks.get("ETH-USDT"), what="a mark")

    def position() -> Position | None:
        return desk.ledger(LIVE).positions.get("ETH-USDT")

    held = None
    for _ in range(5):  # its next decision may have closed what it opened before it ended
        desk.put_live_run("run-eth", RunStatus.RUNNING, "ETH-USDT")
        eventually(position, within_s=120, what="a live position")
        desk.end_run("run-eth")
        ended_ms = desk.ledger(LIVE).marked_ms
        eventually(
            lambda since_ms=ended_ms: desk.ledger(LIVE).marked_ms > since_ms + 2 * MINUTE_MS,
            what="two candles without a decision",
        )
        if held := position():
            break
    assert held is not None
    rows = desk.simulator.state()["accounts"][0]["orders"]
    stops = [row for row in rows if row["triggerOrderId"]]
    factor = 0.96 if held.quantity > 0 else 1.04
    desk.simulator.control("POST", "market", {"pair": "ETH-USDT", "shock": factor})
    eventually(lambda: position() is None, within_s=60, what="the stop in our books")

    exit_ = desk.orders_of("run-eth", LIVE)[-1]
    assert stops
    assert (exit_.state, exit_.reason) == (OrderState.FILLED, "stop_loss")
    assert exit_.client_order_id not in submissions(desk, 0)
    assert "position_drift" not in {doc.value.code for doc in desk.store.list(kinds.ALERTS)}
    assert desk.reconcile(LIVE).errors == 0


def submissions(desk: RunningDesk, after: int) -> Counter[str]:
    """Client order ids of the orders that reached the simulator."""
    return Counter(
        entry["params"]["clientOrderID"]
        for entry in desk.simulator.journal(after)
        if entry["method"] == "POST" and entry["path"].endswith("/trade/order")
    )


def test_every_actor_is_small(desk: RunningDesk) -> None:
    rows = {doc.key: doc.value.rss_bytes / 2**20 for doc in desk.store.list(kinds.ACTORS)}

    assert len(rows) >= 11
    assert {name: size for name, size in rows.items() if size > 230} == {}


def check_money(desk: RunningDesk) -> None:
    """S1, S2, S3 and S8 on what is stored, once no fill is on its way."""

    def breaches() -> list[str]:
        ledger = desk.ledger()
        orders, fills = desk.orders(), desk.fills()
        if desk.ledger().positions != ledger.positions:
            return ["moving"]
        return [
            *invariants.s1_fills_make_the_order(orders, fills),
            *invariants.s2_fill_is_applied_once(fills),
            *invariants.s3_position_is_its_fills(ledger, fills, {}),
            *invariants.s8_books_balance(ledger),
        ]

    eventually(lambda: not breaches(), within_s=20, what="books that are their fills")
    orders = desk.orders()
    ids = Counter(order.client_order_id for order in orders)
    legs = Counter((order.decision_id, order.leg) for order in orders)
    assert max(ids.values()) == 1
    assert max(legs.values()) == 1
    assert books.equity(desk.ledger()) > 9_000


def check_decisions(desk: RunningDesk) -> None:
    """One decision per candle, one announcement per decision, every trade with its orders."""
    decisions = desk.decisions()
    candles = Counter(decision.open_ms for decision in decisions)
    told = Counter(
        event.data["decision_id"]
        for event in desk.store.read_events({Stream.OPS: "0-0"}, limit=100_000)
        if event.topic == "decision" and event.key == desk.run_id
    )
    known = {order.client_order_id for order in desk.orders()}
    assert max(candles.values()) == 1
    assert set(told.values()) == {1}
    for decision in decisions[1:]:
        assert set(decision.client_order_ids) <= known
        assert (decision.action is Action.TRADE) == bool(decision.client_order_ids)
