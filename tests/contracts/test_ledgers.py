"""Fills, books and ownership in the store."""

from dataclasses import replace
from decimal import Decimal

import pytest

from desk.errors import BadInput, Fenced, IllegalTransition, VersionConflict
from desk.store.port import Stream
from desk.trading.ledger import Position
from desk.trading.orders import OrderState


def test_a_fill_moves_order_and_ledger_together(books, rows):
    opened, ledger = books.opened(), books.ledger()

    booked = books.fill(rows.fill(), opened, OrderState.PARTIAL)

    assert booked is not None
    order, after = booked
    assert (order.filled_quantity, order.version) == (Decimal("0.0050"), opened.version + 1)
    assert (after.cash, after.version) == (Decimal("9999.85"), ledger.version + 1)
    assert books.store.order("c1") == order
    assert books.ledger() == after
    assert books.store.fills_of_order("c1") == [rows.fill()]


@pytest.mark.catalogue("O05")
def test_a_fill_is_booked_once_whoever_reports_it(books, rows):
    opened = books.opened()
    partial, after = books.fill(rows.fill(), opened, OrderState.PARTIAL)

    assert books.fill(rows.fill(), partial, OrderState.PARTIAL, request_id="another") is None

    assert books.store.order("c1") == partial
    assert books.ledger() == after
    assert len(books.store.fills_of_order("c1")) == 1


def test_a_repeated_fill_request_returns_the_first_answer(books, rows):
    opened = books.opened()
    first = books.fill(rows.fill(), opened, OrderState.PARTIAL, request_id="same")

    assert books.fill(rows.fill(), opened, OrderState.PARTIAL, request_id="same") == first


def test_the_same_fill_id_on_another_account_is_another_fill(books, rows):
    live = books.store.create_ledger(
        rows.ledger("live"), fence=books.fence, event=rows.event("ledger_created")
    )
    books.fill(rows.fill(), books.opened(), OrderState.PARTIAL)
    order = books.create(rows.order("c2", account="live"), ledger=live)
    order = books.move(books.move(order, OrderState.SENDING), OrderState.OPEN)
    live = books.store.ledger("live")
    assert live is not None

    booked = books.store.apply_fill(
        rows.fill(client_order_id="c2"),
        order,
        replace(order, state=OrderState.PARTIAL),
        live,
        live,
        fence=books.fence,
        request_id="live fill",
        event=rows.event("fill_applied"),
    )

    assert booked is not None


def test_a_fill_on_an_old_order_or_an_old_ledger_is_a_conflict_and_books_nothing(books, rows):
    opened, ledger = books.opened(), books.ledger()
    books.store.move_ledger(
        ledger, ledger, fence=books.fence, request_id="mark", event=rows.event("marked")
    )

    with pytest.raises(VersionConflict, match="led:paper"):
        books.store.apply_fill(
            rows.fill(),
            opened,
            replace(opened, state=OrderState.PARTIAL),
            ledger,
            ledger,
            fence=books.fence,
            request_id="fill",
            event=rows.event("fill_applied"),
        )
    with pytest.raises(VersionConflict, match="ord:c1"):
        books.fill(rows.fill(), replace(opened, version=1), OrderState.PARTIAL)

    assert books.store.fills_of_order("c1") == []
    assert books.store.order("c1") == opened


def test_a_fill_that_would_make_an_illegal_move_books_nothing(books, rows):
    cancelled = books.move(books.opened(), OrderState.CANCELLED)

    with pytest.raises(IllegalTransition):
        books.fill(rows.fill(), cancelled, OrderState.FILLED)

    assert books.fill(rows.fill(), cancelled, OrderState.UNKNOWN, request_id="late") is not None


def test_the_last_fill_releases_the_reservation(books, rows):
    books.fill(rows.fill(), books.opened(), OrderState.FILLED)

    assert books.store.reservations("paper") == {}
    assert books.store.active_orders("paper") == []


def test_books_are_created_once(books, rows):
    other = replace(rows.ledger(), cash=Decimal(1))

    found = books.store.create_ledger(other, fence=books.fence, event=rows.event("ledger_created"))

    assert found == replace(rows.ledger(), version=1)
    assert len(books.store.read_events({Stream.ORDERS: "0-0"})) == 1


def test_moving_the_books_keeps_every_field(books, rows):
    position = Position(
        pair="BTC-USDT",
        quantity=Decimal("-0.0150"),
        average_price=Decimal("60000.10"),
        trade_id="c1",
        run_id="run",
        opened_ms=7,
    )
    before = books.ledger()
    after = replace(
        before,
        positions={"BTC-USDT": position},
        marks={"BTC-USDT": Decimal("6.1E+4")},
        marked_ms=2**53 - 1,
        day="2026-01-31",
    )

    moved = books.store.move_ledger(
        before, after, fence=books.fence, request_id="mark", event=rows.event("marked")
    )

    assert moved == replace(after, version=2)
    assert books.ledger() == moved
    assert str(moved.positions["BTC-USDT"].quantity) == "-0.0150"


def test_a_ledger_move_from_an_old_version_is_a_conflict(books, rows):
    before = books.ledger()
    after = replace(before, cash=Decimal(1))
    books.store.move_ledger(
        before, after, fence=books.fence, request_id="first", event=rows.event("marked")
    )

    with pytest.raises(VersionConflict):
        books.store.move_ledger(
            before, before, fence=books.fence, request_id="second", event=rows.event("marked")
        )

    assert books.ledger() == replace(after, version=2)


def test_epochs_rise_for_ever(any_store):
    epochs = [any_store.acquire_lease("executor:paper", "me", 1).epoch for _ in range(3)]

    assert epochs == [1, 2, 3]
    assert any_store.acquire_lease("executor:live", "me", 1).epoch == 1


@pytest.mark.catalogue("O25")
def test_an_older_owner_is_fenced_from_every_money_call(books, rows):
    created = books.create(rows.order())
    sending = books.move(created, OrderState.SENDING, request_id="send")
    newer = books.store.acquire_lease("executor:paper", "another", 6_000)
    ledger = books.ledger()

    for money_call in (
        lambda: books.create(rows.order("c2")),
        lambda: books.move(sending, OrderState.OPEN),
        lambda: books.move(created, OrderState.SENDING, request_id="send"),
        lambda: books.fill(rows.fill(), sending, OrderState.PARTIAL),
        lambda: books.store.move_ledger(
            ledger, ledger, fence=books.fence, request_id="mark", event=rows.event("marked")
        ),
        lambda: books.store.create_ledger(
            rows.ledger("live"), fence=books.fence, event=rows.event("ledger_created")
        ),
        lambda: books.store.renew_lease(books.fence, 6_000),
    ):
        with pytest.raises(Fenced) as fenced:
            money_call()
        assert (fenced.value.ours, fenced.value.theirs) == (books.fence.epoch, newer.epoch)

    assert books.store.order("c1") == sending
    assert books.store.ledger("live") is None
    books.store.renew_lease(newer, 6_000)


@pytest.mark.catalogue("O16")
def test_an_adjustment_moves_the_ledger_together_with_its_row(books, rows):
    before = books.ledger()

    booked = adjust(books, rows.adjustment())

    assert booked == books.ledger()
    assert (booked.cash, booked.version) == (Decimal("9990.00"), before.version + 1)
    assert books.store.adjustments("paper") == [rows.adjustment()]
    assert books.store.read_events({Stream.ORDERS: "0-0"})[-1].topic == "adjusted"


@pytest.mark.catalogue("O16")
def test_an_adjustment_is_booked_once_also_when_its_request_is_long_forgotten(books, rows):
    booked = adjust(books, rows.adjustment())

    assert adjust(books, rows.adjustment(), request_id="another") is None

    assert books.ledger() == booked
    assert books.store.adjustments("paper") == [rows.adjustment()]
    assert len(books.store.read_events({Stream.ORDERS: "0-0"})) == 2


def test_a_repeated_adjustment_request_returns_the_first_answer(books, rows):
    first = adjust(books, rows.adjustment())
    adjust(books, rows.adjustment("a2"), request_id="another")

    assert adjust(books, rows.adjustment()) == first
    with pytest.raises(BadInput, match="derive a new one"):
        adjust(books, rows.adjustment("a3"))


def test_an_adjustment_needs_the_newest_books_and_the_newest_owner(books, rows):
    stale = books.ledger()
    books.create(rows.order())

    with pytest.raises(VersionConflict):
        adjust(books, rows.adjustment(), before=stale)
    books.store.acquire_lease("executor:paper", "newer", 6_000)
    with pytest.raises(Fenced):
        adjust(books, rows.adjustment())

    assert books.store.adjustments("paper") == []


def test_adjustments_are_listed_by_account_oldest_first(books, rows):
    for name, at_ms in (("a1", 7), ("a3", 5), ("a2", 5)):
        adjust(books, rows.adjustment(name, at_ms=at_ms), request_id=name)

    assert [one.adjustment_id for one in books.store.adjustments("paper")] == ["a2", "a3", "a1"]
    assert books.store.adjustments("live") == []


def adjust(books, adjustment, *, before=None, request_id="adjust"):
    before = before or books.ledger()
    return books.store.adjust_ledger(
        adjustment,
        before,
        replace(before, cash=before.cash - 10),
        fence=books.fence,
        request_id=request_id,
        event=books.rows.event("adjusted", adjustment.adjustment_id),
    )
