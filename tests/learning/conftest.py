"""A small market and a store for the learning flows."""

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from actors.study_period import Period
from actors.wiring import Wiring
from desk.clock import ManualClock
from desk.market.candles import Candles
from desk.store import kinds
from desk.store.history import History
from desk.store.memory import MemoryStore
from desk.store.server import RunningServer
from desk.store.valkey import ValkeyStore
from desk.trading.instruments import Instrument

MINUTE_MS = 60_000
INSTRUMENT = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=100,
)


@pytest.fixture
def memory() -> MemoryStore:
    return MemoryStore()


@pytest.fixture(scope="session")
def market(walk: Callable[..., Candles]) -> Candles:
    """Two days and a bit of 1m candles."""
    return walk(3_000, seed=5)


@pytest.fixture
def clock(market: Candles) -> ManualClock:
    """At the open of the market's last candle."""
    return ManualClock(int(market.open_ms[-1]))


@pytest.fixture(scope="session")
def period(market: Candles) -> Callable[[int, int], Period]:
    """The period between two rows of `market`."""
    start_ms = int(market.open_ms[0])

    def make(first: int, last: int) -> Period:
        return Period(
            pair="BTC-USDT",
            interval="1m",
            start_ms=start_ms + first * MINUTE_MS,
            end_ms=start_ms + last * MINUTE_MS,
            instrument=INSTRUMENT,
        )

    return make


def wiring_on(
    valkey_server: RunningServer, store: ValkeyStore, candles: Candles, home: Path
) -> Wiring:
    """A desk with a store, a clock reading, an instrument and candles in its history."""
    now_ms = int(candles.open_ms[-1])
    anchor = {"market_ms": now_ms, "wall_ms": int(time.time() * 1000), "speed": 1.0}
    store.put(kinds.STATE, "clock", anchor, at_ms=now_ms)
    store.put(kinds.INSTRUMENTS, "BTC-USDT", INSTRUMENT, at_ms=now_ms)
    History(home / "history").append("BTC-USDT", "1m", candles, "test")
    return Wiring(
        store_url=valkey_server.url,
        home=home,
        venue_url="",
        pairs=("BTC-USDT",),
        intervals=("1m",),
        namespace=home.name,
    )


@pytest.fixture
def wiring(
    valkey_server: RunningServer, store: ValkeyStore, market: Candles, tmp_path: Path
) -> Wiring:
    """A desk with the market's candles."""
    return wiring_on(valkey_server, store, market, tmp_path)
