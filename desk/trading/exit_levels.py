"""Where exits stand, in whole numbers: one rule for orders, ledger and, compiled, for training.

Plain integer arithmetic on purpose. Called from Python the numbers have no size limit; compiled they
are int64, and `desk.learning.arrays.exit_rules` refuses what would not fit.
`side` is +1 for a long position, -1 for a short one. A level of 0 stands for none.
"""

AVERAGE_STEPS = 1_000
"""An average entry price is kept in thousandths of a tick, rounded down."""


def exit_ticks(  # noqa: PLR0917 - compiled calls are positional
    market: int, per_tick: int, distance: int, whole: int, side: int, direction: int
) -> int:
    """Level at `distance / whole` of the market, above it (`direction` +1) or below (-1).

    The market stands at `market / per_tick` ticks. Rounding hurts (rule 6 of the fill specification):
    up for a long, down for a short. The level is at least one tick off the market, and above 0.
    """
    exact, scale = market * (whole + direction * distance), per_tick * whole
    ticks = -(-exact // scale) if side > 0 else exact // scale
    if direction > 0:
        ticks = max(ticks, market // per_tick + 1)
    else:
        ticks = min(ticks, -(-market // per_tick) - 1)
    return max(ticks, 1)


def liquidation_level(  # noqa: PLR0917 - compiled calls are positional
    average: int, per_tick: int, side: int, leverage: int, rate: int, whole: int
) -> int:
    """Level at which an isolated position loses its margin, rounded toward the market.

    The average entry price is `average / per_tick` ticks; `rate / whole` is maintenance margin and
    closing fee. 0: a long without leverage is never liquidated.
    """
    exact = average * (leverage - side) * whole
    scale = per_tick * leverage * (whole - side * rate)
    return -(-exact // scale) if side > 0 else exact // scale


def nearer_stop(stop: int, liquidation: int, side: int) -> tuple[int, bool]:
    """The one protective stop of two levels, and whether it is the liquidation."""
    if liquidation != 0 and (stop == 0 or (stop - liquidation) * side < 0):
        return liquidation, True
    return stop, False


def average_after(average: int, held: int, lots: int, price_ticks: int) -> int:
    """Average entry price, in `AVERAGE_STEPS` of a tick, once signed lots were executed at a price.

    What is left of a position keeps its average; what opens or crosses zero has its own price.
    """
    after = held + lots
    if after == 0:
        return 0
    price = price_ticks * AVERAGE_STEPS
    if held == 0 or (held > 0) != (after > 0):
        return price
    if abs(after) <= abs(held):
        return average
    return (average * abs(held) + price * abs(lots)) // abs(after)
