"""A run that its data paused goes on by itself, where the operator chose so and every gate is passed."""

from dataclasses import replace

from actors.alerts import resolve_alert
from actors.audit import Audit
from actors.decision_scene import read_scene
from actors.market_time import MarketClock
from actors.run_book import RunBook
from actors.store_calls import stored
from desk import ids, runs
from desk.runs import Run, RunStatus
from desk.store import kinds
from desk.store.places import Home
from desk.store.port import Store


async def lift_pause(
    store: Store, clock: MarketClock, run: Run, *, enforce_provenance: bool, home: Home
) -> bool:
    """Let a paused run decide again from the next candle on, if it may; whether it does now.

    Candles that closed while it was paused are not decided on. An operator who moves the run at the
    same time comes first.
    """
    agent = await stored(lambda: store.get(kinds.AGENTS, run.agent_id))
    if agent is None or not runs.may_lift(run, agent.value):
        return False
    awake = replace(run, status=RunStatus.RUNNING)
    scene = await stored(
        lambda: read_scene(
            store,
            awake,
            now_ms=clock.now_ms(),
            speed=clock.anchor.speed,
            enforce_provenance=enforce_provenance,
            home=home,
        )
    )
    if not isinstance(scene.admission, runs.Admitted):
        return False
    newest_ms, reason = int(scene.window.open_ms[-1]), run.pause_reason

    def lifted(row: Run) -> Run:
        if row.status is not RunStatus.PAUSED or row.pause_reason != reason:
            return row
        return replace(runs.resume(row), last_decided_open_ms=newest_ms)

    after = await RunBook(store, clock).change(run.run_id, lifted)
    if after.status is not RunStatus.RUNNING:
        return False
    now_ms = clock.now_ms()
    await stored(lambda: resolve_alert(store, f"{reason}:{run.run_id}", at_ms=now_ms))
    await Audit(store, clock).note(
        "run.lifted",
        f"run/{run.run_id}",
        actor="decision_loop",
        trace_id=ids.trace_id("lift", run.run_id, newest_ms),
        before={"status": run.status.value, "pause_reason": reason},
        after={"status": after.status.value, "rule": agent.value.data_pause_lift.value},
    )
    return True
