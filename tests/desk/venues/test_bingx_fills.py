"""An order's executions add up to it and are booked once, by its trades or by its growing total."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import ProtocolError
from desk.trading.orders import Fill, Side, VenueOrder, VenueOrderStatus
from desk.venues import bingx_fills
from desk.venues.bingx_answers import Row

LOTS = st.integers(1, 500).map(lambda lots: Decimal(lots) / 10_000)
PRICES = st.integers(100_000, 900_000).map(lambda ticks: Decimal(ticks) / 10)


def _order(filled: Decimal, average: Decimal, fees: Decimal = Decimal(0)) -> VenueOrder:
    return VenueOrder(
        client_order_id="t1abc",
        venue_order_id="1736",
        pair="BTC-USDT",
        side=Side.BUY,
        status=VenueOrderStatus.PARTIAL,
        quantity=Decimal(1),
        filled_quantity=filled,
        average_price=average,
        fees=fees,
        reduce_only=False,
        updated_ms=1_700_000_000_000,
    )


def _trade(trade_id: str, volume: str, **fields: Any) -> Row:
    row = {
        "tradeId": trade_id,
        "orderId": "1736",
        "price": "40000",
        "volume": volume,
        "qty": str(Decimal(volume) * 40_000),
        "commission": "-0.5",
        "role": "taker",
        "filledTm": "2023-11-15T06:13:20Z",
    }
    return Row("a call", "row", {**row, **fields})


def test_trades_that_add_up_are_the_fills_oldest_first_at_the_time_of_the_order() -> None:
    rows = [_trade("12", "0.02", role="maker"), _trade("9", "0.01"), _trade("9", "0.01")]

    fills = bingx_fills.from_trades(rows, _order(Decimal("0.03"), Decimal(40_000)))

    assert fills is not None
    assert [(fill.fill_id, fill.quantity, fill.is_maker) for fill in fills] == [
        ("9", Decimal("0.01"), False),
        ("12", Decimal("0.02"), True),
    ]
    assert {fill.filled_ms for fill in fills} == {1_700_000_000_000}
    assert {fill.fee for fill in fills} == {Decimal("0.5")}


def test_field_whose_sum_is_the_order_holds_the_coins() -> None:
    rows = [_trade("1", "400", qty="0.01"), _trade("2", "800", qty="0.02")]

    fills = bingx_fills.from_trades(rows, _order(Decimal("0.03"), Decimal(40_000)))

    assert fills is not None
    assert [fill.quantity for fill in fills] == [Decimal("0.01"), Decimal("0.02")]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [_trade("1", "0.01")],
        [_trade("1", "0.01"), _trade("2", "0.03")],
        [_trade("", "0.03")],
        [_trade("1", "0.01"), _trade("", "0.02")],
    ],
)
def test_trades_that_lag_or_have_no_ids_are_not_the_fills(rows: list[Row]) -> None:
    assert bingx_fills.from_trades(rows, _order(Decimal("0.03"), Decimal(40_000))) is None


def test_trade_without_a_price_is_an_error() -> None:
    rows = [_trade("1", "0.03", price="0")]

    with pytest.raises(ProtocolError, match="price"):
        bingx_fills.from_trades(rows, _order(Decimal("0.03"), Decimal(40_000)))


@given(st.lists(st.tuples(LOTS, PRICES), min_size=1, max_size=8), st.data())
def test_totals_read_at_any_moments_book_every_coin_and_fee_once(
    trades: list[tuple[Decimal, Decimal]], data: st.DataObject
) -> None:
    booked: dict[str, Fill] = {}
    filled = paid = Decimal(0)

    for quantity, price in trades:
        filled, paid = filled + quantity, paid + quantity * price
        if data.draw(st.booleans()):
            continue
        order = _order(filled, paid / filled, fees=paid / 2000)
        for _ in range(data.draw(st.integers(1, 2))):
            for fill in bingx_fills.from_total(order, list(booked.values())):
                booked.setdefault(fill.fill_id, fill)
    order = _order(filled, paid / filled, fees=paid / 2000)
    last = bingx_fills.from_total(order, list(booked.values()))

    assert sum(fill.quantity for fill in last) == filled
    assert sum(fill.quantity * fill.price for fill in last) == pytest.approx(paid)
    assert sum(fill.fee for fill in last) == pytest.approx(paid / 2000)
    assert len({fill.fill_id for fill in last}) == len(last)
    assert bingx_fills.is_booked_by_total(last)


def test_total_without_a_price_is_never_booked() -> None:
    with pytest.raises(ProtocolError, match="avgPrice"):
        bingx_fills.from_total(_order(Decimal(1), Decimal(0)), [])
