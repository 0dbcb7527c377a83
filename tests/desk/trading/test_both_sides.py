"""Both sides of an account beside each other: nothing is lost, and what differs stands first."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.trading.both_sides import MOST_ROWS, NOTED, BothSides, OrderRow, both_sides
from desk.trading.ledger import Ledger
from desk.trading.orders import (
    Order,
    OrderState,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
)
from tests.desk.trading.builders import PAIR, a_position, a_report, an_order, books_with
from tests.desk.trading.test_protection import an_exit, entry
from tests.desk.trading.test_reconcile import at_venue

S, V = OrderState, VenueOrderStatus
LOT = {PAIR: Decimal("0.01")}


def beside(
    ours: tuple[Order, ...] = (),
    theirs: tuple[VenueOrder, ...] = (),
    *,
    ledger: Ledger | None = None,
    held: tuple[VenuePosition, ...] = (),
    traded: tuple[Order, ...] = (),
) -> BothSides:
    return both_sides(
        ours=ours,
        theirs=theirs,
        ledger=ledger or books_with(),
        venue_positions=held,
        dust=LOT,
        traded=traded,
    )


def only_order(found: BothSides) -> OrderRow:
    (row,) = found.orders
    return row


@pytest.mark.parametrize(
    ("theirs", "differs"), [("1", False), ("1.009", False), ("1.01", True), ("-1", True)]
)
def test_a_position_differs_by_the_lot_of_its_pair_or_more(theirs: str, differs: bool) -> None:
    found = beside(ledger=books_with(a_position("1")), held=(at_venue(theirs),))

    (row,) = found.positions
    assert (row.ours, row.theirs, row.differs) == (Decimal(1), Decimal(theirs), differs)


def test_a_position_of_one_side_alone_differs() -> None:
    (ours,) = beside(ledger=books_with(a_position("1"))).positions
    (theirs,) = beside(held=(at_venue("2"),)).positions

    assert (ours.theirs, ours.their_price, ours.differs) == (0, None, True)
    assert (theirs.ours, theirs.our_price, theirs.differs) == (0, None, True)


@pytest.mark.parametrize(
    ("state", "filled", "status", "their_filled", "differs"),
    [
        (S.OPEN, "0", V.OPEN, "0", False),
        (S.PARTIAL, "0.5", V.PARTIAL, "0.5", False),
        (S.OPEN, "0", V.PARTIAL, "0.5", True),
        (S.OPEN, "0", V.CANCELLED, "0", True),
        (S.PARTIAL, "0.5", V.FILLED, "1", True),
        (S.CANCELLED, "0", V.OPEN, "0", True),
    ],
)
def test_an_order_differs_where_one_side_holds_it_for_over_or_filled_another_quantity(
    state: OrderState, filled: str, status: VenueOrderStatus, their_filled: str, differs: bool
) -> None:
    order = an_order(state=state, filled_quantity=Decimal(filled))

    row = only_order(beside((order,), (a_report(status, their_filled),)))

    assert (row.ours, row.theirs, row.differs) == (state.value, status.value, differs)


@pytest.mark.parametrize("state", [state for state in S if not state.is_terminal])
def test_an_order_that_the_venue_does_not_list_differs_unless_it_is_on_its_way(
    state: OrderState,
) -> None:
    row = only_order(beside((an_order(state=state),)))

    assert row.theirs == ""
    assert row.differs == (state not in {S.INTENT, S.SENDING})


def test_an_order_of_somebody_else_differs_and_what_is_over_on_both_sides_is_left_out() -> None:
    foreign = replace(a_report(V.OPEN), client_order_id="by-hand")
    over = a_report(V.FILLED, "1")
    filled = an_order(state=S.FILLED, filled_quantity=Decimal(1))

    row = only_order(beside((filled,), (foreign, over)))

    assert (row.client_order_id, row.ours, row.differs) == ("by-hand", "", True)


def test_an_exit_is_ours_while_the_trade_that_it_protects_is_open() -> None:
    parent = entry()
    open_books = books_with(a_position("1", trade_id=parent.trade_id))

    held = only_order(beside(theirs=(an_exit(),), ledger=open_books, traded=(parent,)))
    over = only_order(beside(theirs=(an_exit(),), traded=(parent,)))

    assert (held.ours, held.differs) == (NOTED, False)
    assert (over.ours, over.differs) == ("", True)


ORDERS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.sampled_from(list(S)),
        st.one_of(st.none(), st.sampled_from(list(V))),
    ),
    unique_by=lambda each: each[0],
    max_size=120,
)


@given(orders=ORDERS)
def test_every_open_order_has_one_row_until_there_are_too_many_and_what_differs_comes_first(
    orders: list[tuple[int, OrderState, VenueOrderStatus | None]],
) -> None:
    ours = [
        an_order(client_order_id=f"t1{number:024d}", state=state) for number, state, _ in orders
    ]
    theirs = [
        replace(a_report(status, order=order), venue_order_id=str(number))
        for (number, _, status), order in zip(orders, ours, strict=True)
        if status is not None
    ]
    open_ids = {order.client_order_id for order in ours if order.is_open}
    open_ids |= {
        report.client_order_id for report in theirs if report.status in {V.OPEN, V.PARTIAL}
    }

    found = beside(tuple(ours), tuple(theirs))

    shown = [row.client_order_id for row in found.orders]
    assert set(shown) <= open_ids
    assert len(shown) == len(set(shown)) == min(len(open_ids), MOST_ROWS)
    assert found.left_off == len(open_ids) - len(shown)
    marks = [row.differs for row in found.orders]
    assert marks == sorted(marks, reverse=True)
