"""Reads of what the venue publishes beside candles."""

import re
from decimal import Decimal

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from desk.store import kinds
from desk.venues.port import FundingRate, MarkPrice, OpenInterest, OrderBook, Ticker
from serve_apps.schemas import FundingRateView
from tests.serve_apps.scene import NOW_MS, PAIR, Scene

EIGHT_HOURS_MS = 28_800_000


def settle(scene: Scene, count: int) -> list[int]:
    due = [NOW_MS // EIGHT_HOURS_MS * EIGHT_HOURS_MS - n * EIGHT_HOURS_MS for n in range(count)]
    for due_ms in due:
        rate = FundingRate(pair=PAIR, due_ms=due_ms, rate=Decimal("0.0001"))
        scene.store.put(kinds.funding_rates(PAIR), str(due_ms), rate, at_ms=due_ms)
    return due


def test_settlements_come_newest_first_page_by_page(scene: Scene, client: TestClient) -> None:
    due = settle(scene, 5)

    first = client.get("/market-data/funding-rates", params={"pair": PAIR, "limit": 3}).json()
    rest = client.get(
        "/market-data/funding-rates",
        params={"pair": PAIR, "limit": 3, "cursor": first["next_cursor"]},
    ).json()

    assert [row["due_ms"] for row in first["items"] + rest["items"]] == due
    assert rest["next_cursor"] is None
    assert first["items"][0] == {"pair": PAIR, "due_ms": due[0], "rate": "0.0001"}


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-1, max_value=1, places=24))
def test_a_number_however_small_is_told_in_plain_digits(rate: Decimal) -> None:
    for given_as in (str(rate), str(rate.normalize())):
        told = FundingRateView(pair=PAIR, due_ms=1, rate=given_as).rate

        assert re.fullmatch(r"-?\d+(\.\d+)?", told)
        assert Decimal(told) == rate


def test_settlements_are_bounded_by_their_window(scene: Scene, client: TestClient) -> None:
    due = settle(scene, 5)
    window = {"pair": PAIR, "start_ms": due[3], "end_ms": due[1]}

    rows = client.get("/market-data/funding-rates", params=window).json()["items"]

    assert [row["due_ms"] for row in rows] == due[2:4]


def put_quotes(scene: Scene) -> None:
    """One reading of every feed."""
    put = scene.store.put
    mark = MarkPrice(
        pair=PAIR,
        mark=Decimal("40000.10"),
        index=Decimal("40001.5"),
        funding_rate=Decimal("-0.00012"),
        next_funding_ms=NOW_MS + 7,
        at_ms=NOW_MS,
    )
    put(kinds.MARKS, PAIR, mark, at_ms=NOW_MS)
    interest = OpenInterest(pair=PAIR, quote=Decimal("3289641547.10"), at_ms=NOW_MS)
    put(kinds.OPEN_INTEREST, PAIR, interest, at_ms=NOW_MS)
    prices = dict.fromkeys(("last", "bid", "ask", "open", "high", "low"), Decimal("40000.10"))
    counts = dict.fromkeys(("bid_quantity", "ask_quantity", "volume", "quote_volume"), Decimal(3))
    ticker = Ticker(pair=PAIR, **prices, **counts, change_fraction=Decimal("0.0125"), at_ms=NOW_MS)
    put(kinds.TICKERS, PAIR, ticker, at_ms=NOW_MS)
    levels = ((Decimal("40000.0"), Decimal("0.3")),)
    book = OrderBook(pair=PAIR, bids=levels, asks=((Decimal("40000.1"), Decimal(2)),), at_ms=NOW_MS)
    put(kinds.ORDER_BOOKS, PAIR, book, at_ms=NOW_MS)


def test_the_newest_of_every_feed_is_shown_as_exact_text(scene: Scene, client: TestClient) -> None:
    put_quotes(scene)

    def only(path: str) -> dict[str, object]:
        (row,) = client.get(path, params={"pair": PAIR}).json()["items"]
        return row

    assert only("/market-data/mark-index")["mark_price"] == "40000.10"
    assert only("/market-data/mark-index")["funding_rate"] == "-0.00012"
    assert only("/market-data/open-interest")["open_interest"] == "3289641547.10"
    assert only("/market-data/ticker")["change_fraction"] == "0.0125"
    seen = client.get("/market-data/orderbook", params={"pair": PAIR}).json()
    assert seen["bids"] == [["40000.0", "0.3"]]
    assert seen["asks"] == [["40000.1", "2"]]


@pytest.mark.parametrize("path", ["mark-index", "open-interest", "ticker"])
def test_what_was_not_read_yet_is_an_empty_list_and_never_zeros(
    client: TestClient, path: str
) -> None:
    answer = client.get(f"/market-data/{path}")

    assert answer.status_code == 200
    assert answer.json()["items"] == []


def test_a_book_that_was_not_read_yet_is_not_found(client: TestClient) -> None:
    answer = client.get("/market-data/orderbook", params={"pair": PAIR})

    assert answer.status_code == 404
    assert "none was read yet" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path", ["funding-rates", "mark-index", "open-interest", "ticker", "orderbook"]
)
def test_a_pair_that_is_not_configured_is_not_found_with_those_that_are(
    client: TestClient, path: str
) -> None:
    answer = client.get(f"/market-data/{path}", params={"pair": "NOPE-USDT"})

    assert answer.status_code == 404
    assert PAIR in answer.json()["detail"]
