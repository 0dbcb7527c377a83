"""How an indicator's outputs become a value without a unit: of one candle, or of a million alike.

Each is written for numbers, and compiled for columns by `desk.market.columns`. Only plus, minus, times
and divided by, which round alike there and here; the one cast to float32 comes after all of it. The
first argument divides, the second is the close.
"""

from collections.abc import Callable

type Per = Callable[[float, float], float]
type Shape = Callable[..., float]
"""(per, close, outputs …, factor if the plan has one)."""

CALM_NATR = 0.1
"""Average true range in percent of the price at which `saturated` is a half."""


def per(value: float, scale: float) -> float:
    """Divided by, 0 where the divisor is 0."""
    return 0.0 if scale == 0.0 else value / scale


def raw(_per: Per, _close: float, value: float) -> float:
    """As TA-Lib gives it."""
    return value


def hundredth(_per: Per, _close: float, value: float) -> float:
    """-100 … 100 to -1 … 1."""
    return value / 100.0


def around_50(_per: Per, _close: float, value: float) -> float:
    """0 … 100 to -1 … 1."""
    return (value - 50.0) / 50.0


def around_minus_50(_per: Per, _close: float, value: float) -> float:
    """-100 … 0 to -1 … 1."""
    return (value + 50.0) / 50.0


def saturated(per: Per, _close: float, value: float) -> float:
    """0 … ∞ to 0 … 1."""
    return per(value, value + CALM_NATR)


def balance(per: Per, _close: float, one: float, other: float) -> float:
    """Which of two prevails: -1 … 1."""
    return per(one - other, one + other)


def distance(per: Per, close: float, value: float, scale: float) -> float:
    """How far the close is from a price, in ranges."""
    return per(close - value, scale)


def in_ranges(per: Per, _close: float, value: float, scale: float) -> float:
    """A difference of prices, in ranges."""
    return per(value, scale)


def in_multiples(per: Per, _close: float, value: float, scale: float, factor: float) -> float:
    """A sum, in what so many of the scale come to."""
    return per(value, scale * factor)


def band_position(per: Per, close: float, upper: float, lower: float) -> float:
    """-1 at the lower band, 1 at the upper."""
    return per((close - lower) - (upper - close), upper - lower)


def band_width(per: Per, _close: float, upper: float, lower: float, scale: float) -> float:
    """A quarter of the distance of the bands, in ranges."""
    return per(upper - lower, scale) / 4.0
