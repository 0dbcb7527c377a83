"""What an operator may ask of the running actors, and their answers."""

from dataclasses import dataclass
from decimal import Decimal

from desk.runs import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRun:
    """Start one run of an agent. None means the agent's own default."""

    mode: Mode
    pair: str
    risk_limit_set_id: str
    version_id: str | None = None
    decision_threshold: float | None = None
    learning_enabled: bool | None = None
    learning_window_minutes: int | None = None
    dataset_id: str | None = None
    feature_set_id: str | None = None
    stop_loss_fraction: Decimal | None = None
    """Of the decided price, above 0 and below 1; None: no protective stop."""
    take_profit_fraction: Decimal | None = None
    shadow: bool = False
    """Decide and record, never order."""
    confirm_token: str = ""
    """Live needs one of a preflight of the same start."""
    confirm_name: str = ""
    """Live needs the run's name, spelled out: `name_of_run`."""


def name_of_run(agent_id: str, pair: str) -> str:
    """What an operator spells to say which run shall trade live."""
    return f"{agent_id}/{pair}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGate:
    """One gate of a start: what is, what is needed, and if it is not passed why and what to do."""

    gate: str
    passed: bool
    value: str
    threshold: str
    problem: str
    field: str
    """Of the request: what the problem is about."""
    is_of_live: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What would become of a start. Nothing is changed by asking, but for the token."""

    agent_id: str
    mode: Mode
    pair: str
    version_id: str
    gates: tuple[StartGate, ...]
    confirm_name: str
    confirm_token: str | None = None
    """None: a gate is not passed, or the start needs none."""
    expires_at_ms: int | None = None
    """Wall ms."""

    @property
    def allowed(self) -> bool:
        return all(gate.passed for gate in self.gates)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileReport:
    """Result of one comparison with the venue."""

    checked: int
    updated: int
    errors: int
    reconciled_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillAsk:
    """Fetch history of one pair and interval; open bounds mean the venue's earliest and now."""

    pair: str
    interval: str
    start_ms: int | None = None
    end_ms: int | None = None
    max_batches: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedScope:
    """Which of the venue's data sources are meant; None: every one."""

    source_type: str | None = None
    pair: str | None = None
    interval: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turned:
    """What a pause, resume or run of data sources is for."""

    sources: int
    run_ids: tuple[str, ...] = ()
    """Deciding runs that a pause leaves without candles: they pause once those are too old."""
