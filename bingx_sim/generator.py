"""Seeded one-minute candles with random access: any day can be made without the days before it.

Every 64th day has a price of its own, the days between lie on a bridge over it, and the minutes of a
day lie on a bridge between its two midnights. So a day is a pure function of (seed, pair, day).
"""

import math
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bingx_sim.instruments import Contract

MINUTES_PER_DAY = 1440
SPAN_DAYS = 64
SPAN_SIGMA_DAYS = 30.0
REGIME_MINUTES = 240.0
"""Mean length of a drift regime; with an edge, what drifted lately keeps drifting this long."""

OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)

type Rows = NDArray[np.int64]


class SeededDays:
    """Make the 1440 candles of a day as integers: four prices in ticks, volume in steps.

    `edge` is the drift of a regime in standard deviations of a minute; 0 makes the direction of the
    next return unpredictable.
    """

    def __init__(self, contract: Contract, *, seed: int, edge: float) -> None:
        self._contract = contract
        self._seed = seed
        self._edge = edge
        self._stream = zlib.crc32(contract.pair.encode())
        self._log_base = math.log(contract.base_price)
        self._anchor = lru_cache(maxsize=4096)(self._log_price_at)
        self.day = lru_cache(maxsize=48)(self._make_day)

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self._seed, self._stream, *key]))

    def _log_price_at(self, day: int) -> float:
        """Log price at the midnight that begins `day`: a midpoint bridge inside its span."""
        span, inside = divmod(day, SPAN_DAYS)
        sigma = self._contract.daily_volatility
        left, right = self._span_price(span), self._span_price(span + 1)
        low, high = 0, SPAN_DAYS
        while inside != low:
            middle = (low + high) // 2
            spread = sigma * math.sqrt((high - low) / 4.0)
            noise = float(self._rng(2, span, low, high).standard_normal())
            price = (left + right) / 2.0 + spread * noise
            if inside < middle:
                high, right = middle, price
            else:
                low, left = middle, price
        return left

    def _span_price(self, span: int) -> float:
        sigma = self._contract.daily_volatility * math.sqrt(SPAN_SIGMA_DAYS)
        return self._log_base + sigma * float(self._rng(1, span).standard_normal())

    def _make_day(self, day: int) -> Rows:
        rng = self._rng(3, day)
        sigma = self._minute_sigma(rng)
        path = self._bridge(rng, sigma, self._anchor(day), self._anchor(day + 1))
        return self._candles(rng, sigma, path)

    def _minute_sigma(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Volatility per minute: a level of the day, clusters inside it, busier afternoons."""
        n = MINUTES_PER_DAY
        mean = self._contract.daily_volatility / math.sqrt(n)
        day_level = math.exp(0.35 * float(rng.standard_normal()) - 0.06)
        kernel = np.exp(-np.arange(240) / 60.0)
        kernel /= math.sqrt(float(np.sum(kernel**2)))
        noise = rng.standard_normal(n + 239)
        clusters = np.exp(0.45 * np.convolve(noise, kernel, mode="valid") - 0.1)
        minute = np.arange(n)
        diurnal = 1.0 + 0.3 * np.sin(2 * np.pi * (minute - 540) / n)
        return mean * day_level * clusters * diurnal

    def _bridge(
        self,
        rng: np.random.Generator,
        sigma: NDArray[np.float64],
        start: float,
        end: float,
    ) -> NDArray[np.float64]:
        """Log prices at the 1441 minute marks of the day, both midnights included."""
        n = MINUTES_PER_DAY
        shocks = rng.standard_t(5, n) / math.sqrt(5.0 / 3.0)
        returns = sigma * (np.clip(shocks, -6.0, 6.0) + self._edge * self._regimes(rng))
        variance = sigma**2 / float(np.sum(sigma**2))
        returns += variance * (end - start - float(np.sum(returns)))
        path = np.empty(n + 1)
        path[0] = start
        np.cumsum(returns, out=path[1:])
        path[1:] += start
        path[n] = end
        return path

    def _regimes(self, rng: np.random.Generator) -> NDArray[np.float64]:
        n = MINUTES_PER_DAY
        flips = rng.random(n) < 1.0 / REGIME_MINUTES
        first = 1.0 if rng.random() < 0.5 else -1.0
        return first * np.where(np.cumsum(flips) % 2 == 0, 1.0, -1.0)

    def _candles(
        self, rng: np.random.Generator, sigma: NDArray[np.float64], path: NDArray[np.float64]
    ) -> Rows:
        n = MINUTES_PER_DAY
        scale = 10.0**self._contract.price_precision
        marks = np.maximum(np.rint(np.exp(path) * scale), 10.0)
        rows = np.empty((n, 5), dtype=np.int64)
        gaps = np.where(rng.random(n) < 0.08, rng.integers(-3, 4, n), 0)
        gaps[0] = 0
        rows[:, OPEN] = np.maximum(marks[:-1] + gaps, 5)
        rows[:, CLOSE] = marks[1:]
        reach = sigma * marks[:-1]
        spikes = np.where(rng.random((n, 2)) < 0.01, 4.0, 1.0)
        wicks = np.abs(rng.standard_normal((n, 2))) * 0.45 * spikes
        body_high = np.maximum(rows[:, OPEN], rows[:, CLOSE])
        body_low = np.minimum(rows[:, OPEN], rows[:, CLOSE])
        rows[:, HIGH] = body_high + np.rint(wicks[:, 0] * reach)
        rows[:, LOW] = np.maximum(body_low - np.rint(wicks[:, 1] * reach), 1)
        rows[:, VOLUME] = self._volumes(rng, sigma, rows)
        return rows

    def _volumes(
        self, rng: np.random.Generator, sigma: NDArray[np.float64], rows: Rows
    ) -> NDArray[np.float64]:
        """Steps traded per minute: more when volatile and when the candle is long."""
        n = MINUTES_PER_DAY
        mean = self._contract.minute_volume * 10.0**self._contract.quantity_precision
        typical = self._contract.daily_volatility / math.sqrt(n)
        length = (rows[:, HIGH] - rows[:, LOW]) / (sigma * rows[:, OPEN])
        noise = np.exp(0.5 * rng.standard_normal(n) - 0.125)
        volume = mean * (sigma / typical) * (0.4 + 0.35 * length) * noise
        return np.maximum(np.rint(volume), 1.0)
