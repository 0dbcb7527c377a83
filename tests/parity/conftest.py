"""Markets and plans that every engine is put through."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from desk.clock import MINUTE_MS
from desk.market.candles import Candles
from desk.market.interval import interval_ms
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.tape import Market

BTC = Instrument(
    pair="BTC-USDT",
    tick=Decimal("0.1"),
    lot=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"),
    min_notional=Decimal(2),
    maker_rate=Decimal("0.0002"),
    taker_rate=Decimal("0.0005"),
    max_leverage=20,
)


@pytest.fixture(scope="session")
def real_market(tape: Callable[[str], Path]) -> Callable[..., Market]:
    """Return rows of the real BTC perpetual with its funding, as candles of any length in minutes."""
    candles = pq.read_table(tape("binance_usdm_BTCUSDT_1m_2025-05-04_2025-06.parquet"))
    funding = pq.read_table(tape("binance_usdm_BTCUSDT_funding_2025-03-06_2025-06.parquet"))
    columns = {name: candles[name].to_numpy() for name in candles.column_names}
    rates = [
        (int(at_ms), Decimal(str(rate)))
        for at_ms, rate in zip(
            funding["funding_time"].to_pylist(), funding["rate"].to_pylist(), strict=True
        )
    ]

    def make(rows: slice, *, spec: FillSpec, holes_seed: int | None = None) -> Market:
        part = Candles(
            open_ms=columns["open_time"][rows],
            open=columns["open"][rows],
            high=columns["high"][rows],
            low=columns["low"][rows],
            close=columns["close"][rows],
            volume=columns["volume"][rows],
        )
        part = longer(part, interval_ms(spec.interval))
        if holes_seed is not None:
            kept = np.random.default_rng(holes_seed).random(len(part)) > 0.1
            part = part.take(kept)
        return Market.of(part, BTC, spec, rates)

    return make


def longer(candles: Candles, step_ms: int) -> Candles:
    """Candles of a longer interval on its grid, made of whole minutes."""
    per = step_ms // MINUTE_MS
    first = int(np.flatnonzero(candles.open_ms % step_ms == 0)[0])
    count = (len(candles) - first) // per
    part = candles.take(slice(first, first + count * per))
    return Candles(
        open_ms=part.open_ms[::per],
        open=part.open[::per],
        high=part.high.reshape(count, per).max(axis=1),
        low=part.low.reshape(count, per).min(axis=1),
        close=part.close[per - 1 :: per],
        volume=part.volume.reshape(count, per).sum(axis=1),
    )
