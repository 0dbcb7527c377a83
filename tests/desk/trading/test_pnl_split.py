"""The parts of a trade's result add up, whatever was filled at whatever price."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from desk.trading.orders import Fill, Side
from desk.trading.pnl_split import slippage_bps, slippage_quote, split_pnl

PRICES = st.decimals("1", "100000", places=1)
MONEY = st.decimals("-1000", "1000", places=8)


def fill(side: Side, quantity: Decimal, price: Decimal) -> Fill:
    return Fill(
        fill_id="f",
        client_order_id="o",
        venue_order_id="v",
        pair="BTC-USDT",
        side=side,
        quantity=quantity,
        price=price,
        fee=Decimal(0),
        is_maker=False,
        filled_ms=1,
    )


FILLS = st.builds(fill, st.sampled_from(Side), st.decimals("0.0001", "10", places=4), price=PRICES)


@given(st.lists(st.tuples(FILLS, PRICES), max_size=6), MONEY, MONEY, MONEY)
def test_the_parts_add_up_to_the_net_result(
    fills: list[tuple[Fill, Decimal]], gross: Decimal, fees: Decimal, funding: Decimal
) -> None:
    split = split_pnl(fills, gross=gross, fees=fees, funding=funding)

    assert split.total == gross - fees + funding
    assert split.slippage == sum(slippage_quote(*one) for one in fills)


@given(st.sampled_from(Side), st.decimals("0.0001", "10", places=4), PRICES, PRICES)
def test_a_round_trip_at_other_prices_than_decided_differs_by_its_slippage(
    side: Side, quantity: Decimal, decided: Decimal, filled: Decimal
) -> None:
    opened, closed = fill(side, quantity, filled), fill(Side.of(-side.sign), quantity, decided)
    gross = side.sign * quantity * (decided - filled)

    split = split_pnl(
        [(opened, decided), (closed, decided)], gross=gross, fees=Decimal(0), funding=Decimal(0)
    )

    assert split.price == 0
    assert split.slippage == gross


def test_a_fill_that_is_worse_costs_on_either_side() -> None:
    bought = fill(Side.BUY, Decimal(2), Decimal(101))
    sold = fill(Side.SELL, Decimal(2), Decimal(99))

    for one in (bought, sold):
        assert slippage_quote(one, Decimal(100)) == -2
        assert slippage_bps(one, Decimal(100)) == 100
    assert slippage_bps(bought, Decimal(0)) == 0
