"""Each invariant is silent on sound books and names what broke."""

from dataclasses import replace
from decimal import Decimal

from desk.trading import invariants
from desk.trading.ledger import book_fill
from desk.trading.orders import OrderState, Side
from tests.desk.trading.builders import PAIR, a_fill, a_position, an_order, books_with, sending

PARTIAL = replace(sending(), state=OrderState.PARTIAL, filled_quantity=Decimal("0.4"))


def test_S1_fills_make_up_what_an_order_says_is_filled() -> None:
    fills = [a_fill("f1", "0.3"), a_fill("f2", "0.1")]

    assert invariants.s1_fills_make_the_order([PARTIAL], fills) == []
    assert invariants.s1_fills_make_the_order([PARTIAL], fills[:1]) == [
        f"S1: fills of {PARTIAL.client_order_id} were 0.3, expected 0.4"
    ]


def test_S1_names_an_overfill_and_a_fill_without_an_order() -> None:
    over = replace(PARTIAL, filled_quantity=Decimal("1.2"))

    (overfilled,) = invariants.s1_fills_make_the_order([over], [a_fill("f1", "1.2")])
    (orphan,) = invariants.s1_fills_make_the_order([], [a_fill("f1", "1")])

    assert "expected at most 1" in overfilled
    whole = replace(PARTIAL, filled_quantity=Decimal(1))
    assert invariants.s1_fills_make_the_order([whole], [a_fill("f1", "1")]) == []
    assert "had no order" in orphan


def test_S2_a_fill_applied_twice_is_named() -> None:
    fills = [a_fill("f1"), a_fill("f2"), a_fill("f1")]

    assert invariants.s2_fill_is_applied_once(fills[:2]) == []
    assert invariants.s2_fill_is_applied_once(fills) == [
        "S2: fill f1 was applied 2 times, expected once"
    ]


def test_S3_a_position_that_its_fills_do_not_explain_is_named() -> None:
    ledger, _ = book_fill(books_with(), a_fill("f1", "1"), order=an_order())
    fills = [a_fill("f1", "1")]

    assert invariants.s3_position_is_its_fills(ledger, fills, {}) == []
    assert invariants.s3_position_is_its_fills(ledger, fills, {PAIR: Decimal(-1)}) == [
        f"S3: position of {PAIR} was 1, expected 0"
    ]
    assert invariants.s3_position_is_its_fills(books_with(), fills, {PAIR: Decimal(-1)}) == []


def test_S3_sells_count_against_buys() -> None:
    sell = an_order(side=Side.SELL)
    ledger, _ = book_fill(books_with(), a_fill("f1", "0.4", order=sell), order=sell)

    assert invariants.s3_position_is_its_fills(ledger, [a_fill("f1", "0.4", order=sell)], {}) == []


def test_S6_versions_rise_by_one_along_the_table() -> None:
    first = an_order(version=1)
    second = replace(sending(), version=2)
    third = replace(PARTIAL, version=3)

    assert invariants.s6_rows_move_by_the_table([first, second, third]) == []
    assert len(invariants.s6_rows_move_by_the_table([first, third])) == 2
    for begun in (second, replace(second, version=1), replace(first, version=2)):
        assert "began as" in invariants.s6_rows_move_by_the_table([begun])[0]
    assert (
        "from sending to intent"
        in (invariants.s6_rows_move_by_the_table([first, second, replace(first, version=3)])[0])
    )


def test_S7_reservations_are_those_of_open_orders() -> None:
    order = an_order()
    done = replace(sending(client_order_id="t1" + "b" * 24), state=OrderState.FILLED)
    key = order.client_order_id
    check = invariants.s7_reservations_are_open_intents

    assert check([order, done], {key: "100.0"}, exposure_cap=Decimal(100)) == []
    assert check([order], {}) == [f"S7: reservation of {key} was 0, expected 100"]
    assert check([done], {done.client_order_id: "100"}) == [
        f"S7: reservation of {done.client_order_id} was 100, expected 0"
    ]
    assert check([order], {key: "100"}, exposure_cap=Decimal(99)) == [
        "S7: reservations were 100, expected at most 99"
    ]


def test_S8_equity_that_the_parts_do_not_make_is_named() -> None:
    ledger = books_with(a_position("2"))

    busy = replace(
        ledger,
        cash=Decimal(10_000 + 40 - 3 - 2 + 7),
        realized_pnl=Decimal(40),
        fees=Decimal(3),
        funding=Decimal(-2),
        external=Decimal(7),
        marks={PAIR: Decimal(110)},
    )

    assert invariants.s8_books_balance(ledger) == []
    assert invariants.s8_books_balance(busy, reported_equity=Decimal(10_062)) == []
    assert invariants.s8_books_balance(ledger, reported_equity=Decimal("10000.00000001")) == []
    assert invariants.s8_books_balance(replace(ledger, cash=ledger.cash + 1)) == [
        "S8: equity of paper was 10001, expected 10000"
    ]
    assert invariants.s8_books_balance(ledger, reported_equity=Decimal("9999.9")) != []


def test_books_that_differ_from_their_fills_are_named() -> None:
    ledger, _ = book_fill(books_with(), a_fill("f1", "1", fee="0.05"), order=an_order())

    found = invariants.books_equal_their_fills(ledger, books_with())

    assert found == [
        "ledger fees was 0.05, expected 0",
        f"ledger position {PAIR} was 1, expected 0",
    ]
    assert invariants.books_equal_their_fills(ledger, ledger) == []
