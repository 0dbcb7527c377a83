"""Ray Tune behind one function: trials and a search in, what became of each trial told as it happens.

Tune schedules, searches and stops; it remembers nothing that matters. What a trial came to is in the
sweep's journal before Tune hears of it, so a sweep is taken up again by asking for the same trials
anew, whatever became of Ray.

Importing this module imports Ray, which then reads its settings: see `desk.engines.private_ray`.
"""

import fcntl
import json
import os
import random
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
from ray import tune
from ray.tune import Callback, Stopper
from ray.tune.schedulers import AsyncHyperBandScheduler, PopulationBasedTraining
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.stopper import NoopStopper

from desk.engines.learning_process import become_learner
from desk.engines.trials import Trial, TrialTask
from desk.errors import DeskError
from desk.learning.sweep_results import PlannedTrial, TrialStatus
from desk.learning.sweep_space import (
    PARAMETERS,
    SLOT,
    Choice,
    Grid,
    LogUniform,
    RandInt,
    Uniform,
    kept_inside,
)
from desk.learning.sweeps import Asha, NoScheduler, OptunaSearch, Pbt, TrainingSweep
from desk.store.places import Home
from desk.store.sweeps import SweepJournal

SCORE, STEPS = "score", "steps"
POINT = "point"
"""In a trial's config: what is varied, where it was drawn before Tune began."""
FAILURES = 2
"""Times that a trial is taken up again from its checkpoint before it counts as failed."""
LOCK_WAIT_S = 0.5
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # files of every trial that nobody reads
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: it must end with the journal kept
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints boxes whatever `verbose` says
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}

KEPT_CHECKPOINTS = 3
"""Of a trial, in Tune's own folder: a population's members still read the one before the last."""


class TrialKeys(Protocol):
    """From a point of the search space to a trial's key and its whole configuration."""

    def __call__(self, point: Mapping[str, Any]) -> tuple[str, dict[str, Any]]: ...


class Watch(Protocol):
    """Who is told how trials fare, and asked whether to go on; called in the driver's thread."""

    def started(self, trial: PlannedTrial) -> None: ...

    def told(self, trial_key: str, steps: int, score: float) -> None: ...

    def ended(self, trial_key: str) -> None: ...

    def failed(self, trial_key: str, error: str) -> None: ...

    def should_stop(self) -> bool: ...


def run_trials(
    sweep: TrainingSweep,
    task: TrialTask,
    planned: Sequence[PlannedTrial],
    watch: Watch,
    *,
    keys: TrialKeys,
    folder: Path,
) -> None:
    """Run planned trials, and where the search is Optuna's as many more as the budget says.

    Ray must be initialised. `folder` is Tune's own, removed before and after. Returns when every trial
    has ended or `watch` said to stop; what `watch` was told of is journaled.
    """
    for name, value in TUNE_ENVIRONMENT.items():
        os.environ[name] = value
    shutil.rmtree(folder, ignore_errors=True)
    untyped: Any = tune
    tuner: Any = untyped.Tuner(
        untyped.with_resources(
            untyped.with_parameters(
                _TrialActor,
                task=task,
                keys=keys,
                is_replayed=_is_replayed(sweep),
                slots=folder / "slots",
                at_once=sweep.budget.concurrent_trials,
            ),
            {"cpu": 1},
        ),
        param_space=_param_space(sweep, planned),
        tune_config=untyped.TuneConfig(
            metric=SCORE,
            mode=sweep.mode,
            search_alg=_search(sweep, planned),
            scheduler=_scheduler(sweep),
            num_samples=sweep.budget.trials if _is_optuna(sweep) else 1,
            max_concurrent_trials=sweep.budget.concurrent_trials,
            trial_dirname_creator=_short_name,
        ),
        run_config=untyped.RunConfig(
            name="tune",
            storage_path=str(folder),
            verbose=0,
            callbacks=[_Told(watch, keys)],
            stop=_Stop(watch),
            failure_config=untyped.FailureConfig(max_failures=FAILURES),
            checkpoint_config=untyped.CheckpointConfig(num_to_keep=KEPT_CHECKPOINTS),
        ),
    )
    try:
        with warnings.catch_warnings():
            # Processes are not used again on purpose: each ends with its trial's memory.
            warnings.filterwarnings("ignore", message="Consider boosting PBT")
            tuner.fit()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_name(trial: Any) -> str:
    """Of a trial's folder: the default one holds every parameter, and file names have a length."""
    return str(trial.trial_id)


def _is_optuna(sweep: TrainingSweep) -> bool:
    return isinstance(sweep.search, OptunaSearch)


def _is_replayed(sweep: TrainingSweep) -> bool:
    """Whether journaled points are told again: to rungs and searches yes, to a population no."""
    return not isinstance(sweep.scheduler, Pbt)


def _param_space(sweep: TrainingSweep, planned: Sequence[PlannedTrial]) -> dict[str, Any]:
    untyped: Any = tune
    if _is_optuna(sweep):
        return {name: _domain(name, domain) for name, domain in sweep.space.items()}
    return {POINT: untyped.grid_search([dict(trial.point) for trial in planned])}


def _search(sweep: TrainingSweep, planned: Sequence[PlannedTrial]) -> Any:
    if not isinstance(sweep.search, OptunaSearch):
        return BasicVariantGenerator(constant_grid_search=True)
    import optuna  # noqa: PLC0415 - half a second that other searches do without
    from ray.tune.search.optuna import OptunaSearch as Searcher  # noqa: PLC0415

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    asked = [{name: _as_word(value) for name, value in trial.point.items()} for trial in planned]
    # Known trials come first, in their order: the search has learnt from them then. They draw nothing
    # from its generator, which from the same seed would draw the first of them once more.
    return Searcher(points_to_evaluate=asked or None, seed=sweep.search.seed + len(asked))


def _domain(name: str, domain: Choice | Grid | Uniform | LogUniform | RandInt) -> Any:
    untyped: Any = tune
    match domain:
        case Choice() | Grid():
            return untyped.choice([_as_word(PARAMETERS[name].read(one)) for one in domain.values])
        case Uniform():
            return untyped.uniform(domain.low, domain.high)
        case LogUniform():
            return untyped.loguniform(domain.low, domain.high)
        case RandInt():
            return untyped.randint(domain.low, domain.high)


def _as_word(value: Any) -> Any:
    """Optuna chooses among numbers and words: a list goes as JSON, which `_point_of` reads."""
    return json.dumps(value) if isinstance(value, (tuple, list)) else value


def _point_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is varied in a trial, from its config in Tune."""
    found = cast("Mapping[str, Any]", config.get(POINT, config))
    return {name: _read(name, value) for name, value in found.items()}


def _read(name: str, value: Any) -> Any:
    if name not in PARAMETERS:
        return value
    is_list = PARAMETERS[name].kind in {"floats", "ints"}
    return PARAMETERS[name].read(json.loads(value) if is_list and isinstance(value, str) else value)


def _scheduler(sweep: TrainingSweep) -> Any:
    every = sweep.budget.checkpoint_every_steps
    match sweep.scheduler:
        case NoScheduler():
            return None
        case Asha(grace_fraction=grace, reduction_factor=factor):
            total = sweep.budget.steps_per_trial
            return AsyncHyperBandScheduler(
                time_attr=STEPS,
                max_t=total,
                grace_period=min(max(round(total * grace), every), total),
                reduction_factor=factor,
                stop_last_trials=False,
            )
        case Pbt() as population:
            # Tune draws from the process's generators.
            random.seed(population.seed)
            np.random.seed(population.seed)
            space = sweep.space

            def inside(config: dict[str, Any]) -> dict[str, Any]:
                return {**config, POINT: kept_inside(config[POINT], space)}

            return PopulationBasedTraining(
                time_attr=STEPS,
                perturbation_interval=every * population.perturb_every_checkpoints,
                quantile_fraction=population.quantile_fraction,
                resample_probability=population.resample_probability,
                hyperparam_mutations={
                    POINT: {name: _mutation(name, domain) for name, domain in space.items()}
                },
                custom_explore_fn=inside,
                log_config=False,
            )


def _mutation(name: str, domain: Choice | Grid | Uniform | LogUniform | RandInt) -> Any:
    """A list is walked along, a range multiplied within."""
    if isinstance(domain, (Choice, Grid)):
        return sorted(cast("list[float]", [PARAMETERS[name].read(one) for one in domain.values]))
    return _domain(name, domain)


class TrialTooLarge(DeskError):
    """A trial was refused memory; the trading actors of its machine were not."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__(most_bytes)
        self.most_bytes = most_bytes

    def __str__(self) -> str:
        return (
            f"the trial needed more than its {self.most_bytes / 2**30:.1f} GiB of memory: take fewer"
            " lanes, a smaller network, a shorter range, or fewer trials at once"
        )


class _TrialActor(tune.Trainable):
    """A trial in a process of its own: one `step` is one point."""

    _lock: BinaryIO
    _memory_bytes: int

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride] - `with_parameters` adds them
        self,
        config: dict[str, Any],
        *,
        task: TrialTask,
        keys: TrialKeys,
        is_replayed: bool,
        slots: Path,
        at_once: int,
    ) -> None:
        self._memory_bytes = become_learner(at_once)
        trial_key, configuration = keys(self._own(_point_of(config), slots))
        self._lock = _locked(task.home, trial_key)
        self._trial = Trial(task, trial_key, configuration, is_stopped=_is_stopped(task, trial_key))
        if not is_replayed:
            self._trial.skip_told()

    def _own(self, point: dict[str, Any], slots: Path) -> dict[str, Any]:
        """A member's point, as the member that it began as: one that goes on from another's weights is
        given that one's whole point by Tune."""
        if SLOT not in point:
            return point
        slots.mkdir(parents=True, exist_ok=True)
        untyped: Any = self
        kept = slots / str(untyped.trial_id)
        if not kept.exists():
            kept.write_text(json.dumps(point[SLOT]))
        return {**point, SLOT: json.loads(kept.read_text())}

    def step(self) -> dict[str, Any]:
        try:
            point = self._trial.advance()
        except MemoryError:
            raise TrialTooLarge(self._memory_bytes) from None
        return {SCORE: point.score, STEPS: point.steps, "done": self._trial.is_over}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self._trial.hand_over(Path(checkpoint_dir))

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        self._trial.take_over(Path(str(checkpoint)))

    def cleanup(self) -> None:
        self._lock.close()


def _is_stopped(task: TrialTask, trial_key: str) -> bool:
    """Whether this sweep's scheduler has stopped the trial before."""
    record = SweepJournal(task.home).sweep(task.sweep_id)
    trials = () if record is None else record.trials
    return any(
        trial.trial_key == trial_key and trial.status is TrialStatus.STOPPED for trial in trials
    )


def _locked(home: Home, trial_key: str) -> BinaryIO:
    """Hold a trial's folder, once whoever else trains the same trial has ended."""
    folder = home / "sweeps" / "trials" / trial_key
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "lock").open("a+b")
    while True:  # a second draw of the same point, or a process that is about to end
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOCK_WAIT_S)
        else:
            return file


class _Stop(Stopper):
    """Ends everything once the watch says so."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._watch.should_stop()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return NoopStopper, ()  # Tune keeps a copy of its settings; the watch stays in this process


class _Told(Callback):
    """Passes on what happens to trials."""

    def __init__(self, watch: Watch, keys: TrialKeys) -> None:
        self._watch, self._keys = watch, keys
        self._by_id: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return Callback, ()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, trials, info
        if trial.trial_id in self._by_id:
            return
        point = _point_of(trial.config)
        trial_key, configuration = self._keys(point)
        self._by_id[trial.trial_id] = trial_key
        self._watch.started(
            PlannedTrial(trial_key=trial_key, point=point, configuration=configuration)
        )

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        del iteration, trials, info
        self._watch.told(self._by_id[trial.trial_id], int(result[STEPS]), float(result[SCORE]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, trials, info
        if trial.trial_id in self._by_id:
            self._watch.ended(self._by_id[trial.trial_id])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        del iteration, trials, info
        error = Path(trial.error_file).read_text() if trial.error_file else "its process ended"
        self._watch.failed(self._by_id.get(trial.trial_id, ""), error.strip().splitlines()[-1])
