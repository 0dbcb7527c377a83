"""The result of one evaluation, as it is stored."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from desk.evaluation.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationReport:
    """A backtest of one version on one pair and period. Money in USDT as decimal strings."""

    evaluation_id: str
    agent_id: str
    version_id: str
    is_baseline: bool
    pair: str
    interval: str
    period_start_ms: int
    period_end_ms: int
    decision_threshold: float
    engine: str
    """`nautilus_trader 1.231.0`: the engine every figure below comes from."""
    candle_count: int
    trade_count: int
    win_rate: float
    net_pnl_after_fees: str
    fees: str
    funding: str
    starting_balance: str
    final_balance: str
    max_drawdown: float
    """Fraction of peak equity, marked at every candle's close."""
    sharpe: float
    """Of daily returns, 365 days; 0 when there are fewer than two days."""
    exposure: float
    """Fraction of candles with a position."""
    buy_and_hold_pnl: str
    """Same size bought at the first fill price and held to the end, after fees."""
    parity_max_abs_diff: str
    """Largest difference in USDT between Nautilus' own fills folded and the decimal twin."""
    fill_count: int
    verdict: str
    """pass or fail."""
    reasons: tuple[str, ...]
    """Codes of the gate conditions that failed."""
    feature_set_id: str
    dataset_id: str
    dataset_sha256: str
    fill_spec_id: str
    seed: int
    created_ms: int
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    stop_loss_fraction: str | None = None
    """Exits of every position, fractions of the decided price; None: there was none."""
    take_profit_fraction: str | None = None
    leverage: int | None = None
    """Of isolated margin, whose loss liquidates; None: nothing was liquidated."""
    evidence: Evidence | None = None
    """What speaks for and against the figures; None: made before it was looked at."""
