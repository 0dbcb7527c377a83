"""Learning cycles as the operator API shows them."""

from typing import Literal

from actors.learning_book import next_due_ms, window_of
from desk.learning.cycles import LearningCycle, LearningWindow, ShadowDecision, agreement
from desk.runs import Run
from desk.store import kinds
from desk.store.port import Doc, DocStore
from serve_apps.schemas import Answer, JobView

MOST_SHADOW = 2_000


class LearningWindowView(Answer):
    """Durations in market minutes."""

    train_window_min: int
    evaluation_window_min: int
    evaluation_lag_min: int
    every_min: int
    window_size: int
    stride: int
    timesteps: int
    decision_threshold: float
    rollout_mode: Literal["shadow", "canary", "full"]
    auto_roll_forward: bool
    canary_fraction: float


class CycleView(Answer):
    cycle_id: str
    agent_id: str
    run_id: str
    pair: str
    interval: str
    feature_set_id: str
    status: Literal[
        "planned",
        "training",
        "evaluating",
        "shadow",
        "confirming",
        "canary",
        "ready",
        "promoted",
        "rejected",
        "rolled_back",
        "failed",
    ]
    champion_id: str
    challenger_id: str
    window: LearningWindowView
    train_start_ms: int
    train_end_ms: int
    evaluation_start_ms: int
    evaluation_end_ms: int
    rollout_start_ms: int
    rollout_end_ms: int
    jobs: dict[str, str]
    """By piece of work; each is a job of `/jobs/{job_id}`."""
    results: dict[str, str]
    """Net results in USDT after fees, by version and window."""
    shadow_decisions: int
    shadow_agreement: float | None
    """Part of the shadow's decisions on which both wanted the same side."""
    reasons: list[str]
    error: str
    requested_by: str
    created_ms: int
    updated_ms: int
    ended_ms: int | None
    row_version: int


class LearningRunView(Answer):
    """A run that learns."""

    run_id: str
    agent_id: str
    pair: str
    window: LearningWindowView
    next_cycle_ms: int
    """When the next cycle may begin; 0: at once."""


class LearningStatus(Answer):
    paused: bool
    pause_reason: str
    enabled_by_default: bool
    window: LearningWindowView
    runs: list[LearningRunView]
    cycles: list[CycleView]
    """Those under way."""
    sweeps: list[JobView]
    """The newest sweeps; `result` holds what each has found so far, its `leaderboard` best first."""


def window_view(window: LearningWindow) -> LearningWindowView:
    """The learning window."""
    return LearningWindowView(
        train_window_min=window.train_window_min,
        evaluation_window_min=window.evaluation_window_min,
        evaluation_lag_min=window.evaluation_lag_min,
        every_min=window.every_min,
        window_size=window.window_size,
        stride=window.stride,
        timesteps=window.timesteps,
        decision_threshold=window.decision_threshold,
        rollout_mode=window.rollout.value,
        auto_roll_forward=window.auto_roll_forward,
        canary_fraction=window.canary_fraction,
    )


def cycle_view(store: DocStore, doc: Doc[LearningCycle]) -> CycleView:
    """One cycle with what its shadow has come to."""
    cycle = doc.value
    shadow: list[ShadowDecision] = []
    if cycle.rollout_start_ms and cycle.challenger_id:
        rows = store.list(kinds.shadow_decisions(cycle.cycle_id), limit=MOST_SHADOW)
        shadow = [row.value for row in rows]
    return CycleView(
        cycle_id=cycle.cycle_id,
        agent_id=cycle.agent_id,
        run_id=cycle.run_id,
        pair=cycle.pair,
        interval=cycle.interval,
        feature_set_id=cycle.feature_set_id,
        status=cycle.status.value,
        champion_id=cycle.champion_id,
        challenger_id=cycle.challenger_id,
        window=window_view(cycle.window),
        train_start_ms=cycle.plan.train_start_ms,
        train_end_ms=cycle.plan.train_end_ms,
        evaluation_start_ms=cycle.plan.evaluation_start_ms,
        evaluation_end_ms=cycle.plan.evaluation_end_ms,
        rollout_start_ms=cycle.rollout_start_ms,
        rollout_end_ms=cycle.rollout_end_ms,
        jobs=dict(cycle.jobs),
        results=dict(cycle.results),
        shadow_decisions=len(shadow),
        shadow_agreement=agreement(shadow),
        reasons=list(cycle.reasons),
        error=cycle.error,
        requested_by=cycle.requested_by,
        created_ms=cycle.created_ms,
        updated_ms=cycle.updated_ms,
        ended_ms=cycle.ended_ms,
        row_version=doc.version,
    )


def learning_run_view(store: DocStore, run: Run, window: LearningWindow) -> LearningRunView:
    """A run that learns, with its own window."""
    own = window_of(run, window)
    return LearningRunView(
        run_id=run.run_id,
        agent_id=run.agent_id,
        pair=run.pair,
        window=window_view(own),
        next_cycle_ms=next_due_ms(store, run, own),
    )
