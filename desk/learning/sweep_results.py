"""What became of a sweep: its trials, point by point, and the order they end up in."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import sqrt
from statistics import stdev
from typing import Any

from desk.evaluation.overfitting import Overfitting, overfitting_among


class SweepStatus(StrEnum):
    """How far a sweep came."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    OUT_OF_TIME = "out_of_time"
    DONE = "done"


class TrialStatus(StrEnum):
    """How far a trial came in one sweep."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """Its scheduler saw no reason to go on."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPoint:
    """The policies of a trial after so many steps each."""

    steps: int
    score: float
    """Mean of `fold_scores`."""
    fold_scores: tuple[tuple[float, ...], ...]
    """Per seed, of each fold."""
    sharpe: tuple[float, ...]
    """Per seed: of daily returns over all folds, 365 days."""
    candle_sharpe: tuple[float, ...]
    """Per seed: of the returns of single candles, not annualised."""
    block_returns: tuple[tuple[float, ...], ...]
    """Per seed: return of equal contiguous parts of the scored candles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """A trial's own journal: what it is, and what it came to so far.

    The same key is the same training, in whatever sweep.
    """

    trial_key: str
    configuration: Mapping[str, Any]
    """As it is trained now; a population's member may change it, see `changes`."""
    seeds: tuple[int, ...]
    total_steps: int
    points: tuple[TrialPoint, ...] = ()
    changes: tuple[Mapping[str, Any], ...] = ()
    """Steps at which a population's member took over another's weights, and the new parameters."""
    checkpoints: tuple[int, ...] = ()
    """Steps of those on disk, newest first."""
    policies: Mapping[str, str] = field(default_factory=dict[str, str])
    """SHA-256 of each policy file of the newest checkpoint."""

    @property
    def steps(self) -> int:
        """Steps that are safe: trained, scored and stored."""
        return self.points[-1].steps if self.points else 0

    @property
    def is_whole(self) -> bool:
        return self.steps >= self.total_steps

    @property
    def score(self) -> float | None:
        """Of the newest point."""
        return self.points[-1].score if self.points else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """A trial to run: known before Tune starts, or found by its search."""

    trial_key: str
    point: Mapping[str, Any]
    configuration: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepTrial:
    """A trial's place in one sweep."""

    trial_key: str
    number: int
    point: Mapping[str, Any]
    """What was varied, as it began."""
    status: TrialStatus = TrialStatus.RUNNING
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalist:
    """One of the best, as a registered draft and as Nautilus saw it. Money in USDT."""

    trial_key: str
    version_id: str
    seed: int
    evaluation_id: str
    sharpe: float
    net_pnl_after_fees: str
    parity_max_abs_diff: str
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One evaluation of a sweep of evaluations."""

    task_key: str
    version_id: str
    decision_threshold: float
    start_ms: int
    end_ms: int
    evaluation_id: str
    verdict: str
    trade_count: int
    sharpe: float
    max_drawdown: float
    net_pnl_after_fees: str
    parity_max_abs_diff: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """A sweep's own journal. `sweep_id` is a function of what is asked, of the data and of the code."""

    sweep_id: str
    name: str
    kind: str
    spec: Mapping[str, Any]
    spec_sha256: str
    dataset_id: str
    data_sha256: str
    code_sha256: str
    feature_set_id: str
    metric: str
    mode: str
    status: SweepStatus
    started_ms: int
    updated_ms: int
    trials: tuple[SweepTrial, ...] = ()
    finalists: tuple[Finalist, ...] = ()
    results: tuple[TaskResult, ...] = ()
    overfitting: Overfitting | None = None
    """Of choosing the best of all that was tried; None: not ended yet."""
    leaderboard_sha256: str = ""
    """Of `leaderboard.parquet` beside this record."""

    @property
    def is_done(self) -> bool:
        return self.status is SweepStatus.DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderboardRow:
    """A trial's rank and result."""

    rank: int
    number: int
    trial_key: str
    status: TrialStatus
    steps: int
    score: float | None
    fold_scores: tuple[tuple[float, ...], ...]
    sharpe: tuple[float, ...]
    point: Mapping[str, Any]
    version_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedPolicy:
    """One policy that a sweep tried: what a deflated Sharpe ratio has to count."""

    trial_key: str
    seed: int
    steps: int
    sharpe: float
    candle_sharpe: float
    block_returns: tuple[float, ...]


def sweep_id_of(name: str, *parts: str) -> str:
    """Id of a sweep: its name, and a hash of all that decides what it finds."""
    return f"{name}-{_sha256(parts)[:12]}"


def trial_key_of(configuration: Mapping[str, Any], *parts: object) -> str:
    """Key of a trial: the same for the same configuration, data and code."""
    return f"trial-{_sha256([configuration, *parts])[:24]}"


def leaderboard(
    trials: Sequence[SweepTrial],
    records: Mapping[str, TrialRecord],
    *,
    mode: str,
    versions: Mapping[str, str],
) -> list[LeaderboardRow]:
    """Best first: whole trials before those that were stopped, those without a score last.

    A stopped trial's score is of fewer steps, so it is not compared with a whole one's.
    """
    sign = 1.0 if mode == "min" else -1.0

    def order(trial: SweepTrial) -> tuple[int, int, float, int]:
        record = records.get(trial.trial_key)
        if record is None or record.score is None:
            return (2, 0, 0.0, trial.number)
        depth = 0 if record.is_whole else 1
        return (depth, -record.steps * depth, sign * record.score, trial.number)

    return [
        _row(rank, trial, records.get(trial.trial_key), versions.get(trial.trial_key, ""))
        for rank, trial in enumerate(sorted(trials, key=order), start=1)
    ]


def standard_error(fold_scores: Sequence[Sequence[float]]) -> float | None:
    """Of the mean of a trial's scores, over seeds and folds as if they were independent of each other.

    They are not, so the score is less sure than that. None with fewer than two.
    """
    scores = [score for folds in fold_scores for score in folds]
    return stdev(scores) / sqrt(len(scores)) if len(scores) > 1 else None


def tried_policies(
    trials: Sequence[SweepTrial], records: Mapping[str, TrialRecord]
) -> list[TriedPolicy]:
    """Every policy that was scored, stopped ones too: choosing among them is what is to be discounted."""
    return [
        TriedPolicy(
            trial_key=trial.trial_key,
            seed=seed,
            steps=record.steps,
            sharpe=record.points[-1].sharpe[number],
            candle_sharpe=record.points[-1].candle_sharpe[number],
            block_returns=record.points[-1].block_returns[number],
        )
        for trial in trials
        if (record := records.get(trial.trial_key)) is not None and record.points
        for number, seed in enumerate(record.seeds)
    ]


def overfitting_of(tried: Sequence[TriedPolicy]) -> Overfitting:
    """How likely the best of a sweep's policies was chosen for its luck on the scored candles."""
    return overfitting_among([one.block_returns for one in tried])


def overfitting_of_results(results: Sequence[TaskResult]) -> Overfitting:
    """The same of a sweep of evaluations: among versions and thresholds, by what each period earned."""
    earned: dict[tuple[str, float], list[tuple[int, float]]] = {}
    for one in results:
        chosen = earned.setdefault((one.version_id, one.decision_threshold), [])
        chosen.append((one.start_ms, float(one.net_pnl_after_fees)))
    whole = max(map(len, earned.values()), default=0)
    in_order = [[pnl for _, pnl in sorted(one)] for one in earned.values() if len(one) == whole]
    return overfitting_among(in_order)


def _row(
    rank: int, trial: SweepTrial, record: TrialRecord | None, version_id: str
) -> LeaderboardRow:
    last = record.points[-1] if record is not None and record.points else None
    return LeaderboardRow(
        rank=rank,
        number=trial.number,
        trial_key=trial.trial_key,
        status=trial.status,
        steps=last.steps if last else 0,
        score=last.score if last else None,
        fold_scores=last.fold_scores if last else (),
        sharpe=last.sharpe if last else (),
        point=trial.point if record is None else _now(trial.point, record),
        version_id=version_id,
    )


def _now(point: Mapping[str, Any], record: TrialRecord) -> dict[str, Any]:
    """What was varied, as it ended: a population's member changes on its way."""
    return {name: record.configuration.get(name, value) for name, value in point.items()}


def _sha256(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=list).encode()).hexdigest()
