"""What the operator API answers, as types: the source of `/openapi.json`.

Money and quantities are decimal strings; fields named `*_ms` are market time in ms UTC unless they
say `wall`. `baseline` is true wherever the shipped trend rule, not a trained policy, is at work.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from desk.evaluation.evidence import Evidence


def _plain(value: object) -> object:
    """Decimal digits where Python writes an exponent: a small funding rate is `-1.2E-7` to it."""
    return f"{Decimal(value):f}" if isinstance(value, str) and "E" in value else value


type Money = Annotated[
    str,
    BeforeValidator(_plain),
    Field(pattern=r"^-?\d+(\.\d+)?$", json_schema_extra={"format": "decimal"}),
]
"""A decimal number as text; never a float."""
type SampleName = Literal[
    "decision_latency_ms",
    "ingestion_lag_seconds",
    "slippage_bps",
    "venue_clock_offset_ms",
    "actor_rss_bytes",
    "gap_missing_candles",
    "gap_absent_candles",
]
"""What the actors record into the store."""
type ModeName = Literal["paper", "live"]
type PolicyName = Literal["as_needed", "required", "forbidden"]
type RunStatusName = Literal["starting", "running", "paused", "stopped", "failed"]
type TradeStatusName = Literal["proposed", "placed", "partial", "filled", "cancelled", "rejected"]
type SideName = Literal["buy", "sell"]
type Freshness = Literal["ok", "late", "stale", "never", "disabled"]


class Answer(BaseModel):
    """Frozen base of every answer."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)


class Page[T](Answer):
    """One page of a list; `next_cursor` is null on the last one and goes back as `?cursor=`."""

    items: list[T]
    next_cursor: str | None = None


class Problem(Answer):
    """An error, as `application/problem+json`. `field` names the offending input of a 422."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str
    field: str | None = None


class VenueStrip(Answer):
    """Where the desk trades and which clock it lives on."""

    mode: ModeName
    """`live` while any live run is not stopped."""
    venue: str
    """`simulator 30x`, `vst`, `live` or the host of a custom URL."""
    speed: float
    """Market milliseconds per wall millisecond."""
    market_now_ms: int
    wall_now_ms: int


# --- agents, runs, decisions, versions ----------------------------------------------------------


class VersionView(Answer):
    version_id: str
    agent_id: str
    name: str
    algorithm: str
    baseline: bool
    status: Literal["draft", "evaluating", "promoted", "retired"]
    active: bool
    """Whether it is the agent's active version."""
    artifact_uri: str
    artifact_sha256: str
    artifact_bytes: int
    feature_set_id: str
    dataset_id: str
    dataset_sha256: str
    training_start_ms: int
    training_end_ms: int
    seed: int
    hyperparameters: dict[str, JsonValue]
    software: dict[str, str]
    created_ms: int
    promoted_at_ms: int | None
    promoted_by_evaluation_id: str
    row_version: int


class RunView(Answer):
    run_id: str
    agent_id: str
    account: str
    mode: ModeName
    pair: str
    interval: str
    version_id: str
    algorithm: str
    baseline: bool
    risk_limit_set_id: str
    decision_threshold: float
    status: RunStatusName
    pause_reason: str
    started_ms: int
    stopped_ms: int | None
    last_decided_open_ms: int
    learning_enabled: bool
    learning_window_minutes: int | None
    dataset_id: str
    feature_set_id: str
    stop_loss_fraction: Money | None
    """Of the decided price; null: entries go without a protective stop."""
    take_profit_fraction: Money | None
    shadow: bool
    """It decides and records, and never orders."""
    row_version: int


class PromotionGateView(Answer):
    min_trades: int
    min_win_rate: float
    min_net_pnl: float
    max_drawdown: float


class PromotionGatesView(PromotionGateView):
    agent_id: str
    row_version: int


class AgentConfigView(Answer):
    agent_id: str
    name: str
    allowed_instruments: list[str]
    min_confidence: float
    decision_threshold: float
    data_pause_lift: Literal["manual", "auto"]
    row_version: int


class SourcePoliciesView(Answer):
    agent_id: str
    policies: dict[str, PolicyName]
    row_version: int


class AgentKillView(Answer):
    agent_id: str
    on: bool
    reason: str
    accounts: dict[str, str | None]
    """Why each account's own kill switch is on; null: it is off."""
    runs_stopped: int
    row_version: int


class LearningView(Answer):
    enabled: bool
    window_minutes: int | None


class AgentSummary(Answer):
    agent_id: str
    name: str
    allowed_instruments: list[str]
    active_version_id: str
    baseline: bool
    kill_switch: bool
    kill_reason: str
    decision_threshold: float
    min_confidence: float
    data_pause_lift: Literal["manual", "auto"]
    current_run: RunView | None
    """The newest run that is neither stopped nor failed."""
    row_version: int


class AgentDetail(AgentSummary):
    active_runs: list[RunView]
    active_version: VersionView | None
    learning: LearningView
    promotion_gate: PromotionGateView
    promotion_gate_status: Literal["pass", "fail", "unknown"]
    """Verdict of the newest evaluation of the active version; unknown without one."""
    promotion_gate_reasons: list[str]
    promotion_gate_evaluation_id: str | None


class GateView(Answer):
    gate: str
    passed: bool
    code: str
    detail: str


class DecisionView(Answer):
    decision_id: str
    run_id: str
    pair: str
    interval: str
    open_ms: int
    decided_at_ms: int
    action: Literal["trade", "keep", "hold"]
    hold_reason: str
    target: float
    confidence: float | None
    """Null when the policy did not answer with a finite number."""
    version_id: str
    feature_set_id: str
    observation_sha256: str
    candles_sha256: str
    reference_price: Money | Literal[""]
    """Close of the decided candle; empty when there was none."""
    gates: list[GateView]
    warnings: list[str]
    client_order_ids: list[str]
    dataset_id: str
    dataset_sha256: str
    latency_ms: dict[str, float]
    evidence: dict[str, JsonValue] | None
    """What the action followed from beside candles and weights; null for older records."""
    trace_id: str


class PromotionAnswer(Answer):
    agent_id: str
    active_version_id: str
    previous_version_id: str
    evaluation_id: str


class StartGateView(Answer):
    gate: str
    passed: bool
    value: str
    threshold: str
    problem: str
    """With the remedy; empty when it is passed."""


class PromotionGateRowView(StartGateView):
    margin: str
    """Signed distance to the threshold, above zero where there is room; empty where none is measured."""


class PnlHistogramView(Answer):
    """Trades by their result: a bin holds its lower edge and not its upper one."""

    edges: list[Money]
    """Rising, in USDT, one more than there are counts."""
    counts: list[int]


class EvaluationView(Answer):
    evaluation_id: str
    agent_id: str
    version_id: str
    baseline: bool
    pair: str
    interval: str
    period_start_ms: int
    period_end_ms: int
    decision_threshold: float
    stop_loss_fraction: Money | None
    """Exits that every position had; None: there was none."""
    take_profit_fraction: Money | None
    leverage: int | None
    """Of isolated margin, whose loss liquidates; None: nothing was liquidated."""
    engine: str
    candle_count: int
    trade_count: int
    win_rate: float
    net_pnl_after_fees: Money
    fees: Money
    funding: Money
    starting_balance: Money
    final_balance: Money
    max_drawdown: float
    sharpe: float
    exposure: float
    buy_and_hold_pnl: Money
    parity_max_abs_diff: Money
    fill_count: int
    verdict: Literal["pass", "fail"]
    reasons: list[str]
    feature_set_id: str
    dataset_id: str
    dataset_sha256: str
    fill_spec_id: str
    seed: int
    created_ms: int
    software: dict[str, str]
    deflated_sharpe: float | None
    """Probability that the Sharpe ratio is more than the best of its trials shows by luck."""
    overfitting_probability: float | None
    evidence: Evidence | None
    """Folds, baselines, stress, intervals; null in lists, and in reports of older releases."""
    gates: list[PromotionGateRowView] | None = None
    """This very report against the promotion gate as it stands now; null in lists."""
    pnl_histogram: PnlHistogramView | None = None
    """Of its trades, after fees and funding; null in lists, and where no trades are kept."""


class EvaluationDelta(Answer):
    """Figures of one evaluation less those of the first."""

    evaluation_id: str
    net_pnl_after_fees: Money
    fees: Money
    sharpe: float
    max_drawdown: float
    win_rate: float
    trade_count: int
    exposure: float


class TogetherView(Answer):
    """Figures of several evaluations, each of an account of its own."""

    evaluations: int
    passed: int
    candle_count: int
    trade_count: int
    win_rate: float
    """Of all trades."""
    net_pnl_after_fees: Money
    fees: Money
    funding: Money
    deepest_drawdown: float
    """Of any one of them."""
    exposure: float
    """Share of all candles with a position."""


class EvaluationComparison(Answer):
    items: list[EvaluationView]
    """In the order asked for."""
    deltas: list[EvaluationDelta]
    """Of each but the first."""
    same_candles: bool
    """Whether all saw the same candles, traded by the same fill rules: only then do the deltas
    compare the versions."""
    by_pair: dict[str, TogetherView]
    """What all evaluations on a pair come to."""
    total: TogetherView


class EquityView(Answer):
    evaluation_id: str
    close_ms: list[int]
    curves: dict[str, list[float]]
    """USDT at each of those closes: `equity` of the version in the engine, then by the compiled rules
    each baseline, and the version at `cost_2x`, `cost_3x`."""


class EvaluationTrade(Answer):
    side: SideName
    quantity: Money
    entry_price: Money
    exit_price: Money
    opened_ms: int
    closed_ms: int
    pnl: Money
    fees: Money
    funding: Money
    cause: str


class JobView(Answer):
    job_id: str
    kind: str
    status: Literal["queued", "running", "paused", "done", "failed", "cancelled"]
    created_ms: int
    updated_ms: int
    done: float
    total: float
    """0 means unknown."""
    fraction: float | None
    """done / total, null while the total is unknown."""
    unit: str
    rate_per_s: float
    """Units per wall second; 0 means unknown."""
    remaining_s: float | None
    """Estimate in wall seconds; null while unknown and once it has ended."""
    detail: str
    error: str
    figures: dict[str, float]
    """What is measured on the way; of a training: reward, its terms, entropy, KL, losses."""
    arguments: dict[str, JsonValue]
    result: dict[str, JsonValue]


class DatasetView(Answer):
    dataset_id: str
    pair: str
    interval: str
    start_ms: int
    end_ms: int
    """Exclusive."""
    sha256: str
    rows: int
    missing: int
    """Open times of the range without a candle."""
    feature_set_id: str
    window: int
    """Candles one row looks at."""
    stride: int
    created_ms: int
    source_run_ids: list[str]
    parents: list[str]


class DatasetLineage(Answer):
    dataset: DatasetView
    ancestors: list[DatasetView]
    """Nearest first, each once."""
    source_runs: list["IngestionRunView"]
    """Those that are still on record."""
    version_ids: list[str]
    """Trained on it."""
    evaluation_ids: list[str]


class FeatureView(Answer):
    name: str
    rule: str
    windows: list[int]
    """Bars."""
    bars: int
    """Candles in a bar."""


class SignalColumnsView(Answer):
    source_id: str
    half_life_min: int
    """Market minutes after which half of a side is left."""


class FundingColumnView(Answer):
    rule: str
    windows: list[int]
    """Settlements, or hours."""


class FundingColumnsView(Answer):
    columns: list[FundingColumnView]
    max_age_min: int
    """Minutes after which a settled rate is no longer decided on."""


class AnchorView(Answer):
    every: int
    warm_up: int
    most_filled: int


class FeatureSetView(Answer):
    feature_set_id: str
    name: str
    built_in: bool
    columns: list[str]
    """In the order a policy sees them; the sign of its position follows."""
    lookback: int
    """Candles one row looks at."""
    features: list[FeatureView]
    signals: list[SignalColumnsView]
    funding: FundingColumnsView | None
    """The last columns; null without any."""
    sources: list[str]
    """What a run of it needs beside candles: ids of sources of signals, and `bingx:funding`."""
    anchor: AnchorView | None
    """Where the series of indicators begin, in candles; null without any."""
    gap_policy: str
    """`reject`, or `fill` with an anchor."""
    version_count: int
    """Of the newest 1,000, as datasets."""
    dataset_count: int
    created_ms: int
    """0 for a built-in one."""
    created_by: str


# --- risk and trades ----------------------------------------------------------------------------


class PreflightView(Answer):
    action: str
    agent_id: str
    mode: ModeName
    pair: str
    version_id: str
    allowed: bool
    gates: list[StartGateView]
    confirm_name: str
    """What `confirm_name` has to be for a live start."""
    confirm_token: str | None
    """Null while a gate is not passed, and for what needs none."""
    expires_at_ms: int | None
    """Wall ms."""


class PromotionPreflightView(Answer):
    """What would become of a promotion."""

    action: str
    agent_id: str
    version_id: str
    pair: str
    active_version_id: str
    """Which it would replace."""
    evaluation_id: str
    """The evaluation that decides; empty: there is none on this pair."""
    allowed: bool
    gates: list[PromotionGateRowView]
    runs: list[str]
    """Runs that would decide with it from the next candle on."""
    confirm_name: str
    confirm_token: str | None
    """Null while a gate is not passed."""
    expires_at_ms: int | None
    """Wall ms."""


class RiskLimitView(Answer):
    set_id: str
    name: str
    max_position_size: Money
    leverage_cap: Money
    max_daily_loss: Money
    max_drawdown: Money
    max_open_positions: int
    effective_from_ms: int
    active: bool
    row_version: int
    """The revision: each edit makes the next one."""


class RiskPreflightView(Answer):
    """What an edit of limits would need."""

    action: str
    key: str
    """Limit set or account."""
    version: int
    """The revision it would replace; give it with the edit."""
    raises: list[str]
    """Limits that would allow more than now."""
    confirm_token: str | None
    """Null: none is needed."""
    expires_at_ms: int | None
    """Wall ms."""


class BreakerView(Answer):
    account: str
    state: Literal["ok", "cooldown"]
    cooldown_until_ms: int | None


class TradeView(Answer):
    trade_id: str
    account: str
    mode: ModeName
    run_id: str
    version_id: str
    baseline: bool
    pair: str
    side: SideName
    status: TradeStatusName
    quantity: Money
    position_size: Money
    """Signed quantity still held by this trade."""
    client_order_id: str
    reference_price: Money
    average_fill_price: Money | None
    exit_price: Money | None
    realized_pnl: Money
    """Before fees."""
    fees: Money
    net_pnl: Money
    """Realised minus fees, plus funding where it is known."""
    funding: Money | None
    """Null: it is booked per account and not split between trades."""
    leverage: Money | None
    is_open: bool
    reconciliation_status: Literal["pending", "ok", "mismatch", "error"]
    reason: str
    opened_ms: int
    closed_at_ms: int | None
    trace_id: str


class FillView(Answer):
    fill_id: str
    client_order_id: str
    venue_order_id: str
    pair: str
    side: SideName
    quantity: Money
    price: Money
    fee: Money
    is_maker: bool
    filled_ms: int


class OrderView(Answer):
    client_order_id: str
    account: str
    run_id: str
    decision_id: str
    trade_id: str
    pair: str
    leg: Literal["entry", "exit"]
    side: SideName
    state: str
    """The order machine's own state, lower case."""
    status: TradeStatusName
    quantity: Money
    filled_quantity: Money
    reduce_only: bool
    reference_price: Money
    limit_price: Money | None
    stop_loss_price: Money | None
    """Trigger of the protective stop that goes to the venue with it."""
    take_profit_price: Money | None
    exit_kind: Literal["stop_loss", "take_profit"] | None
    """Set on an exit that rested at the venue and fired there: no request of ours sent it."""
    average_price: Money | None
    slippage_bps: float | None
    """Of the average price against the reference; positive is worse for us."""
    fees: Money
    realized_pnl: Money
    reserved_quote: Money
    venue_order_id: str
    attempts: int
    reason: str
    decided_open_ms: int
    created_ms: int
    updated_ms: int
    trace_id: str
    row_version: int


class ExecutionView(OrderView):
    """One request to the venue; a cancel repeats the fields of the order it cancels."""

    kind: Literal["entry", "exit", "cancel"]
    idempotency_key: str
    reconciliation_status: Literal["pending", "ok", "mismatch", "error"]
    fills: list[FillView]


class StateEventView(Answer):
    event_id: str
    client_order_id: str
    topic: str
    from_state: str = Field(alias="from", default="")
    to_state: str = Field(alias="to", default="")
    reason: str
    at_ms: int
    trace_id: str


class TradeDetail(TradeView):
    executions: list[ExecutionView]
    state_events: list[StateEventView]
    """Oldest first, as far back as the event streams are kept."""


class CancelAccepted(Answer):
    """The venue is asked to end these orders; what becomes of them arrives as events."""

    trade_id: str
    client_order_ids: list[str]
    trace_id: str


class OrderAccepted(Answer):
    """An order was taken on; its outcome arrives as events."""

    trade_id: str
    client_order_id: str
    trace_id: str


# --- operations ---------------------------------------------------------------------------------


class PositionView(Answer):
    account: str
    pair: str
    side: SideName
    quantity: Money
    """Signed."""
    average_price: Money
    mark_price: Money | None
    notional: Money | None
    unrealized_pnl: Money | None
    trade_id: str
    run_id: str
    baseline: bool
    opened_ms: int


class AccountView(Answer):
    account: str
    mode: ModeName
    equity: Money
    cash: Money
    starting_cash: Money
    unrealized_pnl: Money
    realized_pnl: Money
    fees: Money
    funding: Money
    day: str
    day_pnl: Money
    peak_equity: Money
    drawdown: float
    """Fraction of peak equity."""
    exposure: Money
    """Sum of absolute notionals."""
    kill_reason: str | None
    marked_ms: int
    ledger_version: int
    positions: list[PositionView]
    open_orders: int
    unresolved_orders: int
    """Sent, and the venue has not answered clearly yet."""


class ReconcilerView(Answer):
    account: str
    last_ok_ms: int | None
    checked: int
    updated: int
    errors: int


class PositionSidesView(Answer):
    """A pair that one side holds, in coins; 0: that side holds none."""

    pair: str
    ours: Money
    theirs: Money
    our_price: Money | None
    their_price: Money | None
    differs: bool


class OrderSidesView(Answer):
    """An order that is open on one side."""

    pair: str
    side: Literal["buy", "sell"]
    quantity: Money
    client_order_id: str
    venue_order_id: str
    kind: str
    """`order`, or which exit it is."""
    ours: str
    """Our state; `noted`: an exit of an open trade; empty: we know nothing of it."""
    theirs: str
    """The venue's status; empty: it does not list it."""
    our_filled: Money
    their_filled: Money
    differs: bool


class SidesView(Answer):
    """Both sides of an account at its last comparison, before anything was put right."""

    account: str
    compared_ms: int
    positions: list[PositionSidesView]
    """At most 50, as of the orders; those that differ come first."""
    orders: list[OrderSidesView]
    left_off: int
    """Rows beyond those."""


class WorstFreshness(Answer):
    status: Freshness
    source: str
    age_ms: int | None


class SummaryView(VenueStrip):
    accounts: list[AccountView]
    runs: list[RunView]
    """Runs that are neither stopped nor failed."""
    open_orders: list[OrderView]
    baseline: bool
    """Whether any of these runs trades the baseline rule."""
    killed: bool
    alerts_open: dict[str, int]
    """Open alerts by severity."""
    freshness: WorstFreshness
    reconciler: list[ReconcilerView]
    decision_latency_p95_ms: float | None
    """Over the last hour of market time; null without decisions."""
    ingestion_lag_p95_s: float | None
    api_token_set: bool
    """False: no authentication, loopback only, live refused."""


class CapView(Answer):
    """One limit and how much of it is used. `used` and `cap` share `unit`."""

    name: str
    used: Money
    cap: Money
    headroom: Money
    """What is left; negative beyond the limit."""
    unit: Literal["fraction", "count", "x", "USDT", "bps"]
    breached: bool


class InstrumentExposureView(Answer):
    pair: str
    notional: Money
    fraction_of_equity: Money
    reserved: Money


class RunRiskView(Answer):
    """One run against its limit set."""

    run_id: str
    pair: str
    status: str
    pause_reason: str
    set_id: str
    set_version: int
    """0: the set is missing, and nothing is approved."""
    caps: list[CapView]


class AccountRiskView(Answer):
    account: str
    mode: ModeName
    state: Literal["ok", "cooldown"]
    cooldown_until_ms: int | None
    trigger_reason: str
    kill_reason: str | None
    equity: Money
    exposure: Money
    reserved: Money
    """Exposure promised to orders that are not terminal."""
    caps: list[CapView]
    instruments: list[InstrumentExposureView]
    policy: dict[str, Money]
    """Numbers; `flatten_on_drawdown` is 1 or 0."""
    policy_version: int
    runs: list[RunRiskView]
    """Of the runs that have not ended."""


class RiskView(VenueStrip):
    accounts: list[AccountRiskView]


class MetricPoint(Answer):
    t: int
    """Start of the bucket, ms."""
    count: int
    mean: float
    p50: float
    p95: float
    min: float
    max: float


class MetricSeries(Answer):
    name: str
    tags: dict[str, str]
    """Pair and interval where the series are asked for apart; else empty."""
    unit: str
    start_ms: int
    end_ms: int
    step_ms: int
    count: int
    p50: float | None
    p95: float | None
    max: float | None
    points: list[MetricPoint]


class ServiceLevel(Answer):
    """How a promise stands over its newest samples, as the observer last judged it."""

    code: str
    """Of its alert while it is missed."""
    metric: str
    unit: str
    threshold: float
    value: float | None
    """95th percentile; null: too few samples."""
    samples: int
    missed: bool


class MetricsView(Answer):
    items: list[MetricSeries]
    service_levels: list[ServiceLevel]
    judged_at_ms: int | None
    """Market time of the levels; null: the observer has not judged yet."""
    next_cursor: str | None = None


class ReconcileView(Answer):
    checked: int
    updated: int
    errors: int
    reconciled_at_ms: int


class KillView(Answer):
    on: bool
    reason: str
    runs_stopped: int
    trace_id: str


class ActorView(Answer):
    name: str
    role: str
    node: str
    pid: int
    epoch: int
    restarts: int
    started_wall_ms: int
    last_heartbeat_wall_ms: int
    heartbeat_age_ms: int
    rss_bytes: int
    status: Literal["up", "late", "restarting", "quarantined", "stopped"]
    detail: str


class AlertView(Answer):
    alert_id: str
    category: Literal["slo", "drift", "ops", "risk", "data"]
    severity: Literal["info", "warning", "critical"]
    code: str
    detail: str
    status: Literal["open", "acknowledged", "resolved"]
    created_ms: int
    count: int
    metric: str
    value: str
    threshold: str
    trace_id: str
    explained_by: str
    row_version: int


class AuditView(Answer):
    audit_id: str
    actor: str
    action: str
    resource: str
    at_ms: int
    before: dict[str, JsonValue]
    after: dict[str, JsonValue]
    trace_id: str
    seq: int
    """Place in the chain, from 1."""
    previous_sha256: str
    sha256: str


class GapView(Answer):
    gap_id: str
    pair: str
    interval: str
    source_type: str
    start_ms: int
    end_ms: int
    """Open time of the last missing candle."""
    missing_points: int
    status: Literal["open", "healing", "resolved", "absent_at_venue"]
    detected_ms: int
    attempts: int
    last_attempt_ms: int


class GapHealth(Answer):
    """Counts over every gap of the asked pair, and the newest ones."""

    status: Literal["ok", "gaps", "never_scanned"]
    open: int
    healing: int
    resolved: int
    absent_at_venue: int
    missing_points: int
    """In open and healing gaps."""
    last_scan_ms: int | None
    items: list[GapView]
    next_cursor: str | None = None


# --- sources, market data -----------------------------------------------------------------------


class SourceView(Answer):
    source_type: str
    source_id: str
    """Feed or channel of a source of signals, whose times are wall and age is of the last sync."""
    pair: str
    interval: str
    enabled: bool
    status: Literal["ok", "stale", "unavailable"]
    """The gate's value. `badge` adds detail for people."""
    badge: Freshness
    freshness_threshold_seconds: int
    last_event_ms: int
    last_success_ms: int
    age_ms: int | None
    """Market time since the last event; null before the first."""
    detail: str


class SourceTurnView(Answer):
    """What was asked of a source; its poller takes it within seconds."""

    source: str
    wish: str
    sources: int
    """Channels, or status rows of the exchange, it is for."""
    runs: list[str] = Field(default_factory=list)
    """Deciding runs that a pause leaves without candles: they pause once those are too old."""
    dry_run: bool = False
    """Nothing was changed: this is what would be."""


class IngestionSetting(Answer):
    name: str
    value: bool | int | float | str | list[str] | None
    """What counts now."""
    origin: Literal["environment", "default", "operator"]
    started_with: bool | int | float | str | list[str] | None
    """What the environment, or the default, says."""
    changeable: bool
    """Whether it may be set while the desk runs."""


class IngestionConfig(Answer):
    items: list[IngestionSetting]
    row_version: int
    """0 before anything was set."""


class IngestionRunView(Answer):
    """Times are market time; wall time where `source_id` is set."""

    run_id: str
    source: Literal["bingx", "tradingview", "telegram"]
    source_type: str
    source_id: str
    kind: Literal["poll", "sync", "backfill", "heal"]
    pair: str
    interval: str
    job_id: str
    """Of a backfill."""
    status: Literal["running", "done", "failed", "cancelled"]
    started_ms: int
    updated_ms: int
    finished_ms: int | None
    answers: int
    """Requests that were answered."""
    new: int
    updated: int
    """Rows that were known and differ now."""
    errors: int
    """Requests without an answer, and refused rows."""
    manual: int
    """Polls that an operator asked for."""
    cursor: str
    error: str
    """The newest one; text as it came."""
    from_ms: int | None
    to_ms: int | None
    """Exclusive end of the event times that were read."""
    hour_wall_ms: int | None
    """Wall time at which the hour of a poll session begins; null for what is none."""
    new_by_minute: list[int]
    """New rows by wall minute of that hour, up to the newest that brought any."""


class IngestionSourceView(Answer):
    """One source as a whole."""

    source: Literal["bingx", "tradingview", "telegram"]
    enabled: int
    """Status rows that are polled."""
    paused: int
    """Status rows that an operator switched off."""
    workers_alive: int
    workers: int
    ok: int
    stale: int
    unavailable: int
    last_run: IngestionRunView | None
    rows_per_min: float
    """New rows of the last hour's runs, over that hour of the source's clock."""
    retries_waiting: int
    retries_dead: int
    next_sync_ms: int | None
    """When signals are next asked for; null where polling follows the candles."""


class RetryView(Answer):
    """A failed ingestion job that is tried again. Times are wall time."""

    item_id: str
    job_type: str
    payload: dict[str, JsonValue]
    dedupe_key: str
    status: Literal["waiting", "in_flight", "dead"]
    attempts: int
    max_attempts: int
    next_attempt_at_ms: int
    """0 when none is planned."""
    last_error: str
    created_ms: int
    updated_ms: int
    row_version: int


class AlertExample(Answer):
    """An alert that could not be read in full. `text` is untrusted: show it as text only."""

    external_id: str
    ts_received_ms: int
    parse_status: Literal["partial", "unparsed", "stale"]
    missing: list[str]
    text: str


class AlertCounts(Answer):
    """Alerts of a feed by how they could be read; the newest that were not ok as examples."""

    ok: int
    partial: int
    unparsed: int
    stale: int
    examples: list[AlertExample]


class FeedSyncView(Answer):
    """One TradingView feed as its sync last saw it. Times are wall; 0: never."""

    source_id: str
    enabled: bool
    synced_ms: int
    route_ms: int
    """How long the route took to answer its self-test."""
    newest_ms: int
    """Arrival of the newest alert that was read."""
    last: AlertCounts
    """What the last sync counted."""
    since: AlertCounts
    """What was read after it."""


class RefusedRowView(Answer):
    """A row that never became a candle."""

    raw: str
    """Text as it came, cut; never to be interpreted."""
    reason: str
    open_ms: int | None
    first_seen_ms: int
    last_seen_ms: int
    count: int


class CoverageSpan(Answer):
    start_ms: int
    end_ms: int
    """Exclusive."""
    expected: int
    """0: before the first candle."""
    present: int


class FeedQuality(Answer):
    """Coverage over the newest market day; rows over the last 15 to 30 market minutes."""

    source_type: str
    pair: str
    interval: str
    status: Literal["ok", "degraded", "failed"]
    reasons: dict[str, str]
    """What keeps it from being ok: the figure's name and what it is."""
    start_ms: int
    end_ms: int
    """Exclusive."""
    expected: int
    """Without those the exchange is proven not to have."""
    present: int
    absent_at_venue: int
    coverage: float
    received: int
    rejected: int
    missing_fields: int
    parse_confidence: float
    without_volume: int
    cross_interval_mismatches: int
    second_feed_bps: float | None
    """How far the closes of TradingView's alerts lie from the newest candles; null: there are none."""
    total_rejected: int
    total_revised: int
    quarantine: list[RefusedRowView]
    """The newest refused rows."""
    spans: list[CoverageSpan] | None = None
    """Oldest first; only where `buckets` were asked for."""


class StoredSeries(Answer):
    interval: str
    earliest_ms: int
    latest_ms: int
    """Open time of the newest stored candle."""
    count: int


class FundingRateView(Answer):
    pair: str
    due_ms: int
    """When it was paid, rounded to the minute."""
    rate: Money
    """Fraction of the position's value; longs pay a positive one."""


class MarkIndexView(Answer):
    pair: str
    mark_price: Money
    index_price: Money
    funding_rate: Money
    """The one that will be paid at `next_funding_ms`, as it stands."""
    next_funding_ms: int
    at_ms: int


class OpenInterestView(Answer):
    pair: str
    open_interest: Money
    """In quote currency."""
    at_ms: int


class TickerView(Answer):
    pair: str
    last: Money
    bid: Money
    bid_quantity: Money
    ask: Money
    ask_quantity: Money
    open: Money
    """24 hours ago."""
    high: Money
    low: Money
    volume: Money
    """Coins in 24 hours."""
    quote_volume: Money
    change_fraction: Money
    at_ms: int


class OrderBookView(Answer):
    pair: str
    bids: list[tuple[Money, Money]]
    """Price and coins of each level, best first."""
    asks: list[tuple[Money, Money]]
    at_ms: int


class MarketPairView(Answer):
    pair: str
    stored: list[StoredSeries]
    intervals: list[str]
    """Those that can be charted: stored, or aggregated from a smaller stored one."""
    price_precision: int
    quantity_precision: int
    tick: Money | None
    lot: Money | None


class MarketSeriesStatus(Answer):
    pair: str
    interval: str
    earliest_ms: int | None
    latest_ms: int | None
    count: int
    lag_ms: int | None
    """Market time since the newest stored candle closed."""


class MarketStatusView(VenueStrip):
    items: list[MarketSeriesStatus]


class CandleColumns(Answer):
    """Candles as columns of equal length, oldest first. `t` is the open time in ms."""

    t: list[int]
    o: list[float]
    h: list[float]
    l: list[float]  # noqa: E741  # the wire name of the low column
    c: list[float]
    v: list[float]
    more: bool
    """Whether stored candles lie further on in the asked direction."""
    forming: bool = False
    """The last row is built from closed shorter candles and its own span is not over yet."""


class SignalView(Answer):
    """One signal as its source gave it. `text` is untrusted: show it as text only."""

    source_kind: str
    source_id: str
    external_id: str
    rev: int
    ts_event_ms: int
    ts_received_ms: int
    symbol: str | None
    side: Literal["buy", "sell"] | None
    interval: str | None
    bar_open_ms: int | None
    price: float | None
    text: str
    raw_ref: str
    parse_status: Literal["ok", "partial", "unparsed", "stale"]
    author: str | None


class SignalPage(Answer):
    items: list[SignalView]
    next_cursor: str | None
    scanned: int
    truncated: bool
    """Whether older signals were not looked at: go on with `next_cursor`."""
    lost_days: list[str]
    """Days of the window (`2026-01-31`, UTC) whose archive is damaged: signals of them may be missing."""


# --- traces, health -----------------------------------------------------------------------------


class CandleView(Answer):
    pair: str
    interval: str
    open_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class LedgerEffect(Answer):
    """What the fills of one order did to the books."""

    client_order_id: str
    account: str
    position_delta: Money
    realized_pnl: Money
    fees: Money
    cash_delta: Money
    """Realised minus fees."""
    at_ms: int | None


class HopView(Answer):
    """One stop on a decision's way. A missing hop says why in `note`."""

    name: Literal["candle", "decision", "gates", "orders", "fills", "ledger", "reconciliation"]
    present: bool
    at_ms: int | None
    note: str


class FindingView(Answer):
    code: str
    detail: str


class DifferenceView(Answer):
    """The first value of an observation that is not the recorded one; null: not a finite number."""

    feature: str
    recorded: float | None
    recomputed: float | None


class MadeView(Answer):
    """A decision as far as it follows from its evidence."""

    observation_sha256: str
    action: Literal["trade", "keep", "hold"]
    hold_reason: str
    target: float
    confidence: float | None
    logits: list[float | None]
    legs: list[str]
    """Client order ids the target called for, before the risk gates had their say."""


class ReplayView(Answer):
    """A decision made again from what is stored of it, held against what was recorded."""

    decision_id: str
    run_id: str
    trace_id: str
    pair: str
    interval: str
    open_ms: int
    version_id: str
    verdict: Literal["identical", "different", "impossible"]
    findings: list[FindingView]
    first_difference: DifferenceView | None
    recorded: MadeView
    recomputed: MadeView | None
    """Null where nothing could be made again."""


class TraceView(Answer):
    trace_id: str
    replays: list[ReplayView]
    """One for each decision, made again when it was asked for."""
    hops: list[HopView]
    candle: CandleView | None
    decisions: list[DecisionView]
    orders: list[OrderView]
    fills: list[FillView]
    ledger: list[LedgerEffect]
    alerts: list[AlertView]
    audit: list[AuditView]


class CheckView(Answer):
    name: str
    ok: bool
    detail: str


class HealthView(Answer):
    """503 with the same body when `status` is down."""

    status: Literal["ok", "degraded", "down"]
    checks: list[CheckView]
