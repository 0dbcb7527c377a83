"""From a target to legs, and the trade each leg belongs to."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.trading.instruments import Instrument
from desk.trading.intents import (
    OrderIntent,
    Protection,
    close_intent,
    intend,
    order_of,
    target_lots,
    trade_id_of,
)
from desk.trading.orders import Leg, OrderState, Side
from tests.desk.trading.builders import INSTRUMENT, NOW, PAIR, a_position, an_intent


def legs_for(target: float, held: str | Decimal = "0", **changes: object) -> list[OrderIntent]:
    asked: dict[str, object] = {
        "size_quote": Decimal(1000),
        "reference_price": Decimal("40000.5"),
        "instrument": INSTRUMENT,
        **changes,
    }
    return intend(
        target,
        held_quantity=Decimal(held),
        account="paper",
        run_id="run",
        decision_id="d1",
        decided_open_ms=NOW,
        trace_id="tr1",
        **asked,  # pyright: ignore[reportArgumentType]
    )


HELD = st.integers(-600, 600).map(INSTRUMENT.quantity_of)
TARGETS = st.sampled_from([-1.0, -0.5, 0.0, 0.3, 1.0])


@given(TARGETS, HELD)
def test_the_legs_lead_to_a_position_of_the_wanted_sign_within_the_size(
    target: float, held: Decimal
) -> None:
    legs = legs_for(target, held)

    after = held + sum((leg.signed_quantity for leg in legs), Decimal(0))

    assert abs(after) * Decimal("40000.5") <= max(
        Decimal(1000) * Decimal(str(abs(target))), abs(held) * Decimal("40000.5") if not legs else 0
    )
    assert after == 0 or (after > 0) == (target > 0)
    assert (after == 0) == (target == 0)


@given(TARGETS, HELD)
def test_W5_a_reducing_leg_only_shrinks_and_comes_first(target: float, held: Decimal) -> None:
    legs = legs_for(target, held)

    assert [leg.reduce_only for leg in legs] in ([], [True], [False], [True, False])
    for leg in legs:
        assert leg.leg is (Leg.EXIT if leg.reduce_only else Leg.ENTRY)
        assert leg.quantity > 0
        if leg.reduce_only:
            assert leg.signed_quantity * held < 0
            assert leg.quantity <= abs(held)


@given(TARGETS, HELD)
def test_a_target_that_is_reached_asks_for_nothing_more(target: float, held: Decimal) -> None:
    after = held + sum((leg.signed_quantity for leg in legs_for(target, held)), Decimal(0))

    assert legs_for(target, after) == []


def test_regression_4_the_agent_can_close_and_flip_a_position() -> None:
    closing = legs_for(0.0, "0.0200")
    flipping = legs_for(-1.0, "0.0200")

    assert [(leg.leg, leg.side, leg.quantity) for leg in closing] == [
        (Leg.EXIT, Side.SELL, Decimal("0.0200"))
    ]
    assert [(leg.leg, leg.side, leg.quantity) for leg in flipping] == [
        (Leg.EXIT, Side.SELL, Decimal("0.0200")),
        (Leg.ENTRY, Side.SELL, Decimal("0.0249")),
    ]


@pytest.mark.parametrize("sign", [1, -1])
def test_a_resize_is_one_order_for_the_difference(sign: int) -> None:
    smaller = legs_for(float(sign), sign * Decimal("0.0400"))
    larger = legs_for(float(sign), sign * Decimal("0.0100"))

    assert [(leg.leg, leg.signed_quantity) for leg in smaller] == [
        (Leg.EXIT, sign * Decimal("-0.0151"))
    ]
    assert [(leg.leg, leg.signed_quantity) for leg in larger] == [
        (Leg.ENTRY, sign * Decimal("0.0149"))
    ]


def test_price_drift_within_the_band_asks_for_nothing() -> None:
    assert legs_for(1.0, "0.0249", reference_price=Decimal(45_000)) == []
    assert legs_for(1.0, "0.0249", reference_price=Decimal(55_000)) != []


COARSE = replace(INSTRUMENT, lot=Decimal("0.001"), min_quantity=Decimal("0.001"))
TEN_LOTS = replace(COARSE, min_quantity=Decimal("0.01"))
HUNDRED_USDT = replace(COARSE, min_notional=Decimal(100))
EIGHTY_USDT = replace(COARSE, min_notional=Decimal(80))


@pytest.mark.parametrize(
    ("instrument", "size", "held", "lots"),
    [
        (TEN_LOTS, 399, 0, 0),
        (TEN_LOTS, 400, 0, 10),
        (HUNDRED_USDT, 119, 0, 0),
        (HUNDRED_USDT, 120, 0, 3),
        (EIGHTY_USDT, 119, 0, 0),  # two lots are exactly the minimum: one more, to be safe
        (COARSE, 1000, 20, 20),
        (COARSE, 1000, 19, 25),
        (COARSE, 1000, 30, 30),
        (COARSE, 1000, 31, 25),
        (COARSE, 1000, -25, 25),
        (TEN_LOTS, 1600, 31, 31),  # nine lots more than the band allows, ten are the least order
        (TEN_LOTS, 1600, 30, 40),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_lots_are_whole_at_least_the_minimum_and_steady_within_the_band(
    *, instrument: Instrument, size: float, held: int, lots: int, sign: int
) -> None:
    """One lot is worth 40 USDT."""
    wanted = target_lots(
        float(sign),
        size_quote=size,
        price_ticks=400_000,
        held_lots=sign * held,
        instrument=instrument,
    )

    assert wanted == sign * lots


def test_an_intent_knows_its_notional() -> None:
    assert an_intent("-2").notional == Decimal(200)


def test_a_size_below_the_minimum_closes_instead_of_opening() -> None:
    assert legs_for(1.0, size_quote=Decimal("1.9")) == []
    assert [leg.leg for leg in legs_for(1.0, "0.02", size_quote=Decimal("1.9"))] == [Leg.EXIT]


def test_a_pair_that_is_not_tradable_can_only_be_left() -> None:
    closed = replace(INSTRUMENT, tradable=False)

    assert [leg.leg for leg in legs_for(-1.0, "0.02", instrument=closed)] == [Leg.EXIT]
    assert legs_for(1.0, instrument=closed) == []


@pytest.mark.parametrize("target", [float("nan"), float("inf"), 1.01, -2.0])
def test_a_target_outside_the_range_is_refused(target: float) -> None:
    with pytest.raises(BadInput, match="target"):
        legs_for(target)


def test_a_price_of_zero_is_refused() -> None:
    with pytest.raises(BadInput, match="reference_price"):
        legs_for(1.0, reference_price=Decimal(0))


def test_regression_6_the_same_decision_makes_the_same_client_order_ids() -> None:
    first, again = legs_for(-1.0, "0.02"), legs_for(-1.0, "0.02")

    assert [leg.client_order_id for leg in first] == [leg.client_order_id for leg in again]
    assert len({leg.client_order_id for leg in first}) == 2


def test_every_leg_knows_its_trade() -> None:
    long = a_position("2")
    exit_leg = an_intent("-2", leg=Leg.EXIT, reduce_only=True)
    more, flip = an_intent("1"), an_intent("-2")

    assert trade_id_of(exit_leg, position=long) == "t-old"
    assert trade_id_of(more, position=long) == "t-old"
    assert trade_id_of(flip, position=long) == flip.client_order_id
    assert trade_id_of(more, position=None) == more.client_order_id


def test_an_approved_intent_becomes_a_row_that_was_never_sent() -> None:
    intent = an_intent("-2")

    order = order_of(intent, position=None, reserved_quote=Decimal(200), now_ms=NOW)

    assert order.client_order_id == order.trade_id == intent.client_order_id
    assert (order.state, order.attempts, order.version) == (OrderState.INTENT, 0, 0)
    assert (order.side, order.quantity, order.reserved_quote) == (Side.SELL, 2, 200)


def closing(quantity: str | None, held: str = "-0.02005") -> OrderIntent:
    return close_intent(
        a_position(held),
        quantity=None if quantity is None else Decimal(quantity),
        reference_price=Decimal(100),
        instrument=INSTRUMENT,
        account="paper",
        decision_id="close-1",
        now_ms=NOW,
        trace_id="tr1",
    )


def test_an_operator_closes_all_or_part_of_a_position() -> None:
    everything, part = closing(None), closing("0.01")

    assert (everything.side, everything.quantity) == (Side.BUY, Decimal("0.0200"))
    assert part.quantity == Decimal("0.0100")
    assert everything.reduce_only
    assert everything.pair == PAIR


@pytest.mark.parametrize("quantity", ["0", "-0.01", "0.03", "0.00001"])
def test_a_close_of_nothing_or_of_too_much_is_refused(quantity: str) -> None:
    with pytest.raises(BadInput, match="quantity"):
        closing(quantity)


ONE_PERCENT = Protection(stop_loss_fraction=Decimal("0.01"), take_profit_fraction=Decimal("0.02"))


def test_the_leg_after_which_something_is_held_carries_its_exits() -> None:
    closing, opening = legs_for(-1.0, "0.0200", protection=ONE_PERCENT)
    [reducing] = legs_for(0.3, "0.0200", protection=ONE_PERCENT)
    [to_flat] = legs_for(0.0, "0.0200", protection=ONE_PERCENT)

    assert (closing.stop_loss_price, closing.take_profit_price) == (None, None)
    assert opening.stop_loss_price == Decimal("40400.5")
    assert opening.take_profit_price == Decimal("39200.4")
    assert (reducing.reduce_only, reducing.stop_loss_price) == (True, Decimal("39600.5"))
    assert to_flat.stop_loss_price is None


def test_an_order_row_keeps_the_exits_of_its_intent() -> None:
    [leg] = legs_for(1.0, protection=ONE_PERCENT)

    row = order_of(leg, position=None, reserved_quote=Decimal(1), now_ms=NOW)

    assert (row.stop_loss_price, row.take_profit_price) == (
        leg.stop_loss_price,
        leg.take_profit_price,
    )
    assert row.stop_loss_price is not None
