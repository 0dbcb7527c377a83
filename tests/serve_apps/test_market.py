"""Candles as pages of columns, aggregation, and what is stored."""

import io

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.market.candles import Candle, Candles
from desk.market.interval import interval_ms
from serve_apps.candle_pages import aggregate, newer_page, older_page
from tests.serve_apps.scene import NOW_MS, OPEN_MS, PAIR, Scene

CANDLES = "/market-data/candles"
ONE_MINUTE = {"pair": PAIR, "interval": "1m"}


def opens(client: TestClient, **query: str | int) -> tuple[list[int], bool]:
    answer = client.get(CANDLES, params={**ONE_MINUTE, **query})
    assert answer.status_code == 200, answer.text
    return answer.json()["t"], answer.json()["more"]


def test_without_bounds_the_newest_come_oldest_first(scene: Scene, client: TestClient) -> None:
    scene.candles(10)

    assert opens(client, limit=3) == ([OPEN_MS - n * MINUTE_MS for n in (2, 1, 0)], True)


def test_older_pages_join_without_a_gap_until_there_is_no_more(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(10)

    newest, more = opens(client, limit=6)
    older, more_still = opens(client, limit=6, before_ms=newest[0])

    assert (more, more_still) == (True, False)
    assert older + newest == [OPEN_MS - n * MINUTE_MS for n in range(9, -1, -1)]


def test_newer_pages_start_where_they_are_asked_to(scene: Scene, client: TestClient) -> None:
    scene.candles(10)
    start_ms = OPEN_MS - 4 * MINUTE_MS

    assert opens(client, start_ms=start_ms, limit=2) == ([start_ms, start_ms + MINUTE_MS], True)
    assert opens(client, start_ms=OPEN_MS) == ([OPEN_MS], False)
    assert opens(client, start_ms=start_ms, end_ms=start_ms + MINUTE_MS) == ([start_ms], False)


def test_an_end_alone_is_a_bound_for_the_newest(scene: Scene, client: TestClient) -> None:
    scene.candles(10)

    assert opens(client, end_ms=OPEN_MS, limit=1) == ([OPEN_MS - MINUTE_MS], True)


def test_a_hole_wider_than_the_page_does_not_end_the_history(
    scene: Scene, client: TestClient
) -> None:
    scene.candles(60, missing=set(range(5, 55)))

    found, more = opens(client, before_ms=OPEN_MS - 4 * MINUTE_MS, limit=4)

    assert found == [OPEN_MS - n * MINUTE_MS for n in (58, 57, 56, 55)]
    assert more is True


def test_a_pair_that_is_configured_but_empty_is_an_empty_page(client: TestClient) -> None:
    answer = client.get(CANDLES, params={"pair": "ETH-USDT", "interval": "1m"})

    assert answer.json() == {
        "t": [], "o": [], "h": [], "l": [], "c": [], "v": [], "more": False, "forming": False,
    }  # fmt: skip


def test_a_pair_nobody_knows_is_404(client: TestClient) -> None:
    answer = client.get(CANDLES, params={"pair": "XRP-USDT", "interval": "1m"})

    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"interval": "7m"}, "interval"),
        ({"pair": "BTCUSDT"}, "pair"),
        ({"limit": 0}, "limit"),
        ({"limit": 5001}, "limit"),
        ({"before_ms": 5, "start_ms": 1}, "before_ms"),
        ({"start_ms": 9, "end_ms": 3}, "start_ms"),
        ({"before_ms": "x"}, "before_ms"),
    ],
)
def test_a_bad_question_names_its_field(
    client: TestClient, query: dict[str, str | int], field: str
) -> None:
    answer = client.get(CANDLES, params={**ONE_MINUTE, **query})

    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_a_longer_interval_is_built_from_the_stored_one(scene: Scene, client: TestClient) -> None:
    scene.candles(40)

    bars = client.get(CANDLES, params={"pair": PAIR, "interval": "15m"}).json()

    step = interval_ms("15m")
    assert all(t % step == 0 for t in bars["t"])
    assert np.diff(bars["t"]).tolist() == [step] * (len(bars["t"]) - 1)
    assert sum(bars["v"]) == sum(1.0 + i for i in range(40))
    assert bars["forming"] == ((OPEN_MS + MINUTE_MS) % step != 0)


def test_arrow_holds_the_same_candles(scene: Scene, client: TestClient) -> None:
    scene.candles(5)
    columns = client.get(CANDLES, params=ONE_MINUTE).json()

    stream = client.get(
        CANDLES, params=ONE_MINUTE, headers={"Accept": "application/vnd.apache.arrow.stream"}
    )
    table = pa.ipc.open_stream(io.BytesIO(stream.content)).read_all()

    assert stream.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert table.column("open_ms").to_pylist() == columns["t"]
    assert table.column("close").to_pylist() == columns["c"]


def test_pairs_tell_what_is_stored_and_what_can_be_drawn(scene: Scene, client: TestClient) -> None:
    scene.candles(5)

    btc, eth = client.get("/market-data/pairs").json()["items"]

    assert btc["stored"][0]["count"] == 5
    assert {"1m", "15m", "1d"} <= set(btc["intervals"])
    assert (btc["price_precision"], btc["quantity_precision"], btc["tick"]) == (1, 4, "0.1")
    assert (eth["stored"], eth["intervals"], eth["tick"]) == ([], [], None)


def test_market_status_shows_how_far_behind_a_series_is(scene: Scene, client: TestClient) -> None:
    scene.candles(5)

    btc, eth = client.get("/market-data/status").json()["items"]

    assert btc["lag_ms"] == NOW_MS - OPEN_MS - MINUTE_MS
    assert eth["lag_ms"] is None


class Stored:
    """A reader over given candles that counts the rows it was asked for."""

    def __init__(self, candles: Candles) -> None:
        self.candles = candles

    def read(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        return self.candles.between(start_ms, end_ms)

    def bounds(self, pair: str, interval: str) -> tuple[int, int, int] | None:
        if interval != "1m" or not len(self.candles):
            return None
        return int(self.candles.open_ms[0]), int(self.candles.open_ms[-1]), len(self.candles)


def candles_at(minutes: set[int]) -> Candles:
    return Candles.of(
        [Candle(m * MINUTE_MS, m + 1.0, m + 3.0, m + 0.5, m + 2.0, 1.0) for m in sorted(minutes)]
    )


minutes = st.sets(st.integers(0, 300), min_size=1, max_size=80)
limits = st.integers(1, 40)
steps = st.sampled_from(["1m", "3m", "5m", "15m", "1h"])


@given(minutes, limits, steps)
def test_walking_back_gives_every_bar_once(stored: set[int], limit: int, interval: str) -> None:
    reader = Stored(candles_at(stored))
    whole = aggregate(reader.candles, interval).open_ms.tolist()

    seen: list[int] = []
    before_ms: int | None = None
    for _ in range(len(whole) + 1):
        page = older_page(reader, PAIR, interval, before_ms=before_ms, limit=limit)
        seen = page.candles.open_ms.tolist() + seen
        if not page.more:
            break
        before_ms = int(page.candles.open_ms[0])

    assert seen == whole


@given(minutes, limits, steps, st.integers(0, 200))
def test_walking_forward_gives_every_bar_from_the_start_once(
    stored: set[int], limit: int, interval: str, start: int
) -> None:
    reader = Stored(candles_at(stored))
    start_ms = start * MINUTE_MS
    bars = aggregate(reader.candles, interval).open_ms
    whole = bars[bars >= start_ms].tolist()

    seen: list[int] = []
    place = start_ms
    for _ in range(len(whole) + 1):
        page = newer_page(reader, PAIR, interval, start_ms=place, end_ms=None, limit=limit)
        seen += page.candles.open_ms.tolist()
        if not page.more:
            break
        place = int(page.candles.open_ms[-1]) + interval_ms(interval)

    assert seen == whole


@given(minutes, steps)
def test_a_bar_spans_its_candles(stored: set[int], interval: str) -> None:
    candles = candles_at(stored)

    bars = aggregate(candles, interval)

    assert bars.volume.sum() == candles.volume.sum()
    for index in range(len(bars)):
        start_ms = int(bars.open_ms[index])
        inside = candles.between(start_ms, start_ms + interval_ms(interval))
        assert bars.open[index] == inside.open[0]
        assert bars.close[index] == inside.close[-1]
        assert bars.high[index] == inside.high.max()
        assert bars.low[index] == inside.low.min()
