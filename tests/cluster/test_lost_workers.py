"""What is no longer restarted: an actor in a crash loop, and a training that is taken up again."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from actors.job_book import JobBook
from actors.learning_jobs import cancel_job, period_of, start_training
from actors.names import DECISION_LOOP, RECONCILER, SUPERVISOR, Door
from actors.seed import AGENT_ID
from actors.supervisor import Release
from actors.training import TrainAsk
from actors.watch import MAX_RESTARTS
from desk.clock import DAY_MS, HOUR_MS, ManualClock
from desk.engines.memory_budget import budget_bytes
from desk.engines.rllib import MakeEnv, TrainingSpec
from desk.engines.stretches import Stretch
from desk.learning.sweep_results import PlannedTrial
from desk.market.candles import Candles
from desk.runs import JobStatus, RunStatus
from desk.store import kinds
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.processes import processes_named
from tests.sweeps.tasks import task_on
from tests.sweeps.test_tuning_on_ray import Heard, Keys, sweep_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.mark.catalogue("I07")
def test_I07_a_killed_training_is_taken_up_again_and_trading_goes_on(desk: RunningDesk) -> None:
    clock = desk.store.get(kinds.STATE, "clock")
    assert clock is not None
    end_ms = int(clock.value["market_ms"]) // HOUR_MS * HOUR_MS
    period = period_of(desk.store, "BTC-USDT", "1m", end_ms - DAY_MS // 2, end_ms)
    ask = TrainAsk(
        period=period,
        training=TrainingSpec(steps=100_000_000, lanes=64, minibatch=1024, hidden=(16,)),
        episode_candles=200,
        checkpoint_every_updates=1,
    )
    decided = len(desk.decisions())
    market = ManualClock(end_ms)
    job = start_training(desk.wiring, desk.store, ask, clock=market)
    book = JobBook(desk.store, job.job_id, market)
    (pid,) = eventually(lambda: processes_named("ray::Trainer"), what="a trainer's process")
    eventually(lambda: book.job.figures.get("updates", 0) >= 2, within_s=120, what="two updates")

    os.kill(pid, signal.SIGKILL)

    def goes_on() -> bool:
        return book.job.figures.get("resumed_from_steps", 0) > 0

    eventually(goes_on, within_s=120, what="a training that goes on from its checkpoint")
    assert [other for other in processes_named("ray::Trainer") if other != pid]
    cancel_job(desk.store, job.job_id, clock=market)
    eventually(lambda: not processes_named("ray::Trainer"), within_s=60, what="an end of the work")
    assert book.job.status is JobStatus.CANCELLED
    eventually(lambda: len(desk.decisions()) > decided + 2, what="new decisions")


@pytest.mark.catalogue("I19")
def test_I19_a_crash_loop_ends_in_quarantine_a_paused_run_and_an_alert(
    desk: RunningDesk,
) -> None:
    name = RECONCILER.of("paper")
    eventually(lambda: desk.is_back(name, 0), what="a reconciler")

    def status() -> str:
        row = desk.store.get(kinds.ACTORS, name)
        return row.value.status if row is not None else ""

    kills = 0
    while status() != "quarantined":
        assert kills < 3 * MAX_RESTARTS, "never quarantined"
        old_pid = desk.kill(name)
        kills += 1
        eventually(
            lambda: desk.is_back(name, old_pid) or status() == "quarantined",  # noqa: B023
            what="the next process, or none",
        )

    eventually(lambda: desk.run_row().status is RunStatus.PAUSED, what="a paused run")
    alerts = [doc.value for doc in desk.store.list(kinds.ALERTS)]
    assert kills > MAX_RESTARTS
    assert desk.run_row().pause_reason == f"quarantined:{name}"
    assert [alert.detail for alert in alerts if alert.code == "actor_quarantined"]
    last_pid = desk.pid_of(name)
    release(desk, name)
    eventually(lambda: desk.is_back(name, last_pid), what="a released reconciler")
    assert desk.run_row().status is RunStatus.PAUSED
    desk.command(lambda desk: desk.resume_run(AGENT_ID, "mended", actor="test", trace_id="tr-r"))


def release(desk: RunningDesk, name: str) -> None:
    door = Door(SUPERVISOR, "", namespace=desk.wiring.namespace)
    ask = Release(name=name)
    asyncio.run(door.ask(lambda actor: actor.release.remote(ask), within_s=15))


@dataclass(frozen=True, slots=True)
class Hungry:
    """Trains by wanting more than any process of a sweep may have."""

    def __call__(self, make_env: MakeEnv, spec: TrainingSpec, **given: Any) -> Stretch:
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        wanted = bytearray(budget_bytes(machine_bytes, ""))  # asked for, never touched
        raise AssertionError(f"was given {len(wanted)} bytes")


@pytest.mark.catalogue("I16")
def test_I16_a_trial_beyond_its_memory_fails_with_a_clear_error_and_the_run_trades_on(
    desk: RunningDesk, walk: Callable[..., Candles], tmp_path: Path
) -> None:
    eventually(lambda: desk.run_row().status is RunStatus.RUNNING, what="a run that trades")
    loop = DECISION_LOOP.of(desk.run_id)
    eventually(lambda: desk.is_back(loop, 0) and desk.decisions(), what="its decisions")
    pids = {doc.key: doc.value.pid for doc in desk.store.list(kinds.ACTORS)}
    decided = len(desk.decisions())
    from desk.engines.tuning import run_trials

    task = replace(task_on(walk(2_000, seed=5), tmp_path), train=Hungry())
    heard = Heard()

    point = {"learning_rate": 1e-3}
    trial_key, configuration = Keys()(point)
    planned = PlannedTrial(trial_key=trial_key, point=point, configuration=configuration)
    sweep = sweep_of(budget={"trials": 1})
    run_trials(sweep, task, [planned], heard, keys=Keys(), folder=tmp_path / "tune")

    (error,) = heard.errors.values()
    assert "the trial needed more than its" in error
    assert "GiB of memory: take fewer lanes" in error
    assert heard.points == []
    eventually(lambda: len(desk.decisions()) > decided + 2, what="new decisions")
    assert {doc.key: doc.value.pid for doc in desk.store.list(kinds.ACTORS)} == pids
