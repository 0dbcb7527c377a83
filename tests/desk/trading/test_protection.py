"""Exits at the venue: their levels, whose they are, which are missing."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.trading import protection
from desk.trading.intents import Protection, exit_prices
from desk.trading.orders import ExitKind, Leg, Order, OrderState, Side, VenueOrder, VenueOrderStatus
from tests.desk.trading.builders import INSTRUMENT, NOW, a_position, a_report, an_order

STOP, TAKE = ExitKind.STOP_LOSS, ExitKind.TAKE_PROFIT
FRACTIONS = st.decimals("0.0000001", "0.9999999", places=7)


def entry(**changes: Any) -> Order:
    """A filled buy of 1 coin at 100 with a stop at 99 and a take-profit at 102."""
    filled = {
        "state": OrderState.FILLED,
        "venue_order_id": "77",
        "filled_quantity": Decimal(1),
        "stop_loss_price": Decimal(99),
        "take_profit_price": Decimal(102),
    }
    return an_order(**filled | changes)


def an_exit(kind: ExitKind = STOP, parent_id: str = "77", **changes: Any) -> VenueOrder:
    """What the venue lists of an exit of `entry`."""
    report = replace(
        a_report(VenueOrderStatus.OPEN),
        client_order_id="",
        venue_order_id=f"9{'1' if kind is STOP else '2'}",
        side=Side.SELL,
        reduce_only=True,
        exit_kind=kind,
        trigger_price=Decimal(99) if kind is STOP else Decimal(102),
        parent_order_id=parent_id,
    )
    return replace(report, **changes)


@pytest.mark.parametrize(
    ("side", "stop", "take"),
    [
        (Side.BUY, "39600.5", "40800.6"),  # toward the market; away from it
        (Side.SELL, "40400.5", "39200.4"),
    ],
)
def test_rounding_hurts_the_trader(side: Side, stop: str, take: str) -> None:
    asked = Protection(stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.02"))

    prices = exit_prices(side, Decimal("40000.5"), asked, INSTRUMENT)

    assert prices == (Decimal(stop), Decimal(take))


def test_what_was_not_asked_for_is_not_placed() -> None:
    assert exit_prices(Side.BUY, Decimal(100), Protection(), INSTRUMENT) == (None, None)


@given(st.sampled_from(Side), st.integers(2, 10**6), FRACTIONS, FRACTIONS)
def test_exits_stand_in_whole_ticks_on_their_own_side_of_the_market(
    side: Side, half_ticks: int, stop_fraction: Decimal, take_fraction: Decimal
) -> None:
    market = half_ticks * INSTRUMENT.tick / 2
    asked = Protection(stop_loss_fraction=stop_fraction, take_profit_fraction=take_fraction)

    stop, take = exit_prices(side, market, asked, INSTRUMENT)

    assert stop is not None
    assert take is not None
    assert stop % INSTRUMENT.tick == take % INSTRUMENT.tick == 0
    assert min(stop, take) >= INSTRUMENT.tick
    if min(stop, take) > INSTRUMENT.tick:
        assert (stop - market) * side.sign < 0 < (take - market) * side.sign
    exact = market * (1 - side.sign * stop_fraction)
    assert (stop - exact) * side.sign >= 0 or abs(stop - market) <= INSTRUMENT.tick


def test_an_exit_is_known_by_its_parents_id() -> None:
    other = entry(client_order_id="t1other", venue_order_id="78")

    assert protection.parent_of(an_exit(), [other, entry()]) == entry()
    assert protection.parent_of(an_exit(parent_id="79"), [other, entry()]) is None


def test_without_a_parents_id_it_is_known_by_kind_side_and_price() -> None:
    older = entry(client_order_id="t1older", created_ms=NOW - 1)
    orders = [older, entry()]

    assert protection.parent_of(an_exit(parent_id=""), orders) == entry()
    changed: list[dict[str, Any]] = [
        {"trigger_price": Decimal("98.9")},
        {"side": Side.BUY},
        {"exit_kind": TAKE},
        {"exit_kind": None},
        {"client_order_id": "somebody"},
        {"pair": "ETH-USDT"},
    ]
    for changes in changed:
        assert protection.parent_of(an_exit(parent_id="", **changes), orders) is None


def test_an_exit_has_one_row_whatever_is_said_of_it() -> None:
    first = protection.exit_row(entry(), an_exit(), now_ms=NOW, wall_ms=1)
    again = protection.exit_row(entry(), an_exit(filled_quantity=Decimal(1)), now_ms=NOW, wall_ms=2)
    take = protection.exit_row(entry(), an_exit(TAKE), now_ms=NOW, wall_ms=1)

    assert first.client_order_id == again.client_order_id != take.client_order_id
    assert (first.leg, first.reduce_only, first.exit_kind) == (Leg.EXIT, True, STOP)
    assert (first.trade_id, first.venue_order_id) == (entry().trade_id, "91")
    assert (first.reserved_quote, first.reference_price) == (0, Decimal(99))


@pytest.mark.parametrize(
    ("resting", "missing"),
    [
        ([], "1"),
        ([an_exit()], "0"),
        ([an_exit(TAKE)], "1"),
        ([an_exit(quantity=Decimal("0.4"))], "0.6"),
        ([an_exit(quantity=Decimal("0.4")), an_exit(venue_order_id="93")], "0"),
        ([an_exit(side=Side.BUY)], "1"),
        ([an_exit(status=VenueOrderStatus.CANCELLED)], "1"),
        ([an_exit(parent_id="79")], "1"),
    ],
)
def test_only_stops_of_the_trade_that_rest_cover_it(
    resting: list[VenueOrder], missing: str
) -> None:
    held = a_position("1", trade_id=entry().trade_id)

    assert protection.uncovered(held, [entry()], resting) == Decimal(missing)


def test_a_trade_that_asked_for_no_stop_misses_none() -> None:
    held = a_position("1", trade_id=entry().trade_id)

    assert protection.uncovered(held, [entry(stop_loss_price=None)], []) == 0
    assert protection.uncovered(held, [entry(filled_quantity=Decimal(0))], []) == 0


@pytest.mark.parametrize(
    ("quantity", "mark", "through"),
    [("1", "99", True), ("1", "99.1", False), ("-1", "99", True), ("-1", "98.9", False)],
)
def test_a_market_at_the_stop_is_through_it(quantity: str, mark: str, through: bool) -> None:
    assert protection.is_through(a_position(quantity), Decimal(99), Decimal(mark)) is through
