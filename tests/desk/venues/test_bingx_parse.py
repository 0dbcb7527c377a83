"""BingX's rows as our values: names, signs and spellings that mislead."""

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import HOUR_MS, MINUTE_MS
from desk.errors import ProtocolError
from desk.trading.orders import Side, VenueOrderStatus
from desk.venues import bingx_parse
from desk.venues.bingx_answers import Row, Success

START_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS

CONTRACT: dict[str, Any] = {
    "contractId": "100",
    "symbol": "BTC-USDT",
    "size": "0",
    "quantityPrecision": 4,
    "pricePrecision": 1,
    "feeRate": "0.0005",
    "makerFeeRate": "0.0002",
    "takerFeeRate": "0.0005",
    "tradeMinQuantity": "0.0001",
    "tradeMinUSDT": "2",
    "maxLongLeverage": 150,
    "maxShortLeverage": 125,
    "currency": "USDT",
    "asset": "BTC",
    "status": 1,
    "apiStateOpen": "true",
    "apiStateClose": "true",
}
ORDER: dict[str, Any] = {
    "symbol": "BTC-USDT",
    "orderId": 1736012449498123456,
    "side": "SELL",
    "positionSide": "BOTH",
    "type": "MARKET",
    "origQty": "0.0300",
    "price": "0",
    "executedQty": "0.0100",
    "avgPrice": "40001.5",
    "commission": "-0.2",
    "status": "FILLED",
    "time": START_MS,
    "updateTime": START_MS + 500,
    "clientOrderId": "T1ABC",
    "reduceOnly": False,
}
POSITION: dict[str, Any] = {
    "symbol": "BTC-USDT",
    "positionAmt": "0.5",
    "positionSide": "LONG",
    "avgPrice": "40000",
    "leverage": 3,
    "unrealizedProfit": "1.5",
    "liquidationPrice": 0,
}


def _answer(data: object) -> Success:
    return Success(call="a call", data=data)


def _order(**changes: Any) -> Any:
    return bingx_parse.order(Row("a call", "row", {**ORDER, **changes}))


def _kline(open_ms: int, price: str = "40000") -> dict[str, Any]:
    return {
        "open": price,
        "close": price,
        "high": price,
        "low": price,
        "volume": "1.5",
        "time": open_ms,
    }


# --- contracts ------------------------------------------------------------------------------------


def test_contract_row_gives_exact_steps_and_rates() -> None:
    found = bingx_parse.instruments(_answer([CONTRACT]))["BTC-USDT"]

    assert (found.tick, found.lot) == (Decimal("0.1"), Decimal("0.0001"))
    assert (found.min_quantity, found.min_notional) == (Decimal("0.0001"), Decimal(2))
    assert (found.maker_rate, found.taker_rate) == (Decimal("0.0002"), Decimal("0.0005"))
    assert found.max_leverage == 125
    assert found.tradable


@pytest.mark.parametrize(
    "changes",
    [{"status": 0}, {"status": 5}, {"status": 25}, {"apiStateOpen": "false"}],
)
def test_contract_that_takes_no_entries_is_listed_and_not_tradable(changes: Any) -> None:
    found = bingx_parse.instruments(_answer([{**CONTRACT, **changes}]))

    assert not found["BTC-USDT"].tradable


def test_malformed_and_foreign_contracts_are_left_out() -> None:
    rows = [
        CONTRACT,
        {**CONTRACT, "symbol": "ETH-USDT", "pricePrecision": None},
        {**CONTRACT, "symbol": "BTC-USDC"},
    ]

    assert list(bingx_parse.instruments(_answer(rows))) == ["BTC-USDT"]


def test_contract_without_stated_leverage_allows_one() -> None:
    row = {key: value for key, value in CONTRACT.items() if not key.startswith("max")}

    assert bingx_parse.instruments(_answer([row]))["BTC-USDT"].max_leverage == 1


@pytest.mark.parametrize("data", [[], [{}], [{**CONTRACT, "symbol": "BTC-USDC"}]])
def test_no_readable_contract_is_an_error(data: object) -> None:
    with pytest.raises(ProtocolError, match="contract rows"):
        bingx_parse.instruments(_answer(data))


# --- candles --------------------------------------------------------------------------------------


@given(st.lists(st.integers(-3, 12), min_size=1, max_size=20))
def test_candles_come_out_sorted_unique_and_inside_whatever_the_order(minutes: list[int]) -> None:
    rows = [_kline(START_MS + minute * MINUTE_MS) for minute in minutes]

    read = bingx_parse.candles(_answer(rows), START_MS, START_MS + 10 * MINUTE_MS)

    expected = sorted({minute for minute in minutes if 0 <= minute < 10})
    assert [(open_ms - START_MS) // MINUTE_MS for open_ms in read.open_ms] == expected


def test_array_rows_read_as_dict_rows_do() -> None:
    dicts = [{**_kline(START_MS), "open": "1", "high": "4", "low": "0.5", "close": "2"}]
    arrays = [[START_MS, "1", "4", "0.5", "2", "1.5", START_MS + 59_999, "3", 7]]

    both = [
        bingx_parse.candles(_answer(rows), START_MS, START_MS + MINUTE_MS).row(0)
        for rows in (dicts, arrays)
    ]

    assert both[0] == both[1] == (START_MS, 1.0, 4.0, 0.5, 2.0, 1.5)


def test_candle_values_that_are_no_finite_numbers_stay_for_the_integrity_check() -> None:
    rows = [_kline(START_MS, "NaN"), _kline(START_MS + MINUTE_MS, "-1")]

    read = bingx_parse.candles(_answer(rows), START_MS, START_MS + 10 * MINUTE_MS)

    assert np.isnan(read.open[0])
    assert read.open[1] == -1.0


@pytest.mark.parametrize("row", [{}, [], [START_MS, "1"], {**_kline(START_MS), "open": "x"}, None])
def test_malformed_candle_row_is_refused_alone_with_its_text(row: object) -> None:
    read = bingx_parse.candles(_answer([_kline(START_MS), row]), START_MS, START_MS + HOUR_MS)

    assert read.open_ms.tolist() == [START_MS]
    assert [json.loads(refused.raw) for refused in read.refused] == [row]
    is_whole = isinstance(row, dict) and "open" in row
    assert read.refused[0].reason in (
        ("wrong_type",) if is_whole or row is None else ("missing_field",)
    )


def test_an_answer_of_which_no_row_can_be_read_is_an_error_and_no_gap() -> None:
    with pytest.raises(ProtocolError, match=r"data\[0\]"):
        bingx_parse.candles(_answer([{}, None]), START_MS, START_MS + HOUR_MS)


# --- orders ---------------------------------------------------------------------------------------


def test_order_row_is_read_with_paid_fees_and_a_lower_case_id() -> None:
    order = _order()

    assert order.client_order_id == "t1abc"
    assert order.venue_order_id == "1736012449498123456"
    assert (order.side, order.quantity) == (Side.SELL, Decimal("0.03"))
    assert (order.filled_quantity, order.average_price) == (Decimal("0.01"), Decimal("40001.5"))
    assert order.fees == Decimal("0.2")
    assert order.updated_ms == START_MS + 500


@pytest.mark.parametrize(
    ("raw", "filled", "expected"),
    [
        ("NEW", "0", VenueOrderStatus.OPEN),
        ("PENDING", "0", VenueOrderStatus.OPEN),
        ("RUNNING", "0", VenueOrderStatus.OPEN),
        ("PENDING", "0.01", VenueOrderStatus.PARTIAL),
        ("PARTIALLY_FILLED", "0.01", VenueOrderStatus.PARTIAL),
        ("FILLED", "0.03", VenueOrderStatus.FILLED),
        ("CANCELED", "0.01", VenueOrderStatus.CANCELLED),
        ("CANCELLED", "0", VenueOrderStatus.CANCELLED),
        ("FAILED", "0", VenueOrderStatus.CANCELLED),
        ("EXPIRED", "0.01", VenueOrderStatus.EXPIRED),
        ("SOMETHING_NEW", "0", VenueOrderStatus.OPEN),
    ],
)
def test_order_status_is_normalised_and_an_unknown_one_stays_watched(
    raw: str, filled: str, expected: VenueOrderStatus
) -> None:
    order = _order(status=raw, executedQty=filled)

    assert (order.status, order.raw_status) == (expected, raw)
    assert order.filled_quantity == Decimal(filled)


def test_client_id_is_found_under_both_spellings_and_may_be_absent() -> None:
    other = _order(clientOrderId="", clientOrderID="X9")
    none = _order(clientOrderId="")

    assert (other.client_order_id, none.client_order_id) == ("x9", "")


@pytest.mark.parametrize("field", ["symbol", "orderId", "side", "origQty", "status"])
def test_order_without_a_needed_field_is_an_error_that_names_it(field: str) -> None:
    with pytest.raises(ProtocolError, match=rf"row\.{field} was null"):
        _order(**{field: None})


def test_order_without_an_update_time_has_the_time_it_was_made() -> None:
    assert _order(updateTime=None).updated_ms == START_MS
    with pytest.raises(ProtocolError, match=r"row\.time was null"):
        _order(updateTime=None, time=None)


def test_snowflake_id_gives_the_market_time_it_was_made() -> None:
    made_ms = 1_702_731_661_854

    assert bingx_parse.created_ms(str((made_ms - 1_288_834_974_657) << 22)) == made_ms


# --- account --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "amount", "expected"),
    [
        ("LONG", "0.5", "0.5"),
        ("SHORT", "0.5", "-0.5"),
        ("SHORT", "-0.5", "-0.5"),
        ("BOTH", "-0.5", "-0.5"),
        ("BOTH", "0.5", "0.5"),
    ],
)
def test_position_sign_comes_from_its_side(side: str, amount: str, expected: str) -> None:
    row = {**POSITION, "positionSide": side, "positionAmt": amount}

    (position,) = bingx_parse.positions(_answer([row]))

    assert position.quantity == Decimal(expected)
    assert position.liquidation_price is None


def test_flat_row_is_no_position() -> None:
    assert bingx_parse.positions(_answer([{**POSITION, "positionAmt": "0.0000"}])) == []


def test_two_rows_of_one_pair_are_hedge_mode_and_refused() -> None:
    rows = [POSITION, {**POSITION, "positionSide": "SHORT"}]

    with pytest.raises(ProtocolError, match="one-way"):
        bingx_parse.positions(_answer(rows))


@pytest.mark.parametrize("side", ["", "long ", None, "NET"])
def test_position_of_an_unknown_side_is_an_error(side: object) -> None:
    with pytest.raises(ProtocolError, match="positionSide"):
        bingx_parse.positions(_answer([{**POSITION, "positionSide": side}]))


def test_equity_comes_from_the_row_of_the_collateral_asset() -> None:
    rows = [
        {"asset": "USDC", "balance": "", "equity": "", "availableMargin": ""},
        {"asset": "VST", "balance": "100", "equity": "104.5", "availableMargin": "60"},
    ]

    found = bingx_parse.balance(_answer(rows), "VST")

    assert (found.balance, found.equity, found.available) == (100, Decimal("104.5"), 60)


@pytest.mark.parametrize("data", [[], [{"asset": "USDC"}], [{"asset": "USDT", "balance": ""}]])
def test_missing_collateral_is_an_error_and_not_zero(data: object) -> None:
    with pytest.raises(ProtocolError):
        bingx_parse.balance(_answer(data), "USDT")


@given(st.integers(-20_000, 20_000))
def test_funding_stamp_is_rounded_to_its_minute(jitter_ms: int) -> None:
    row = Row(
        "a call",
        "row",
        {"symbol": "BTC-USDT", "fundingRate": "0.0001", "fundingTime": START_MS + jitter_ms},
    )

    assert bingx_parse.funding_rate(row).due_ms == START_MS
