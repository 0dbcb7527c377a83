"""What speaks for and against an evaluation's figures, as it is stored: folds, baselines, costs, luck.

Money in USDT as decimal strings; ratios yearly (365 days) unless said otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from desk.evaluation.bootstrap import Interval

FLAT, HOLD, TREND, PREVIOUS, RANDOM = "flat", "hold", "trend_rule", "previous_version", "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one way to trade came to on the candles of an evaluation, or on a part of them."""

    net_pnl_after_fees: str
    sharpe: float
    """As a report's own: of daily returns, 365 days; 0 with fewer than two days or without variation."""
    max_drawdown: float
    trade_count: int
    exposure: float
    hourly_sharpe: float | None = None
    """Of hourly changes of equity (of candles where they are longer), yearly; 0 without variation. What
    the statistics of luck rest on. None: stored before it had this name, and `sharpe` is this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldResult:
    """One test of the walk, cut out of the engine's replay."""

    number: int
    pair: str
    train_start_ms: int
    train_end_ms: int
    """Exclusive; equal to the start where nothing was to be trained."""
    test_start_ms: int
    test_end_ms: int
    is_in_sample: bool
    """It overlaps the version's own training window, or the gap after it: counts for no gate."""
    candle_count: int
    win_rate: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineResult:
    """Another way to trade on the same candles, with the same costs and size."""

    name: str
    outcome: Outcome
    version_id: str = ""
    seed: int | None = None
    """Of the random one, which trades as often and as long as the version, at other times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomResult:
    """All random baselines together."""

    seeds: int
    net_pnl_low: str
    """5 of 100 earn less."""
    net_pnl_median: str
    net_pnl_high: str
    """5 of 100 earn more."""
    share_beaten: float
    """Part of them that earned less than the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StressResult:
    """The same decisions with fees and slippage so many times as large."""

    cost_multiple: int
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdPoint:
    """The version with another decision threshold."""

    decision_threshold: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it. Folds and intervals come from the engine's own fills, the rest from the compiled
    rules, which fill as the engine does."""

    folds: tuple[FoldResult, ...]
    purge_bars: int
    embargo_bars: int
    min_train_bars: int
    baselines: tuple[BaselineResult, ...]
    """Flat, hold, the trend rule, the version promoted before on this pair."""
    random: RandomResult | None
    """None for a version that never traded."""
    stress: tuple[StressResult, ...]
    threshold_curve: tuple[ThresholdPoint, ...]
    intervals: Mapping[str, Interval]
    """95 of 100 resampled histories: `net_pnl`, `hourly_sharpe`, `max_drawdown` (of hourly marks, so
    less deep than the report's), `win_rate`."""
    block_hours: float
    """Mean length of the resampled blocks."""
    observations: int
    """Changes of equity that the statistics rest on; of counted folds only."""
    trials: int
    probabilistic_sharpe: float
    """Probability that the true Sharpe ratio is above 0, by hourly changes of equity."""
    deflated_sharpe: float
    """Probability that it is above what the best of `trials` shows by luck."""
    overfitting_probability: float | None
    """By CSCV over the version at each threshold and the baselines; None: nothing to choose from."""
    seed: int
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """sha256 of each Parquet file of the report, by its name."""
