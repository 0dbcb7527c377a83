"""What a sweep refuses before anything starts, and what it knows of earlier ones."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from actors.evaluation_sweep import run_evaluation_sweep
from actors.sweep_book import SweepBook, SweepView
from actors.sweep_data import SweepIds, TrialNames, load_data, task_of
from actors.sweeping import SweepFailed, run_training_sweep
from desk.clock import ManualClock
from desk.engines.trials import Trial
from desk.errors import BadInput
from desk.learning.sweep_file import parse_sweep
from desk.learning.sweep_results import PlannedTrial, SweepRecord, SweepStatus, TrialStatus
from desk.learning.sweeps import EvaluationSweep, TrainingSweep
from desk.market.candles import Candles
from desk.store import kinds
from desk.store.sweeps import SweepJournal
from desk.store.valkey import ValkeyStore
from tests.sweeps.conftest import Furnished
from tests.sweeps.homes import furnish, place_of, run_desk, small, write
from tests.sweeps.trainers import quick_train


def sweep_of(**changes: Any) -> TrainingSweep:
    found = parse_sweep(yaml.safe_dump(small(**changes)), "my.yaml", algorithms=("ppo",))
    assert isinstance(found, TrainingSweep)
    return found


def no_ray() -> AbstractContextManager[None]:
    raise AssertionError("Ray was to be started")


def run(furnished: Furnished, sweep: TrainingSweep, *, is_resumed: bool = False) -> SweepRecord:
    return run_training_sweep(
        furnished.place,
        sweep,
        file="my.yaml",
        is_resumed=is_resumed,
        start_ray=no_ray,
        clock=ManualClock(),
    )


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"dataset": {"id": "ds-none"}}, r"my.yaml: dataset.id: there is no dataset ds-none"),
    ({"dataset": {"pair": "ETH-USDT", "interval": "1m"}},
     r"my.yaml: dataset: none of ETH-USDT 1m was built: run `desk dataset build ETH-USDT"),
    ({"features": "v1-none"}, r"my.yaml: features: there is no feature set v1-none"),
    ({"validation": {"folds": 60, "train_fraction": 0.95}}, r"my.yaml: validation.folds: 60 folds"),
    ({"fixed": {"minibatch": 4096}}, r"my.yaml: minibatch: was 4096"),
    ({"budget": {"checkpoint_every_steps": 1000}}, r"my.yaml: budget.checkpoint_every_steps: was"),
    ({"fixed": {"episode_candles": 40_000}}, r"my.yaml: candles: .* expected a run of"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_refused_before_anything_is_written(
    furnished: Furnished, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        run(furnished, sweep_of(**changes))

    assert SweepJournal(furnished.place.home).sweeps() == []
    assert furnished.place.store.list(kinds.VERSIONS) == []


def test_a_changed_dataset_is_refused(furnished: Furnished) -> None:
    path = furnished.place.home / "datasets" / f"{furnished.dataset.dataset_id}.parquet"
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(BadInput, match=r"dataset.id: .* build it again"):
        run(furnished, sweep_of())


def test_a_resume_without_a_beginning_is_refused(furnished: Furnished) -> None:
    with pytest.raises(BadInput, match=r"--resume: no sweep small was begun: leave --resume out"):
        run(furnished, sweep_of(), is_resumed=True)


def begun(furnished: Furnished, sweep: TrainingSweep, status: SweepStatus) -> SweepRecord:
    """The record of a sweep, as one that ended so left it."""
    data = load_data(furnished.place, sweep.dataset, None, "my.yaml")
    ids = SweepIds.of(sweep, data)
    return SweepJournal(furnished.place.home).keep_sweep(
        SweepRecord(
            sweep_id=ids.sweep_id,
            name=sweep.name,
            kind="training",
            spec={},
            spec_sha256=ids.spec_sha256,
            dataset_id=data.dataset.dataset_id,
            data_sha256=ids.data_sha256,
            code_sha256=ids.code_sha256,
            feature_set_id=data.features.feature_set_id,
            metric=sweep.metric,
            mode=sweep.mode,
            status=status,
            started_ms=1,
            updated_ms=1,
        )
    )


def test_an_unfinished_sweep_is_only_gone_on_with_when_asked_to(furnished: Furnished) -> None:
    begun(furnished, sweep_of(), SweepStatus.INTERRUPTED)

    with pytest.raises(BadInput, match="is interrupted: give --resume to go on with it"):
        run(furnished, sweep_of())


def test_a_resume_says_what_changed_since(furnished: Furnished) -> None:
    begun(furnished, sweep_of(), SweepStatus.INTERRUPTED)

    with pytest.raises(BadInput, match=r"its file changed since small-"):
        run(furnished, sweep_of(seeds=[9]), is_resumed=True)


def test_a_sweep_that_is_done_is_returned_and_ray_is_not_started(furnished: Furnished) -> None:
    done = begun(furnished, sweep_of(), SweepStatus.DONE)

    assert run(furnished, sweep_of()) == done
    assert run(furnished, sweep_of(), is_resumed=True) == done


def test_latest_is_the_newest_that_was_built_and_never_what_a_training_left(
    furnished: Furnished,
) -> None:
    place, dataset = furnished.place, furnished.dataset
    left = replace(dataset, dataset_id="ds-left-by-a-training", detail={})
    place.store.put(kinds.DATASETS, left.dataset_id, left, at_ms=dataset.created_ms + 1)

    data = load_data(place, sweep_of().dataset, None, "my.yaml")

    assert data.dataset.dataset_id == dataset.dataset_id


def test_one_sweep_at_a_time_runs_on_a_home(furnished: Furnished) -> None:
    with (
        SweepJournal(furnished.place.home).only_one(),
        pytest.raises(BadInput, match="another one runs on this DESK_HOME"),
    ):
        run(furnished, sweep_of())


def test_the_key_of_a_trial_is_that_of_its_numbers_data_and_seeds(furnished: Furnished) -> None:
    data = load_data(furnished.place, sweep_of().dataset, None, "my.yaml")

    def key(sweep: TrainingSweep, rate: float) -> str:
        names = TrialNames(sweep=sweep, ids=SweepIds.of(sweep, data))
        return names({"learning_rate": rate})[0]

    one = key(sweep_of(), 0.001)
    assert key(sweep_of(budget={"trials": 9}), 0.001) == one
    assert key(sweep_of(name="other", finalists=0), 0.001) == one
    assert key(sweep_of(), 0.002) != one
    assert key(sweep_of(seeds=[8]), 0.001) != one
    assert key(sweep_of(budget={"steps_per_trial": 8192}), 0.001) != one
    cheaper = replace(data.period.instrument, taker_rate=data.period.instrument.maker_rate)
    other = replace(data, period=replace(data.period, instrument=cheaper))
    names = TrialNames(sweep=sweep_of(), ids=SweepIds.of(sweep_of(), other))
    assert names({"learning_rate": 0.001})[0] != one


def booked(furnished: Furnished, views: list[SweepView]) -> tuple[SweepBook, list[PlannedTrial]]:
    """A book over two trials, of which the first was trained."""
    sweep = sweep_of(fixed={"hidden": [8]})
    record = begun(furnished, sweep, SweepStatus.RUNNING)
    data = load_data(furnished.place, sweep.dataset, None, "my.yaml")
    ids = SweepIds.of(sweep, data)
    names = TrialNames(sweep=sweep, ids=ids)
    task, _ = task_of(furnished.place.home, sweep, data, ids, "my.yaml")
    planned = [
        PlannedTrial(trial_key=names(point)[0], point=point, configuration=names(point)[1])
        for point in sweep.points()
    ]
    trial = Trial(replace(task, train=quick_train), planned[0].trial_key, planned[0].configuration)
    while not trial.is_over:
        trial.advance()
    book = SweepBook(
        SweepJournal(furnished.place.home),
        record,
        total_steps=4_096,
        expected_trials=2,
        wall_s=600.0,
        clock=ManualClock(),
        tell=views.append,
        cancelled=lambda: len(views) > 3,
    )
    return book, planned


def test_the_book_ranks_whole_trials_first_and_counts_every_policy(furnished: Furnished) -> None:
    views: list[SweepView] = []
    book, planned = booked(furnished, views)

    book.plan(planned)
    assert [book.is_ended(trial.trial_key) for trial in planned] == [True, False]
    book.started(planned[1])
    book.ended(planned[1].trial_key)

    statuses = {trial.trial_key: trial.status for trial in book.record.trials}
    assert statuses[planned[0].trial_key] is TrialStatus.DONE
    assert statuses[planned[1].trial_key] is TrialStatus.STOPPED
    assert [row.number for row in book.rows()] == [1, 2]
    assert (views[-1].done, views[-1].total) == (8_192, 8_192)
    journal = SweepJournal(furnished.place.home)
    assert journal.sweep(book.record.sweep_id) == book.record
    tried = journal.trials_of(book.record.sweep_id)
    assert [(one.seed, len(one.block_returns)) for one in tried] == [(7, 64)]


def test_a_cancelled_sweep_leaves_its_trials_to_be_gone_on_with(furnished: Furnished) -> None:
    views: list[SweepView] = []
    book, planned = booked(furnished, views)
    book.plan(planned)
    while not book.should_stop():
        book.show("training")

    book.ended(planned[1].trial_key)

    assert book.stopped_as is SweepStatus.INTERRUPTED
    statuses = {trial.trial_key: trial.status for trial in book.record.trials}
    assert statuses[planned[1].trial_key] is TrialStatus.RUNNING


def run_cells(furnished: Furnished, **changes: Any) -> SweepRecord:
    """A sweep of evaluations of a version that there is not."""
    asked = {
        "name": "cells",
        "kind": "evaluation",
        "dataset": {"pair": "BTC-USDT", "interval": "1m"},
        "versions": ["nobody"],
        "decision_thresholds": [0.5],
        "wall_minutes": 1,
    }
    sweep = parse_sweep(yaml.safe_dump(asked | changes), "my.yaml", algorithms=("ppo",))
    assert isinstance(sweep, EvaluationSweep)
    return run_evaluation_sweep(
        furnished.place,
        sweep,
        file="my.yaml",
        is_resumed=False,
        start_ray=nullcontext,
        clock=ManualClock(),
    )


def test_an_evaluation_sweep_names_the_version_there_is_not(furnished: Furnished) -> None:
    with pytest.raises(BadInput, match="versions: there is no version nobody"):
        run_cells(furnished)


def test_a_dataset_with_too_many_holes_is_refused_before_ray_and_so_is_a_part_of_it(
    store: ValkeyStore, walk: Callable[..., Candles], tmp_path: Path
) -> None:
    """16 of 1,700 candles are few enough, but not on the 680 that the best is confirmed on."""
    candles = walk(2_000, seed=5)
    kept = ~np.isin(np.arange(2_000), np.arange(1_700, 1_716))
    dataset = furnish(tmp_path, store, candles.take(kept))
    place = Furnished(place=place_of(tmp_path, store), dataset=dataset)
    wide = {"pair": "BTC-USDT", "interval": "1m", "most_missing_fraction": 0.1}
    strict = wide | {"most_missing_fraction": 0.009}

    with pytest.raises(BadInput, match="had 16 of 1700 candles missing, the first at 2023"):
        run(place, sweep_of(dataset=strict))
    with pytest.raises(BadInput, match=r"my.yaml: .*had 16 of \d{3} candles missing"):
        run(place, sweep_of())
    with pytest.raises(BadInput, match="had 16 of 850 candles missing"):
        run_cells(place, periods=2, versions=["baseline-trend-v1"])
    assert SweepJournal(tmp_path).sweeps() == []
    with pytest.raises(SweepFailed, match="Ray was to be started"):
        run(place, sweep_of(dataset=wide))
    with pytest.raises(BadInput, match="versions: there is no version nobody"):
        run_cells(place, periods=2, dataset=wide)


def test_the_command_refuses_a_bad_file_with_status_two_and_starts_nothing(home: Path) -> None:
    path = write(home / "bad.yaml", small(budget={"trials": 0}))

    refused = run_desk(home, "tune", str(path))

    assert refused.returncode == 2
    assert f"desk: {path}: budget.trials: was 0" in refused.stderr
    assert sorted(found.name for found in home.iterdir()) == ["bad.yaml"]


def test_the_command_prints_the_schema(home: Path) -> None:
    printed = run_desk(home, "tune", "--schema")

    assert json.loads(printed.stdout)["title"] == "A sweep of Raydesk"
