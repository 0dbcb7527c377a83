"""What Ray Tune does with trials: it stops laggards, moves a population on, and forgets without harm."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from desk.engines.rllib import MakeEnv, TrainingSpec
from desk.engines.stretches import Stretch
from desk.engines.trials import TrialTask
from desk.learning.sweep_file import parse_sweep
from desk.learning.sweep_results import PlannedTrial, trial_key_of
from desk.learning.sweeps import TrainingSweep
from desk.market.candles import Candles
from desk.store.sweeps import SweepJournal
from tests.sweeps.homes import small
from tests.sweeps.tasks import task_on
from tests.sweeps.trainers import quick_train

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_session"), pytest.mark.timeout(600)]

STEPS = {"trials": 4, "steps_per_trial": 3_000, "checkpoint_every_steps": 1_000}


@dataclass(frozen=True, slots=True)
class Keys:
    """A member's number where there is one, else the numbers themselves."""

    def __call__(self, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        configuration = {name: value for name, value in point.items() if name != "member"}
        if "member" in point:
            return f"trial-m{point['member']}", configuration
        return trial_key_of(configuration), configuration


@dataclass
class Heard:
    """A watch that writes down what it is told."""

    planned: dict[str, PlannedTrial] = field(default_factory=dict)
    points: list[tuple[str, int]] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    stop_after: int = 10**9

    def started(self, trial: PlannedTrial) -> None:
        self.planned[trial.trial_key] = trial

    def told(self, trial_key: str, steps: int, score: float) -> None:
        self.points.append((trial_key, steps))

    def ended(self, trial_key: str) -> None:
        self.over.append(trial_key)

    def failed(self, trial_key: str, error: str) -> None:
        self.errors[trial_key] = error

    def should_stop(self) -> bool:
        return len(self.points) >= self.stop_after


@pytest.fixture(scope="module")
def candles(walk: Callable[..., Candles]) -> Candles:
    return walk(2_000, seed=5)


@dataclass(frozen=True, slots=True)
class InStep:
    """Trains in no time, once all members are at the same step: none is over before another began."""

    folder: Path
    members: int

    def __call__(self, make_env: MakeEnv, spec: TrainingSpec, **given: Any) -> Stretch:
        self.folder.mkdir(exist_ok=True)
        until = given["until_steps"]
        (self.folder / f"{until}-{os.getpid()}").touch()
        give_up_s = time.monotonic() + 60.0
        while len(list(self.folder.glob(f"{until}-*"))) < self.members:
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"nobody else came to step {until}")
            time.sleep(0.05)
        return quick_train(make_env, spec, **given)


def sweep_of(**changes: Any) -> TrainingSweep:
    text = yaml.safe_dump({**small(**changes), "fixed": {}})
    found = parse_sweep(text, "my.yaml", algorithms=("ppo",))
    assert isinstance(found, TrainingSweep)
    return found


def run(sweep: TrainingSweep, task: TrialTask, points: list[dict[str, Any]], heard: Heard) -> Heard:
    from desk.engines.tuning import run_trials

    keys = Keys()
    planned = [
        PlannedTrial(trial_key=keys(point)[0], point=point, configuration=keys(point)[1])
        for point in points
    ]
    run_trials(sweep, task, planned, heard, keys=keys, folder=task.home / "tune")
    assert heard.errors == {}
    assert not (task.home / "tune").exists()
    return heard


def steps_of(task: TrialTask) -> int:
    """Steps that were really trained, all trials together."""
    lines = SweepJournal(task.home).trainings(task.sweep_id)
    return sum(line.to_steps - line.from_steps for line in lines)


def test_successive_halving_stops_laggards_and_costs_less_than_all(
    candles: Candles, tmp_path: Path
) -> None:
    task = task_on(candles, tmp_path, seeds=(7,))
    asha = {"kind": "asha", "grace_fraction": 0.34, "reduction_factor": 2}
    sweep = sweep_of(scheduler=asha, budget=STEPS)
    # In this order one meets a better one before it, whichever way the score goes.
    points = [{"learning_rate": rate} for rate in (1e-4, 1e-2, 1e-5, 1e-3)]

    heard = run(sweep, task, points, Heard())

    journal = SweepJournal(task.home)
    records = [journal.trial(key) for key in heard.planned]
    assert len(heard.over) == 4
    assert sum(record is not None and record.is_whole for record in records) in {1, 2, 3}
    assert 4 * 1_000 <= steps_of(task) < 4 * 3_000


def test_a_population_moves_its_laggards_to_a_leaders_weights(
    candles: Candles, tmp_path: Path
) -> None:
    meet = InStep(tmp_path / "meet", members=2)
    task = task_on(candles, tmp_path, seeds=(7,), total_steps=4_000, train=meet)
    sweep = sweep_of(
        scheduler={"kind": "pbt", "quantile_fraction": 0.5, "seed": 1},
        space={"learning_rate": {"kind": "loguniform", "low": 1e-5, "high": 1e-2}},
        budget={**STEPS, "trials": 2, "steps_per_trial": 4_000, "concurrent_trials": 2},
    )
    points = [{"member": 0, "learning_rate": 1e-5}, {"member": 1, "learning_rate": 1e-2}]

    run(sweep, task, points, Heard())

    journal = SweepJournal(task.home)
    records = [journal.trial(f"trial-m{number}") for number in (0, 1)]
    changes = [change for record in records if record is not None for change in record.changes]
    assert all(record is not None and record.is_whole for record in records)
    assert changes
    assert all(1e-5 <= change["configuration"]["learning_rate"] <= 1e-2 for change in changes)


def test_a_search_that_is_begun_anew_asks_for_the_known_trials_first(
    candles: Candles, tmp_path: Path
) -> None:
    task = task_on(candles, tmp_path, seeds=(7,), total_steps=1_000)
    sweep = sweep_of(
        search={"kind": "optuna", "seed": 7},
        space={
            "learning_rate": {"kind": "loguniform", "low": 1e-5, "high": 1e-2},
            "hidden": {"kind": "choice", "values": [[8], [16, 16]]},
        },
        budget={"trials": 3, "steps_per_trial": 1_000, "checkpoint_every_steps": 1_000},
    )
    first = run(sweep, task, [], Heard(stop_after=1))
    known = [dict(trial.point) for key, trial in first.planned.items() if key in dict(first.points)]
    trained = steps_of(task)

    second = run(sweep, task, known, Heard())

    assert 1 <= len(known) < 3
    assert list(second.planned)[: len(known)] == list(dict(first.points))
    assert len(second.planned) == 3
    assert all(isinstance(trial.point["hidden"], tuple) for trial in second.planned.values())
    assert steps_of(task) - trained <= (3 - len(known)) * 1_000
