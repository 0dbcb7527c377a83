"""D09 from end to end: an alert by webhook, the sync that reads it, the gate of the pair it speaks of."""

# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from actors.candle_messages import CandleClosed
from actors.decision_scene import verdict_of
from actors.feed_sync import FeedSync, FeedSyncParts
from actors.signal_status import status_key
from desk.clock import MINUTE_MS, ClockAnchor
from desk.errors import FeedError
from desk.market.bar_closes import NEWEST
from desk.market.features import FEATURES_V1
from desk.market.integrity import WindowVerdict
from desk.market.signals import TRADINGVIEW
from desk.runs import Action, RunStatus
from desk.store import kinds
from desk.store.signal_archive import SignalArchive
from tests.actors.fakes import PAIR
from tests.actors.test_control import WHO, Desk
from tests.actors.test_feed_sync import FEEDS, HASHES, HOOK, OLD
from tests.desk.market.test_signals import alert, iso
from tests.serve_apps.scene import HERE, FakeDesk, Scene

ETH = "ETH-USDT"
TICKERS = {PAIR: "BTCUSDT.P", ETH: "ETHUSDT"}


class TwoFeeds:
    """A desk that trades, its API, and the sync; market time is wall time, as against the exchange."""

    def __init__(self) -> None:
        self.desk = Desk()
        stage = self.stage = self.desk.stage
        fence = stage.store.acquire_lease("test", "test", 1)
        self.scene = Scene(
            store=stage.store,  # pyright: ignore[reportArgumentType]
            clock=stage.clock,
            desk=FakeDesk(stage.store, stage.clock),  # pyright: ignore[reportArgumentType]
            fence=fence,
        )
        app = self.scene.app(token="t", feeds=FEEDS)
        self.client = TestClient(app, base_url=HERE, client=("52.89.214.238", 40_000))
        parts = FeedSyncParts(
            store=stage.store,
            archive=SignalArchive(Path("/nowhere")),
            route=self,
            feeds=HASHES,
            clock=stage.clock,
            now_ms=lambda: self.scene.wall_ms,
            every_s=3_600,
        )
        self.sync = FeedSync(lambda: parts)

    async def test(self, token: str) -> int:
        raise FeedError("not what is tested here")

    def candle(self) -> CandleClosed:
        """The next candle of both pairs."""
        closed = self.stage.next_candle()
        both = self.stage.store.last_candles(PAIR, "1m", 1)
        self.stage.store.write_candles(ETH, "1m", both)
        return closed

    def decide(self) -> str:
        """The next candle, on which the policy wants to be long; its hold reason, or none."""
        self.stage.policy.target = 1.0
        self.stage.tell(self.candle())
        return self.stage.decisions()[0].hold_reason

    def say(
        self, factor: float, *, pair: str = PAIR, interval: str = "1", later_ms: int = 0
    ) -> None:
        """TradingView gives the close of our newest candle, times a factor, half a second after it."""
        candle = self.stage.store.last_candles(pair, "1m", 1).row(0)
        length_ms = int(interval) * MINUTE_MS
        ended_ms = candle.open_ms + MINUTE_MS
        self.tell(ended_ms + later_ms, ended_ms - length_ms, candle.close * factor, pair, interval)

    def tell(self, fired_ms: int, open_ms: int, close: float, pair: str, interval: str) -> None:
        self.scene.wall_ms = max(fired_ms, self.stage.clock.now_ms())
        said = {"ticker": TICKERS[pair], "interval": interval, "secret": "open-sesame"}
        times = {"time": iso(open_ms), "timenow": iso(fired_ms), "close": repr(close)}
        answer = self.client.post(f"{HOOK}/{OLD}", content=alert(**said, **times))
        assert answer.status_code == 202
        self.scene.wall_ms += 1_500
        asyncio.run(self.sync.turn())

    def verdict(self, pair: str = PAIR) -> WindowVerdict:
        stage = self.stage
        window = stage.store.last_candles(pair, "1m", FEATURES_V1.lookback)
        run, now_ms = replace(stage.run, pair=pair), stage.clock.now_ms()
        return verdict_of(stage.store, run, window, 1, now_ms=now_ms, speed=1.0)

    def blocks(self, pair: str = PAIR) -> tuple[str, ...]:
        return self.verdict(pair).blocks


@pytest.fixture
def feeds() -> TwoFeeds:
    return TwoFeeds()


@pytest.mark.catalogue("D09")
def test_a_wrong_close_pauses_its_pair_alone_exits_go_on_and_a_right_one_clears(
    feeds: TwoFeeds,
) -> None:
    desk, stage = feeds.desk, feeds.stage
    feeds.say(1.0)
    assert feeds.decide() == ""
    feeds.candle()
    assert stage.held > 0

    feeds.say(1.02)
    assert feeds.decide() == "data_integrity_block"

    record = stage.decisions()[0]
    assert record.gates[-1].detail == "cross_source_divergence"
    assert "cross_source_drift" in record.warnings
    assert stage.run.status is RunStatus.PAUSED
    assert feeds.verdict(ETH) == WindowVerdict()

    trade_id = stage.orders()[0].trade_id
    desk.do(lambda control: control.close_trade(trade_id, None, "operator", **WHO))
    for _ in range(3):
        feeds.candle()
    assert stage.held == 0

    feeds.say(1.0)
    assert feeds.verdict() == WindowVerdict()
    desk.do(lambda control: control.resume_run("desk", "", **WHO))
    assert feeds.decide() == ""
    assert stage.decisions()[0].action is Action.TRADE


@pytest.mark.catalogue("D09")
@pytest.mark.parametrize(
    ("factor", "warns", "blocks"),
    [(1.0029, False, False), (1.0031, True, False), (0.9969, True, False), (1.0101, True, True)],
)
def test_the_levels_are_those_of_the_mark_price(
    feeds: TwoFeeds, *, factor: float, warns: bool, blocks: bool
) -> None:
    feeds.candle()
    feeds.say(factor)
    verdict = feeds.verdict()
    assert ("cross_source_drift" in verdict.warnings) is warns
    assert verdict.blocks == (("cross_source_divergence",) if blocks else ())


@pytest.mark.catalogue("D09")
def test_a_longer_bar_that_ended_with_our_candle_is_a_witness_too(feeds: TwoFeeds) -> None:
    feeds.candle()
    feeds.say(1.02, interval="60")
    assert feeds.blocks() == ("cross_source_divergence",)


def test_a_close_says_nothing_of_a_bar_that_was_not_over_when_it_fired_or_is_not_over_now(
    feeds: TwoFeeds,
) -> None:
    closed = feeds.candle()
    feeds.say(1.02, later_ms=-1_000)
    assert feeds.blocks() == ()
    ahead_ms = closed.open_ms + MINUTE_MS  # the bar that is forming, with a clock of its own
    feeds.tell(ahead_ms + MINUTE_MS, ahead_ms, 1.0, PAIR, "1")
    feeds.candle()
    assert feeds.blocks() == ()


def test_a_wrong_close_is_forgotten_after_some_candles_of_silence(feeds: TwoFeeds) -> None:
    feeds.candle()
    feeds.say(1.02)
    for _ in range(NEWEST):
        assert feeds.blocks() == ("cross_source_divergence",)
        feeds.candle()
    assert feeds.blocks() == ()


def test_a_feed_that_an_operator_pauses_judges_nobody(feeds: TwoFeeds) -> None:
    feeds.candle()
    feeds.say(1.02)
    key = status_key(TRADINGVIEW, "main")
    found = feeds.stage.store.get(kinds.SOURCES, key)
    assert found is not None
    feeds.stage.store.put(kinds.SOURCES, key, replace(found.value, enabled=False), at_ms=1)
    asyncio.run(feeds.sync.turn())
    assert feeds.blocks() == ()


def test_alerts_are_compared_in_market_time_where_it_runs_faster_than_the_wall(
    feeds: TwoFeeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds.candle()
    wall_ms = 1_900_000_000_000
    market_ms = feeds.stage.clock.now_ms()
    anchor = ClockAnchor(market_ms=market_ms, wall_ms=wall_ms, speed=60.0)
    monkeypatch.setattr(type(feeds.stage.clock), "anchor", anchor)
    candle = feeds.stage.store.last_candles(PAIR, "1m", 1).row(0)

    feeds.tell(wall_ms - 1_000, candle.open_ms, candle.close * 1.02, PAIR, "1")
    assert feeds.blocks() == ()  # it fired a market minute ago: the bar was not over
    feeds.tell(wall_ms, candle.open_ms, candle.close * 1.02, PAIR, "1")
    assert feeds.blocks() == ("cross_source_divergence",)
