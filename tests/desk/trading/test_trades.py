"""What operators see of the orders of one trade."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from desk.trading.orders import ExitKind, Leg, Order, OrderState, Side
from desk.trading.trades import (
    ExecutionKind,
    Reconciliation,
    Trade,
    TradeStatus,
    project,
    reconciliation_of,
    status_of,
)
from tests.desk.trading.builders import NOW, a_position, an_order, sending

S, T, R = OrderState, TradeStatus, Reconciliation
ENTRY_ID = an_order().client_order_id


def entry(**changes: Any) -> Order:
    filled = {
        "state": S.FILLED,
        "filled_quantity": Decimal(1),
        "average_price": Decimal(100),
        "fees": Decimal("0.05"),
    }
    return replace(sending(), **{**filled, **changes})


def an_exit(quantity: str, price: str, **changes: Any) -> Order:
    amount = Decimal(quantity)
    filled = {
        "client_order_id": f"t1exit{quantity}",
        "leg": Leg.EXIT,
        "side": Side.SELL,
        "quantity": amount,
        "filled_quantity": amount,
        "average_price": Decimal(price),
        "realized_pnl": amount * (Decimal(price) - 100),
        "fees": Decimal("0.06"),
        "created_ms": NOW + 60_000,
        "updated_ms": NOW + 61_000,
    }
    return entry(**{**filled, **changes})


def shown(*orders: Order, held: str = "0") -> Trade:
    position = a_position(held, trade_id=ENTRY_ID) if Decimal(held) else None
    return project(orders, position, mode="paper", leverage=Decimal(3), funding=Decimal("-0.2"))


@pytest.mark.parametrize(
    ("state", "filled", "venue_id", "status"),
    [
        (S.INTENT, "0", "", T.PROPOSED),
        (S.SENDING, "0", "", T.PROPOSED),
        (S.OPEN, "0", "77", T.PLACED),
        (S.PARTIAL, "0.4", "77", T.PARTIAL),
        (S.FILLED, "1", "77", T.FILLED),
        (S.CANCELLED, "0", "77", T.CANCELLED),
        (S.CANCELLED, "0.4", "77", T.CANCELLED),
        (S.EXPIRED, "0", "77", T.CANCELLED),
        (S.REJECTED, "0", "", T.REJECTED),
        (S.NOT_PLACED, "0", "", T.REJECTED),
        (S.UNKNOWN, "0", "", T.PROPOSED),
        (S.UNKNOWN, "0", "77", T.PLACED),
        (S.QUARANTINED, "0.4", "77", T.PARTIAL),
        (S.CANCELLING, "0", "77", T.PLACED),
        (S.UNKNOWN, "1", "77", T.FILLED),
    ],
)
def test_every_state_has_its_status(
    state: OrderState, filled: str, venue_id: str, status: TradeStatus
) -> None:
    order = entry(state=state, filled_quantity=Decimal(filled), venue_order_id=venue_id)

    assert status_of(order) is status


@pytest.mark.parametrize(
    ("state", "filled", "expected"),
    [
        (S.INTENT, "0", R.OK),
        (S.SENDING, "0", R.PENDING),
        (S.UNKNOWN, "0", R.PENDING),
        (S.CANCELLING, "0", R.PENDING),
        (S.QUARANTINED, "0", R.ERROR),
        (S.FILLED, "1", R.OK),
        (S.FILLED, "1.1", R.MISMATCH),
    ],
)
def test_an_order_says_whether_the_venue_confirms_it(
    state: OrderState, filled: str, expected: Reconciliation
) -> None:
    assert reconciliation_of(entry(state=state, filled_quantity=Decimal(filled))) is expected


def test_an_open_trade_shows_its_position() -> None:
    trade = shown(entry(), held="1")

    assert (trade.status, trade.side, trade.position_size) == (T.FILLED, Side.BUY, Decimal(1))
    assert (trade.opened_ms, trade.closed_at_ms) == (NOW - 3_600_000, None)
    assert trade.trade_id == trade.client_order_id == ENTRY_ID


def test_a_closed_trade_sums_its_legs() -> None:
    trade = shown(an_exit("0.6", "120"), entry(), an_exit("0.4", "110", updated_ms=NOW + 99_000))

    assert [item.kind for item in trade.executions] == [
        ExecutionKind.ENTRY,
        ExecutionKind.EXIT,
        ExecutionKind.EXIT,
    ]
    assert (trade.quantity, trade.filled_quantity, trade.position_size) == (1, 1, 0)
    assert trade.average_fill_price == Decimal(100)
    assert trade.average_exit_price == Decimal(116)
    assert (trade.realized_pnl, trade.fees) == (Decimal(16), Decimal("0.17"))
    assert (trade.funding, trade.leverage, trade.mode) == (Decimal("-0.2"), 3, "paper")
    assert trade.closed_at_ms == NOW + 99_000


def test_enlarging_entries_belong_to_the_trade() -> None:
    more = entry(
        client_order_id="t1more",
        created_ms=NOW + 1,
        quantity=Decimal(3),
        filled_quantity=Decimal(3),
        average_price=Decimal(108),
    )

    trade = shown(more, entry(), held="4")

    assert (trade.quantity, trade.average_fill_price) == (Decimal(4), Decimal(106))
    assert trade.client_order_id == ENTRY_ID


def test_a_position_of_another_trade_is_not_shown() -> None:
    trade = project([entry()], a_position("5"), mode="live", leverage=Decimal(1))

    assert trade.position_size == 0
    assert trade.closed_at_ms == NOW


def test_an_order_under_way_has_no_end() -> None:
    trade = shown(entry(state=S.UNKNOWN, filled_quantity=Decimal(0), venue_order_id=""))

    assert (trade.status, trade.closed_at_ms) == (T.PROPOSED, None)
    assert trade.reconciliation is R.PENDING


def test_the_worst_reconciliation_of_its_orders_is_the_trades() -> None:
    trade = shown(entry(), an_exit("1", "90", state=S.QUARANTINED, filled_quantity=Decimal(0)))

    assert trade.reconciliation is R.ERROR


@pytest.mark.parametrize(
    ("state", "reason", "kinds"),
    [
        (S.CANCELLING, "operator", [ExecutionKind.ENTRY, ExecutionKind.CANCEL]),
        (S.CANCELLED, "operator", [ExecutionKind.ENTRY, ExecutionKind.CANCEL]),
        (S.CANCELLED, "venue_cancelled", [ExecutionKind.ENTRY]),
    ],
)
def test_a_cancel_of_ours_is_an_execution_of_its_own(
    state: OrderState, reason: str, kinds: list[ExecutionKind]
) -> None:
    trade = shown(entry(state=state, reason=reason, filled_quantity=Decimal(0)))

    assert [item.kind for item in trade.executions] == kinds
    assert len({item.idempotency_key for item in trade.executions}) == len(kinds)


def test_a_trade_that_has_only_an_exit_is_shown_from_the_side_it_closed() -> None:
    trade = shown(an_exit("1", "120"))

    assert (trade.side, trade.quantity) == (Side.BUY, 0)


def test_a_trade_that_its_stop_ended_says_so_and_one_that_is_held_does_not() -> None:
    stopped = an_exit("1", "99", exit_kind=ExitKind.STOP_LOSS)
    part = an_exit("0.4", "99", exit_kind=ExitKind.STOP_LOSS)

    assert shown(entry(), stopped).reason == "stop_loss"
    assert shown(entry(), stopped).realized_pnl == Decimal(-1)
    assert shown(entry(), part, held="0.6").reason == ""
    assert shown(entry(), an_exit("1", "99")).reason == ""
