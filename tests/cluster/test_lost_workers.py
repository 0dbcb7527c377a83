"""What is no longer restarted: an actor in a crash loop, and a training that is taken up again."""

import asyncio
import os
import signal

import pytest

from actors.job_book import JobBook
from actors.learning_jobs import cancel_job, period_of, start_training
from actors.names import RECONCILER, SUPERVISOR, Door
from actors.seed import AGENT_ID
from actors.supervisor import Release
from actors.training import TrainAsk
from actors.watch import MAX_RESTARTS
from desk.clock import DAY_MS, HOUR_MS, ManualClock
from desk.engines.rllib import TrainingSpec
from desk.runs import JobStatus, RunStatus
from desk.store import kinds
from tests.cluster.desk_on_ray import RunningDesk, eventually
from tests.processes import processes_named

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
