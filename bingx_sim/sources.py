"""The seeded generator as a source of days, and the funding rates that go with it."""

import zlib

import numpy as np

from bingx_sim.clock import DAY_MS, HOUR_MS
from bingx_sim.generator import MINUTES_PER_DAY, Rows, SeededDays
from bingx_sim.instruments import Contract
from bingx_sim.market import Present

FUNDING_MS = 8 * HOUR_MS
LISTED_MS = 1_672_531_200_000  # 2023-01-01: months of history before any sensible start
HISTORY_DAYS = 400


class GeneratedSource:
    """Endless seeded days from the listing on."""

    def __init__(self, contract: Contract, *, seed: int, edge: float, start_ms: int) -> None:
        earliest = (start_ms // DAY_MS - HISTORY_DAYS) * DAY_MS
        self.first_ms = max(0, min(LISTED_MS, earliest))
        self._days = SeededDays(contract, seed=seed, edge=edge)
        self._all: Present = np.ones(MINUTES_PER_DAY, dtype=np.bool_)

    def day(self, day: int) -> tuple[Rows, Present]:
        return self._days.day(day), self._all


def funding_rate(pair: str, *, seed: int, settlement_ms: int) -> float:
    """Rate paid at one settlement: mostly the 0.01 % base, sometimes far from it, 8 decimals."""
    key = [seed, zlib.crc32(pair.encode()), 7, settlement_ms // FUNDING_MS]
    draw = np.random.Generator(np.random.PCG64(key))
    premium = float(draw.standard_t(4)) * 0.00008
    base = 0.0001
    rate = premium + min(max(base - premium, -0.0005), 0.0005) if abs(premium) > 0.0003 else base
    if draw.random() < 0.5:
        rate = base + premium
    return round(min(max(rate, -0.003), 0.003), 8)


def next_funding_ms(now_ms: int) -> int:
    """The settlement after `now_ms`: 00:00, 08:00 or 16:00 UTC."""
    return (now_ms // FUNDING_MS + 1) * FUNDING_MS
