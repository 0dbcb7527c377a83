"""What the operator API asks of the running desk; `actors.control.Control` is the real one.

Reads go straight to the store: a page load never asks a trading actor.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Protocol

from actors.commands import (
    BackfillAsk,
    FeedScope,
    Preflight,
    ReconcileReport,
    StartRun,
    Turned,
)
from desk.evaluation.walk_forward import FoldPlan
from desk.learning.training_spec import TrainingSpec
from desk.learning.training_window import MOST_MISSING_FRACTION
from desk.market.features import FEATURES_V1
from desk.runs import Job, Run
from desk.trading.intents import NO_PROTECTION, Protection


class Desk(Protocol):
    """Commands. Each raises `BadInput`, `NotFound`, `VersionConflict` or `StoreUnavailable`, and
    writes an audit event with `actor` (who asked)."""

    async def preflight(
        self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str
    ) -> Preflight:
        """Say gate by gate what would become of a start; with the token of a live one that may be."""
        ...

    async def start_run(
        self, agent_id: str, ask: StartRun, *, actor: str, trace_id: str
    ) -> Run: ...

    async def pause_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run:
        """Pause the agent's current run; pausing a paused run changes nothing."""
        ...

    async def resume_run(self, agent_id: str, reason: str, *, actor: str, trace_id: str) -> Run: ...

    async def stop_run(
        self, agent_id: str, reason: str, *, flatten: bool, actor: str, trace_id: str
    ) -> Run:
        """Stop the run; `flatten` closes its position reduce-only."""
        ...

    async def reconcile(
        self, account: str | None, *, actor: str, trace_id: str
    ) -> ReconcileReport: ...

    async def backfill(self, ask: BackfillAsk, *, actor: str, trace_id: str) -> Job: ...

    async def take_up(self, job: Job) -> None:
        """Have a resumed job worked on now, where its worker is an actor that lives anyway."""
        ...

    async def turn_source(self, source: str, wish: str, *, actor: str, trace_id: str) -> int:
        """Pause, resume or run a source of signals; returns how many channels it has."""
        ...

    async def turn_feeds(
        self, wish: str, scope: FeedScope, *, dry_run: bool = False, actor: str, trace_id: str
    ) -> Turned:
        """Pause, resume or run the venue's data sources in scope; a dry run only says which."""
        ...

    async def kill(self, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str) -> int:
        """Set or lift the kill switch of all accounts; returns how many runs it stops."""
        ...

    async def kill_agent(
        self, agent_id: str, *, on: bool, reason: str, flatten: bool, actor: str, trace_id: str
    ) -> int:
        """Set or lift an agent's own kill switch; returns how many runs it stops."""
        ...

    async def close_trade(
        self,
        trade_id: str,
        quantity: Decimal | None,
        reason: str,
        *,
        name: str,
        actor: str,
        trace_id: str,
    ) -> str:
        """Send a reduce-only market order for a trade's position; returns its client order id.

        `name` is the caller's own for this close, or empty: one name is one order.
        """
        ...

    async def cancel_trade(
        self, trade_id: str, reason: str, *, actor: str, trace_id: str
    ) -> list[str]:
        """Ask for the end of a trade's unfilled entries; returns their client order ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingAsk:
    """Train a new version on `[start_ms, end_ms)`. None means the trainer's own default."""

    agent_id: str
    pair: str
    interval: str
    start_ms: int
    end_ms: int
    timesteps: int | None
    seed: int
    name: str
    feature_set_id: str = FEATURES_V1.feature_set_id
    levels: tuple[float, ...] | None = None
    protection: Protection = NO_PROTECTION
    leverage: int | None = None
    turnover_coefficient: float = 0.0
    drawdown_coefficient: float = 0.0
    training: TrainingSpec = field(default_factory=TrainingSpec)
    """Algorithm and numbers, `timesteps` and `seed` among them."""
    dataset_id: str = ""
    most_missing_fraction: float = MOST_MISSING_FRACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationAsk:
    """Evaluate a stored version on `[start_ms, end_ms)`. None means the agent's own threshold."""

    agent_id: str
    version_id: str
    pair: str
    interval: str
    start_ms: int
    end_ms: int
    decision_threshold: float | None
    protection: Protection = NO_PROTECTION
    leverage: int | None = None
    folds: FoldPlan | None = None
    trials: int | None = None
    most_missing_fraction: float = MOST_MISSING_FRACTION


class Learning(Protocol):
    """Jobs beside trading. Each raises `BadInput`, `NotFound` or `StoreUnavailable`."""

    async def start_training(self, ask: TrainingAsk, *, actor: str, trace_id: str) -> Job: ...

    async def start_evaluation(self, ask: EvaluationAsk, *, actor: str, trace_id: str) -> Job: ...

    async def put_away(self, job: Job) -> None:
        """Remove what a paused job kept to go on with: it was cancelled."""
        ...
