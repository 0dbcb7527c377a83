"""One trial of a sweep: trained from checkpoint to checkpoint, scored at each, journaled before it is told.

Importing this module brings numba; RLlib and torch come with the first stretch that is really trained.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from desk.engines.rllib import MakeEnv, Rule, TrainingSpec
from desk.engines.stretches import Stretch as TrainedTo
from desk.engines.stretches import train_stretch
from desk.errors import BadInput
from desk.evaluation.forward_folds import (
    Account,
    FoldRun,
    Rows,
    Stretch,
    block_returns,
    candle_sharpe,
    fold_runs,
    joined_sharpe,
    part_of,
    scores_of,
)
from desk.learning.arrays import MarketArrays
from desk.learning.baseline import trend_rule
from desk.learning.cost_ramp import CostRampEnv
from desk.learning.episode import EpisodeSpec
from desk.learning.policy import LEVELS, MlpPolicy, load_policy, policy_card
from desk.learning.sweep_results import TrialPoint, TrialRecord
from desk.learning.training_spec import (
    BC,
    FIRST_COST_FRACTION,
    PARAMETERS,
    PPO,
    RAMP_FRACTION,
    RULE,
)
from desk.learning.training_spec import training_spec as checked_spec
from desk.market.features import FeatureSet
from desk.store.codec import from_json, to_json
from desk.store.places import Home
from desk.store.sweeps import SweepJournal, TrainedStretch, write_policy

POINT, ORIGIN = "point.json", "origin.json"
TRAINING_NAMES = frozenset(name for names in PARAMETERS.values() for name in names)
"""Parameters that are fields of `TrainingSpec`, whatever the algorithm."""
EPISODE_NAMES = {
    "episode_candles": "length",
    "reward_scale": "reward_scale",
    "turnover_coefficient": "turnover_coefficient",
    "drawdown_coefficient": "drawdown_coefficient",
    "levels": "levels",
    "leverage": "leverage",
}
"""Parameters that are fields of `EpisodeSpec`."""


class Train(Protocol):
    """How a policy is brought from a checkpoint to a step; `train_stretch` does it by RLlib."""

    def __call__(
        self,
        make_env: MakeEnv,
        spec: TrainingSpec,
        *,
        until_steps: int,
        before: Path | None,
        after: Path,
        rule: Rule | None = None,
    ) -> TrainedTo: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialTask:
    """What all trials of a sweep have in common; it travels to their processes once."""

    home: Home
    sweep_id: str
    arrays: MarketArrays
    """All rows of the dataset."""
    features: FeatureSet
    stretches: tuple[Stretch, ...]
    """A policy is trained for each, with every seed."""
    seeds: tuple[int, ...]
    total_steps: int
    checkpoint_every_steps: int
    metric: str
    account: Account
    train: Train = train_stretch

    @property
    def policies(self) -> list[tuple[int, int]]:
        """Seed number and stretch number of each policy of a trial."""
        return [(s, n) for s in range(len(self.seeds)) for n in range(len(self.stretches))]


def policy_file(seed_number: int, stretch_number: int) -> str:
    """Name of a policy's tensors in a checkpoint."""
    return f"policy-{seed_number}-{stretch_number}.safetensors"


def training_spec(configuration: Mapping[str, Any], *, steps: int, seed: int) -> TrainingSpec:
    """How a configuration is trained. Raises `BadInput` for numbers that do not fit each other."""
    given = {name: value for name, value in configuration.items() if name in TRAINING_NAMES}
    return checked_spec(str(configuration.get("algorithm", PPO)), given, steps=steps, seed=seed)


def episode_spec(configuration: Mapping[str, Any], account: Account) -> EpisodeSpec:
    """The episodes that a configuration is trained in."""
    given = {
        field: configuration[name] for name, field in EPISODE_NAMES.items() if name in configuration
    }
    if "levels" in given:
        given["levels"] = tuple(given["levels"])
    return EpisodeSpec(cash=account.cash, size_quote=account.size_quote, **given)


def check_configuration(
    configuration: Mapping[str, Any], *, steps: int, checkpoint_every_steps: int
) -> None:
    """Raise `BadInput` for a configuration that could not be trained as asked."""
    spec = training_spec(configuration, steps=steps, seed=0)
    if spec.batch > checkpoint_every_steps:
        raise BadInput(
            "budget.checkpoint_every_steps",
            f"was {checkpoint_every_steps}, less than one update of {spec.lanes} lanes x "
            f"{spec.steps_per_lane} steps: raise it to {spec.batch}, or lower lanes",
        )


class Trial:
    """A trial and its journal. One process at a time works on it.

    One that `is_stopped` tells what is journaled and trains no more.
    """

    def __init__(
        self,
        task: TrialTask,
        trial_key: str,
        configuration: Mapping[str, Any],
        *,
        is_stopped: bool = False,
    ) -> None:
        self._task, self._journal = task, SweepJournal(task.home)
        self._configuration = dict(configuration)
        found = self._journal.trial(trial_key)
        self.record = found or TrialRecord(
            trial_key=trial_key,
            configuration=self._configuration,
            seeds=task.seeds,
            total_steps=task.total_steps,
        )
        if found is None:
            self._journal.keep_trial(self.record)
        self._told = 0
        self._is_stopped = is_stopped and bool(self.record.points)

    def skip_told(self) -> None:
        """Begin with the newest point: what lies before it was told to a scheduler that is gone."""
        self._told = max(len(self.record.points) - 1, 0)

    def advance(self) -> TrialPoint:
        """The next point: the journal's where it has one, else trained, scored and journaled."""
        if self._told == len(self.record.points):
            self._train()
        self._told += 1
        return self.record.points[self._told - 1]

    @property
    def is_over(self) -> bool:
        """Whether every point was told."""
        is_final = self.record.is_whole or self._is_stopped
        return is_final and self._told == len(self.record.points)

    # --- a population's members ------------------------------------------------------------------

    def hand_over(self, folder: Path) -> None:
        """Copy the newest checkpoint for another member to go on from."""
        source = self._journal.checkpoint(self.record.trial_key, self.record.steps)
        shutil.copytree(source, folder, dirs_exist_ok=True)
        (folder / ORIGIN).write_text(self.record.trial_key)

    def take_over(self, folder: Path) -> None:
        """Go on from a checkpoint, this trial's own or another member's, with this configuration."""
        point = from_json(TrialPoint, (folder / POINT).read_bytes())
        origin = (folder / ORIGIN).read_text()
        own = self.record
        if origin == own.trial_key and self._configuration == dict(own.configuration):
            self._told = len(own.points)
            return
        with self._journal.new_checkpoint(own.trial_key, point.steps) as mine:
            shutil.copytree(folder, mine, dirs_exist_ok=True)
        earlier = tuple(one for one in own.points if one.steps < point.steps)
        change = {"steps": point.steps, "from": origin, "configuration": self._configuration}
        kept = tuple(steps for steps in own.checkpoints if steps < point.steps)
        self.record = self._journal.keep_point(
            replace(
                own,
                configuration=self._configuration,
                points=earlier,
                checkpoints=kept,
                changes=(*own.changes, change),
            ),
            point,
        )
        self._told = len(self.record.points)

    # --- training and scoring --------------------------------------------------------------------

    def _train(self) -> None:
        task, record = self._task, self.record
        until = min(record.steps + task.checkpoint_every_steps, task.total_steps)
        before = self._begin_from()
        with self._journal.new_checkpoint(record.trial_key, until) as folder:
            runs = [self._policy(number, until, before, folder) for number in task.policies]
            self._journal.note_training(
                task.sweep_id,
                TrainedStretch(trial_key=record.trial_key, from_steps=record.steps, to_steps=until),
            )
            point = self._point(until, runs)
            (folder / POINT).write_bytes(to_json(TrialPoint, point))
        self.record = self._journal.keep_point(record, point)

    def _begin_from(self) -> Path | None:
        steps = self.record.steps
        return self._journal.checkpoint(self.record.trial_key, steps) if steps else None

    def _policy(
        self, number: tuple[int, int], until: int, before: Path | None, folder: Path
    ) -> list[FoldRun]:
        """Train one policy up to a step, leave it in the folder, and walk it over its folds."""
        task, (seed_number, stretch_number) = self._task, number
        stretch = task.stretches[stretch_number]
        name = f"trained-{seed_number}-{stretch_number}"
        spec = training_spec(
            self._configuration, steps=task.total_steps, seed=task.seeds[seed_number]
        )
        (folder / name).mkdir()
        trained = task.train(
            self._environment(stretch.train, spec),
            spec,
            until_steps=until,
            before=None if before is None else before / name,
            after=folder / name,
            rule=self._rule(spec),
        )
        write_policy(folder, policy_file(seed_number, stretch_number), trained.tensors)
        policy = self._loaded(trained.tensors)
        return fold_runs(policy, task.arrays, stretch.folds, self._account)

    def _rule(self, spec: TrainingSpec) -> Rule | None:
        if spec.algorithm != BC and spec.warm_start != RULE:
            return None
        return trend_rule(self._task.features, self._levels)

    def _environment(self, train: Rows, spec: TrainingSpec) -> MakeEnv:
        arrays = part_of(self._task.arrays, train)
        episode = episode_spec(self._configuration, self._task.account)
        first = float(self._configuration.get("first_cost_fraction", FIRST_COST_FRACTION))
        ramp = float(self._configuration.get("ramp_fraction", RAMP_FRACTION))

        def make(lanes: int) -> CostRampEnv:
            return CostRampEnv(
                arrays,
                lanes,
                episode,
                first_fraction=first,
                ramp_steps=int(spec.steps * ramp / lanes),
            )

        return make

    @property
    def _levels(self) -> tuple[float, ...]:
        return cast("tuple[float, ...]", tuple(self._configuration.get("levels", LEVELS)))

    @property
    def _account(self) -> Account:
        account = self._task.account
        threshold = self._configuration.get("decision_threshold", account.decision_threshold)
        return replace(account, decision_threshold=float(threshold))

    def _loaded(self, tensors: Any) -> MlpPolicy:
        card = policy_card(
            version_id=self.record.trial_key,
            algorithm=str(self._configuration.get("algorithm", "")),
            is_baseline=False,
            hyperparameters={},
            software={},
            features=self._task.features,
            levels=self._levels,
        )
        return load_policy(card, tensors, self._task.features)

    def _point(self, steps: int, runs: list[list[FoldRun]]) -> TrialPoint:
        """What all policies came to; the folds of one seed belong together, oldest first."""
        task, count = self._task, len(self._task.stretches)
        by_seed = [
            [run for of_policy in runs[first : first + count] for run in of_policy]
            for first in range(0, len(runs), count)
        ]
        scores = [tuple(scores_of(of_seed, task.arrays, task.metric)) for of_seed in by_seed]
        return TrialPoint(
            steps=steps,
            score=float(np.mean(scores)),
            fold_scores=tuple(scores),
            sharpe=tuple(joined_sharpe(of_seed, task.arrays) for of_seed in by_seed),
            candle_sharpe=tuple(candle_sharpe(of_seed) for of_seed in by_seed),
            block_returns=tuple(block_returns(of_seed) for of_seed in by_seed),
        )
