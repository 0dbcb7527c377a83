"""The check of an intent, limit by limit."""

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import BadInput
from desk.trading import ledger as books
from desk.trading import risk
from desk.trading.breaker import Breaker, BreakerState
from desk.trading.intents import OrderIntent
from desk.trading.ledger import Ledger, open_ledger
from desk.trading.limits import AccountPolicy, default_limits, default_paper_policy
from desk.trading.orders import Leg, Order, OrderState, Side
from desk.trading.risk import Approved, Refused, check
from tests.desk.trading.builders import (
    NOW,
    PAIR,
    a_position,
    an_intent,
    an_order,
    books_with,
)

LIMITS = default_limits()
POLICY = default_paper_policy()
OK = Breaker(account="paper")
FLAT = books_with()
TEN = Decimal(10)
ENTRY = an_intent("10")


def ask(
    intent: OrderIntent = ENTRY,
    ledger: Ledger = FLAT,
    open_orders: Sequence[Order] = (),
    **changes: Any,
) -> Approved[OrderIntent] | Refused:
    asked: dict[str, Any] = {
        "limits": LIMITS,
        "policy": POLICY,
        "breaker": OK,
        "price": Decimal(100),
        "leverage": Decimal(3),
        "now_ms": NOW,
        **changes,
    }
    return check(intent, ledger=ledger, open_orders=open_orders, **asked)


def refusal(answer: Approved[OrderIntent] | Refused) -> tuple[str, str]:
    assert isinstance(answer, Refused)
    return answer.scope, answer.limit


def test_a_fresh_paper_account_may_trade_the_default_size() -> None:
    ledger = open_ledger("paper", Decimal(10_000), now_ms=NOW)

    answer = ask(an_intent("10"), ledger)

    assert answer == Approved(value=an_intent("10"), limits_set_id="default")


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        ("max_position_size", {"limits": replace(LIMITS, max_position_size=Decimal("999.9"))}),
        ("leverage_cap", {"leverage": Decimal("3.01")}),
        ("max_open_positions", {"limits": replace(LIMITS, max_open_positions=1)}),
    ],
)
def test_each_limit_of_a_run_refuses_an_entry(limit: str, changes: dict[str, Any]) -> None:
    ledger = books_with(a_position("1", "10", pair="ETH-USDT"))

    assert refusal(ask(ENTRY, ledger, **changes)) == ("run", limit)


def lost(amount: str, *, before_today: bool = False) -> Ledger:
    """Books that lost an amount of USDT, today or on an earlier day."""
    ledger = replace(FLAT, cash=FLAT.cash - Decimal(amount))
    return replace(ledger, day_start_equity=ledger.cash) if before_today else ledger


def test_regression_3_the_daily_loss_of_a_run_is_checked() -> None:
    assert isinstance(ask(ledger=lost("199.99")), Approved)
    assert refusal(ask(ledger=lost("200"))) == ("run", "max_daily_loss")
    assert isinstance(ask(ledger=lost("200", before_today=True)), Approved)


def test_regression_3_the_drawdown_of_a_run_is_checked() -> None:
    assert isinstance(ask(ledger=lost("999", before_today=True)), Approved)
    assert refusal(ask(ledger=lost("1000", before_today=True))) == ("run", "max_drawdown")


@pytest.mark.catalogue("R10")
def test_R10_fees_and_funding_alone_can_cross_the_daily_loss() -> None:
    ledger = books.book_funding(FLAT, Decimal(-200), due_ms=NOW)

    assert refusal(ask(ledger=ledger)) == ("run", "max_daily_loss")


WIDE = replace(
    LIMITS,
    max_position_size=Decimal(100_000),
    max_daily_loss=Decimal(100_000),
    max_drawdown=Decimal(1),
    leverage_cap=Decimal(125),
    max_open_positions=50,
)
LIVE = AccountPolicy(account="live")


@pytest.mark.parametrize(
    ("limit", "ledger", "changes"),
    [
        ("max_total_exposure", books_with(a_position("20.1", pair="ETH-USDT")), {}),
        ("max_instrument_exposure", FLAT, {"intent": an_intent("10.1")}),
        (
            "max_open_positions",
            books_with(a_position("1", pair="ETH-USDT")),
            {"policy": replace(LIVE, max_open_positions=1)},
        ),
        ("max_daily_loss", lost("200"), {"intent": an_intent("1")}),
        ("max_drawdown", lost("500", before_today=True), {"intent": an_intent("1")}),
        ("max_leverage", FLAT, {"leverage": Decimal("3.5")}),
        (
            "liquidation_buffer",
            FLAT,
            {"leverage": Decimal(100), "policy": replace(LIVE, max_leverage=Decimal(125))},
        ),
    ],
)
def test_each_guardrail_of_an_account_refuses_an_entry(
    limit: str, ledger: Ledger, changes: dict[str, Any]
) -> None:
    asked = {"intent": ENTRY, "policy": LIVE, "limits": WIDE, **changes}

    assert refusal(ask(ledger=ledger, **asked)) == ("account", limit)


def test_the_live_defaults_allow_exactly_a_tenth_of_equity_per_pair() -> None:
    assert isinstance(ask(an_intent("10"), policy=LIVE, limits=WIDE), Approved)


def test_limits_speak_in_the_order_of_the_contract() -> None:
    poor = replace(FLAT, cash=Decimal(1))
    tripped = Breaker(account="paper", state=BreakerState.COOLDOWN, cooldown_until_ms=NOW + 1)

    answer = ask(an_intent("1000"), poor, leverage=Decimal(125), breaker=tripped)

    assert refusal(answer) == ("run", "max_position_size")


def test_the_breaker_refuses_until_its_cool_down_ends() -> None:
    tripped = Breaker(
        account="paper",
        state=BreakerState.COOLDOWN,
        cooldown_until_ms=NOW + 1,
        trigger_reason="circuit_breaker_loss",
    )

    assert refusal(ask(breaker=tripped)) == ("account", "circuit_breaker")
    assert isinstance(ask(breaker=tripped, now_ms=NOW + 1), Approved)


@pytest.mark.catalogue("R02")
def test_R02_a_stale_mark_blocks_entries_and_lets_exits_pass() -> None:
    late: dict[str, Any] = {"now_ms": NOW + 30_001, "max_mark_age_ms": 30_000}

    assert refusal(ask(**late)) == ("account", "equity_stale")
    assert isinstance(ask(now_ms=NOW + 30_000, max_mark_age_ms=30_000), Approved)
    assert isinstance(ask(an_intent("-1", leg=Leg.EXIT, reduce_only=True), **late), Approved)


@given(st.sampled_from(["1", "1000", "-1000000"]), st.integers(0, 20_000))
def test_an_exit_always_passes(quantity: str, loss: int) -> None:
    tripped = Breaker(account="paper", state=BreakerState.COOLDOWN, cooldown_until_ms=NOW + 1)
    intent = an_intent(quantity, leg=Leg.EXIT, reduce_only=True)

    answer = ask(intent, lost(str(loss)), leverage=Decimal(125), breaker=tripped)

    assert isinstance(answer, Approved)
    assert risk.reservation(intent, price=Decimal(100)) == 0


def resting(quantity: str, **changes: Any) -> Order:
    signed = Decimal(quantity)
    return an_order(
        client_order_id=f"t1-{quantity}-{sorted(changes)}",
        side=Side.of(signed),
        quantity=abs(signed),
        state=OrderState.OPEN,
        **changes,
    )


def test_open_orders_count_as_held() -> None:
    half_filled = resting("8", filled_quantity=Decimal(4))

    assert refusal(ask(open_orders=[resting("0.1")])) == ("run", "max_position_size")
    assert isinstance(ask(an_intent("6"), open_orders=[half_filled]), Approved)
    assert refusal(ask(an_intent("6.1"), open_orders=[half_filled])) == ("run", "max_position_size")


def test_open_orders_of_other_pairs_count_for_the_account() -> None:
    other = resting("39", pair="ETH-USDT", reference_price=Decimal(100))
    limits = replace(WIDE, max_position_size=Decimal(100_000))

    assert isinstance(ask(limits=limits, open_orders=[other], policy=POLICY), Approved)
    big = [resting("91", pair="ETH-USDT", reference_price=Decimal(100))]
    assert refusal(ask(limits=limits, open_orders=big)) == ("account", "max_total_exposure")


def test_regression_4_a_flip_is_not_refused_for_the_position_its_exit_closes() -> None:
    ledger = books.mark(books_with(a_position("10")), {PAIR: Decimal(105)}, NOW)
    closing = resting("-10", reduce_only=True, leg=Leg.EXIT)

    flip = ask(an_intent("-9.5"), ledger, [closing], price=Decimal(105))
    unclosed = ask(an_intent("9.5"), ledger, [closing], price=Decimal(105))

    assert isinstance(flip, Approved)
    assert refusal(unclosed) == ("run", "max_position_size")


def test_regression_10_a_cheap_coin_is_limited_by_notional() -> None:
    cheap = an_intent("5000", pair="XRP-USDT", reference_price=Decimal("0.2"))

    assert isinstance(ask(cheap, price=Decimal("0.2")), Approved)
    assert refusal(ask(replace(cheap, quantity=Decimal(5001)), price=Decimal("0.2"))) == (
        "run",
        "max_position_size",
    )


@pytest.mark.parametrize(
    ("held", "orders", "lowest", "highest"),
    [
        ("5", [], "5", "5"),
        ("5", [("-3", False)], "2", "5"),
        ("5", [("-3", True)], "2", "5"),
        ("5", [("-8", True)], "0", "5"),
        ("5", [("8", True)], "5", "5"),
        ("-5", [("3", True)], "-5", "-2"),
        ("-5", [("8", True)], "-5", "0"),
        ("-5", [("-8", True)], "-5", "-5"),
        ("0", [("8", True), ("-8", True)], "0", "0"),
        ("5", [("-5", True), ("-4", False)], "-4", "5"),
        ("-5", [("5", True), ("4", False)], "-5", "4"),
        ("5", [("2", False), ("1", False), ("-4", False)], "1", "8"),
    ],
)
def test_a_position_reaches_as_far_as_its_orders_allow(
    held: str, orders: list[tuple[str, bool]], lowest: str, highest: str
) -> None:
    pending = [resting(quantity, reduce_only=reduce_only) for quantity, reduce_only in orders]

    assert risk.reach(Decimal(held), pending, Side.SELL) == Decimal(lowest)
    assert risk.reach(Decimal(held), pending, Side.BUY) == Decimal(highest)


def test_an_entry_reserves_its_notional() -> None:
    assert risk.reservation(an_intent("-2"), price=Decimal("100.5")) == Decimal(201)


def test_a_refusal_says_what_was_asked_and_what_was_left() -> None:
    size = ask(an_intent("10.5"))
    stale = ask(now_ms=NOW + 5, max_mark_age_ms=4)

    assert size == Refused(limit="max_position_size", asked="1050.0", allowed="1000")
    assert isinstance(stale, Refused)
    assert (stale.asked, stale.allowed) == ("5 ms", "4 ms")


def test_the_last_free_position_may_be_taken() -> None:
    ledger = books_with(a_position("1", "10", pair="ETH-USDT"))

    assert isinstance(ask(ledger=ledger, limits=replace(LIMITS, max_open_positions=2)), Approved)


ORDERS = st.lists(
    st.tuples(st.integers(-9, 9).filter(bool), st.booleans()).map(
        lambda item: resting(str(item[0]), reduce_only=item[1])
    ),
    max_size=4,
)


@given(st.integers(-9, 9).map(Decimal), ORDERS, st.data())
def test_no_sequence_of_fills_reaches_beyond_what_was_counted(
    held: Decimal, orders: list[Order], data: st.DataObject
) -> None:
    low, high = risk.reach(held, orders, Side.SELL), risk.reach(held, orders, Side.BUY)

    position = held
    for order in data.draw(st.permutations(orders)):
        filled = order.side.sign * Decimal(data.draw(st.integers(0, int(order.quantity))))
        if order.reduce_only:
            room = max(-position * order.side.sign, Decimal(0))
            filled = order.side.sign * min(abs(filled), room)
        position += filled

    if not any(order.reduce_only for order in orders):
        assert low <= position <= high
    else:  # a reduce-only order may also close what a plain one opened; it never opens more
        assert abs(position) <= max(abs(low), abs(high))


def test_lots_computed_in_floats_do_not_cross_the_size_by_their_last_digit() -> None:
    exact = replace(LIMITS, max_position_size=Decimal("999.9999999999"))

    assert isinstance(ask(limits=exact), Approved)


@pytest.mark.parametrize(("leverage", "buffer"), [(1, "10000.0"), (3, "3296.5"), (100, "45.2")])
def test_the_liquidation_buffer_shrinks_with_leverage(leverage: int, buffer: str) -> None:
    assert f"{risk.liquidation_buffer_bps(Decimal(leverage)):.1f}" == buffer


@pytest.mark.parametrize("sign", [1, -1])
def test_the_buffer_of_a_held_position_shrinks_as_the_price_comes_near_its_liquidation(
    sign: int,
) -> None:
    held = a_position(Decimal(sign), "100")
    buffers = [
        risk.held_buffer_bps(held, Decimal(100 - sign * fall), Decimal(10)) for fall in range(12)
    ]

    assert buffers == sorted(buffers, reverse=True)
    assert buffers[0] > 900
    assert buffers[-1] < 0, "beyond it"


@pytest.mark.catalogue("R01")
def test_an_entry_that_adds_to_a_position_near_its_liquidation_is_refused_and_a_flip_is_not() -> (
    None
):
    ledger = books_with(a_position("1", "100"))
    leveraged: dict[str, Any] = {
        "ledger": ledger,
        "policy": replace(LIVE, max_leverage=Decimal(125)),
        "limits": WIDE,
        "leverage": Decimal(10),
        "price": Decimal("90.9"),
    }

    assert refusal(ask(intent=an_intent("1"), **leveraged)) == ("account", "liquidation_buffer")
    assert isinstance(ask(intent=an_intent("-1"), **leveraged), Approved)
    roomy: dict[str, Any] = leveraged | {"price": Decimal(99)}
    assert isinstance(ask(intent=an_intent("1"), **roomy), Approved)


def test_the_least_buffer_is_the_operators_to_set() -> None:
    strict: dict[str, Any] = {
        "ledger": FLAT,
        "policy": LIVE,
        "limits": WIDE,
        "leverage": Decimal(3),
    }

    assert isinstance(ask(intent=ENTRY, **strict), Approved)
    asked = ask(intent=ENTRY, min_liquidation_buffer_bps=Decimal(4_000), **strict)
    assert refusal(asked) == ("account", "liquidation_buffer")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("set_id", ""),
        ("name", ""),
        ("max_position_size", Decimal(0)),
        ("max_position_size", Decimal("NaN")),
        ("leverage_cap", Decimal("0.5")),
        ("leverage_cap", Decimal(126)),
        ("max_daily_loss", Decimal(-1)),
        ("max_drawdown", Decimal("1.1")),
        ("max_open_positions", 0),
    ],
)
def test_a_limit_that_makes_no_sense_is_named(field: str, value: object) -> None:
    with pytest.raises(BadInput) as wrong:
        risk.validate_limits(replace(LIMITS, **{field: value}))

    assert wrong.value.field == field
    assert risk.validate_limits(LIMITS) is LIMITS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_total_exposure", Decimal(0)),
        ("max_instrument_exposure", Decimal("0.31")),
        ("max_open_positions", 0),
        ("max_daily_loss", Decimal(2)),
        ("max_drawdown", Decimal("Infinity")),
        ("max_leverage", Decimal(0)),
        ("circuit_breaker_loss", Decimal(0)),
        ("cooldown_minutes", 0),
    ],
)
def test_a_guardrail_that_makes_no_sense_is_named(field: str, value: object) -> None:
    with pytest.raises(BadInput) as wrong:
        risk.validate_policy(replace(LIVE, **{field: value}))

    assert wrong.value.field == field
    assert risk.validate_policy(LIVE) is LIVE
    assert risk.validate_policy(POLICY) is POLICY
