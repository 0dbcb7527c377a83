"""The one who writes a sweep's record while its trials run, and says when to stop."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from desk.clock import Clock
from desk.evaluation.overfitting import Overfitting
from desk.learning.sweep_results import (
    LeaderboardRow,
    PlannedTrial,
    SweepRecord,
    SweepStatus,
    SweepTrial,
    TrialRecord,
    TrialStatus,
    TriedPolicy,
    leaderboard,
    overfitting_of,
    tried_policies,
)
from desk.store.sweeps import SweepJournal
from desk.wallclock import monotonic_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    """Where a sweep stands, for people."""

    sweep_id: str
    stage: str
    rows: tuple[LeaderboardRow, ...]
    overfitting: Overfitting | None
    """Of choosing the best of them as they stand; None: not of trials."""
    done: float
    total: float
    """Of `unit`; a stopped trial counts as whole."""
    unit: str
    metric: str = ""
    """What the rows' scores are; empty: it has no trials."""


type TellSweep = Callable[[SweepView], None]


class SweepBook:
    """Told by Tune of each trial; every change is in the journal before anybody sees it."""

    def __init__(
        self,
        journal: SweepJournal,
        record: SweepRecord,
        *,
        total_steps: int,
        expected_trials: int,
        wall_s: float,
        clock: Clock,
        tell: TellSweep,
        cancelled: Callable[[], bool],
    ) -> None:
        self._journal, self.record, self._clock = journal, record, clock
        self._total_steps, self._expected = total_steps, expected_trials
        self._tell, self._cancelled = tell, cancelled
        self._until_s = monotonic_s() + wall_s
        self._trials = journal.trials(record)
        self.stopped_as: SweepStatus | None = None

    # --- what Tune says --------------------------------------------------------------------------

    def started(self, trial: PlannedTrial) -> None:
        """A trial runs; one that is known keeps its number and, if it was stopped, its end."""
        known = [one for one in self.record.trials if one.trial_key == trial.trial_key]
        if not known:
            fresh = SweepTrial(
                trial_key=trial.trial_key, number=len(self.record.trials) + 1, point=trial.point
            )
            self._keep(trials=(*self.record.trials, fresh))
        elif known[0].status is TrialStatus.FAILED:
            self._set(trial.trial_key, TrialStatus.RUNNING)
        self.show("training")

    def told(self, trial_key: str, steps: int, score: float) -> None:
        """A point is journaled."""
        del steps, score
        self._read(trial_key)
        self.show("training")

    def ended(self, trial_key: str) -> None:
        """A trial came to its end, or its scheduler to a decision; not when all of them are stopped."""
        trial = self._read(trial_key)
        if trial is not None and trial.is_whole:
            self._set(trial_key, TrialStatus.DONE)
        elif self.stopped_as is None:
            self._set(trial_key, TrialStatus.STOPPED)
        self.show("training")

    def failed(self, trial_key: str, error: str) -> None:
        """A trial broke more often than it is taken up again."""
        self._set(trial_key, TrialStatus.FAILED, error)
        self.show("training")

    def should_stop(self) -> bool:
        """Whether somebody cancelled, or the time is spent."""
        if self.stopped_as is None and self._cancelled():
            self.stopped_as = SweepStatus.INTERRUPTED
        if self.stopped_as is None and monotonic_s() >= self._until_s:
            self.stopped_as = SweepStatus.OUT_OF_TIME
        return self.stopped_as is not None

    # --- what is kept ----------------------------------------------------------------------------

    def plan(self, planned: list[PlannedTrial]) -> None:
        """Note trials that are known before they run; those that are whole already are done."""
        known = {trial.trial_key: trial for trial in self.record.trials}
        for trial in planned:
            if trial.trial_key not in known:
                number = len(known) + 1
                known[trial.trial_key] = SweepTrial(
                    trial_key=trial.trial_key, number=number, point=trial.point
                )
        whole = {key for key in known if (one := self._read(key)) is not None and one.is_whole}
        self._keep(
            trials=tuple(
                replace(trial, status=TrialStatus.DONE) if key in whole else trial
                for key, trial in known.items()
            )
        )

    def is_ended(self, trial_key: str) -> bool:
        """Whether a trial needs no more training in this sweep."""
        return any(
            trial.trial_key == trial_key and trial.status in {TrialStatus.DONE, TrialStatus.STOPPED}
            for trial in self.record.trials
        )

    def rows(self) -> list[LeaderboardRow]:
        """Best first."""
        versions = {one.trial_key: one.version_id for one in self.record.finalists}
        return leaderboard(
            self.record.trials, self._trials, mode=self.record.mode, versions=versions
        )

    def tried(self) -> list[TriedPolicy]:
        """Every policy that was scored so far."""
        return tried_policies(self.record.trials, self._trials)

    def trial(self, trial_key: str) -> TrialRecord:
        """A trial's record as it was last read."""
        return self._trials[trial_key]

    def keep(self, record: SweepRecord) -> None:
        """Replace the record, which was written already."""
        self.record = record

    def end(self, status: SweepStatus) -> SweepRecord:
        """Note how far the sweep came."""
        self._keep(status=status)
        return self.record

    def show(self, stage: str) -> None:
        """Tell where the sweep stands."""
        rows = self.rows()
        expected = max(self._expected, len(rows))
        ended = {TrialStatus.DONE, TrialStatus.STOPPED, TrialStatus.FAILED}
        done = sum(self._total_steps if row.status in ended else row.steps for row in rows)
        self._tell(
            SweepView(
                sweep_id=self.record.sweep_id,
                stage=stage,
                rows=tuple(rows),
                overfitting=overfitting_of(self.tried()),
                done=float(done),
                total=float(expected * self._total_steps),
                unit="steps",
                metric=self.record.metric,
            )
        )

    def _read(self, trial_key: str) -> TrialRecord | None:
        found = self._journal.trial(trial_key)
        if found is not None:
            self._trials[trial_key] = found
        return found

    def _set(self, trial_key: str, status: TrialStatus, error: str = "") -> None:
        self._keep(
            trials=tuple(
                replace(one, status=status, error=error) if one.trial_key == trial_key else one
                for one in self.record.trials
            )
        )

    def _keep(self, **changes: object) -> None:
        fresh = replace(self.record, updated_ms=self._clock.now_ms(), **changes)  # pyright: ignore[reportArgumentType]
        self.record = self._journal.keep_sweep(fresh)
