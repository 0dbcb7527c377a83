"""Several pollers in one process: each pair is asked and answers as if it had a process of its own."""

# pyright: reportCallIssue=false

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from actors.candle_messages import FetchRange, PollNow
from actors.candle_poller import PollerParts
from actors.candle_pollers import CandlePollers
from actors.names import CANDLE_POLLER
from actors.tree import children
from actors.wiring import Wiring
from desk.clock import MINUTE_MS
from desk.errors import NotFound
from desk.trading.instruments import Instrument
from tests.actors.fakes import BTC
from tests.actors.stage import BEGIN_MS
from tests.actors.test_candle_poller import Audience, Feed, ScriptedMarket

PAIRS = ("BTC-USDT", "ETH-USDT")
ASK_MS = BEGIN_MS - 20 * MINUTE_MS


class Markets(ScriptedMarket):
    async def instruments(self) -> dict[str, Instrument]:
        return {pair: replace(BTC, pair=pair) for pair in PAIRS}


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def group(feed: Feed) -> CandlePollers:
    parts = {
        pair: PollerParts(
            pair=pair,
            intervals=("1m",),
            store=feed.store,
            venue=Markets(feed.clock),
            clock=feed.clock,
            listeners=Audience(),
            index=index,
        )
        for index, pair in enumerate(PAIRS)
    }
    return CandlePollers(lambda: parts)


def test_a_range_is_fetched_for_the_pair_that_was_named_and_for_no_other(
    feed: Feed, group: CandlePollers
) -> None:
    ask = FetchRange(pair="ETH-USDT", interval="1m", start_ms=ASK_MS, end_ms=ASK_MS + 4 * MINUTE_MS)

    fetched = asyncio.run(group.fetch(ask))

    assert (fetched.added, fetched.is_answered) == (5, True)
    assert len(feed.store.read_candles("ETH-USDT", "1m", 0, BEGIN_MS)) == 5
    assert len(feed.store.read_candles("BTC-USDT", "1m", 0, BEGIN_MS)) == 0


def test_a_pair_of_another_poller_is_refused_by_name(group: CandlePollers) -> None:
    with pytest.raises(NotFound, match="PAXG-USDT"):
        asyncio.run(group.poll_now(PollNow(names=("1m",), pair="PAXG-USDT")))
    asyncio.run(group.poll_now(PollNow(names=("1m",), pair="ETH-USDT")))


def test_the_heartbeat_is_as_old_as_the_pair_that_stands_still_longest_and_counts_for_all(
    group: CandlePollers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulses = [poller._pulse for poller in group._pollers.values()]
    now_s = pulses[0]._turned_s + 100.0
    monkeypatch.setattr("actors.heartbeat.monotonic_s", lambda: now_s)
    pulses[0].turn()
    for pulse in pulses:
        pulse.count("accepted", 3)

    beat = asyncio.run(group.heartbeat())

    assert beat.loop_age_s >= 99.0
    assert beat.counters["accepted"] == 6


def test_a_desk_of_many_pairs_has_no_more_pollers_than_it_may_and_leaves_no_pair_out() -> None:
    pairs = tuple(f"P{number}-USDT" for number in range(200))
    wiring = Wiring(
        store_url="unix:///nowhere", home=Path(), venue_url="", pairs=pairs, intervals=("1m",)
    )

    for most in (1, 16, 200):
        pollers = [
            spec
            for spec in children(replace(wiring, pair_pollers=most))
            if spec.role == CANDLE_POLLER.name
        ]
        assert len(pollers) == most
        assert sorted(pair for spec in pollers for pair in spec.pairs) == sorted(pairs)
        doors = {CANDLE_POLLER.of(replace(wiring, pair_pollers=most).poller_of(p)) for p in pairs}
        assert doors == {spec.name for spec in pollers}
