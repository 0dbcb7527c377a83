"""Continuous learning: a challenger is trained, judged on later candles, and let in step by step.

A cycle's row says everything about it: whoever finds it goes on where it stands. Nothing that judges a
challenger lies before the end of its training: the evaluation window begins a lag after it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from desk.clock import MINUTE_MS
from desk.errors import BadInput, IllegalTransition
from desk.ids import Pair
from desk.market.interval import Interval, interval_ms

NOT_BETTER = "not_better_than_champion"
WORSE_LATER = "worse_than_champion_later"
NOT_DECIDED = "canary_not_decided"
CHAMPION_CHANGED = "champion_changed"
GONE_BACK_FROM = "gone_back_from"


class Rollout(StrEnum):
    """What an accepted challenger does first."""

    SHADOW = "shadow"
    """It decides beside the champion, on record, and never orders."""
    CANARY = "canary"
    """It trades in place of the champion, with a part of the size: fills are real only with real
    orders, which neither a shadow nor a paper run has."""
    FULL = "full"
    """It becomes the active version at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningWindow:
    """The operator's learning window. Durations are market minutes."""

    train_window_min: int = 360
    evaluation_window_min: int = 120
    """Of the evaluation, and of the time a shadow or a canary is watched."""
    evaluation_lag_min: int = 1
    """Between the end of training and the beginning of the evaluation."""
    every_min: int = 60
    window_size: int = 30
    """Candles of an episode."""
    stride: int = 1
    """Candles from where one episode may begin to the next such place."""
    timesteps: int = 200_000
    decision_threshold: float = 0.35
    rollout: Rollout = Rollout.SHADOW
    auto_roll_forward: bool = True
    """False: an accepted challenger waits to be promoted by an operator."""
    canary_fraction: float = 0.25

    def __post_init__(self) -> None:
        counts = ("train_window_min", "evaluation_window_min", "evaluation_lag_min", "every_min")
        for name in (*counts, "stride", "timesteps"):
            if getattr(self, name) < 1:
                raise BadInput(name, f"was {getattr(self, name)}, expected at least 1")
        if self.window_size < 2:
            raise BadInput("window_size", f"was {self.window_size}, expected at least 2 candles")
        if self.train_window_min < self.window_size:
            raise BadInput(
                "train_window_min",
                f"was {self.train_window_min}, expected at least a window of {self.window_size}",
            )
        if not 0.0 <= self.decision_threshold <= 1.0:
            raise BadInput(
                "decision_threshold", f"was {self.decision_threshold}, expected from 0 to 1"
            )
        if not 0.0 < self.canary_fraction <= 1.0:
            raise BadInput(
                "canary_fraction", f"was {self.canary_fraction}, expected above 0, at most 1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CyclePlan:
    """Ranges of candles by open time, ends exclusive."""

    train_start_ms: int
    train_end_ms: int
    evaluation_start_ms: int
    evaluation_end_ms: int


def plan_cycle(window: LearningWindow, now_ms: int, interval: Interval) -> CyclePlan:
    """The newest ranges of closed candles: train, then a lag, then evaluate. All on the grid; what is
    no whole number of candles is made longer."""
    step = interval_ms(interval)

    def candles(minutes: int) -> int:
        return -(-minutes * MINUTE_MS // step) * step

    end_ms = now_ms // step * step
    evaluation_start_ms = end_ms - candles(window.evaluation_window_min)
    train_end_ms = evaluation_start_ms - candles(window.evaluation_lag_min)
    return CyclePlan(
        train_start_ms=train_end_ms - candles(window.train_window_min),
        train_end_ms=train_end_ms,
        evaluation_start_ms=evaluation_start_ms,
        evaluation_end_ms=end_ms,
    )


class CycleStatus(StrEnum):
    PLANNED = "planned"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SHADOW = "shadow"
    CONFIRMING = "confirming"
    """The challenger and the champion are compared on the candles of the shadow."""
    CANARY = "canary"
    READY = "ready"
    """Accepted; an operator may promote it."""
    PROMOTED = "promoted"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


_S = CycleStatus
ENDED = frozenset({_S.READY, _S.PROMOTED, _S.REJECTED, _S.ROLLED_BACK, _S.FAILED})
MOVES: Mapping[CycleStatus, frozenset[CycleStatus]] = {
    _S.PLANNED: frozenset({_S.TRAINING, _S.FAILED}),
    _S.TRAINING: frozenset({_S.EVALUATING, _S.FAILED}),
    _S.EVALUATING: frozenset({_S.SHADOW, _S.CANARY, _S.READY, _S.PROMOTED, _S.REJECTED, _S.FAILED}),
    _S.SHADOW: frozenset({_S.CONFIRMING, _S.FAILED}),
    _S.CONFIRMING: frozenset({_S.READY, _S.PROMOTED, _S.REJECTED, _S.FAILED}),
    _S.CANARY: frozenset({_S.PROMOTED, _S.ROLLED_BACK, _S.FAILED}),
    **{status: frozenset[CycleStatus]() for status in ENDED},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCycle:
    """One challenger from its training to its end."""

    cycle_id: str
    agent_id: str
    run_id: str
    """Whose decisions a shadow goes beside; empty: nobody's."""
    pair: Pair
    interval: Interval
    feature_set_id: str
    window: LearningWindow
    plan: CyclePlan
    champion_id: str
    """The active version when the cycle began; empty: there was none."""
    status: CycleStatus
    created_ms: int
    updated_ms: int
    requested_by: str = "schedule"
    challenger_id: str = ""
    jobs: Mapping[str, str] = field(default_factory=dict[str, str])
    """Job of each piece of work; written down before the job begins."""
    results: Mapping[str, str] = field(default_factory=dict[str, str])
    """Net result in USDT after fees of each version on each window."""
    rollout_start_ms: int = 0
    rollout_end_ms: int = 0
    reasons: tuple[str, ...] = ()
    """Why it was rejected or rolled back."""
    error: str = ""
    ended_ms: int | None = None

    @property
    def is_ended(self) -> bool:
        return self.status in ENDED


def moved(
    cycle: LearningCycle, status: CycleStatus, *, now_ms: int, **changes: object
) -> LearningCycle:
    """The cycle one step on. Raises `IllegalTransition` for a step there is not."""
    if status not in MOVES[cycle.status]:
        raise IllegalTransition(cycle.status.value, f"become {status.value}")
    ended_ms = now_ms if status in ENDED else None
    return replace(
        cycle,
        status=status,
        updated_ms=now_ms,
        ended_ms=ended_ms,
        **changes,  # pyright: ignore[reportArgumentType]
    )


def beaten(challenger: float, champion: float | None) -> tuple[str, ...]:
    """Why a challenger that passed its gate is not let in: it must earn more than the champion did on
    the same candles. None: there is no champion."""
    return () if champion is None or challenger > champion else (NOT_BETTER,)


def beaten_later(challenger: float, champion: float | None) -> tuple[str, ...]:
    """The same on the candles of its shadow, where earning as much will do: both may have kept out."""
    return () if champion is None or challenger >= champion else (WORSE_LATER,)


def next_step(window: LearningWindow) -> CycleStatus:
    """Where a challenger goes that was accepted on its evaluation window."""
    if window.rollout is Rollout.SHADOW:
        return CycleStatus.SHADOW
    if not window.auto_roll_forward:
        return CycleStatus.READY
    return CycleStatus.CANARY if window.rollout is Rollout.CANARY else CycleStatus.PROMOTED


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowDecision:
    """What a challenger would have wanted on a candle that the champion decided on."""

    decision_id: str
    """Of the champion's decision."""
    cycle_id: str
    version_id: str
    pair: Pair
    open_ms: int
    target: float
    """Wanted position, as it is held after this candle: a held answer keeps the one before."""
    confidence: float
    held: bool
    reason: str
    champion_target: float
    reference_price: str


def agreement(decisions: Sequence[ShadowDecision]) -> float | None:
    """Part of the decisions on which both wanted the same side; None without any."""
    if not decisions:
        return None
    same = sum(_side(one.target) == _side(one.champion_target) for one in decisions)
    return same / len(decisions)


def _side(target: float) -> int:
    return (target > 0) - (target < 0)
