"""A sweep of evaluations: stored versions x thresholds x periods, each a task of its own in Nautilus."""

import itertools
from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal

import numpy as np

from actors.evaluation import EvaluateAsk
from actors.evaluation_tasks import EvaluatedTask, EvaluationTask, evaluate_task
from actors.study_period import Period
from actors.sweep_book import SweepView, TellSweep
from actors.sweep_data import SweepData, SweepIds, SweepPlace
from actors.sweeping import StartRay, SweepFailed, check_resume, found_data
from actors.version_registry import version_of
from desk.clock import Clock
from desk.engines.tasks import Failed, run_tasks
from desk.errors import BadInput, NotFound
from desk.learning.sweep_results import (
    SweepRecord,
    SweepStatus,
    TaskResult,
    overfitting_of_results,
    trial_key_of,
)
from desk.learning.sweeps import EvaluationSweep
from desk.market.interval import interval_ms
from desk.store.sweeps import SweepJournal
from desk.wallclock import monotonic_s


def run_evaluation_sweep(
    place: SweepPlace,
    sweep: EvaluationSweep,
    *,
    file: str,
    is_resumed: bool,
    start_ray: StartRay,
    clock: Clock,
    tell: TellSweep = lambda view: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> SweepRecord:
    """Evaluate what is not in the journal yet; the record says how far it came.

    A task is a function of version, threshold, period, data and code: one that was done, in whatever
    sweep, is not done again. Raises as `run_training_sweep` does; `SweepFailed` names the first task
    that could not be evaluated, the others' results are kept.
    """
    journal = SweepJournal(place.home)
    with journal.only_one():
        data, ids = found_data(journal, place, sweep, None, file, is_resumed=is_resumed)
        record = journal.sweep(ids.sweep_id)
        if record is not None and record.is_done:
            return record
        check_resume(journal, record, sweep.name, ids, is_resumed=is_resumed)
        tasks = _tasks(place, sweep, data, ids, file)
        now_ms = clock.now_ms()
        record = journal.keep_sweep(_begun(record, sweep, data, ids, now_ms))
        results = {key: known for key in tasks if (known := journal.task(key)) is not None}
        waiting = [(key, task) for key, task in tasks.items() if key not in results]
        failures: list[str] = []
        until_s = monotonic_s() + sweep.wall_minutes * 60.0
        stopped_as: list[SweepStatus] = []

        def show(stage: str) -> None:
            tell(
                SweepView(
                    sweep_id=ids.sweep_id,
                    stage=stage,
                    rows=(),
                    overfitting=None,
                    done=float(len(results)),
                    total=float(len(tasks)),
                    unit="evaluations",
                )
            )

        def told(number: int, result: EvaluatedTask | Failed) -> None:
            key = waiting[number][0]
            if isinstance(result, Failed):
                failures.append(f"{waiting[number][1].ask.version_id}: {result.error}")
                return
            results[key] = _result(key, result)
            journal.keep_task(results[key])
            show("evaluating")

        def should_stop() -> bool:
            if not stopped_as and cancelled():
                stopped_as.append(SweepStatus.INTERRUPTED)
            if not stopped_as and monotonic_s() >= until_s:
                stopped_as.append(SweepStatus.OUT_OF_TIME)
            return bool(stopped_as)

        if waiting:
            show("starting Ray")
            with start_ray():
                run_tasks(
                    evaluate_task,
                    [task for _, task in waiting],
                    concurrent=sweep.concurrent_tasks,
                    told=told,
                    should_stop=should_stop,
                )
        ordered = tuple(results[key] for key in tasks if key in results)
        status = SweepStatus.INTERRUPTED if failures else SweepStatus.DONE
        ended = replace(
            record,
            status=stopped_as[0] if stopped_as else status,
            results=ordered,
            overfitting=overfitting_of_results(ordered),
            updated_ms=clock.now_ms(),
        )
        record = journal.keep_results(ended)
        show(record.status.value)
        if failures:
            raise SweepFailed(
                f"{len(failures)} of {len(tasks)} evaluations failed, the first: {failures[0]}; the "
                "others are journaled: correct the cause and give --resume"
            )
        return record


def _tasks(
    place: SweepPlace, sweep: EvaluationSweep, data: SweepData, ids: SweepIds, file: str
) -> dict[str, EvaluationTask]:
    """Every task by its key, in the order versions, thresholds, periods."""
    tasks: dict[str, EvaluationTask] = {}
    periods = _periods(data, sweep, file)
    for version_id in sweep.versions:
        try:
            version = version_of(place.store, version_id)
        except NotFound as refused:
            raise BadInput(
                file, f"versions: {refused}: `desk versions` lists those there are"
            ) from refused
        for threshold in sweep.decision_thresholds:
            for period in periods:
                asked = {
                    "version": version_id,
                    "artifact": version.artifact_sha256,
                    "threshold": threshold,
                    "start_ms": period.start_ms,
                    "end_ms": period.end_ms,
                    **_account_of(sweep),
                }
                key = trial_key_of(asked, ids.data_sha256, ids.code_sha256)
                key = key.replace("trial-", "task-", 1)
                tasks[key] = EvaluationTask(
                    home=place.home,
                    store_url=place.store_url,
                    dataset_id=data.dataset.dataset_id,
                    ask=EvaluateAsk(
                        period=period,
                        version_id=version_id,
                        cash=Decimal(str(sweep.money.cash)),
                        size_quote=Decimal(str(sweep.money.size_quote)),
                        decision_threshold=threshold,
                        most_missing_fraction=sweep.dataset.most_missing_fraction,
                    ),
                    rates=data.rates,
                    now_ms=data.dataset.created_ms,
                )
    return tasks


def _account_of(sweep: EvaluationSweep) -> dict[str, float]:
    """The account of a sweep's evaluations."""
    return {"cash": sweep.money.cash, "size_quote": sweep.money.size_quote}


def _periods(data: SweepData, sweep: EvaluationSweep, file: str) -> list[Period]:
    """The dataset's range in equal contiguous parts, whole candles each. Raises `BadInput` for too many
    of them, and for one with too many holes."""
    dataset, count = data.dataset, sweep.periods
    step = interval_ms(dataset.interval)
    rows = (dataset.end_ms - dataset.start_ms) // step
    if rows < 2 * count:
        raise BadInput(file, f"periods: was {count} for {rows} candles: take at most {rows // 2}")
    bounds = np.linspace(0, rows, count + 1).round().astype(int).tolist()
    ends = [dataset.start_ms + bound * step for bound in bounds]
    periods = [
        replace(data.period, start_ms=start_ms, end_ms=end_ms)
        for start_ms, end_ms in itertools.pairwise(ends)
    ]
    try:
        for period in periods:
            period.check_gaps(data.candles, sweep.dataset.most_missing_fraction)
    except BadInput as wrong:
        raise BadInput(file, f"dataset: {wrong}") from wrong
    return periods


def _begun(
    record: SweepRecord | None,
    sweep: EvaluationSweep,
    data: SweepData,
    ids: SweepIds,
    now_ms: int,
) -> SweepRecord:
    begun = record or SweepRecord(
        sweep_id=ids.sweep_id,
        name=sweep.name,
        kind=sweep.kind,
        spec=sweep.model_dump(mode="json"),
        spec_sha256=ids.spec_sha256,
        dataset_id=data.dataset.dataset_id,
        data_sha256=ids.data_sha256,
        code_sha256=ids.code_sha256,
        feature_set_id=data.features.feature_set_id,
        metric="sharpe",
        mode="max",
        status=SweepStatus.RUNNING,
        started_ms=now_ms,
        updated_ms=now_ms,
    )
    return replace(begun, status=SweepStatus.RUNNING, updated_ms=now_ms)


def _result(task_key: str, done: EvaluatedTask) -> TaskResult:
    own = {"reasons", "pid", "resident_bytes"}
    figures = {name: value for name, value in asdict(done).items() if name not in own}
    return TaskResult(task_key=task_key, **figures)
