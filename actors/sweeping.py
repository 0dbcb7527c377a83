"""A sweep of trainings the whole way: its trials, the best of them as drafts, what Nautilus says of those.

Everything that a lost process or cluster may not lose is in the journal, so a sweep is taken up again
by running it again: trials that ended are not trained again, others go on from their last checkpoint.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isfinite
from typing import Any

from actors.evaluation import FEATURE_LIMIT, EvaluateAsk
from actors.evaluation_tasks import EvaluatedTask, EvaluationTask, evaluate_task
from actors.study_period import Period
from actors.sweep_book import SweepBook, TellSweep
from actors.sweep_data import (
    SweepData,
    SweepIds,
    SweepPlace,
    TrialNames,
    check_points,
    load_data,
    period_of_folds,
    period_of_rows,
    task_of,
)
from actors.training import TrainAsk, keep_trained
from desk.clock import Clock
from desk.engines.tasks import Failed, run_tasks
from desk.engines.trials import TrialTask, policy_file, training_spec
from desk.errors import BadInput, DeskError
from desk.learning.study import Window, snapshot
from desk.learning.sweep_results import (
    Finalist,
    LeaderboardRow,
    PlannedTrial,
    SweepRecord,
    SweepStatus,
    TrialRecord,
    TrialStatus,
    overfitting_of,
    tried_policies,
)
from desk.learning.sweep_space import SLOT
from desk.learning.sweeps import (
    LATEST,
    DatasetChoice,
    EvaluationSweep,
    NoScheduler,
    OptunaSearch,
    Pbt,
    TrainingSweep,
)
from desk.store.sweeps import SweepJournal, unfinished

type StartRay = Callable[[], AbstractContextManager[None]]


SHAPING = (
    *("episode_candles", "reward_scale", "first_cost_fraction", "ramp_fraction"),
    *("turnover_coefficient", "drawdown_coefficient", "levels", "leverage"),
)
"""Parameters that are fields of `TrainAsk`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Scene:
    """All that one sweep works with."""

    place: SweepPlace
    journal: SweepJournal
    sweep: TrainingSweep
    data: SweepData
    ids: SweepIds
    task: TrialTask
    chosen: Window

    @property
    def names(self) -> TrialNames:
        return TrialNames(sweep=self.sweep, ids=self.ids)


class SweepFailed(DeskError):
    """A sweep ended before its trials; what they came to is journaled, `--resume` goes on."""


def run_training_sweep(
    place: SweepPlace,
    sweep: TrainingSweep,
    *,
    file: str,
    is_resumed: bool,
    start_ray: StartRay,
    clock: Clock,
    tell: TellSweep = lambda view: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SweepRecord:
    """Run a sweep to its end, its time or a cancellation; the record says which.

    One that is done is returned as it is, and Ray is not started. Raises `BadInput` before anything
    starts: for a dataset, folds or numbers that do not fit, for a sweep that is unfinished and not
    `is_resumed`, and the other way round; `SweepFailed` when Ray was lost.
    """
    journal = SweepJournal(place.home)
    with journal.only_one():
        data, ids = found_data(journal, place, sweep, sweep.features, file, is_resumed=is_resumed)
        record = journal.sweep(ids.sweep_id)
        has_failed = record is not None and any(
            trial.status is TrialStatus.FAILED for trial in record.trials
        )
        if record is not None and record.is_done and not (is_resumed and has_failed):
            return record
        check_resume(journal, record, sweep.name, ids, is_resumed=is_resumed)
        task, chosen = task_of(place.home, sweep, data, ids, file)
        check_points(sweep, task, file)
        scene = _Scene(
            place=place,
            journal=journal,
            sweep=sweep,
            data=data,
            ids=ids,
            task=task,
            chosen=chosen,
        )
        book = SweepBook(
            journal,
            _begun(scene, record, clock.now_ms()),
            total_steps=task.total_steps,
            expected_trials=len(sweep.points()) or sweep.budget.trials,
            wall_s=sweep.budget.wall_minutes * 60.0,
            clock=clock,
            tell=tell,
            cancelled=cancelled,
        )
        with ExitStack() as ray_lives:
            _train(scene, book, lambda: ray_lives.enter_context(start_ray()))
            if book.stopped_as is None and sweep.finalists:
                book.show("confirming the best")
                ray_lives.enter_context(start_ray())
                _confirm(scene, book)
        tried = tried_policies(book.record.trials, journal.trials(book.record))
        book.keep(replace(book.record, overfitting=overfitting_of(tried)))
        book.keep(journal.keep_leaderboard(book.record, book.rows(), tried))
        ended = book.end(book.stopped_as or SweepStatus.DONE)
        book.show(ended.status.value)
        return ended


def found_data(
    journal: SweepJournal,
    place: SweepPlace,
    sweep: TrainingSweep | EvaluationSweep,
    features_id: str | None,
    file: str,
    *,
    is_resumed: bool,
) -> tuple[SweepData, SweepIds]:
    """The dataset asked for; of one that is taken up again with `latest`, the one it began with."""
    choice = sweep.dataset
    begun = unfinished(journal.sweeps(sweep.name))
    if is_resumed and choice.id == LATEST and begun is not None:
        choice = DatasetChoice(id=begun.dataset_id)
    data = load_data(place, choice, features_id, file)
    return data, SweepIds.of(sweep, data)


def check_resume(
    journal: SweepJournal,
    record: SweepRecord | None,
    name: str,
    ids: SweepIds,
    *,
    is_resumed: bool,
) -> None:
    """Raise `BadInput` where there is something to go on with and nobody asked to, or the reverse."""
    if record is not None and not is_resumed:
        raise BadInput(
            "--resume",
            f"sweep {record.sweep_id} is {record.status.value}: give --resume to go on with it",
        )
    if record is None and is_resumed:
        begun = unfinished(journal.sweeps(name))
        if begun is None:
            raise BadInput("--resume", f"no sweep {name} was begun: leave --resume out")
        changed = [
            what
            for what, now, then in (
                ("its file", ids.spec_sha256, begun.spec_sha256),
                ("the data", ids.data_sha256, begun.data_sha256),
                ("the code", ids.code_sha256, begun.code_sha256),
            )
            if now != then
        ]
        raise BadInput(
            "--resume",
            f"{' and '.join(changed)} changed since {begun.sweep_id} began, whose results would not "
            "be comparable: leave --resume out to begin anew",
        )


def _begun(scene: _Scene, record: SweepRecord | None, now_ms: int) -> SweepRecord:
    """The record of a sweep that runs from now on."""
    sweep, ids = scene.sweep, scene.ids
    begun = record or SweepRecord(
        sweep_id=ids.sweep_id,
        name=sweep.name,
        kind=sweep.kind,
        spec=sweep.model_dump(mode="json"),
        spec_sha256=ids.spec_sha256,
        dataset_id=scene.data.dataset.dataset_id,
        data_sha256=ids.data_sha256,
        code_sha256=ids.code_sha256,
        feature_set_id=scene.data.features.feature_set_id,
        metric=sweep.metric,
        mode=sweep.mode,
        status=SweepStatus.RUNNING,
        started_ms=now_ms,
        updated_ms=now_ms,
    )
    running = replace(begun, status=SweepStatus.RUNNING, updated_ms=now_ms)
    return scene.journal.keep_sweep(running)


def _train(scene: _Scene, book: SweepBook, start_ray: Callable[[], None]) -> None:
    sweep = scene.sweep
    planned = _planned(scene, book.record)
    book.plan(planned)
    book.show("starting Ray")
    is_open = isinstance(sweep.search, OptunaSearch) and len(planned) < sweep.budget.trials
    needed = [trial for trial in planned if not book.is_ended(trial.trial_key)]
    if not needed and not is_open:
        return
    # Rungs and searches learn from trials that have ended; without them those need no process.
    is_plain = isinstance(sweep.scheduler, NoScheduler) and not isinstance(
        sweep.search, OptunaSearch
    )
    try:
        start_ray()
        from desk.engines.tuning import run_trials  # noqa: PLC0415 - it imports Ray

        run_trials(
            sweep,
            scene.task,
            needed if is_plain or isinstance(sweep.scheduler, Pbt) else planned,
            book,
            keys=scene.names,
            folder=scene.journal.folder(scene.ids.sweep_id) / "tune",
        )
    except DeskError:
        raise
    except Exception as lost:
        book.end(SweepStatus.INTERRUPTED)
        raise SweepFailed(
            f"sweep {book.record.sweep_id} was interrupted ({lost!r}): give --resume to go on"
        ) from lost


def _planned(scene: _Scene, record: SweepRecord) -> list[PlannedTrial]:
    """The trials that are known: by the search, or from before; each once."""
    sweep, names = scene.sweep, scene.names
    points: list[dict[str, Any]] = [dict(point) for point in sweep.points()]
    if isinstance(sweep.search, OptunaSearch):
        points = [dict(trial.point) for trial in record.trials]
    if isinstance(sweep.scheduler, Pbt):
        points = [
            _as_it_stands(scene, {SLOT: number, **point}) for number, point in enumerate(points)
        ]
    planned: dict[str, PlannedTrial] = {}
    for point in points:
        trial_key, configuration = names(point)
        planned.setdefault(
            trial_key,
            PlannedTrial(trial_key=trial_key, point=point, configuration=configuration),
        )
    return list(planned.values())


def _as_it_stands(scene: _Scene, point: dict[str, Any]) -> dict[str, Any]:
    """A member's point as the population has changed it so far."""
    trial_key, _ = scene.names(point)
    found = scene.journal.trial(trial_key)
    if found is None:
        return point
    return {name: found.configuration.get(name, value) for name, value in point.items()}


# --- the best of them -----------------------------------------------------------------------------


def _confirm(scene: _Scene, book: SweepBook) -> None:
    """Register the best trials as drafts and let Nautilus replay each on the rows it was scored on."""
    sweep, task, place = scene.sweep, scene.task, scene.place
    best = [row for row in book.rows() if row.score is not None][: sweep.finalists]
    book.show("registering the best")
    tasks, seeds = list[EvaluationTask](), list[int]()
    for row in best:
        version_id, seed = _register(scene, book, row)
        seeds.append(seed)
        configuration = book.trial(row.trial_key).configuration
        tasks.append(
            EvaluationTask(
                home=place.home,
                store_url=place.store_url,
                dataset_id=scene.data.dataset.dataset_id,
                ask=EvaluateAsk(
                    period=period_of_folds(scene.data, scene.chosen, task.stretches[-1]),
                    version_id=version_id,
                    cash=Decimal(str(sweep.money.cash)),
                    size_quote=Decimal(str(sweep.money.size_quote)),
                    decision_threshold=float(
                        configuration.get("decision_threshold", sweep.decision_threshold)
                    ),
                    feature_limit=FEATURE_LIMIT,
                    most_missing_fraction=sweep.dataset.most_missing_fraction,
                ),
                rates=scene.data.rates,
                now_ms=book.record.started_ms,
            )
        )
    finalists: dict[int, Finalist] = {}

    def told(number: int, result: EvaluatedTask | Failed) -> None:
        if isinstance(result, Failed):
            raise SweepFailed(
                f"finalist {tasks[number].ask.version_id} could not be confirmed in Nautilus: "
                f"{result.error}; give --resume to try again"
            )
        finalists[number] = _finalist(best[number], seeds[number], result)
        book.show(f"confirmed {len(finalists)} of {len(tasks)} in Nautilus")

    book.show(f"confirming {len(tasks)} in Nautilus")
    try:
        run_tasks(
            evaluate_task,
            tasks,
            concurrent=sweep.budget.concurrent_trials,
            told=told,
            should_stop=book.should_stop,
        )
    except SweepFailed:
        book.end(SweepStatus.INTERRUPTED)
        raise
    kept = tuple(finalists[number] for number in sorted(finalists))
    book.keep(scene.journal.keep_sweep(replace(book.record, finalists=kept)))


def _register(scene: _Scene, book: SweepBook, row: LeaderboardRow) -> tuple[str, int]:
    """The draft of a trial, by the path of `desk train`, and its seed: the trial's best by the metric."""
    sweep, data, task = scene.sweep, scene.data, scene.task
    record = book.trial(row.trial_key)
    seed_number = _best_seed(record, sweep.mode)
    last = len(task.stretches) - 1
    tensors = scene.journal.policy(record, policy_file(seed_number, last))
    first, end = task.stretches[last].train
    period = period_of_rows(data, scene.chosen, first, end)
    ask = _train_ask(sweep, record, period, data, task.seeds[seed_number])
    trained_on, _ = snapshot(
        period.pair,
        period.interval,
        data.candles,
        data.features,
        start_ms=period.start_ms,
        end_ms=period.end_ms,
        signals=data.signals,
    )
    version = keep_trained(
        scene.place.home,
        scene.place.store,
        replace(ask, name=f"{sweep.name} {row.number}, rank {row.rank}"),
        trained_on,
        features=data.features,
        tensors=tensors,
        figures=_chosen_among(scene, book),
        made_ms=book.record.started_ms,
        now_ms=book.record.started_ms,
    )
    return version.version_id, task.seeds[seed_number]


def _chosen_among(scene: _Scene, book: SweepBook) -> dict[str, Any]:
    """What `actors.evidence.trials_of` reads of a card: every policy that was tried, stopped ones too."""
    tried = tried_policies(book.record.trials, scene.journal.trials(book.record))
    known = [one.sharpe for one in tried if isfinite(one.sharpe)]
    return {"trials": max(len(tried), 1), "trial_sharpes": known}


def _train_ask(
    sweep: TrainingSweep, record: TrialRecord, period: Period, data: SweepData, seed: int
) -> TrainAsk:
    """The ask by which `desk train` would have trained the policy, for the card."""
    configuration = record.configuration
    shaped = {name: configuration[name] for name in SHAPING if name in configuration}
    if "levels" in shaped:
        shaped["levels"] = tuple(shaped["levels"])
    return TrainAsk(
        period=period,
        feature_set_id=data.features.feature_set_id,
        training=training_spec(configuration, steps=record.total_steps, seed=seed),
        cash=sweep.money.cash,
        size_quote=sweep.money.size_quote,
        **shaped,
    )


def _best_seed(record: TrialRecord, mode: str) -> int:
    means = [sum(scores) / len(scores) for scores in record.points[-1].fold_scores]
    return means.index(min(means) if mode == "min" else max(means))


def _finalist(row: LeaderboardRow, seed: int, result: EvaluatedTask) -> Finalist:
    return Finalist(
        trial_key=row.trial_key,
        version_id=result.version_id,
        seed=seed,
        evaluation_id=result.evaluation_id,
        sharpe=result.sharpe,
        net_pnl_after_fees=result.net_pnl_after_fees,
        parity_max_abs_diff=result.parity_max_abs_diff,
        verdict=result.verdict,
        reasons=result.reasons,
    )
