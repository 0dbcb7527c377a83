"""The rows of every public endpoint, field by field, with the quirks that BingX's documents show."""

from itertools import pairwise
from typing import Any

import pytest

START_MS = 1_750_000_000_000
MINUTE_MS = 60_000
DAY_MS = 86_400_000
PAIR = {"symbol": "BTC-USDT"}
TEXT, WHOLE, FLAG = "text", "whole", "flag"

SHAPES: dict[str, dict[str, str]] = {
    "swap/v2/quote/contracts": {
        "contractId": TEXT,
        "symbol": TEXT,
        "size": TEXT,
        "quantityPrecision": WHOLE,
        "pricePrecision": WHOLE,
        "makerFeeRate": "number",
        "takerFeeRate": "number",
        "feeRate": "number",
        "tradeMinLimit": WHOLE,
        "tradeMinQuantity": "number",
        "tradeMinUSDT": "number",
        "maxLongLeverage": WHOLE,
        "maxShortLeverage": WHOLE,
        "currency": TEXT,
        "asset": TEXT,
        "status": WHOLE,
        "apiStateOpen": TEXT,
        "apiStateClose": TEXT,
        "ensureTrigger": FLAG,
        "triggerFeeRate": TEXT,
        "brokerState": TEXT,
        "launchTime": WHOLE,
        "maintainTime": WHOLE,
        "offTime": WHOLE,
        "displayName": TEXT,
    },
    "swap/v3/quote/klines": {
        "open": TEXT,
        "close": TEXT,
        "high": TEXT,
        "low": TEXT,
        "volume": TEXT,
        "time": WHOLE,
    },
    "swap/v2/quote/ticker": {
        "symbol": TEXT,
        "priceChange": TEXT,
        "priceChangePercent": TEXT,
        "lastPrice": TEXT,
        "lastQty": TEXT,
        "highPrice": TEXT,
        "lowPrice": TEXT,
        "volume": TEXT,
        "quoteVolume": TEXT,
        "openPrice": TEXT,
        "openTime": WHOLE,
        "closeTime": WHOLE,
        "askPrice": TEXT,
        "askQty": TEXT,
        "bidPrice": TEXT,
        "bidQty": TEXT,
    },
    "swap/v2/quote/trades": {
        "time": WHOLE,
        "isBuyerMaker": FLAG,
        "price": TEXT,
        "qty": TEXT,
        "quoteQty": TEXT,
    },
    "swap/v2/quote/premiumIndex": {
        "symbol": TEXT,
        "markPrice": TEXT,
        "indexPrice": TEXT,
        "lastFundingRate": TEXT,
        "nextFundingTime": WHOLE,
    },
    "swap/v2/quote/fundingRate": {"symbol": TEXT, "fundingRate": TEXT, "fundingTime": WHOLE},
    "swap/v2/quote/openInterest": {"openInterest": TEXT, "symbol": TEXT, "time": WHOLE},
}


def kind_of(value: object) -> str:
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int):
        return WHOLE
    return TEXT if isinstance(value, str) else type(value).__name__


def is_so(value: object, wanted: str) -> bool:
    """`number`: the documents show it as a text in one place and as a number in another."""
    if wanted != "number":
        return kind_of(value) == wanted
    return isinstance(value, (int, float, str)) and float(value) >= 0


@pytest.mark.parametrize("path", SHAPES)
def test_every_documented_field_is_there_with_its_type(venue: Any, path: str) -> None:
    asked = {**PAIR, "interval": "1m"} if path.endswith("klines") else PAIR
    data = venue.data("GET", path, asked)
    rows = data if isinstance(data, list) else [data]

    assert rows
    for row in rows[:50]:
        wrong = {
            name: row.get(name)
            for name, wanted in SHAPES[path].items()
            if not is_so(row.get(name), wanted)
        }
        assert wrong == {}


@pytest.mark.parametrize("path", ["swap/v2/quote/ticker", "swap/v2/quote/premiumIndex"])
def test_one_symbol_gives_an_object_and_none_gives_a_list(venue: Any, path: str) -> None:
    alone, listed = venue.data("GET", path, PAIR), venue.data("GET", path, {})

    assert isinstance(alone, dict)
    assert isinstance(listed, list)
    assert alone in listed


def test_states_of_a_contract_are_the_words_true_and_false(venue: Any) -> None:
    (row,) = venue.data("GET", "swap/v2/quote/contracts", PAIR)

    assert [row[name] for name in ("apiStateOpen", "apiStateClose", "brokerState")] == ["true"] * 3
    assert row["size"] == "0"  # unreliable at the venue too


def klines(venue: Any, **asked: Any) -> list[Any]:
    return venue.data("GET", "swap/v3/quote/klines", {**PAIR, "interval": "1m", **asked})


def test_candles_come_newest_first_with_the_forming_one_at_the_head(venue: Any) -> None:
    rows = klines(venue, limit=10)

    times = [row["time"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert times[0] == START_MS // MINUTE_MS * MINUTE_MS


@pytest.mark.parametrize(("limit", "count"), [(None, 500), (1, 1), (1_440, 1_440), (9_999, 1_440)])
def test_a_page_has_500_candles_by_default_and_1440_at_most(
    venue: Any, limit: int | None, count: int
) -> None:
    assert len(klines(venue, **({} if limit is None else {"limit": limit}))) == count


@pytest.mark.parametrize("limit", [0, -5])
def test_a_limit_of_nothing_is_refused(venue: Any, limit: int) -> None:
    _, body = venue.call("GET", "swap/v3/quote/klines", {**PAIR, "interval": "1m", "limit": limit})

    assert body["code"] == 109400


def test_array_rows_say_the_same_as_dict_rows_with_their_close_time(venue: Any) -> None:
    dicts = klines(venue, limit=5)
    venue.sim.control("POST", "habits", {"kline_rows": "array"})
    try:
        arrays = klines(venue, limit=5)
    finally:
        venue.sim.control("POST", "habits", {"kline_rows": "dict"})

    names = ("time", "open", "high", "low", "close", "volume")
    assert [dict(zip(names, row, strict=False)) for row in arrays] == [
        {name: row[name] for name in names} for row in dicts
    ]
    assert all(row[6] == row[0] + MINUTE_MS - 1 for row in arrays)


def test_both_bounds_are_inside_the_range(venue: Any) -> None:
    first_ms = START_MS // MINUTE_MS * MINUTE_MS - 60 * MINUTE_MS

    rows = klines(venue, startTime=first_ms, endTime=first_ms + 5 * MINUTE_MS)

    assert {row["time"] for row in rows} == {first_ms + n * MINUTE_MS for n in range(6)}


@pytest.mark.parametrize("mode", ["last", "first"])
def test_a_range_too_long_for_a_page_loses_its_beginning_or_its_end(venue: Any, mode: str) -> None:
    venue.sim.control("POST", "habits", {"kline_mode": mode})
    first_ms = START_MS // MINUTE_MS * MINUTE_MS - 3_000 * MINUTE_MS
    try:
        times = [row["time"] for row in klines(venue, startTime=first_ms, limit=1_440)]
    finally:
        venue.sim.control("POST", "habits", {"kline_mode": "last"})

    assert len(times) == 1_440
    assert (min(times) == first_ms) == (mode == "first")


def test_the_book_has_both_spellings_and_its_asks_come_worst_first(venue: Any) -> None:
    book = venue.data("GET", "swap/v2/quote/depth", {**PAIR, "limit": 5})

    assert set(book) >= {"T", "bids", "asks", "bidsCoin", "asksCoin"}
    asks = [float(price) for price, _ in book["asksCoin"]]
    bids = [float(price) for price, _ in book["bidsCoin"]]
    assert asks == sorted(asks, reverse=True)
    assert bids == sorted(bids, reverse=True)
    assert max(bids) < min(asks)
    assert len(bids) == len(asks) == 5


@pytest.mark.parametrize("limit", [5, 10, 20, 50, 100, 500, 1000, 7, 2000])
def test_the_book_is_as_deep_as_the_documents_allow(venue: Any, limit: int) -> None:
    _, body = venue.call("GET", "swap/v2/quote/depth", {**PAIR, "limit": limit})

    assert body["code"] == (109400 if limit in {7, 2000} else 0)


def test_trades_are_at_most_a_thousand(venue: Any) -> None:
    assert len(venue.data("GET", "swap/v2/quote/trades", {**PAIR, "limit": 5_000})) == 1_000


def test_settlements_come_newest_first_eight_hours_apart_with_stamps_that_jitter(
    venue: Any,
) -> None:
    asked = {**PAIR, "startTime": START_MS - 30 * DAY_MS, "endTime": START_MS, "limit": 1_000}
    rows = venue.data("GET", "swap/v2/quote/fundingRate", asked)

    times = [row["fundingTime"] for row in rows]
    assert times == sorted(times, reverse=True)
    assert len(times) == 90
    assert {round((later - earlier) / 3_600_000) for later, earlier in pairwise(times)} == {8}
    assert {at % (8 * 3_600_000) for at in times} != {0}
    assert all(at % (8 * 3_600_000) < 1_000 for at in times)


def test_unknown_pairs_and_paths_are_refused_with_their_codes(venue: Any) -> None:
    _, pair = venue.call("GET", "swap/v2/quote/openInterest", {"symbol": "NOPE-USDT"})
    _, path = venue.call("GET", "swap/v2/quote/nothing", {})

    assert (pair["code"], path["code"]) == (109425, 100400)
