"""Long ranges come whole: pages join, torn edges are mended, holes are not taken for the beginning."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.clock import MINUTE_MS
from desk.errors import BadInput, VenueUnavailable
from desk.market.candles import Candle, Candles
from desk.market.interval import interval_ms
from desk.venues.pager import find_earliest, page

START_MS = 1_600_000_000_000 // MINUTE_MS * MINUTE_MS
PAGE = 1440

type Window = tuple[int, int]
type Lie = Callable[[int, Candles], Candles]
"""How the venue spoils its n-th answer."""


class History:
    """A venue that holds some minutes of one pair, counted from START_MS."""

    def __init__(self, minutes: set[int], lie: Lie = lambda _, truth: truth) -> None:
        self.minutes = np.array(sorted(minutes), dtype=np.int64)
        self.lie = lie
        self.asked: list[Window] = []

    async def candles(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Candles:
        assert pair == "BTC-USDT"
        assert 0 < end_ms - start_ms <= PAGE * interval_ms(interval)
        self.asked.append((start_ms, end_ms))
        opens = START_MS + self.minutes * MINUTE_MS
        kept = opens[(opens >= start_ms) & (opens < end_ms)]
        rows = [Candle(int(at_ms), 1.0, 1.0, 1.0, 1.0, 1.0) for at_ms in kept]
        return self.lie(len(self.asked), Candles.of(rows))


def _empty_once(wrong: int) -> Lie:
    return lambda n, truth: Candles.empty() if n == wrong else truth


def _pages(history: History, first: int, last: int, *, newest_first: bool = False) -> list[Candles]:
    async def read() -> list[Candles]:
        pages = page(
            history,
            "BTC-USDT",
            "1m",
            START_MS + first * MINUTE_MS,
            START_MS + last * MINUTE_MS,
            newest_first=newest_first,
        )
        return [candles async for candles in pages]

    return asyncio.run(read())


def _minutes(pages: list[Candles]) -> list[int]:
    return [(int(at_ms) - START_MS) // MINUTE_MS for candles in pages for at_ms in candles.open_ms]


def _earliest(history: History, last: int) -> int | None:
    end_ms = START_MS + last * MINUTE_MS
    found = asyncio.run(find_earliest(history, "BTC-USDT", "1m", START_MS, end_ms))
    return None if found is None else (found - START_MS) // MINUTE_MS


def test_five_thousand_candles_come_in_four_calls_without_a_hole() -> None:
    history = History(set(range(6000)))

    pages = _pages(history, 500, 5500)

    assert _minutes(pages) == list(range(500, 5500))
    assert len(history.asked) == 4


def test_newest_first_yields_the_same_candles_in_the_reverse_order_of_pages() -> None:
    there = _pages(History(set(range(6000))), 500, 5500)
    back = _pages(History(set(range(6000))), 500, 5500, newest_first=True)

    assert _minutes(back[::-1]) == _minutes(there)


@settings(max_examples=40)
@given(
    first=st.integers(0, 3000),
    count=st.integers(1, 4000),
    holes=st.lists(st.tuples(st.integers(0, 7000), st.integers(1, 2000)), max_size=4),
    newest_first=st.booleans(),
)
def test_every_candle_of_the_range_comes_exactly_once(
    first: int, count: int, holes: list[tuple[int, int]], newest_first: bool
) -> None:
    minutes = set(range(7000)) - {at + step for at, size in holes for step in range(size)}
    history = History(minutes)

    pages = _pages(history, first, first + count, newest_first=newest_first)

    expected = sorted(minute for minute in minutes if first <= minute < first + count)
    assert sorted(_minutes(pages)) == expected
    assert all(np.all(np.diff(candles.open_ms) > 0) for candles in pages)


def test_bounds_off_the_grid_are_taken_to_the_next_open_time() -> None:
    history = History(set(range(100)))

    async def read() -> list[Candles]:
        bounds = (START_MS + MINUTE_MS - 1, START_MS + 3 * MINUTE_MS + 1)
        return [part async for part in page(history, "BTC-USDT", "1m", *bounds)]

    assert _minutes(asyncio.run(read())) == [1, 2, 3]


@pytest.mark.parametrize("side", ["head", "tail"])
@pytest.mark.parametrize("newest_first", [False, True])
def test_edge_lost_by_a_lagging_replica_is_asked_for_again(side: str, newest_first: bool) -> None:
    cut = slice(2, None) if side == "head" else slice(None, -2)
    history = History(set(range(4000)), lambda n, truth: truth.take(cut) if n == 2 else truth)

    pages = _pages(history, 0, 3 * PAGE - 320, newest_first=newest_first)

    assert sorted(_minutes(pages)) == list(range(4000))


@pytest.mark.parametrize("newest_first", [False, True])
def test_page_that_comes_empty_once_is_asked_for_again(newest_first: bool) -> None:
    history = History(set(range(4 * PAGE)), _empty_once(2))

    pages = _pages(history, 0, 4 * PAGE, newest_first=newest_first)

    assert sorted(_minutes(pages)) == list(range(4 * PAGE))


@pytest.mark.catalogue("D16")
def test_hole_of_whole_pages_is_not_taken_for_the_beginning() -> None:
    minutes = set(range(8 * PAGE)) - set(range(3 * PAGE, 6 * PAGE))

    pages = _pages(History(minutes), 0, 8 * PAGE, newest_first=True)

    assert sorted(_minutes(pages)) == sorted(minutes)


def test_newest_first_stops_where_history_begins() -> None:
    history = History(set(range(100 * PAGE, 103 * PAGE)))

    pages = _pages(history, 0, 103 * PAGE, newest_first=True)

    assert sorted(_minutes(pages)) == list(range(100 * PAGE, 103 * PAGE))
    assert len(history.asked) < 20


def test_venue_error_reaches_the_caller_and_is_no_end_of_history() -> None:
    def fail(n: int, truth: Candles) -> Candles:
        if n == 2:
            raise VenueUnavailable("candles", "timeout")
        return truth

    with pytest.raises(VenueUnavailable):
        _pages(History(set(range(4 * PAGE)), fail), 0, 4 * PAGE)


@settings(max_examples=60)
@given(listed=st.integers(0, 60 * PAGE - 1))
def test_earliest_candle_is_found_wherever_history_begins(listed: int) -> None:
    history = History(set(range(listed, 60 * PAGE)))

    assert _earliest(history, 60 * PAGE) == listed
    assert len(history.asked) < 25


@pytest.mark.catalogue("D16")
def test_earliest_is_before_a_hole_whose_pages_are_empty() -> None:
    minutes = set(range(7 * PAGE, 40 * PAGE)) - set(range(20 * PAGE, 24 * PAGE))

    assert _earliest(History(minutes), 40 * PAGE) == 7 * PAGE


def test_page_that_comes_empty_once_does_not_move_the_earliest_candle() -> None:
    for wrong in range(1, 12):
        history = History(set(range(7 * PAGE, 40 * PAGE)), _empty_once(wrong))

        assert _earliest(history, 40 * PAGE) == 7 * PAGE, wrong


def test_venue_without_candles_has_no_earliest_one() -> None:
    assert _earliest(History(set()), 40 * PAGE) is None


def test_unknown_interval_is_refused() -> None:
    with pytest.raises(BadInput, match="interval"):
        asyncio.run(find_earliest(History(set()), "BTC-USDT", "7m", 0, 10**9))
