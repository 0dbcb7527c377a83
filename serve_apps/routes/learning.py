"""Continuous learning: how it stands, what it did, one cycle now, and its pause."""

from typing import Annotated

from fastapi import APIRouter, Query

from actors.audit import note
from actors.learning_book import (
    ACTIVE,
    learning_runs,
    open_cycle,
    paused_reason,
    set_paused,
    window_of,
)
from actors.sweep_job import SWEEP
from desk.errors import BadInput
from desk.ids import parse_pair
from desk.runs import Run
from desk.store import kinds
from desk.store.port import DocStore
from serve_apps import lookups
from serve_apps.context import By, Caller, Context, Ctx
from serve_apps.paging import Paged, page_of
from serve_apps.problems import MISSING
from serve_apps.requests import LearningRunBody, ReasonBody
from serve_apps.schemas import JobView, Page
from serve_apps.views.agents import job_view
from serve_apps.views.learning import (
    CycleView,
    LearningStatus,
    cycle_view,
    learning_run_view,
    window_view,
)

SHOWN_SWEEPS = 3
KNOWN_JOBS = 200
"""Newest jobs among which they are looked for."""
router = APIRouter(tags=["learning"])


@router.get("/ops/learning/status")
def read_learning(ctx: Ctx) -> LearningStatus:
    """Show the learning window, the runs that learn, and the cycles under way."""
    return _status(ctx)


@router.get("/ops/learning/history")
def list_cycles(
    ctx: Ctx, page: Paged, agent_id: Annotated[str | None, Query(max_length=64)] = None
) -> Page[CycleView]:
    """List learning cycles, newest first, with what became of each."""
    docs, following = page_of(
        ctx.store,
        kinds.LEARNING_CYCLES,
        page,
        keep=lambda cycle: agent_id in {None, cycle.agent_id},
    )
    return Page(items=[cycle_view(ctx.store, doc) for doc in docs], next_cursor=following)


@router.post("/ops/learning/run", status_code=202, responses=MISSING)
def run_cycle(ctx: Ctx, by: By, body: LearningRunBody | None = None) -> CycleView:
    """Begin a learning cycle now, whatever the schedule says; 422 while one is under way."""
    asked = body or LearningRunBody()
    agent = lookups.agent(ctx.store, asked.agent_id).value
    run = _run_of(ctx.store, agent.agent_id, parse_pair(asked.pair) if asked.pair else None)
    pairs = agent.allowed_instruments
    pair = run.pair if run else parse_pair(asked.pair) if asked.pair else None
    if pair is None:
        if len(pairs) != 1:
            raise BadInput("pair", f"was left out, expected one of {' '.join(pairs)}")
        pair = pairs[0]
    if ctx.candles.bounds(pair, run.interval if run else "1m") is None:
        raise BadInput("pair", f"{pair} has no stored candles: backfill it first")
    cycle = open_cycle(
        ctx.store,
        agent.agent_id,
        pair,
        run,
        window_of(run, ctx.facts.learning),
        now_ms=ctx.clock.now_ms(),
        requested_by=by.actor,
        trace_id=by.trace_id,
    )
    _audit(ctx, by, "learning.run", f"cycle/{cycle.cycle_id}", {"pair": pair})
    found = lookups.need(ctx.store, kinds.LEARNING_CYCLES, cycle.cycle_id, "cycle")
    return cycle_view(ctx.store, found)


@router.post("/ops/learning/pause")
def pause_learning(ctx: Ctx, by: By, body: ReasonBody | None = None) -> LearningStatus:
    """Let no cycle take its next step until it is resumed; trading goes on."""
    reason = (body or ReasonBody()).reason or "operator"
    set_paused(ctx.store, reason, at_ms=ctx.clock.now_ms())
    _audit(ctx, by, "learning.pause", "learning/all", {"reason": reason})
    return _status(ctx)


@router.post("/ops/learning/resume")
def resume_learning(ctx: Ctx, by: By) -> LearningStatus:
    """Let cycles go on where they stand."""
    set_paused(ctx.store, None, at_ms=ctx.clock.now_ms())
    _audit(ctx, by, "learning.resume", "learning/all", {})
    return _status(ctx)


def _status(ctx: Context) -> LearningStatus:
    window, reason = ctx.facts.learning, paused_reason(ctx.store)
    docs = ctx.store.list(kinds.LEARNING_CYCLES, limit=100)
    return LearningStatus(
        paused=reason is not None,
        pause_reason=reason or "",
        enabled_by_default=ctx.facts.learning_enabled,
        window=window_view(window),
        runs=[learning_run_view(ctx.store, run, window) for run in learning_runs(ctx.store)],
        cycles=[cycle_view(ctx.store, doc) for doc in docs if not doc.value.is_ended],
        sweeps=_sweeps(ctx.store),
    )


def _sweeps(store: DocStore) -> list[JobView]:
    jobs = [doc.value for doc in store.list(kinds.JOBS, limit=KNOWN_JOBS)]
    return [job_view(job) for job in jobs if job.kind == SWEEP][:SHOWN_SWEEPS]


def _run_of(store: DocStore, agent_id: str, pair: str | None) -> Run | None:
    """The agent's newest run that has not ended, on the pair if one is named."""
    for doc in lookups.runs(store):
        run = doc.value
        if run.agent_id == agent_id and run.status in ACTIVE and pair in {None, run.pair}:
            return run
    return None


def _audit(ctx: Context, by: Caller, action: str, resource: str, after: dict[str, str]) -> None:
    note(
        ctx.store,
        action,
        resource,
        actor=by.actor,
        trace_id=by.trace_id,
        at_ms=ctx.clock.now_ms(),
        after=after,
    )
