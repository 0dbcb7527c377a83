"""Evaluations as tasks in other processes: what they leave, how they fail, and what three hundred cost."""

import os
from typing import Any

import pytest
import yaml

from actors.evaluation_sweep import run_evaluation_sweep
from actors.sweep_data import SweepPlace
from actors.version_registry import ensure_baseline
from bench import evaluation_tasks as bench
from desk.clock import ManualClock
from desk.engines.learning_process import NICENESS
from desk.engines.private_ray import private_ray
from desk.engines.tasks import Failed, run_tasks
from desk.errors import BadInput
from desk.learning.sweep_file import parse_sweep
from desk.learning.sweep_results import SweepRecord, SweepStatus
from desk.learning.sweeps import EvaluationSweep
from desk.store import kinds
from tests.sweeps.conftest import Furnished


def cells(**changes: Any) -> EvaluationSweep:
    asked = {
        "name": "cells",
        "kind": "evaluation",
        "dataset": {"pair": "BTC-USDT", "interval": "1m"},
        "versions": ["baseline-trend-v1"],
        "decision_thresholds": [0.4, 0.6],
        "periods": 2,
        "wall_minutes": 10,
    }
    found = parse_sweep(yaml.safe_dump({**asked, **changes}), "my.yaml", algorithms=("ppo",))
    assert isinstance(found, EvaluationSweep)
    return found


def run(place: SweepPlace, sweep: EvaluationSweep, start_ray: Any = private_ray) -> SweepRecord:
    return run_evaluation_sweep(
        place,
        sweep,
        file="my.yaml",
        is_resumed=False,
        start_ray=start_ray,
        clock=ManualClock(),
    )


def refused_to_start() -> Any:
    raise AssertionError("Ray was to be started")


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
@pytest.mark.timeout(600)  # a fresh process imports Nautilus
def test_cells_are_evaluated_once_whatever_sweep_asks_for_them(furnished: Furnished) -> None:
    place = furnished.place
    ensure_baseline(place.home, place.store, "desk", 1)

    first = run(place, cells())
    fewer = run(place, cells(name="fewer", decision_thresholds=[0.6]), refused_to_start)

    assert first.status is SweepStatus.DONE
    assert [one.decision_threshold for one in first.results] == [0.4, 0.4, 0.6, 0.6]
    assert len({one.evaluation_id for one in first.results}) == 4
    assert all(float(one.parity_max_abs_diff) <= 0.01 for one in first.results)
    assert place.store.get(kinds.EVALUATIONS, first.results[0].evaluation_id) is not None
    dataset = furnished.dataset
    bounds = [(one.start_ms, one.end_ms) for one in first.results[:2]]
    assert (bounds[0][0], bounds[1][1]) == (dataset.start_ms, dataset.end_ms)
    assert bounds[0][1] == bounds[1][0]
    assert fewer.results == first.results[2:]


def half(number: int) -> int:
    if number % 2:
        raise BadInput("number", f"was {number}, expected an even one")
    return number // 2


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_an_error_of_one_task_is_told_and_the_others_go_on() -> None:
    heard: dict[int, int | Failed] = {}

    went_on = run_tasks(half, [2, 3, 4], concurrent=2, told=heard.__setitem__)

    assert went_on
    assert heard == {
        0: 1,
        1: Failed(error="number: was 3, expected an even one"),
        2: 2,
    }
    assert not run_tasks(half, [2], concurrent=1, told=heard.__setitem__, should_stop=lambda: True)


def stands_behind(_number: int) -> tuple[bool, int]:
    return os.getsid(0) == os.getpid(), os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_a_task_lets_trading_go_first() -> None:
    heard: dict[int, tuple[bool, int] | Failed] = {}

    assert run_tasks(stands_behind, [0, 1], concurrent=2, told=heard.__setitem__)

    assert heard == dict.fromkeys((0, 1), (True, NICENESS))


def grown_by(size: int) -> int:
    return len(bytearray(size))


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_a_task_that_wants_more_than_its_share_of_memory_fails_alone() -> None:
    heard: dict[int, int | Failed] = {}
    # The machine would give it: the budget is half of what it has.
    most_of_it = 3 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4

    assert run_tasks(grown_by, [7, most_of_it, 9], concurrent=1, told=heard.__setitem__)

    refused = heard.pop(1)
    assert isinstance(refused, Failed)
    assert "the task needed more than its" in refused.error
    assert heard == {0: 7, 2: 9}


@pytest.mark.nightly
@pytest.mark.timeout(7_200)
def test_three_hundred_evaluations_in_a_row_leave_each_process_as_large_as_it_was() -> None:
    """`RAYDESK_EVALUATIONS` says how many; `make bench` tells the figure."""
    growth, count = next(
        (figure.ours, figure.notes["processes"])
        for figure in bench.figures()
        if "resident memory" in figure.name
    )

    assert count == bench.PROCESSES
    assert growth <= bench.GROWTH_GOAL


def test_growth_is_from_settled_to_last_of_the_worst_process() -> None:
    steady = [100] * 50
    grown = [50] * 5 + [100] * 25 + [110] * 20

    def done(pid: int, sizes: list[int]) -> list[Any]:
        return [type("Done", (), {"pid": pid, "resident_bytes": size})() for size in sizes]

    growth, count = bench.memory_growth(done(1, steady) + done(2, grown))

    assert growth == pytest.approx(0.1)
    assert count == 2
