"""Learning cycles on record: opened one at a time for an agent, moved by their rules, paused and resumed."""

from dataclasses import replace
from functools import partial

from actors.events import ops_event
from actors.promotion import PAGE
from actors.store_calls import stored
from desk import ids
from desk.clock import MINUTE_MS
from desk.errors import BadInput, NotFound
from desk.ids import Pair
from desk.learning.cycles import (
    CycleStatus,
    LearningCycle,
    LearningWindow,
    moved,
    plan_cycle,
)
from desk.market.features import FEATURES_V1
from desk.market.interval import Interval
from desk.runs import Run, RunStatus
from desk.store import kinds
from desk.store.port import Doc, DocStore, Event

PAUSED_KEY = "learning_paused"
DECISION_INTERVAL = "1m"
ACTIVE = (RunStatus.STARTING, RunStatus.RUNNING, RunStatus.PAUSED)


def paused_reason(store: DocStore) -> str | None:
    """Why no cycle goes on; None: they do."""
    found = store.get(kinds.STATE, PAUSED_KEY)
    if found is None or not found.value["paused"]:
        return None
    return str(found.value["reason"])


def set_paused(store: DocStore, reason: str | None, *, at_ms: int) -> None:
    """Let no cycle take its next step, with a reason, or let them go on. Trading never notices, and
    what is being trained goes on to its end."""
    fact = {"paused": reason is not None, "reason": reason or ""}
    event = ops_event("learning", "all", fact, at_ms=at_ms)
    store.put(kinds.STATE, PAUSED_KEY, fact, at_ms=at_ms, event=event)


def learning_runs(store: DocStore) -> list[Run]:
    """Every agent's newest run that has not ended and learns."""
    found: dict[str, Run] = {}
    for doc in store.list(kinds.RUNS, limit=PAGE):
        run = doc.value
        if run.learning_enabled and run.status in ACTIVE:
            found.setdefault(run.agent_id, run)
    return list(found.values())


def window_of(run: Run | None, window: LearningWindow) -> LearningWindow:
    """The learning window of a run, which may have been started with a training window of its own."""
    if run is None or run.learning_window_minutes is None:
        return window
    return replace(window, train_window_min=run.learning_window_minutes)


def newest_cycle(store: DocStore, agent_id: str) -> LearningCycle | None:
    """The cycle that was opened last for an agent."""
    head = store.get(kinds.STATE, _head_key(agent_id))
    found = store.get(kinds.LEARNING_CYCLES, str(head.value["cycle_id"])) if head else None
    return found.value if found else None


def next_due_ms(store: DocStore, run: Run, window: LearningWindow) -> int:
    """When a run's next cycle may begin; a run that has had none may begin one at once."""
    newest = newest_cycle(store, run.agent_id)
    return newest.created_ms + window.every_min * MINUTE_MS if newest else 0


def open_cycle(
    store: DocStore,
    agent_id: str,
    pair: Pair,
    run: Run | None,
    window: LearningWindow,
    *,
    now_ms: int,
    requested_by: str,
    trace_id: str = "",
) -> LearningCycle:
    """Write a new cycle down; the observer carries it out.

    Raises `NotFound`, `BadInput` while learning is paused or another cycle of the agent is under way,
    or where no candles are stored, and `VersionConflict` when another one came first.
    """
    agent = store.get(kinds.AGENTS, agent_id)
    if agent is None:
        raise NotFound("agent", agent_id)
    if (why := paused_reason(store)) is not None:
        raise BadInput("learning", f"is paused ({why or 'operator'}): resume it first")
    if pair not in agent.value.allowed_instruments:
        allowed = " ".join(agent.value.allowed_instruments)
        raise BadInput("pair", f"was {pair}, expected one that the agent may trade: {allowed}")
    newest = newest_cycle(store, agent_id)
    if newest is not None and not newest.is_ended:
        raise BadInput(
            "agent_id", f"cycle {newest.cycle_id} is {newest.status.value}: wait until it has ended"
        )
    interval: Interval = run.interval if run else DECISION_INTERVAL
    cycle = LearningCycle(
        cycle_id="cyc" + ids.request_id("cycle", agent_id, pair, now_ms, trace_id)[2:14],
        agent_id=agent_id,
        run_id=run.run_id if run else "",
        pair=pair,
        interval=interval,
        feature_set_id=(run.feature_set_id if run else "") or FEATURES_V1.feature_set_id,
        window=window,
        plan=plan_cycle(window, now_ms, interval),
        champion_id=agent.value.active_version_id,
        status=CycleStatus.PLANNED,
        created_ms=now_ms,
        updated_ms=now_ms,
        requested_by=requested_by,
    )
    head = store.get(kinds.STATE, _head_key(agent_id))
    store.put(
        kinds.STATE,
        _head_key(agent_id),
        {"cycle_id": cycle.cycle_id},
        at_ms=now_ms,
        expected_version=head.version if head else 0,
    )
    store.put(
        kinds.LEARNING_CYCLES,
        cycle.cycle_id,
        cycle,
        at_ms=now_ms,
        expected_version=0,
        event=_event(cycle, trace_id),
    )
    return cycle


async def save(
    store: DocStore, doc: Doc[LearningCycle], after: LearningCycle
) -> Doc[LearningCycle]:
    """Store a cycle that moved on from where it was read. Raises `VersionConflict`."""
    put = partial(
        store.put,
        kinds.LEARNING_CYCLES,
        doc.key,
        after,
        at_ms=doc.at_ms,
        expected_version=doc.version,
        event=_event(after) if after.status is not doc.value.status else None,
        request_id=ids.request_id("cycle", doc.key, doc.version, after.status.value),
    )
    return await stored(put)


async def step(
    store: DocStore,
    doc: Doc[LearningCycle],
    status: CycleStatus,
    *,
    now_ms: int,
    **changes: object,
) -> Doc[LearningCycle]:
    """Move a cycle by its rules and store it."""
    return await save(store, doc, moved(doc.value, status, now_ms=now_ms, **changes))


def _head_key(agent_id: str) -> str:
    return f"learning:{agent_id}"


def _event(cycle: LearningCycle, trace_id: str = "") -> Event:
    return ops_event(
        "learning",
        cycle.cycle_id,
        {
            "cycle_id": cycle.cycle_id,
            "agent_id": cycle.agent_id,
            "pair": cycle.pair,
            "status": cycle.status.value,
            "challenger_id": cycle.challenger_id,
            "champion_id": cycle.champion_id,
            "reasons": list(cycle.reasons),
        },
        at_ms=cycle.updated_ms,
        trace_id=trace_id,
    )
