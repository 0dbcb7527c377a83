"""Agents and runs: what is at work, in which mode, and which gates a candle must pass first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from desk.errors import IllegalTransition
from desk.ids import Pair
from desk.market.integrity import WindowVerdict
from desk.trading.instruments import Instrument


class Mode(StrEnum):
    """Paper fills come from the paper venue; live ones from the exchange."""

    PAPER = "paper"
    LIVE = "live"


class RunStatus(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FAILED = "failed"


class SourcePolicy(StrEnum):
    """What an agent makes of a type of source."""

    AS_NEEDED = "as_needed"
    """Required exactly where its features look at it."""
    REQUIRED = "required"
    """Required of every decision."""
    FORBIDDEN = "forbidden"
    """Nothing may be decided on features that look at it."""


class PauseLift(StrEnum):
    """Who lets a run go on that its data paused."""

    MANUAL = "manual"
    """The operator."""
    AUTO = "auto"
    """The desk, once every gate before the features is passed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionGate:
    """Least figures an evaluation must show before its version may be promoted."""

    min_trades: int = 20
    min_win_rate: float = 0.55
    min_net_pnl: float = 0.0
    """Net PnL after fees in USDT must be greater than this."""
    max_drawdown: float = 0.25
    """Fraction of peak equity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """The configured trader."""

    agent_id: str
    name: str
    allowed_instruments: tuple[Pair, ...]
    promotion_gate: PromotionGate = field(default_factory=PromotionGate)
    active_version_id: str = ""
    kill_switch: bool = False
    kill_reason: str = ""
    decision_threshold: float = 0.35
    min_confidence: float = 0.0
    """Least confidence that any run of it acts on, whatever the run's own threshold."""
    source_policies: Mapping[str, SourcePolicy] = field(default_factory=dict[str, SourcePolicy])
    """By type of source; one that is not named is used as needed."""
    data_pause_lift: PauseLift = PauseLift.MANUAL
    size_fraction: float = 1.0
    """Part of the allowed size that the active version trades; below 1 while it is a canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One agent at work on one pair."""

    run_id: str
    agent_id: str
    account: str
    mode: Mode
    pair: Pair
    interval: str
    version_id: str
    risk_limit_set_id: str
    decision_threshold: float
    status: RunStatus
    started_ms: int
    pause_reason: str = ""
    stopped_ms: int | None = None
    last_decided_open_ms: int = 0
    """Open time of the newest candle that was decided on; a restart resumes after it."""
    learning_enabled: bool = False
    learning_window_minutes: int | None = None
    dataset_id: str = ""
    feature_set_id: str = ""
    stop_loss_fraction: Decimal | None = None
    """How far from the decided price the protective stop of an entry stands; None: there is none."""
    take_profit_fraction: Decimal | None = None
    is_shadow: bool = False
    """It decides and records, and never orders."""


class Action(StrEnum):
    """What came of one candle."""

    TRADE = "trade"
    KEEP = "keep"
    """Decided, and the position already is where it should be."""
    HOLD = "hold"
    """A gate, the policy's own doubt or a limit said no: `hold_reason` says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate a decision passed or not."""

    gate: str
    passed: bool
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an action followed from beside candles, signals and weights, so that it can be made again.

    Stored with the decision: runs, limits, contracts and versions may be others by the time of a replay.
    """

    window_start_ms: int
    """Open time of the first candle that was looked at; the last one is the decided candle."""
    window_rows: int
    candle_sha256: str
    """Of the decided candle alone; of all of them it is the decision's `candles_sha256`."""
    integrity: WindowVerdict
    """What the integrity gate found in the window."""
    signals_heard: Mapping[str, int]
    """By source id: how many of its newest messages were looked at."""
    decision_threshold: float
    feature_ood_zscore_limit: float
    instrument: Instrument
    account: str
    artifact_sha256: str = ""
    """Of the weights that answered; of those on record where the policy was not asked."""
    card_sha256: str = ""
    held_quantity: Decimal | None = None
    """Signed, before acting; None: the account had no books."""
    size_quote: Decimal | None = None
    """Notional of a full position in USDT; None: the risk limit set was missing."""
    limits_revision: int = 0
    """Revision of the risk limit set it was decided under; 0: there was none."""
    stop_loss_fraction: Decimal | None = None
    take_profit_fraction: Decimal | None = None
    legs: tuple[str, ...] = ()
    """Client order ids that the target called for, before the risk gates had their say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """What was decided on one closed candle, with everything it rested on."""

    decision_id: str
    run_id: str
    pair: Pair
    interval: str
    open_ms: int
    decided_at_ms: int
    action: Action
    hold_reason: str
    target: float
    """Wanted position after acting, -1 … +1 of the allowed size."""
    confidence: float
    version_id: str
    feature_set_id: str
    observation_sha256: str
    candles_sha256: str
    reference_price: str
    """Close of the decided candle, decimal string."""
    gates: tuple[GateResult, ...]
    trace_id: str
    latency_ms: Mapping[str, float]
    """Wall milliseconds by stage: features, policy, risk, execute, total."""
    client_order_ids: tuple[str, ...] = ()
    dataset_id: str = ""
    dataset_sha256: str = ""
    warnings: tuple[str, ...] = ()
    observation: tuple[float, ...] = ()
    """The float32 values the policy saw, for replay."""
    logits: tuple[float, ...] = ()
    stage_began_ms: Mapping[str, float] = field(default_factory=dict[str, float])
    """Wall milliseconds from the beginning of the decision to that of a stage."""
    signals_sha256: Mapping[str, str] = field(default_factory=dict[str, str])
    """By source id: of the messages that its features looked at."""
    evidence: Evidence | None = None
    """None: nothing was decided on, or an earlier release decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something an operator should know."""

    alert_id: str
    category: str
    """slo, drift, ops, risk or data."""
    severity: str
    """info, warning or critical."""
    code: str
    detail: str
    created_ms: int
    status: str = "open"
    """open, acknowledged or resolved."""
    trace_id: str = ""
    count: int = 1
    raised_wall_ms: int = 0
    """When it was raised last; 0: not known."""
    acknowledged_wall_ms: int = 0
    """When somebody acknowledged it; 0: nobody has."""
    metric: str = ""
    value: str = ""
    threshold: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """Who changed what."""

    audit_id: str
    actor: str
    action: str
    resource: str
    at_ms: int
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    trace_id: str = ""
    seq: int = 0
    """Place in the chain, from 1; 0: not chained yet."""
    previous_sha256: str = ""
    """The `sha256` of the row before, `desk.audit_chain.GENESIS` for the first one."""
    sha256: str = ""
    """Of everything else in the row, as `desk.audit_chain` writes it."""


class JobStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    """By an operator, until it is resumed: nobody works on it, over restarts too."""
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A long piece of work with progress: backfill, training, evaluation."""

    job_id: str
    kind: str
    status: JobStatus
    created_ms: int
    updated_ms: int
    done: float = 0.0
    """Units finished; `total` 0 means unknown."""
    total: float = 0.0
    unit: str = ""
    rate_per_s: float = 0.0
    """Units per wall second since its worker began; 0 means unknown."""
    detail: str = ""
    error: str = ""
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    """What is measured on the way, by name; a training's are `TrainingProgress.as_metrics`."""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    result: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStatus:
    """Freshness of one data source."""

    source_type: str
    pair: Pair
    interval: str
    enabled: bool
    status: str
    """ok, stale or unavailable."""
    freshness_threshold_s: int
    last_event_ms: int
    """Close time of the newest closed candle (or stamp of the newest event)."""
    last_success_ms: int
    """Market time of the last successful poll; wall time where `source_id` is set, as `last_event_ms`."""
    detail: str = ""
    source_id: str = ""
    """Feed or channel, for sources of signals; they have no pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorStatus:
    """What the supervisor last knew of one actor process."""

    name: str
    role: str
    node: str
    pid: int
    epoch: int
    restarts: int
    started_wall_ms: int
    last_heartbeat_wall_ms: int
    rss_bytes: int
    status: str
    """up, late, restarting, quarantined or stopped."""
    detail: str = ""


# --- the life of a run ------------------------------------------------------------------------

_ENDED = frozenset({RunStatus.STOPPED, RunStatus.FAILED})


def start(run: Run) -> Run:
    """Let a starting run decide; a running one is returned unchanged."""
    if run.status is RunStatus.RUNNING:
        return run
    _admit(run, "start", RunStatus.STARTING)
    return replace(run, status=RunStatus.RUNNING)


def pause(run: Run, reason: str) -> Run:
    """Pause a run; a paused one is returned unchanged, with its first reason."""
    if run.status is RunStatus.PAUSED:
        return run
    _admit(run, "pause", RunStatus.STARTING, RunStatus.RUNNING)
    return replace(run, status=RunStatus.PAUSED, pause_reason=reason)


def resume(run: Run) -> Run:
    """Let a paused run decide again; a running one is returned unchanged."""
    if run.status is RunStatus.RUNNING:
        return run
    _admit(run, "resume", RunStatus.PAUSED)
    return replace(run, status=RunStatus.RUNNING, pause_reason="")


def stop(run: Run, *, now_ms: int) -> Run:
    """End a run; one that has ended is returned unchanged."""
    if run.status in _ENDED:
        return run
    return replace(run, status=RunStatus.STOPPED, stopped_ms=now_ms)


def fail(run: Run, reason: str, *, now_ms: int) -> Run:
    """End a run because of a fault; one that has failed is returned unchanged."""
    if run.status is RunStatus.FAILED:
        return run
    _admit(run, "fail", RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSED)
    return replace(run, status=RunStatus.FAILED, pause_reason=reason, stopped_ms=now_ms)


def _admit(run: Run, event: str, *statuses: RunStatus) -> None:
    if run.status not in statuses:
        raise IllegalTransition(run.status.value, event)


# --- the gates before a decision --------------------------------------------------------------

VOLATILITY_LIMIT = 0.15
"""Largest swing inside the window of a decision, as a fraction."""
REQUIRED_SOURCES = ("bingx_candles",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Every gate before the features is passed."""

    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """No decision on this candle; the run goes on. The last gate is the one that said no."""

    code: str
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """No decision, and the run pauses with this reason. The last gate is the one that said no."""

    code: str
    gates: tuple[GateResult, ...]
    warnings: tuple[str, ...] = ()


type Admission = Admitted | Held | Paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What was found of the things a run rests on."""

    has_dataset: bool = True
    """The dataset is on record, with the hash that its version was made from."""
    has_feature_set: bool = True
    """The feature set is one that this release computes."""
    has_artifact: bool = True
    """The version is on record and names an artifact and its hash."""
    is_artifact_available: bool = True
    """The artifact's files are there and are the registered ones."""


ALL_FOUND = Provenance()


def admit(
    run: Run,
    agent: Agent,
    *,
    sources: Sequence[SourceStatus],
    verdict: WindowVerdict,
    kill_reason: str | None,
    required_sources: Sequence[str] = REQUIRED_SOURCES,
    enforce_provenance: bool = False,
    provenance: Provenance = ALL_FOUND,
    is_in_maintenance: bool = False,
    window_move: float = 0.0,
    volatility_limit: float = VOLATILITY_LIMIT,
) -> Admission:
    """Pass a closed candle through the gates before the features, in the order of the contract.

    Gates after the first that says no are not judged. `kill_reason` is the store's kill flag of the
    account; the agent's own switch counts as well. A required source without a record is not ok;
    one that is switched off is not required. `required_sources` are those that the features look at;
    the agent's policies add to them, and may forbid them. Provenance is enforced in live mode only. Reduce-only orders of an operator do not come this way.
    """
    policies = agent.source_policies
    wanted = [name for name, policy in policies.items() if policy is SourcePolicy.REQUIRED]
    stale = _stale_sources(run, sources, dict.fromkeys((*required_sources, *wanted)))
    forbidden = [name for name in required_sources if policies.get(name) is SourcePolicy.FORBIDDEN]
    source_code = "source_not_allowed" if forbidden else "data_source_unavailable" if stale else ""
    broken = "data_integrity_block" if verdict.blocks else next(iter(verdict.holds), "")
    broken_outcome = Paused if verdict.blocks else Held
    kill = _kill_reason(agent, kill_reason)
    is_strict = enforce_provenance and run.mode is Mode.LIVE
    lacking = next(iter(lacking_provenance(run, provenance)), "") if is_strict else ""
    is_known = run.pair in agent.allowed_instruments
    is_running = run.status is RunStatus.RUNNING
    is_wild = not window_move <= volatility_limit
    judged = (
        ("run_running", "" if is_running else "run_not_running", Held, run.status.value),
        ("instrument_allowed", "" if is_known else "instrument_not_allowed", Paused, run.pair),
        ("sources", source_code, Paused, ", ".join(forbidden or stale)),
        ("integrity", broken, broken_outcome, ", ".join(verdict.blocks or verdict.holds)),
        ("kill_switch", "" if kill is None else "kill_switch", Held, kill or ""),
        ("provenance", lacking, Held, run.version_id),
        ("maintenance", "exchange_maintenance" if is_in_maintenance else "", Paused, ""),
        ("volatility", "volatility_spike" if is_wild else "", Paused, f"{window_move:.4f}"),
    )
    warnings = (*(f"source_stale:{name}" for name in stale), *verdict.warnings)
    gates: list[GateResult] = []
    for gate, code, outcome, detail in judged:
        gates.append(GateResult(gate=gate, passed=not code, code=code, detail=detail))
        if code:
            return outcome(code=code, gates=tuple(gates), warnings=warnings)
    return Admitted(gates=tuple(gates), warnings=warnings)


DATA_PAUSES = frozenset({"data_source_unavailable", "data_integrity_block"})
"""Reasons of a pause that whole data may lift."""


def may_lift(run: Run, agent: Agent) -> bool:
    """Whether a paused run is one that the operator lets go on by itself once its data is whole."""
    return (
        run.status is RunStatus.PAUSED
        and run.pause_reason in DATA_PAUSES
        and agent.data_pause_lift is PauseLift.AUTO
    )


def _stale_sources(run: Run, sources: Sequence[SourceStatus], required: Iterable[str]) -> list[str]:
    """Types of required sources of the run's pair that are not ok."""
    stale: list[str] = []
    for source_type in required:
        ours = [
            source
            for source in sources
            if source.source_type == source_type
            and source.pair in ("", run.pair)
            and source.interval in ("", run.interval)
        ]
        wanted = [source for source in ours if source.enabled]
        if not ours or any(source.status != "ok" for source in wanted):
            stale.append(source_type)
    return stale


def _kill_reason(agent: Agent, account_reason: str | None) -> str | None:
    own = agent_kill_reason(agent)
    return account_reason if own is None else own


def agent_kill_reason(agent: Agent) -> str | None:
    """Why the agent's own kill switch is on; None: it is off."""
    return (agent.kill_reason or "agent") if agent.kill_switch else None


def lacking_provenance(run: Run, found: Provenance) -> tuple[str, ...]:
    """Codes of what a run cannot be traced back to, in the order of the contract; empty: nothing."""
    has_artifact = bool(run.version_id) and found.has_artifact
    checks = (
        ("provenance_dataset_missing", bool(run.dataset_id) and found.has_dataset),
        ("provenance_feature_set_missing", bool(run.feature_set_id) and found.has_feature_set),
        ("provenance_artifact_missing", has_artifact),
        ("provenance_artifact_unavailable", not has_artifact or found.is_artifact_available),
    )
    return tuple(code for code, is_there in checks if not is_there)
