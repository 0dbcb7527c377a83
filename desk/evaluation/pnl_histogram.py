"""How the results of an evaluation's trades are spread, in bins that read well."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal

from desk.errors import BadInput

MOST_BINS = 30
_STEPS = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True, kw_only=True)
class PnlHistogram:
    """Counts of trades by result, in USDT. `edges` has one more than `counts`; both empty: no trade."""

    edges: tuple[Decimal, ...]
    """Rising multiples of one width, so that 0 is an edge or outside: no bin mixes losses with wins.
    A bin holds its lower edge and not its upper one."""
    counts: tuple[int, ...]


def pnl_histogram(pnl: Sequence[Decimal], *, most_bins: int = MOST_BINS) -> PnlHistogram:
    """Spread results over at most `most_bins` bins, 1, 2 or 5 times a power of ten wide.

    The first and the last bin hold a trade. Raises `BadInput` for a result that is not finite.
    """
    if any(not value.is_finite() for value in pnl):
        raise BadInput("pnl", "was not finite, expected amounts of USDT: evaluate it again")
    if not pnl:
        return PnlHistogram(edges=(), counts=())
    low, high = min(pnl), max(pnl)
    # Edges lie on multiples of the width, so up to two bins are cut off by the ends.
    width = _rounded_up((high - low) / (most_bins - 2) or abs(high) / 10 or Decimal(1))
    first = _number(low, width)
    counts = [0] * (_number(high, width) - first + 1)
    for value in pnl:
        counts[_number(value, width) - first] += 1
    return PnlHistogram(
        edges=tuple((first + at) * width for at in range(len(counts) + 1)), counts=tuple(counts)
    )


def _rounded_up(width: Decimal) -> Decimal:
    """The next 1, 2 or 5 times a power of ten; `width` is above 0."""
    power = Decimal(1).scaleb(width.adjusted())
    return next(step * power for step in _STEPS if step * power >= width)


def _number(value: Decimal, width: Decimal) -> int:
    return int((value / width).to_integral_value(rounding=ROUND_FLOOR))
