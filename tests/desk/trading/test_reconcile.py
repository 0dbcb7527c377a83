"""What has to be put right between our rows and the venue's."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.trading import ledger as books
from desk.trading import orders, protection
from desk.trading.orders import (
    FillBooked,
    Order,
    OrderState,
    VenueOrder,
    VenueOrderStatus,
    VenuePosition,
    VenueReported,
)
from desk.trading.reconcile import (
    AdjustPosition,
    AdoptVenueState,
    BookMissingFills,
    BookVenueExit,
    CancelStaleExit,
    Correction,
    LookUpOrder,
    NoteVenueExit,
    QuarantineOrder,
    ReportForeignOrder,
    ReportOrphanOrder,
    RestoreStop,
    compare,
)
from tests.desk.trading.builders import (
    NOW,
    PAIR,
    WALL,
    a_fill,
    a_position,
    a_report,
    an_order,
    books_with,
    sending,
)
from tests.desk.trading.test_protection import an_exit, entry

S, V = OrderState, VenueOrderStatus
HELD = books_with(a_position("1", trade_id=entry().trade_id))
NOTED = entry(stop_order_id="91", take_order_id="92", take_profit_price=None)
FIRED = an_exit(status=V.FILLED, filled_quantity=Decimal(1))
FLAT = books_with()


def at_venue(quantity: str, price: str = "100") -> VenuePosition:
    return VenuePosition(
        pair=PAIR,
        quantity=Decimal(quantity),
        average_price=Decimal(price),
        leverage=3,
        unrealized_pnl=Decimal(0),
    )


def compared(
    ours: Sequence[Order] = (), theirs: Sequence[VenueOrder] = (), **changes: Any
) -> list[Correction]:
    asked: dict[str, Any] = {
        "ledger": FLAT,
        "venue_positions": [],
        "dust": {PAIR: Decimal("0.0001")},
        "now_ms": NOW,
        "wall_ms": WALL,
        **changes,
    }
    return compare(ours=ours, theirs=theirs, **asked)


def in_state(state: OrderState, filled: str = "0", **changes: Any) -> Order:
    return replace(
        sending(), state=state, venue_order_id="77", filled_quantity=Decimal(filled), **changes
    )


def test_two_sides_that_agree_need_nothing() -> None:
    resting = in_state(S.OPEN)
    done = in_state(S.FILLED, "1", client_order_id="t1" + "b" * 24)

    corrections = compared(
        [resting, done],
        [a_report(V.OPEN), a_report(V.FILLED, "1", order=done)],
        ledger=books_with(a_position("1")),
        venue_positions=[at_venue("1")],
    )

    assert corrections == []


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (S.UNKNOWN, V.OPEN),
        (S.QUARANTINED, V.OPEN),
        (S.UNKNOWN, V.CANCELLED),
        (S.OPEN, V.EXPIRED),
        (S.NOT_PLACED, V.OPEN),
        (S.CANCELLED, V.OPEN),
    ],
)
def test_the_venues_state_is_adopted_where_ours_differs(
    state: OrderState, status: VenueOrderStatus
) -> None:
    report = a_report(status)

    assert compared([in_state(state)], [report]) == [
        AdoptVenueState(client_order_id=report.client_order_id, report=report)
    ]


def test_missing_fills_are_fetched_before_the_position_is_judged() -> None:
    report = a_report(V.PARTIAL, "0.7")

    corrections = compared(
        [in_state(S.PARTIAL, "0.4")], [report], venue_positions=[at_venue("0.7")]
    )

    assert corrections == [
        BookMissingFills(
            client_order_id=report.client_order_id,
            report=report,
            missing_quantity=Decimal("0.3"),
        )
    ]


@pytest.mark.parametrize("state", [S.UNKNOWN, S.SENDING, S.OPEN, S.PARTIAL, S.CANCELLING])
def test_an_order_the_venues_lists_lack_is_looked_up_and_nothing_concluded(
    state: OrderState,
) -> None:
    order = in_state(state, "0.4" if state is S.PARTIAL else "0")
    ledger = books_with(a_position("0.4")) if state is S.PARTIAL else FLAT
    held = [at_venue("0.4")] if state is S.PARTIAL else []

    assert compared([order], ledger=ledger, venue_positions=held) == [
        LookUpOrder(client_order_id=order.client_order_id)
    ]


def test_an_intent_and_an_ended_order_are_not_missed_at_the_venue() -> None:
    assert compared([an_order(), in_state(S.CANCELLED), in_state(S.NOT_PLACED)]) == []


def test_an_order_unknown_for_ten_minutes_is_quarantined() -> None:
    order = in_state(S.UNKNOWN)

    corrections = compared([order], wall_ms=WALL + orders.QUARANTINE_AFTER_MS + 1)

    assert corrections == [
        LookUpOrder(client_order_id=order.client_order_id),
        QuarantineOrder(client_order_id=order.client_order_id, pair=PAIR),
    ]


@pytest.mark.catalogue("O17")
def test_O17_a_foreign_order_is_reported_while_it_is_open_and_never_cancelled() -> None:
    manual = replace(a_report(V.OPEN), client_order_id="")
    other_bot = replace(a_report(V.PARTIAL), client_order_id="x-123", venue_order_id="78")
    ended = replace(a_report(V.FILLED, "1"), client_order_id="", venue_order_id="79")

    assert compared(theirs=[other_bot, ended, manual]) == [
        ReportForeignOrder(report=manual),
        ReportForeignOrder(report=other_bot),
    ]


def test_an_order_under_our_prefix_without_a_row_is_an_orphan() -> None:
    report = a_report(V.FILLED, "1")

    assert ReportOrphanOrder(report=report) in compared(theirs=[report])


@pytest.mark.catalogue("O16")
@pytest.mark.parametrize(
    ("ours", "theirs", "difference"),
    [("0", "0.5", "0.5"), ("1", "0", "-1"), ("1", "-0.2", "-1.2")],
)
def test_O16_a_drift_of_the_position_becomes_one_adjustment_and_a_pause(
    ours: str, theirs: str, difference: str
) -> None:
    ledger = books_with(a_position(ours)) if Decimal(ours) else FLAT
    held = [at_venue(theirs)] if Decimal(theirs) else []

    (found,) = compared(ledger=ledger, venue_positions=held)
    (again,) = compared(ledger=ledger, venue_positions=held)

    assert isinstance(found, AdjustPosition)
    assert found == again
    assert (found.quantity, found.price, found.pauses) == (Decimal(difference), Decimal(100), True)


def test_an_equal_drift_after_the_first_was_booked_is_another_one() -> None:
    moved_on = replace(FLAT, adjustments=FLAT.adjustments + 1)

    (first,) = compared(venue_positions=[at_venue("1")])
    (second,) = compared(ledger=moved_on, venue_positions=[at_venue("1")])

    assert isinstance(first, AdjustPosition)
    assert isinstance(second, AdjustPosition)
    assert first.adjustment_id != second.adjustment_id


def test_a_drift_is_the_same_one_while_only_marks_move_the_books() -> None:
    marked = replace(FLAT, version=FLAT.version + 7, marks={PAIR: Decimal(100)}, marked_ms=NOW)

    (first,) = compared(venue_positions=[at_venue("1")])
    (second,) = compared(ledger=marked, venue_positions=[at_venue("1")])

    assert isinstance(first, AdjustPosition)
    assert isinstance(second, AdjustPosition)
    assert first.adjustment_id == second.adjustment_id


def test_dust_is_no_drift_and_a_small_drift_does_not_pause() -> None:
    small = compared(venue_positions=[at_venue("0.1")], pause_above_quote=Decimal(10))

    edge = compared(venue_positions=[at_venue("0.1")], pause_above_quote=Decimal("9.9"))

    assert compared(venue_positions=[at_venue("0.00009")]) == []
    assert len(compared(venue_positions=[at_venue("0.0001")])) == 1
    assert [item.pauses for item in edge if isinstance(item, AdjustPosition)] == [True]
    assert [item.pauses for item in small if isinstance(item, AdjustPosition)] == [False]


@pytest.mark.parametrize("state", [S.SENDING, S.UNKNOWN, S.QUARANTINED])
def test_a_position_is_not_judged_while_an_order_of_its_pair_is_unresolved(
    state: OrderState,
) -> None:
    corrections = compared([in_state(state)], venue_positions=[at_venue("1")])

    assert not [item for item in corrections if isinstance(item, AdjustPosition)]


def settle(order: Order, ledger: books.Ledger, corrections: list[Correction]) -> Any:
    """Apply corrections as the executor and the risk ledger would."""
    for item in corrections:
        match item:
            case BookMissingFills():
                fill = a_fill("late", item.missing_quantity, order=order)
                ledger, realized = books.book_fill(ledger, fill, order=order)
                booked = FillBooked(fill=fill, realized_pnl=realized)
                order, _ = orders.advance(order, booked, now_ms=NOW)
                report = VenueReported(order=item.report)
                order, _ = orders.advance(order, report, now_ms=NOW)
            case AdoptVenueState():
                order, _ = orders.advance(order, VenueReported(order=item.report), now_ms=NOW)
            case AdjustPosition():
                adjustment = books.Adjustment(
                    adjustment_id=item.adjustment_id,
                    pair=item.pair,
                    quantity=item.quantity,
                    price=item.price,
                    at_ms=NOW,
                )
                ledger = books.adjust(ledger, adjustment)
            case _:
                pass
    return order, ledger


@given(
    st.sampled_from([S.UNKNOWN, S.OPEN, S.QUARANTINED, S.CANCELLED, S.NOT_PLACED, S.CANCELLING]),
    st.sampled_from([(V.OPEN, "0"), (V.PARTIAL, "0.4"), (V.FILLED, "1"), (V.CANCELLED, "0.4")]),
    st.sampled_from(["0", "0.4", "1", "-3"]),
)
def test_L3_applied_corrections_bring_both_sides_together_within_four_rounds(
    state: OrderState, said: tuple[VenueOrderStatus, str], position: str
) -> None:
    order, ledger = in_state(state, updated_ms=NOW - orders.CANCEL_PATIENCE_MS - 1), FLAT
    report = a_report(*said)
    held = [at_venue(position)] if Decimal(position) else []

    for _ in range(4):
        corrections = compared([order], [report], ledger=ledger, venue_positions=held)
        order, ledger = settle(order, ledger, corrections)

    assert compared([order], [report], ledger=ledger, venue_positions=held) == []
    assert books.held_quantity(ledger, PAIR) == Decimal(position)
    assert order.filled_quantity == Decimal(said[1])


# --- exits at the venue -----------------------------------------------------------------------


def protected(theirs: Sequence[VenueOrder], **changes: Any) -> list[Correction]:
    """Both sides hold 1 coin under a stop."""
    asked: dict[str, Any] = {
        "ledger": HELD,
        "venue_positions": [at_venue("1")],
        "traded": [NOTED],
        **changes,
    }
    return compared((), theirs, **asked)


def test_an_exit_of_ours_that_rests_is_neither_foreign_nor_missing() -> None:
    assert protected([an_exit()]) == []


def test_an_exit_that_nobody_noted_yet_is_noted() -> None:
    found = protected([an_exit()], traded=[replace(NOTED, stop_order_id="")])

    assert found == [NoteVenueExit(parent_id=NOTED.client_order_id, report=an_exit())]


def test_an_exit_that_fired_is_booked_and_is_no_drift() -> None:
    found = protected([FIRED], venue_positions=[])

    assert found == [BookVenueExit(parent_id=NOTED.client_order_id, report=FIRED)]


def test_an_exit_that_is_booked_is_not_booked_again() -> None:
    row = protection.exit_row(NOTED, FIRED, now_ms=NOW, wall_ms=WALL)
    row = replace(row, state=S.FILLED, filled_quantity=Decimal(1))

    assert protected([FIRED], ledger=FLAT, venue_positions=[], traded=[NOTED, row]) == []


def test_an_exit_waits_until_the_fills_of_its_order_are_booked() -> None:
    unbooked = in_state(S.OPEN, stop_loss_price=Decimal(99))

    listed = compared([unbooked], [a_report(V.FILLED, "1"), FIRED])
    unlisted = compared([unbooked], [FIRED])

    assert [type(item) for item in listed] == [BookMissingFills]
    assert [type(item) for item in unlisted] == [LookUpOrder]


def test_an_exit_for_a_position_that_is_over_is_cancelled_once_the_pair_is_calm() -> None:
    flat: dict[str, Any] = {"ledger": FLAT, "venue_positions": []}
    flipped = books_with(a_position("-1", trade_id="t1other"))
    busy = in_state(S.OPEN, client_order_id="t1" + "c" * 24)

    assert protected([an_exit()], **flat) == [CancelStaleExit(report=an_exit())]
    assert CancelStaleExit(report=an_exit()) in protected([an_exit()], ledger=flipped)
    found = compared([busy], [an_exit(), a_report(V.OPEN, order=busy)], traded=[NOTED], **flat)
    assert found == []


@pytest.mark.parametrize(("mark", "through"), [("100", False), ("98.5", True)])
def test_a_position_without_its_stop_is_told_with_what_to_put_back(
    mark: str, through: bool
) -> None:
    ledger = replace(HELD, marks={PAIR: Decimal(mark)})

    [missing] = protected([], ledger=ledger)

    assert missing == RestoreStop(
        pair=PAIR,
        trade_id=NOTED.trade_id,
        side=orders.Side.SELL,
        quantity=Decimal(1),
        stop_price=Decimal(99),
        is_through=through,
    )


def test_an_exit_that_came_with_nobodys_order_stays_foreign() -> None:
    found = protected([an_exit(), an_exit(parent_id="5", venue_order_id="95")])

    assert [type(item) for item in found] == [ReportForeignOrder]
