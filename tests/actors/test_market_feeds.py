"""The pollers of everything beside candles: on the real adapter and the real simulator, and when they fail."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import pytest

from actors.candle_messages import PollNow
from actors.market_feeds import ACTIVITY, PRICES, FeedParts, MarketFeedPoller
from desk.clock import MINUTE_MS
from desk.errors import VenueUnavailable
from desk.store import kinds
from desk.store.memory import MemoryStore
from desk.store.port import Kind
from desk.venues.bingx import BingxVenue
from desk.venues.bingx_wire import BingxConfig
from desk.venues.port import OpenInterest
from tests.actors.stage import MarketTime

START_MS = 1_750_000_000_000
PAIRS = ("BTC-USDT", "ETH-USDT")


@dataclass
class Ledgers:
    """Who hears of marks."""

    heard: list[dict[str, Decimal]] = field(default_factory=list)
    is_away: bool = False

    async def mark(self, prices: Mapping[str, Decimal]) -> None:
        if self.is_away:
            raise VenueUnavailable("mark", "away")
        self.heard.append(dict(prices))


class Desk:
    """One group of feeds on a store in memory."""

    def __init__(self, venue: Any, group: str, pairs: tuple[str, ...] = PAIRS) -> None:
        self.store, self.clock, self.ledgers = MemoryStore(), MarketTime(START_MS), Ledgers()
        self.venue = venue
        parts = FeedParts(
            group=group,
            pairs=pairs,
            store=self.store,
            venue=venue,
            clock=self.clock,
            listeners=self.ledgers,
        )
        self.poller = MarketFeedPoller(lambda: parts)

    def turn_all(self) -> dict[str, float]:
        async def run() -> dict[str, float]:
            waits = {name: await self.poller.turn(name) for name in self.poller.feeds}
            await self.venue.close()
            return waits

        return asyncio.run(run())

    def newest(self, kind: Kind[Any], pair: str) -> Any:
        doc = self.store.get(kind, pair)
        assert doc is not None
        return doc.value

    def source(self, source_type: str, pair: str = "BTC-USDT") -> Any:
        row = self.store.get(kinds.SOURCES, f"{source_type}:{pair}:")
        assert row is not None, source_type
        return row.value


@pytest.fixture
def frozen(shared_simulator: Any) -> Any:
    """The shared simulator, its market standing at START_MS."""
    shared_simulator.clock(freeze=True)
    shared_simulator.reset(market_ms=START_MS)
    yield shared_simulator
    shared_simulator.clock(freeze=False)


@pytest.fixture
def on_the_wire(frozen: Any) -> Callable[[str], Desk]:
    return lambda group: Desk(BingxVenue(BingxConfig(base_url=frozen.url)), group)


def test_prices_are_stored_for_every_pair_with_one_request_and_the_ledgers_hear_of_them(
    on_the_wire: Callable[[str], Desk], frozen: Any
) -> None:
    desk, first = on_the_wire(PRICES), frozen.state()["requests"]

    desk.turn_all()

    marks = [desk.newest(kinds.MARKS, pair) for pair in PAIRS]
    assert [mark.pair for mark in marks] == list(PAIRS)
    assert all(mark.mark > 0 and mark.index > 0 for mark in marks)
    assert desk.ledgers.heard == [{mark.pair: mark.mark for mark in marks}]
    asked = [entry["path"] for entry in frozen.journal(first)]
    assert sum(path.endswith("premiumIndex") for path in asked) == 1
    for source in ("mark_price", "index_price", "funding"):
        assert desk.source(source).status == "ok"
        assert desk.source(source).last_event_ms >= START_MS


def test_a_month_of_settlements_is_read_once_and_then_only_what_is_new(
    on_the_wire: Callable[[str], Desk], frozen: Any
) -> None:
    desk = on_the_wire(PRICES)
    desk.turn_all()
    rates = [doc.value for doc in desk.store.list(kinds.funding_rates("BTC-USDT"))]
    first = frozen.state()["requests"]

    desk.clock.advance(MINUTE_MS)
    desk.turn_all()

    due = [rate.due_ms for rate in rates]
    assert len(due) >= 89
    assert all(ms % (8 * 60 * MINUTE_MS) == 0 for ms in due)
    assert due == sorted(due, reverse=True)
    asked = [entry["path"] for entry in frozen.journal(first)]
    assert not any(path.endswith("fundingRate") for path in asked)


def test_a_settlement_is_noted_with_when_it_was_read_and_history_is_not(
    on_the_wire: Callable[[str], Desk], frozen: Any
) -> None:
    desk = on_the_wire(PRICES)
    desk.turn_all()
    history = {doc.value.due_ms for doc in desk.store.list(kinds.funding_rates("BTC-USDT"))}
    later_ms = max(history) + 8 * 60 * MINUTE_MS + 20_000

    frozen.reset(market_ms=later_ms)
    desk.clock.set(later_ms)
    desk.turn_all()

    rows = [doc.value for doc in desk.store.list(kinds.funding_rates("BTC-USDT"))]
    assert [row.read_ms for row in rows if row.due_ms in history] == [None] * len(history)
    assert [row.read_ms for row in rows if row.due_ms not in history] == [later_ms]


def test_activity_is_stored_for_every_pair(on_the_wire: Callable[[str], Desk]) -> None:
    desk = on_the_wire(ACTIVITY)

    desk.turn_all()

    for pair in PAIRS:
        ticker = desk.newest(kinds.TICKERS, pair)
        book = desk.newest(kinds.ORDER_BOOKS, pair)
        trades = desk.newest(kinds.PUBLIC_TRADES, pair).trades
        interest = desk.newest(kinds.OPEN_INTEREST, pair)
        assert ticker.low <= ticker.last <= ticker.high
        assert ticker.bid < ticker.ask
        assert book.bids[0][0] < book.asks[0][0]
        assert len(trades) == 100
        assert trades[0].at_ms < trades[-1].at_ms <= START_MS
        assert interest.quote > 0
        for source in ("ticker", "orderbook", "trades", "open_interest"):
            assert desk.source(source, pair).status == "ok", (source, pair)


@dataclass
class Scripted:
    """Open interest of some pairs; the rest is away."""

    away: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def open_interest(self, pair: str) -> OpenInterest:
        self.asked.append(pair)
        if pair in self.away:
            raise VenueUnavailable("open_interest", "away")
        return OpenInterest(pair=pair, quote=Decimal(7), at_ms=START_MS)

    async def close(self) -> None:
        """Nothing to release."""


MANY = tuple(f"X{n:03}-USDT" for n in range(20))


def one_turn(desk: Desk, name: str = "open_interest") -> float:
    return asyncio.run(desk.poller.turn(name))


def test_a_pair_that_is_not_answered_is_said_so_and_takes_no_other_with_it() -> None:
    venue = Scripted(away={MANY[3]})
    desk = Desk(venue, ACTIVITY, MANY)

    one_turn(desk)

    assert venue.asked == list(MANY)
    assert desk.source("open_interest", MANY[3]).status == "unavailable"
    assert desk.source("open_interest", MANY[4]).status == "ok"


def test_a_venue_that_is_away_is_not_asked_for_every_pair_and_comes_back() -> None:
    venue = Scripted(away=set(MANY))
    desk = Desk(venue, ACTIVITY, MANY)

    waits = [one_turn(desk) for _ in range(3)]
    asked = len(venue.asked)
    away = {desk.source("open_interest", pair).status for pair in MANY}
    venue.away.clear()
    one_turn(desk)

    assert asked == 9
    assert waits == sorted(waits)
    assert away == {"unavailable"}
    assert {desk.source("open_interest", pair).status for pair in MANY} == {"ok"}


def test_a_feed_that_was_answered_rests_until_its_next_turn() -> None:
    desk = Desk(Scripted(), ACTIVITY)

    wait_s = one_turn(desk)
    one_turn(desk)

    assert 0 < wait_s <= 60
    assert desk.venue.asked == list(PAIRS)


def test_an_accelerated_market_is_not_followed_faster_than_the_wall_allows() -> None:
    desk = Desk(Scripted(), ACTIVITY)
    desk.clock.speed = 600.0

    wait_s = one_turn(desk)

    assert wait_s >= 4.8


def test_a_feed_that_was_asked_for_is_polled_again_at_once_and_no_other() -> None:
    desk = Desk(Scripted(), ACTIVITY)
    one_turn(desk)
    desk.venue.asked.clear()

    asyncio.run(desk.poller.poll_now(PollNow(names=("orderbook",))))
    one_turn(desk)
    others = list(desk.venue.asked)
    asyncio.run(desk.poller.poll_now(PollNow(names=("open_interest",))))
    one_turn(desk)

    assert (others, desk.venue.asked) == ([], list(PAIRS))


def test_a_feed_that_the_operator_switched_off_is_not_asked_for() -> None:
    desk = Desk(Scripted(), ACTIVITY)
    one_turn(desk)
    row = desk.source("open_interest")
    desk.store.put(kinds.SOURCES, "open_interest:BTC-USDT:", replace(row, enabled=False), at_ms=0)
    desk.venue.asked.clear()

    desk.clock.advance(MINUTE_MS)
    one_turn(desk)

    assert desk.venue.asked == ["ETH-USDT"]


def test_ledgers_that_are_away_do_not_stop_the_marks(on_the_wire: Callable[[str], Desk]) -> None:
    desk = on_the_wire(PRICES)
    desk.ledgers.is_away = True

    desk.turn_all()

    assert desk.source("mark_price").status == "ok"
    beat = asyncio.run(desk.poller.heartbeat())
    assert beat.counters["mark_unheard"] == 1


def test_the_heart_beats_as_old_as_the_loop_that_stands_still_longest() -> None:
    desk = Desk(Scripted(), ACTIVITY)
    desk.poller._pulses["tickers"]._turned_s -= 50

    beat = asyncio.run(desk.poller.heartbeat())

    assert beat.loop_age_s >= 50
    assert beat.name == "feed_poller:activity"
