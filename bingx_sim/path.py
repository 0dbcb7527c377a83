"""The price inside a minute: straight lines from the open over both extremes to the close."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Path:
    """Vertices (offset ms in the minute, price in ticks), offsets rising; a jump repeats an offset."""

    vertices: tuple[tuple[int, float], ...]

    def price_at(self, offset_ms: int) -> float:
        for (left, before), (right, after) in pairwise(self.vertices):
            if offset_ms < right:
                return before + (after - before) * (offset_ms - left) / (right - left)
        return self.vertices[-1][1]

    def range_until(self, offset_ms: int) -> tuple[float, float]:
        """Lowest and highest price from the open up to and including `offset_ms`."""
        seen = [price for offset, price in self.vertices if offset <= offset_ms]
        seen.append(self.price_at(offset_ms))
        return min(seen), max(seen)

    def first_at_or_below(self, level: float, from_ms: int) -> int | None:
        """First offset not before `from_ms` where the price is at or under `level`."""
        return self._first(level, from_ms, sign=1.0)

    def first_at_or_above(self, level: float, from_ms: int) -> int | None:
        """First offset not before `from_ms` where the price is at or over `level`."""
        return self._first(level, from_ms, sign=-1.0)

    def _first(self, level: float, from_ms: int, *, sign: float) -> int | None:
        target = sign * level
        if sign * self.price_at(from_ms) <= target:
            return from_ms
        for (left, before), (right, after) in pairwise(self.vertices):
            if right < from_ms or sign * after > target:
                continue
            if right == left or sign * before <= target:
                return max(right if right == left else left, from_ms)
            share = (sign * before - target) / (sign * (before - after))
            return max(min(left + ceil(share * (right - left)), right), from_ms)
        return None

    def shifted_from(self, offset_ms: int, factor: float) -> "Path":
        """The same path, every price from `offset_ms` on multiplied by `factor`."""
        here = self.price_at(offset_ms)
        before = [vertex for vertex in self.vertices if vertex[0] <= offset_ms]
        after = [(offset, price * factor) for offset, price in self.vertices if offset > offset_ms]
        return Path((*before, (offset_ms, here), (offset_ms, here * factor), *after))


def path_of(prices: Sequence[int], open_ms: int) -> Path:
    """Lay the path of one candle (open, high, low, close in ticks); its turns depend on `open_ms`."""
    opened, high, low, closed = prices
    turn = zlib.crc32(f"{open_ms}:{opened}:{closed}".encode())
    high_first = (turn & 1 == 0) if opened == closed else opened > closed
    if turn & 6 == 0:
        high_first = not high_first
    first_ms = 6_000 + (turn >> 3) % 18_000
    second_ms = 32_000 + (turn >> 17) % 20_000
    first, second = (high, low) if high_first else (low, high)
    return Path(((0, opened), (first_ms, first), (second_ms, second), (MINUTE_MS, closed)))


def flat_path(price: float) -> Path:
    return Path(((0, price), (MINUTE_MS, price)))
