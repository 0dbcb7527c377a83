"""A small market and a store for the learning flows."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from actors.study_period import Period
from desk.market.candles import Candles
from desk.store.memory import MemoryStore
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
