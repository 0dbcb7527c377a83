"""The journal of sweeps, `DESK_HOME/sweeps`: what survives the loss of every process and of Ray.

    lock                            held by the one sweep that runs
    studies/SWEEP/record.json       the sweep: its trials and how they ended
                 /trainings.jsonl   a line for every stretch that was really trained
                 /leaderboard.parquet
    trials/TRIAL/record.json        the trial, its points; shared by every sweep that asks for it
                /checkpoint-STEPS/  to go on from, and the policies as safetensors

A point is journaled after its checkpoint is whole on disk, so what a record names is always there.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from desk.errors import ArtifactRefused, BadInput, NotFound
from desk.learning.sweep_results import (
    LeaderboardRow,
    SweepRecord,
    SweepStatus,
    TaskResult,
    TrialPoint,
    TrialRecord,
    TriedPolicy,
    tried_policies,
)
from desk.store.codec import from_json, to_json
from desk.store.durable import publish, sync_folder
from desk.store.places import Home
from desk.store.sweep_tables import leaderboard_parquet, results_parquet

RECORD = "record.json"
LEADERBOARD = "leaderboard.parquet"
TRAININGS = "trainings.jsonl"
KEPT_CHECKPOINTS = 2
"""Of a trial: the newest, and the one before it in case the newest cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedStretch:
    """A line of the log: steps that were really computed, of every policy of a trial."""

    trial_key: str
    from_steps: int
    to_steps: int


class SweepJournal:
    """The files of one home's sweeps. Its methods may be called from any process on that disk."""

    def __init__(self, home: Home) -> None:
        self.root = home / "sweeps"

    @contextmanager
    def only_one(self) -> Generator[None]:
        """Hold the home's sweeps for the block. Raises `BadInput` where another process does."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise BadInput(
                    "sweep", "another one runs on this DESK_HOME: wait for its end, or cancel it"
                ) from None
            yield

    # --- sweeps ---------------------------------------------------------------------------------

    def sweep(self, sweep_id: str) -> SweepRecord | None:
        """The record of a sweep, or None."""
        return _read(SweepRecord, self.folder(sweep_id) / RECORD)

    def sweep_of(self, sweep_id: str) -> SweepRecord:
        """The record of a sweep. Raises `NotFound`."""
        found = self.sweep(sweep_id)
        if found is None:
            raise NotFound("sweep", sweep_id)
        return found

    def sweeps(self, name: str | None = None) -> list[SweepRecord]:
        """All of them, or those of a name, the newest first."""
        paths = (self.root / "studies").glob(f"*/{RECORD}")
        records = [record for path in paths if (record := _read(SweepRecord, path)) is not None]
        chosen = [record for record in records if name in {None, record.name}]
        return sorted(chosen, key=lambda record: record.started_ms, reverse=True)

    def keep_sweep(self, record: SweepRecord) -> SweepRecord:
        """Write a sweep's record."""
        publish(self.folder(record.sweep_id) / RECORD, to_json(SweepRecord, record))
        return record

    def folder(self, sweep_id: str) -> Path:
        """Where a sweep's files lie."""
        return self.root / "studies" / _plain(sweep_id)

    def keep_leaderboard(
        self, record: SweepRecord, rows: Sequence[LeaderboardRow], tried: Sequence[TriedPolicy]
    ) -> SweepRecord:
        """Write the leaderboard as Parquet, and its hash on the record."""
        content = leaderboard_parquet(record, rows, tried)
        return self._keep_parquet(record, content)

    def keep_results(self, record: SweepRecord) -> SweepRecord:
        """The same for a sweep of evaluations."""
        return self._keep_parquet(record, results_parquet(record))

    def _keep_parquet(self, record: SweepRecord, content: bytes) -> SweepRecord:
        publish(self.folder(record.sweep_id) / LEADERBOARD, content)
        hashed = hashlib.sha256(content).hexdigest()
        return self.keep_sweep(replace(record, leaderboard_sha256=hashed))

    def trials_of(self, sweep_id: str) -> list[TriedPolicy]:
        """Every policy that a sweep scored, with its Sharpe ratios: their number is the true count of
        trials for a deflated Sharpe ratio. Raises `NotFound`."""
        record = self.sweep_of(sweep_id)
        return tried_policies(record.trials, self.trials(record))

    # --- trials ---------------------------------------------------------------------------------

    def trial(self, trial_key: str) -> TrialRecord | None:
        """The record of a trial, or None."""
        return _read(TrialRecord, self._trial(trial_key) / RECORD)

    def trials(self, record: SweepRecord) -> dict[str, TrialRecord]:
        """The trials of a sweep that have a record, by key."""
        found = {trial.trial_key: self.trial(trial.trial_key) for trial in record.trials}
        return {key: trial for key, trial in found.items() if trial is not None}

    @contextmanager
    def new_checkpoint(self, trial_key: str, steps: int) -> Generator[Path]:
        """A folder to write a checkpoint to; with the block's end it is whole on disk under its name."""
        folder = self._trial(trial_key)
        folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder, prefix=".draft-"))
        try:
            yield draft
            _force_to_disk(draft)
            target = self.checkpoint(trial_key, steps)
            if target.exists():  # of a process that ended before it could journal the point
                shutil.rmtree(target)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        sync_folder(folder)

    def checkpoint(self, trial_key: str, steps: int) -> Path:
        """Where a trial's checkpoint lies."""
        return self._trial(trial_key) / f"checkpoint-{steps}"

    def keep_point(self, record: TrialRecord, point: TrialPoint) -> TrialRecord:
        """Journal a point whose checkpoint is on disk, and drop checkpoints too old to go on from."""
        kept = (point.steps, *record.checkpoints)[:KEPT_CHECKPOINTS]
        hashes = policy_hashes(self.checkpoint(record.trial_key, point.steps))
        fresh = replace(record, points=(*record.points, point), checkpoints=kept, policies=hashes)
        self.keep_trial(fresh)
        names = {f"checkpoint-{steps}" for steps in kept}
        for path in self._trial(record.trial_key).glob("checkpoint-*"):
            if path.name not in names:
                shutil.rmtree(path, ignore_errors=True)
        return fresh

    def keep_trial(self, record: TrialRecord) -> None:
        """Write a trial's record."""
        publish(self._trial(record.trial_key) / RECORD, to_json(TrialRecord, record))

    def policy(self, record: TrialRecord, name: str) -> dict[str, NDArray[np.float32]]:
        """Tensors of a policy of the newest checkpoint. Raises `ArtifactRefused` unless they are those
        that were journaled."""
        path = self.checkpoint(record.trial_key, record.steps) / name
        try:
            content = path.read_bytes()
        except OSError as gone:
            raise ArtifactRefused(f"{path} cannot be read ({gone}): run the sweep again") from None
        if hashlib.sha256(content).hexdigest() != record.policies.get(name):
            raise ArtifactRefused(f"{path} does not have the journaled hash: run the sweep again")
        return load(content)

    def _trial(self, trial_key: str) -> Path:
        return self.root / "trials" / _plain(trial_key)

    # --- what was really trained, and what was evaluated ---------------------------------------------

    def note_training(self, sweep_id: str, stretch: TrainedStretch) -> None:
        """Add a line to a sweep's log; lines of several processes do not mix."""
        path = self.folder(sweep_id) / TRAININGS
        path.parent.mkdir(parents=True, exist_ok=True)
        line = to_json(TrainedStretch, stretch) + b"\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)

    def trainings(self, sweep_id: str) -> list[TrainedStretch]:
        """The lines of a sweep's log, oldest first."""
        try:
            lines = (self.folder(sweep_id) / TRAININGS).read_bytes().splitlines()
        except FileNotFoundError:
            return []
        return [from_json(TrainedStretch, line) for line in lines]

    def task(self, task_key: str) -> TaskResult | None:
        """The result of an evaluation, or None."""
        return _read(TaskResult, self.root / "tasks" / f"{_plain(task_key)}.json")

    def keep_task(self, result: TaskResult) -> None:
        """Write the result of an evaluation."""
        path = self.root / "tasks" / f"{_plain(result.task_key)}.json"
        publish(path, to_json(TaskResult, result))


def unfinished(records: Iterable[SweepRecord]) -> SweepRecord | None:
    """The first sweep that may go on."""
    return next((record for record in records if record.status is not SweepStatus.DONE), None)


def write_policy(folder: Path, name: str, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a policy's tensors into a checkpoint."""
    ordered = {key: np.ascontiguousarray(tensors[key]) for key in sorted(tensors)}
    (folder / name).write_bytes(save(ordered))


def policy_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each policy file of a checkpoint."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


def _read[T](kind: type[T], path: Path) -> T | None:
    try:
        return from_json(kind, path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as wrong:
        raise ArtifactRefused(
            f"{path} is damaged: move it away, with its folder, to begin that part anew"
        ) from wrong


def _plain(name: str) -> str:
    if not name.replace("-", "").isalnum():
        raise BadInput("sweep", f"was {name!r}, expected letters, digits and dashes")
    return name


def _force_to_disk(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)
