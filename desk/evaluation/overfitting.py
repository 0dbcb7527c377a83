"""How much of a Sharpe ratio is luck: its probability, deflated by the number of trials, and CSCV.

Ratios here are per observation unless they are called yearly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

import numpy as np

from desk.errors import BadInput
from desk.market.candles import Floats, Ints

EULER = 0.5772156649015329
"""Euler and Mascheroni's constant."""
CSCV_BLOCKS = 10
"""252 ways to choose half of them; the paper's 16 make 12,870 and differ little in what they say."""
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """How many policies were tried before the one that is judged was chosen, itself included."""

    count: int = 1
    sharpes: tuple[float, ...] = ()
    """Yearly Sharpe ratio (365 days) of each, as far as they are known."""

    def __post_init__(self) -> None:
        if self.count < max(1, len(self.sharpes)):
            raise BadInput(
                "trials", f"was {self.count}, expected at least {max(1, len(self.sharpes))}"
            )
        if not np.isfinite(self.sharpes).all():
            raise BadInput("trials", "held a Sharpe ratio that is not finite: leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """What the sampling error of a Sharpe ratio depends on."""

    count: int
    sharpe: float
    skew: float
    kurtosis: float
    """3 for a normal distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overfitting:
    """How likely the best of some candidates was chosen for its luck; see `overfitting_among`."""

    probability: float | None
    """None: there is none, for the `reason`."""
    candidates: int
    periods: int
    """Results of each candidate, one after another in time."""
    reason: str = ""


def moments(changes: Floats) -> Moments:
    """Moments of float64[N]; deviation with N - 1, skew and kurtosis those of the sample.

    Without variation, or with fewer than two, the ratio is 0.
    """
    count = len(changes)
    deviation = float(changes.std(ddof=1)) if count > 1 else 0.0
    spread = float(changes.std()) if count else 0.0
    if not _varies(changes):
        return Moments(count=count, sharpe=0.0, skew=0.0, kurtosis=3.0)
    centred = (changes - changes.mean()) / spread
    return Moments(
        count=count,
        sharpe=float(changes.mean()) / deviation,
        skew=float((centred**3).mean()),
        kurtosis=float((centred**4).mean()),
    )


def probabilistic_sharpe(found: Moments, benchmark: float = 0.0) -> float:
    """Probability that the true ratio exceeds `benchmark`: Bailey and López de Prado, The Sharpe Ratio
    Efficient Frontier, Journal of Risk 15 (2012), eq. 11. 0 with fewer than two observations."""
    if found.count < 2:
        return 0.0
    variance = 1.0 - found.skew * found.sharpe + (found.kurtosis - 1.0) / 4.0 * found.sharpe**2
    error = math.sqrt(max(variance, 0.0))
    if error == 0.0:
        return float(found.sharpe > benchmark)
    return _NORMAL.cdf((found.sharpe - benchmark) * math.sqrt(found.count - 1) / error)


def expected_highest_sharpe(count: int, variance: float) -> float:
    """Expected highest ratio of `count` trials without any skill whose ratios vary by `variance`:
    Bailey and López de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 40 (2014),
    eq. 1. 0 for a single trial, of which nothing was chosen."""
    if count < 2:
        return 0.0
    usual = _NORMAL.inv_cdf(1.0 - 1.0 / count)
    rarer = _NORMAL.inv_cdf(1.0 - 1.0 / (count * math.e))
    return math.sqrt(variance) * ((1.0 - EULER) * usual + EULER * rarer)


def deflated_sharpe(found: Moments, trials: Trials, observations_per_year: float) -> float:
    """Probability that the true ratio exceeds what the best of so many trials shows by luck.

    The variance is that of the trials' ratios where at least two are known; else what ratios of no
    skill vary by over so many observations, 1 / (N - 1) (Lo, The Statistics of Sharpe Ratios, 2002).
    """
    if len(trials.sharpes) > 1:
        variance = float(np.var(trials.sharpes, ddof=1)) / observations_per_year
    else:
        variance = 1.0 / max(found.count - 1, 1)
    return probabilistic_sharpe(found, expected_highest_sharpe(trials.count, variance))


def overfitting_probability(changes: Floats, *, blocks: int = CSCV_BLOCKS) -> float | None:
    """How often the best of N candidates on one half of the time is no better than their median on the
    other, by combinatorially symmetric cross-validation of float64[T, N].

    Bailey, Borwein, López de Prado and Zhu, The Probability of Backtest Overfitting, Journal of
    Computational Finance 20 (2017), §3; performance is the Sharpe ratio, 0 without variation; equal
    ranks share their mean; of equally good candidates the first counts as chosen. T is cut to a
    multiple of `blocks` at its beginning. None where fewer than two candidates differ, or blocks have
    fewer than two observations: there is nothing to choose.
    """
    if blocks < 2 or blocks % 2:
        raise BadInput("blocks", f"was {blocks}, expected an even number from 2 on")
    length = len(changes) // blocks
    if length < 2 or len(np.unique(changes, axis=1).T) < 2:
        return None
    whole = changes[len(changes) - length * blocks :].reshape(blocks, length, -1)
    # Sums of blocks are enough for the ratio of any union of them; centred, so that little is lost.
    whole = whole - whole.mean(axis=(0, 1))
    means = changes[len(changes) - length * blocks :].mean(axis=0)
    sums, squares = whole.sum(axis=1), (whole**2).sum(axis=1)
    half, worse, count = blocks // 2, 0, 0
    for chosen in combinations(range(blocks), half):
        inside = np.zeros(blocks, dtype=np.bool_)
        inside[list(chosen)] = True
        trained = _ratios(
            sums[inside].sum(axis=0), squares[inside].sum(axis=0), means, half * length
        )
        tested = _ratios(
            sums[~inside].sum(axis=0), squares[~inside].sum(axis=0), means, half * length
        )
        best = int(trained.argmax())
        relative_rank = _rank(tested, best) / (len(tested) + 1)
        worse += relative_rank <= 0.5  # a logit of 0 or less
        count += 1
    return worse / count


def overfitting_among(results: Sequence[Sequence[float]]) -> Overfitting:
    """`overfitting_probability` of candidates by their results in equal periods, oldest first.

    All have as many. Where candidates or periods are too few for it, the reason says which.
    """
    candidates, periods = len(results), min(map(len, results), default=0)
    probability, reason = None, _too_few(candidates, periods)
    if not reason:
        probability = overfitting_probability(of_columns([np.array(one) for one in results]))
        reason = "all of them earned the same" if probability is None else ""
    return Overfitting(
        probability=probability, candidates=candidates, periods=periods, reason=reason
    )


def _too_few(candidates: int, periods: int) -> str:
    if candidates < 2:
        return f"candidates were {candidates}, expected at least 2 to choose from"
    if periods < 2 * CSCV_BLOCKS:
        return f"periods were {periods}, expected at least {2 * CSCV_BLOCKS}, two for each block"
    return ""


def _ratios(sums: Floats, squares: Floats, means: Floats, count: int) -> Floats:
    variance = np.maximum(squares - sums**2 / count, 0.0) / (count - 1)
    average = sums / count + means
    # Rounding leaves a trace of variance where there is none.
    floor = 1e-24 * (1.0 + average**2)
    return np.where(variance > floor, average / np.sqrt(np.maximum(variance, floor)), 0.0)


def _rank(values: Floats, at: int) -> float:
    """Rank from 1 (lowest) on; equal values share the mean of theirs."""
    lower, equal = int((values < values[at]).sum()), int((values == values[at]).sum())
    return lower + (equal + 1) / 2


def _varies(changes: Floats) -> bool:
    return len(changes) > 1 and float(np.ptp(changes)) > 1e-12


def totals_by_step(equity: Floats, cash: float, close_ms: Ints, step_ms: int) -> Floats:
    """Change of equity, in USDT, over each step of the grid `step_ms` that candles closed in.

    `equity` float64[T] stands at `close_ms` int64[T]; before it the account had `cash`.
    """
    step = (close_ms - 1) // step_ms
    last = np.flatnonzero(np.append(np.diff(step) > 0, True))
    return np.diff(np.concatenate([[cash], equity[last]]))


def of_columns(columns: Sequence[Floats]) -> Floats:
    """float64[T, N] of N series of T."""
    return np.stack(columns, axis=1) if columns else np.empty((0, 0))
