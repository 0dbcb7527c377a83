"""What closed trades came to: profit, drawdown and the ratios that trading tools show.

The definitions are freqtrade's, whose tools read them: a profit of zero counts as won, ratios are
of the stake or of the starting capital, and a year has 365 days. Nothing here is a gate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from statistics import fmean, pstdev, stdev

from desk.clock import DAY_MS
from desk.ids import Pair

DAYS_PER_YEAR = 365


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeResult:
    """One closed trade; money in USDT, times in market ms UTC."""

    pair: Pair
    net: Decimal
    """After fees."""
    stake: Decimal
    """What the entry tied up; 0 where nothing was filled."""
    opened_ms: int
    closed_ms: int

    @property
    def ratio(self) -> float:
        """Net profit as a fraction of the stake; 0 without a stake."""
        return float(self.net / self.stake) if self.stake else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawdown:
    """Deepest and present fall of the sum of closed profits below its highest so far.

    `fraction` is of capital at that height. A time is None where nothing fell.
    """

    amount: float = 0.0
    fraction: float = 0.0
    start_ms: int | None = None
    end_ms: int | None = None
    current_amount: float = 0.0
    current_fraction: float = 0.0
    current_high: float = 0.0
    """Highest sum so far."""
    current_start_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Figures over closed trades. A ratio that is not defined is 0; without a loss two are None."""

    won: int = 0
    lost: int = 0
    win_rate: float = 0.0
    profit_factor: float | None = None
    """Sum won over sum lost; None: nothing was lost."""
    expectancy: float = 0.0
    """Mean net profit of a trade in USDT."""
    expectancy_ratio: float | None = None
    """Mean profit in units of the mean loss; None: nothing was lost."""
    sharpe: float = 0.0
    sortino: float = 0.0
    sqn: float = 0.0
    calmar: float = 0.0
    cagr: float = 0.0
    drawdown: Drawdown = Drawdown()


def standing(
    results: Sequence[TradeResult], *, starting: Decimal, equity: Decimal, since_ms: int, to_ms: int
) -> Standing:
    """Figures of these trades of an account that began with `starting` and is worth `equity` now.

    `[since_ms, to_ms]` is the period that daily means are taken over; at least one day counts.
    """
    if not results or starting <= 0:
        return Standing()
    capital = float(starting)
    nets = [float(result.net) for result in results]
    returns = [net / capital for net in nets]
    days = max((to_ms - since_ms) // DAY_MS, 1)
    daily = sum(returns) / days
    wins = [net for net in nets if net >= 0]
    losses = [net for net in nets if net < 0]
    fallen = drawdown(results, starting=starting)
    win_rate = len(wins) / len(nets)
    scale = math.sqrt(DAYS_PER_YEAR)
    return Standing(
        won=len(wins),
        lost=len(losses),
        win_rate=win_rate,
        profit_factor=sum(wins) / -sum(losses) if losses else None,
        expectancy=fmean(nets),
        expectancy_ratio=_expectancy_ratio(wins, losses, win_rate),
        sharpe=scale * _over(daily, pstdev(returns)),
        sortino=scale * _over(daily, pstdev([net / capital for net in losses] or [0.0])),
        sqn=math.sqrt(len(returns)) * _over(fmean(returns), _sample_deviation(returns)),
        calmar=scale * _over(daily * 100, fallen.fraction),
        cagr=_growth(float(equity / starting), days),
        drawdown=fallen,
    )


def drawdown(results: Sequence[TradeResult], *, starting: Decimal) -> Drawdown:
    """Fall of the running sum of profits, in the order in which the trades were closed."""
    total = high = deepest = deepest_high = 0.0
    high_ms = start_ms = end_ms = None
    for result in sorted(results, key=lambda result: result.closed_ms):
        total += float(result.net)
        if total >= high:
            high, high_ms = total, result.closed_ms
        elif high - total > deepest:
            deepest, deepest_high = high - total, high
            start_ms, end_ms = high_ms or result.opened_ms, result.closed_ms
    capital = float(starting)
    return Drawdown(
        amount=deepest,
        fraction=_over(deepest, capital + deepest_high),
        start_ms=start_ms,
        end_ms=end_ms,
        current_amount=high - total,
        current_fraction=_over(high - total, capital + high),
        current_high=high,
        current_start_ms=high_ms if high > total else None,
    )


def _expectancy_ratio(
    wins: Sequence[float], losses: Sequence[float], win_rate: float
) -> float | None:
    if not losses:
        return None
    reward = fmean(wins) / -fmean(losses) if wins else 0.0
    return (1 + reward) * win_rate - 1


def _sample_deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _growth(factor: float, days: int) -> float:
    """Yearly growth at this factor over `days`; 0 where it is beyond any number."""
    if factor <= 0:
        return -1.0
    try:
        return math.expm1(math.log(factor) * DAYS_PER_YEAR / days)
    except OverflowError:
        return 0.0


def _over(value: float, by: float) -> float:
    return value / by if by > 0 else 0.0
