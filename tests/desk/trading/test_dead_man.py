"""When the venue's timer may guard resting entries."""

from dataclasses import replace
from typing import Any

import pytest

from desk.trading.dead_man import RESTS_AFTER_MS, Guard, guard
from desk.trading.orders import Order, OrderState
from tests.desk.trading.builders import WALL, sending

RESTING = replace(sending(), state=OrderState.OPEN)


def judged(*orders: Order, **changes: Any) -> Guard:
    facts: dict[str, Any] = {
        "holds_position": False,
        "foreign_orders": 0,
        "wall_ms": WALL + RESTS_AFTER_MS,
    }
    return guard(orders, **facts | changes)


@pytest.mark.parametrize("state", [OrderState.OPEN, OrderState.PARTIAL, OrderState.CANCELLING])
def test_an_entry_that_rests_is_guarded(state: OrderState) -> None:
    assert judged(replace(RESTING, state=state)) == Guard(armed=True)


def test_nothing_at_rest_needs_no_guard_and_says_nothing() -> None:
    for order in (
        replace(RESTING, reduce_only=True),
        replace(RESTING, state=OrderState.UNKNOWN),
        replace(RESTING, sent_wall_ms=WALL + 1),
    ):
        assert judged(order, foreign_orders=None, holds_position=True) == Guard(armed=False)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"foreign_orders": 1}, "foreign_orders"),
        ({"foreign_orders": None}, "foreign_orders_unknown"),
        ({"holds_position": True}, "protective_stops_rest"),
    ],
)
def test_it_is_off_where_it_would_cancel_what_is_not_an_entry_of_ours(
    changes: dict[str, Any], why: str
) -> None:
    assert judged(RESTING, **changes) == Guard(armed=False, off=why)
