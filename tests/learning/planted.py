"""Markets of which it is known whether something can be learnt from them."""

import numpy as np

from desk.market.candles import Candles

START_MS = 1_700_006_400_000
"""A midnight."""
MINUTE_MS = 60_000
NOISE = 0.0008
"""Standard deviation of a candle's return."""
REGIME_CANDLES = 240.0
"""Mean length of a regime; each lasts as long as chance has it, so the clock tells nothing."""


def trending(count: int, *, seed: int, drift: float = 0.00025) -> Candles:
    """Regimes that drift up or down by `drift` per candle under the noise of `noise`.

    Whoever sees the direction earns 600 bps in a mean regime, and pays 14 bps to turn around.
    """
    rng = np.random.default_rng(seed)
    turns = rng.random(count) < 1.0 / REGIME_CANDLES
    direction = np.where(np.cumsum(turns) % 2 == 0, 1.0, -1.0)
    return _candles(drift * direction, rng)


def noise(count: int, *, seed: int) -> Candles:
    """A martingale: no rule earns anything before costs, and every trade costs."""
    return _candles(np.zeros(count), np.random.default_rng(seed))


def _candles(drift: np.ndarray, rng: np.random.Generator) -> Candles:
    count = len(drift)
    close = 40_000.0 * np.exp(np.cumsum(drift + rng.normal(-(NOISE**2) / 2, NOISE, count)))
    open_ = np.concatenate([[40_000.0], close[:-1]])
    wick = np.abs(rng.normal(0.0, NOISE / 2, (2, count)))
    return Candles(
        open_ms=START_MS + MINUTE_MS * np.arange(count, dtype=np.int64),
        open=np.round(open_, 1),
        high=np.ceil(np.maximum(open_, close) * (1.0 + wick[0]) * 10.0) / 10.0,
        low=np.floor(np.minimum(open_, close) * (1.0 - wick[1]) * 10.0) / 10.0,
        close=np.round(close, 1),
        volume=np.round(rng.gamma(2.0, 3.0, count), 4),
    )
