"""The books: a fold over fills that always balances."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import DAY_MS, from_iso
from desk.trading import ledger as books
from desk.trading.invariants import (
    books_equal_their_fills,
    s3_position_is_its_fills,
    s8_books_balance,
)
from desk.trading.ledger import Ledger, book_fill, open_ledger
from desk.trading.orders import Fill, Order, Side
from tests.desk.trading.builders import NOW, PAIR, a_fill, a_position, an_order, books_with

START = Decimal(10_000)
MIDNIGHT = from_iso("2026-03-01")


def order_of(side: Side, number: int = 0, pair: str = PAIR) -> Order:
    cid = f"t1{number:024d}"
    return an_order(client_order_id=cid, trade_id=cid, side=side, pair=pair)


@dataclass(frozen=True)
class Step:
    """A fill, or a funding payment when `quantity` is 0."""

    pair: str
    side: Side
    quantity: Decimal
    price: Decimal
    amount: Decimal


STEPS = st.lists(
    st.builds(
        Step,
        pair=st.sampled_from(["BTC-USDT", "ETH-USDT"]),
        side=st.sampled_from(Side),
        quantity=st.integers(0, 5).map(lambda lots: Decimal(lots) / 10),
        price=st.integers(500, 1500).map(lambda ticks: Decimal(ticks) / 10),
        amount=st.integers(-50, 50).map(lambda cents: Decimal(cents) / 100),
    ),
    max_size=25,
)


def execute(steps: Sequence[Step]) -> tuple[Ledger, list[tuple[Fill, Order]]]:
    """Book every step; a step's amount is its fee, or its funding."""
    ledger = open_ledger("paper", START, now_ms=NOW)
    executions: list[tuple[Fill, Order]] = []
    for number, step in enumerate(steps):
        if step.quantity == 0:
            ledger = books.book_funding(ledger, step.amount, due_ms=NOW + number)
            continue
        order = order_of(step.side, number, step.pair)
        fill = a_fill(f"f{number}", step.quantity, step.price, order=order, fee=step.amount)
        executions.append((fill, order))
        ledger, _ = book_fill(ledger, fill, order=order)
    return ledger, executions


@given(STEPS, st.integers(1, 3000).map(Decimal))
def test_S8_the_books_balance_after_every_fill_and_funding(
    steps: list[Step], price: Decimal
) -> None:
    ledger, _ = execute(steps)

    marked = books.mark(ledger, {"BTC-USDT": price, "ETH-USDT": price / 2}, NOW)

    assert s8_books_balance(ledger) == []
    assert s8_books_balance(marked) == []


@given(STEPS, st.integers(1, 3000).map(Decimal))
def test_equity_is_cash_that_changed_hands_plus_the_value_of_what_is_held(
    steps: list[Step], price: Decimal
) -> None:
    ledger, executions = execute(steps)
    paid = sum((fill.side.sign * fill.quantity * fill.price for fill, _ in executions), Decimal(0))
    held = sum((fill.side.sign * fill.quantity * price for fill, _ in executions), Decimal(0))

    marked = books.mark(ledger, {"BTC-USDT": price, "ETH-USDT": price}, NOW)

    expected = START - paid + held - ledger.fees + ledger.funding
    assert abs(books.equity(marked) - expected) < Decimal("1e-18")


@given(STEPS)
def test_positions_are_the_sum_of_their_signed_fills(steps: list[Step]) -> None:
    ledger, executions = execute(steps)

    assert s3_position_is_its_fills(ledger, [fill for fill, _ in executions], {}) == []
    assert all(position.quantity for position in ledger.positions.values())


@given(STEPS)
def test_the_books_equal_their_recomputation_from_fills(steps: list[Step]) -> None:
    ledger, executions = execute(steps)

    recomputed = books.fold_fills(open_ledger("paper", START, now_ms=NOW), executions)

    assert books_equal_their_fills(ledger, recomputed) == []
    assert ledger.positions == recomputed.positions


@given(STEPS)
def test_a_flat_account_has_realised_everything(steps: list[Step]) -> None:
    ledger, executions = execute(steps)
    for pair, position in ledger.positions.items():
        order = order_of(Side.of(-position.quantity), 99, pair)
        fill = a_fill(f"close {pair}", abs(position.quantity), "120", order=order, fee="0")
        executions.append((fill, order))
        ledger, _ = book_fill(ledger, fill, order=order)

    earned = sum((-f.side.sign * f.quantity * f.price for f, _ in executions), Decimal(0))

    assert ledger.positions == {}
    assert abs(ledger.realized_pnl - earned) < Decimal("1e-18")


def book(
    ledger: Ledger, side: Side, quantity: str, price: str, number: int = 1
) -> tuple[Ledger, Decimal]:
    order = order_of(side, number)
    fill = a_fill(f"f{number}", quantity, price, order=order, fee="0")
    return book_fill(ledger, fill, order=order)


@pytest.mark.parametrize(
    ("held", "side", "quantity", "price", "left", "average", "realized"),
    [
        ("2", Side.BUY, "1", "130", "3", "110", "0"),
        ("2", Side.SELL, "1", "130", "1", "100", "30"),
        ("2", Side.SELL, "2", "130", "0", "0", "60"),
        ("2", Side.SELL, "3", "130", "-1", "130", "60"),
        ("-2", Side.BUY, "1", "130", "-1", "100", "-30"),
        ("-2", Side.BUY, "3", "90", "1", "90", "20"),
        ("-2", Side.SELL, "2", "110", "-4", "105", "0"),
    ],
)
def test_a_fill_averages_in_and_realises_out(
    *, held: str, side: Side, quantity: str, price: str, left: str, average: str, realized: str
) -> None:
    ledger = books_with(a_position(held))

    after, gained = book(ledger, side, quantity, price)

    assert gained == Decimal(realized)
    assert books.held_quantity(after, PAIR) == Decimal(left)
    if Decimal(left):
        assert after.positions[PAIR].average_price == Decimal(average)


def test_a_reduced_or_enlarged_position_stays_in_its_trade_and_a_flip_opens_another() -> None:
    ledger = books_with(a_position("2"))

    more, _ = book(ledger, Side.BUY, "1", "100")
    less, _ = book(ledger, Side.SELL, "1", "100")
    flip, _ = book(ledger, Side.SELL, "3", "100")

    assert more.positions[PAIR].trade_id == less.positions[PAIR].trade_id == "t-old"
    assert flip.positions[PAIR].trade_id == order_of(Side.SELL, 1).trade_id
    assert flip.positions[PAIR].opened_ms == NOW + 1_000


def test_regression_1_a_strategy_that_only_loses_has_a_drawdown_from_its_start() -> None:
    ledger = open_ledger("paper", START, now_ms=NOW)
    for number in (1, 3, 5, 7):
        ledger, _ = book(ledger, Side.BUY, "10", "100")
        ledger, _ = book(ledger, Side.SELL, "10", "95", number)
        ledger = books.mark(ledger, {PAIR: Decimal(95)}, NOW + number)

    assert ledger.peak_equity == START
    assert books.drawdown_fraction(ledger) == Decimal("0.02")


def test_drawdown_is_measured_from_the_highest_equity_with_what_is_unrealised() -> None:
    ledger = books_with(a_position("10"))

    up = books.mark(ledger, {PAIR: Decimal(200)}, NOW)
    down = books.mark(up, {PAIR: Decimal(145)}, NOW + 1)

    assert up.peak_equity == Decimal(11_000)
    assert books.drawdown_fraction(down) == Decimal("0.05")
    assert books.drawdown_fraction(books.mark(down, {PAIR: Decimal(300)}, NOW + 2)) == 0


def test_books_without_a_mark_yet_measure_from_the_starting_cash() -> None:
    ledger = Ledger(account="paper", starting_cash=START, cash=Decimal(9_000))

    assert books.drawdown_fraction(ledger) == Decimal("0.1")
    assert books.daily_loss(ledger) == Decimal(1_000)


def test_regression_10_exposure_is_notional_not_quantity() -> None:
    ledger = books_with(a_position("0.5", "40000"), a_position("-100", "10", pair="XRP-USDT"))

    assert books.exposure(ledger) == Decimal(21_000)
    assert books.exposure_of(ledger, "XRP-USDT") == Decimal(1_000)
    assert books.exposure_of(ledger, "ETH-USDT") == 0


@pytest.mark.catalogue("R03")
@pytest.mark.parametrize(("offset_ms", "loss"), [(-1, "100"), (0, "0"), (1, "0")])
def test_R03_the_daily_loss_begins_anew_at_utc_midnight_of_market_time(
    offset_ms: int, loss: str
) -> None:
    ledger = replace(open_ledger("paper", START, now_ms=MIDNIGHT - DAY_MS), cash=Decimal(9_900))

    marked = books.mark(ledger, {}, MIDNIGHT + offset_ms)

    assert books.daily_loss(marked) == Decimal(loss)


@pytest.mark.catalogue("R03")
def test_R03_a_loss_across_midnight_counts_for_the_day_that_sees_it() -> None:
    ledger = books.mark(books_with(a_position("10")), {PAIR: Decimal(100)}, MIDNIGHT - 1)

    after = books.mark(ledger, {PAIR: Decimal(90)}, MIDNIGHT + 3 * 60_000)

    assert books.daily_loss(after) == Decimal(100)
    assert books.daily_loss_fraction(after) == Decimal("0.01")


@pytest.mark.catalogue("R03")
def test_R03_a_late_fill_of_yesterday_does_not_reset_the_day_again() -> None:
    today = books.mark(books_with(a_position("10")), {PAIR: Decimal(100)}, MIDNIGHT + 1)
    losing = books.mark(today, {PAIR: Decimal(90)}, MIDNIGHT + 2)
    order = order_of(Side.SELL)
    late = a_fill("late", "1", "90", order=order, fee="0", filled_ms=MIDNIGHT - 5_000)

    after, _ = book_fill(losing, late, order=order)

    assert (after.day, after.day_start_equity) == ("2026-03-01", Decimal(10_000))
    assert books.daily_loss(after) == Decimal(100)


def test_a_fill_after_midnight_begins_the_day_before_it_loses() -> None:
    ledger = open_ledger("paper", START, now_ms=MIDNIGHT - 1)
    order = order_of(Side.BUY)
    fill = a_fill("f", "1", "100", order=order, fee="7", filled_ms=MIDNIGHT)

    after, _ = book_fill(ledger, fill, order=order)

    assert books.daily_loss(after) == Decimal(7)


def adjustment(pair: str, quantity: str, *, price: str) -> books.Adjustment:
    return books.Adjustment(
        adjustment_id="adj",
        pair=pair,
        quantity=Decimal(quantity),
        price=Decimal(price),
        at_ms=NOW,
    )


def test_an_adjustment_explains_a_position_without_touching_realised_pnl() -> None:
    ledger = books_with(a_position("2"))

    liquidated = books.adjust(ledger, adjustment(PAIR, "-2", price="60"))
    manual = books.adjust(ledger, adjustment("ETH-USDT", "3", price="10"))

    assert liquidated.positions == {}
    assert (liquidated.external, liquidated.realized_pnl) == (Decimal(-80), Decimal(0))
    assert books.drawdown_fraction(liquidated) > 0
    assert (manual.positions["ETH-USDT"].trade_id, manual.external) == ("adj", Decimal(0))
    assert s8_books_balance(liquidated) == s8_books_balance(manual) == []


@pytest.mark.parametrize("amount", ["5000", "-5000"])
def test_a_deposit_is_no_gain_and_a_withdrawal_no_drawdown(amount: str) -> None:
    ledger = books_with(a_position("2"))

    after = books.transfer(ledger, Decimal(amount), now_ms=NOW)

    assert books.equity(after) == START + Decimal(amount)
    assert books.drawdown_fraction(after) == books.daily_loss(after) == 0
    assert s8_books_balance(after) == []


def test_marks_of_other_pairs_stay_and_time_never_runs_back() -> None:
    ledger = books.mark(books_with(a_position("2")), {"ETH-USDT": Decimal(7)}, NOW + 100)

    after = books.mark(ledger, {PAIR: Decimal(105)}, NOW + 50)

    assert after.marks == {PAIR: Decimal(105), "ETH-USDT": Decimal(7)}
    assert after.marked_ms == NOW + 100
    assert books.unrealized(after) == Decimal(10)


@pytest.mark.parametrize("cash", ["0", "-5"])
def test_an_account_without_money_has_no_fractions_to_lose(cash: str) -> None:
    ledger = open_ledger("paper", Decimal(cash), now_ms=NOW)

    assert books.drawdown_fraction(ledger) == books.daily_loss_fraction(ledger) == 0
