"""BingX's tickers, books, trades and open interest as our values: spellings and orders that mislead."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from desk.errors import ProtocolError
from desk.venues import bingx_parse, bingx_quotes
from desk.venues.bingx_answers import Row, Success

AT_MS = 1_700_000_040_000
PAIR = "BTC-USDT"
TICKER: dict[str, Any] = {
    "symbol": PAIR,
    "priceChange": "100.5",
    "priceChangePercent": "1.25",
    "lastPrice": "40100.5",
    "lastQty": "0.02",
    "highPrice": "40500",
    "lowPrice": "39000",
    "volume": "1234.5",
    "quoteVolume": "49000000.1",
    "openPrice": "40000",
    "openTime": AT_MS - 86_400_000,
    "closeTime": AT_MS,
    "askPrice": "40100.6",
    "askQty": "1.5",
    "bidPrice": "40100.4",
    "bidQty": "2.5",
}
BOOK: dict[str, Any] = {
    "T": AT_MS,
    "bids": [["40000.0", "300"], ["39999.9", "500"]],
    "asks": [["40000.2", "900"], ["40000.1", "100"]],
    "bidsCoin": [["40000.0", "0.3"], ["39999.9", "0.5"]],
    "asksCoin": [["40000.2", "0.9"], ["40000.1", "0.1"]],
}
TRADE: dict[str, Any] = {
    "time": AT_MS,
    "isBuyerMaker": True,
    "price": "40000.1",
    "qty": "0.25",
    "quoteQty": "10000.03",
    "id": "17",
}
INTEREST: dict[str, Any] = {"openInterest": "3289641547.10", "symbol": PAIR, "time": AT_MS}
PREMIUM: dict[str, Any] = {
    "symbol": PAIR,
    "markPrice": "40000.1",
    "indexPrice": "40001.5",
    "lastFundingRate": "-0.00012",
    "nextFundingTime": AT_MS + 1,
}


def answer(data: object) -> Success:
    return Success(call="a call", data=data)


def row(fields: dict[str, Any], **changes: Any) -> Row:
    return Row("a call", "row", {**fields, **changes})


@pytest.mark.parametrize(
    ("text", "fraction"), [("1.25", "0.0125"), ("1.25%", "0.0125"), ("-0.5%", "-0.005"), ("0", "0")]
)
def test_a_tickers_change_is_read_with_and_without_its_percent_sign(
    text: str, fraction: str
) -> None:
    seen = bingx_quotes.ticker(row(TICKER, priceChangePercent=text))

    assert seen.change_fraction == Decimal(fraction)
    assert (seen.last, seen.bid, seen.ask) == (
        Decimal("40100.5"),
        Decimal("40100.4"),
        Decimal("40100.6"),
    )
    assert (seen.volume, seen.at_ms) == (Decimal("1234.5"), AT_MS)


@pytest.mark.parametrize("number", [40100, "40100", "40100.00"])
def test_a_number_may_come_as_text_or_as_a_number(number: object) -> None:
    assert bingx_quotes.ticker(row(TICKER, lastPrice=number)).last == Decimal(40100)


@pytest.mark.parametrize(
    "changes",
    [
        {"lastPrice": "0"},
        {"lastPrice": "-1"},
        {"lastPrice": "NaN"},
        {"bidPrice": None},
        {"askPrice": ""},
        {"priceChangePercent": "up"},
        {"priceChangePercent": "inf"},
        {"closeTime": "soon"},
        {"volume": []},
    ],
)
def test_a_ticker_without_a_sound_value_is_an_error_that_names_the_field(
    changes: dict[str, Any],
) -> None:
    with pytest.raises(ProtocolError, match=next(iter(changes))):
        bingx_quotes.ticker(row(TICKER, **changes))


def test_one_row_and_a_list_of_rows_read_alike_and_a_bad_row_is_left_out() -> None:
    other = {**TICKER, "symbol": "ETH-USDT"}
    bad = {**TICKER, "symbol": "BAD-USDT", "lastPrice": None}

    alone = bingx_quotes.by_pair(answer(TICKER), bingx_quotes.ticker)
    listed = bingx_quotes.by_pair(answer([TICKER, bad, other]), bingx_quotes.ticker)

    assert set(alone) == {PAIR}
    assert set(listed) == {PAIR, "ETH-USDT"}
    assert alone[PAIR] == listed[PAIR]


@pytest.mark.parametrize("data", [[], [{"symbol": PAIR}], {}, None, "", 7])
def test_no_readable_row_is_an_error_and_never_no_market(data: object) -> None:
    with pytest.raises(ProtocolError):
        bingx_quotes.by_pair(answer(data), bingx_quotes.ticker)


def test_the_book_is_read_from_the_lists_in_coins() -> None:
    book = bingx_quotes.order_book(answer(BOOK), PAIR)

    assert book.bids[0] == (Decimal("40000.0"), Decimal("0.3"))
    assert book.asks[0] == (Decimal("40000.1"), Decimal("0.1"))
    assert book.at_ms == AT_MS


@given(st.permutations(range(5)), st.permutations(range(5)))
def test_the_book_is_the_same_in_whatever_order_its_levels_come(
    bids: list[int], asks: list[int]
) -> None:
    data = {
        "T": AT_MS,
        "bidsCoin": [[str(100 - n), "1"] for n in bids],
        "asksCoin": [[str(101 + n), "1"] for n in asks],
    }

    book = bingx_quotes.order_book(answer(data), PAIR)

    assert [price for price, _ in book.bids] == [100, 99, 98, 97, 96]
    assert [price for price, _ in book.asks] == [101, 102, 103, 104, 105]


@pytest.mark.parametrize(
    "changes",
    [
        {"bidsCoin": []},
        {"asksCoin": []},
        {"bidsCoin": None},
        {"asksCoin": {"40000.1": "1"}},
        {"bidsCoin": [["40000.3", "1"]]},
        {"bidsCoin": [["40000"]]},
        {"bidsCoin": [["0", "1"]]},
        {"bidsCoin": [["40000", "-1"]]},
        {"bidsCoin": ["40000"]},
        {"T": None},
    ],
)
def test_a_book_that_is_empty_crossed_or_malformed_is_an_error(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        bingx_quotes.order_book(answer({**BOOK, **changes}), PAIR)


def test_a_book_without_lists_in_coins_is_refused_as_its_sizes_may_be_contracts() -> None:
    data = {name: BOOK[name] for name in ("T", "bids", "asks")}

    with pytest.raises(ProtocolError, match="bidsCoin"):
        bingx_quotes.order_book(answer(data), PAIR)


def test_trades_come_out_oldest_first_and_once() -> None:
    rows = [{**TRADE, "id": str(n), "time": AT_MS + n} for n in (3, 1, 2, 2)]

    seen = bingx_quotes.recent_trades(answer(rows), PAIR)

    assert [trade.trade_id for trade in seen.trades] == ["1", "2", "3"]
    assert all(trade.is_buyer_maker for trade in seen.trades)


def test_a_trade_without_an_id_is_named_by_what_it_says() -> None:
    bare = {name: value for name, value in TRADE.items() if name != "id"}

    (trade,) = bingx_quotes.recent_trades(answer([bare, bare]), PAIR).trades

    assert trade.trade_id == f"{AT_MS}:40000.1:0.25"


def test_no_trades_are_no_error_but_a_malformed_one_is() -> None:
    assert bingx_quotes.recent_trades(answer([]), PAIR).trades == ()
    with pytest.raises(ProtocolError, match="isBuyerMaker"):
        bingx_quotes.recent_trades(answer([{**TRADE, "isBuyerMaker": "maybe"}]), PAIR)
    with pytest.raises(ProtocolError, match="list"):
        bingx_quotes.recent_trades(answer({}), PAIR)


def test_open_interest_is_a_number_of_at_least_nothing() -> None:
    assert bingx_quotes.open_interest(row(INTEREST)).quote == Decimal("3289641547.10")
    for wrong in ("-1", "NaN", None):
        with pytest.raises(ProtocolError, match="openInterest"):
            bingx_quotes.open_interest(row(INTEREST, openInterest=wrong))


def test_a_mark_without_a_sound_value_is_an_error_that_names_the_field() -> None:
    assert bingx_parse.mark_price(row(PREMIUM), AT_MS).funding_rate == Decimal("-0.00012")
    for key in ("markPrice", "indexPrice", "lastFundingRate", "nextFundingTime"):
        with pytest.raises(ProtocolError, match=key):
            bingx_parse.mark_price(row(PREMIUM, **{key: "none"}), AT_MS)
