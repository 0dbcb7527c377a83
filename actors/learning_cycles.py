"""Carries learning cycles out: one step a turn, each written down before it is taken.

Training and evaluating happen in jobs of their own, which yield to trading; this only starts them and
reads what came of them. The shadow is decided here, from what the champion's decisions have stored: it
has no way to any order.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from actors.drift_watch import OBSERVER, last_decisions
from actors.learning_book import (
    learning_runs,
    newest_cycle,
    next_due_ms,
    open_cycle,
    paused_reason,
    save,
    step,
    window_of,
)
from actors.promotion import (
    previous_version,
    promote_version,
    promotion_verdict,
    retire_version,
    rollback_version,
    widen,
)
from actors.store_calls import stored
from desk.clock import MINUTE_MS, Clock
from desk.errors import DeskError, NotFound, StoreUnavailable, VersionConflict
from desk.evaluation.report import EvaluationReport
from desk.learning.cycles import (
    CHAMPION_CHANGED,
    GONE_BACK_FROM,
    NOT_DECIDED,
    CycleStatus,
    LearningCycle,
    LearningWindow,
    ShadowDecision,
    beaten,
    beaten_later,
    next_step,
)
from desk.learning.policy import PolicyAnswer
from desk.runs import DecisionRecord, Job, JobStatus, Run, RunStatus
from desk.store import kinds
from desk.store.kinds import Kind
from desk.store.port import Doc, Store

log = structlog.stdlib.get_logger()

ATTEMPTS = 3
"""Jobs of one piece of work, before its cycle fails."""
LEAST_CANARY_DECISIONS = 30
CANARY_EXTENSIONS = 3
MOST_SHADOWED = 500
"""Decisions shadowed in one turn."""

TRAIN, CHALLENGER, CHAMPION = "train", "challenger", "champion"
CHALLENGER_LATER, CHAMPION_LATER = "challenger_later", "champion_later"


class Work(Protocol):
    """Jobs on Ray. A call with the id of a job that there is already starts nothing."""

    def train(self, cycle: LearningCycle, job_id: str) -> None: ...

    def evaluate(
        self,
        cycle: LearningCycle,
        job_id: str,
        version_id: str,
        *,
        start_ms: int,
        end_ms: int,
        is_comparison: bool,
    ) -> None: ...


type Decide = Callable[[str, list[float], float], Awaitable[PolicyAnswer]]
"""Asks a version: id, observation, threshold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleParts:
    """Collaborators."""

    store: Store
    clock: Clock
    window: LearningWindow
    work: Work
    decide: Decide


class _Over(Exception):
    """A piece of work did not succeed for good; the text says why."""


class LearningCycles:
    """Opens cycles when they are due and moves the open ones; holds nothing of its own."""

    def __init__(self, parts: CycleParts) -> None:
        self._parts, self._store, self._clock = parts, parts.store, parts.clock

    async def turn(self) -> int:
        """One step of every open cycle; returns how many there are."""
        if await stored(lambda: paused_reason(self._store)) is not None:
            return 0
        for run in await stored(lambda: learning_runs(self._store)):
            await self._open_if_due(run)
        docs = await stored(lambda: self._store.list(kinds.LEARNING_CYCLES, limit=100))
        under_way = [doc for doc in docs if not doc.value.is_ended]
        for doc in under_way:
            try:
                await self._advance(doc)
            except VersionConflict as moved_on:
                log.info("cycle_moved_on", cycle_id=doc.key, error=str(moved_on))
        return len(under_way)

    async def _open_if_due(self, run: Run) -> None:
        if run.status is not RunStatus.RUNNING:
            return
        window, now_ms = window_of(run, self._parts.window), self._clock.now_ms()
        newest = await stored(lambda: newest_cycle(self._store, run.agent_id))
        due_ms = await stored(lambda: next_due_ms(self._store, run, window))
        if now_ms < due_ms or (newest is not None and not newest.is_ended):
            return
        with suppress(VersionConflict):  # an operator's came first
            opened = await stored(
                partial(
                    open_cycle,
                    self._store,
                    run.agent_id,
                    run.pair,
                    run,
                    window,
                    now_ms=now_ms,
                    requested_by="schedule",
                )
            )
            log.info("cycle_opened", cycle_id=opened.cycle_id, pair=run.pair)

    # --- one step -------------------------------------------------------------------------------

    async def _advance(self, doc: Doc[LearningCycle]) -> None:
        steps = {
            CycleStatus.PLANNED: self._begin,
            CycleStatus.TRAINING: self._train,
            CycleStatus.EVALUATING: self._evaluate,
            CycleStatus.SHADOW: self._shadow,
            CycleStatus.CONFIRMING: self._confirm,
            CycleStatus.CANARY: self._canary,
        }
        try:
            await steps[doc.value.status](doc)
        except (StoreUnavailable, VersionConflict):
            raise
        except (_Over, DeskError) as failed:
            log.warning("cycle_failed", cycle_id=doc.key, error=str(failed))
            await self._give_up(doc.key, str(failed))

    async def _begin(self, doc: Doc[LearningCycle]) -> None:
        await self._step(doc, CycleStatus.TRAINING)

    async def _train(self, doc: Doc[LearningCycle]) -> None:
        cycle = doc.value
        done = await self._job(doc, TRAIN, lambda name: self._parts.work.train(cycle, name))
        if done is not None:
            version_id = str(done.result["version_id"])
            await self._step(doc, CycleStatus.EVALUATING, challenger_id=version_id)

    async def _evaluate(self, doc: Doc[LearningCycle]) -> None:
        """The challenger's own gate first: a champion is compared only with one that has passed it."""
        cycle = doc.value
        start_ms, end_ms = cycle.plan.evaluation_start_ms, cycle.plan.evaluation_end_ms
        report = await self._report(
            doc, CHALLENGER, cycle.challenger_id, start_ms, end_ms, kinds.EVALUATIONS
        )
        if report is None:
            return
        verdict = await stored(
            lambda: promotion_verdict(self._store, cycle.challenger_id, cycle.pair)
        )
        if not verdict.passed:
            await self._reject(doc, verdict.reasons)
            return
        compared = await self._compared(doc, CHAMPION, report, start_ms, end_ms, beaten)
        if compared is None:
            return
        reasons, results = compared
        if reasons:
            await self._reject(doc, reasons, results=results)
            return
        await self._let_in(doc, next_step(cycle.window), results)

    async def _shadow(self, doc: Doc[LearningCycle]) -> None:
        await self._decide_beside(doc.value)
        if self._clock.now_ms() >= doc.value.rollout_end_ms:
            await self._step(doc, CycleStatus.CONFIRMING)

    async def _confirm(self, doc: Doc[LearningCycle]) -> None:
        """The same two on the candles of the shadow, which neither training nor gate has seen."""
        cycle = doc.value
        start_ms, end_ms = cycle.rollout_start_ms, cycle.rollout_end_ms
        report = await self._report(
            doc, CHALLENGER_LATER, cycle.challenger_id, start_ms, end_ms, kinds.COMPARISONS
        )
        if report is None:
            return
        compared = await self._compared(doc, CHAMPION_LATER, report, start_ms, end_ms, beaten_later)
        if compared is None:
            return
        reasons, results = compared
        if reasons:
            await self._reject(doc, reasons, results=results)
        else:
            forward = cycle.window.auto_roll_forward
            await self._let_in(doc, CycleStatus.PROMOTED if forward else CycleStatus.READY, results)

    async def _canary(self, doc: Doc[LearningCycle]) -> None:
        """It has stood its time when it has decided often enough and nothing led back from it."""
        cycle, now_ms = doc.value, self._clock.now_ms()
        agent = await stored(lambda: self._store.get(kinds.AGENTS, cycle.agent_id))
        if agent is None or agent.value.active_version_id != cycle.challenger_id:
            await self._step(doc, CycleStatus.ROLLED_BACK, reasons=(GONE_BACK_FROM,))
            return
        if now_ms < cycle.rollout_end_ms:
            return
        if await stored(lambda: self._decided_by_challenger(cycle)) < LEAST_CANARY_DECISIONS:
            await self._wait_for_the_canary(doc)
            return
        await stored(
            lambda: widen(
                self._store, cycle.agent_id, cycle.challenger_id, actor=OBSERVER, now_ms=now_ms
            )
        )
        await self._step(doc, CycleStatus.PROMOTED)

    # --- what the steps share -------------------------------------------------------------------

    async def _let_in(
        self, doc: Doc[LearningCycle], to: CycleStatus, results: dict[str, str]
    ) -> None:
        """The pointer first, whose function looks at the gate once more: a repeat finds it moved."""
        cycle, now_ms = doc.value, self._clock.now_ms()
        if reasons := await stored(lambda: self._overtaken(cycle)):
            await self._reject(doc, reasons, results=results)
            return
        changes: dict[str, object] = {"results": results}
        if to in {CycleStatus.CANARY, CycleStatus.SHADOW}:
            step_ms = cycle.window.evaluation_window_min * MINUTE_MS
            start_ms = -(-now_ms // MINUTE_MS) * MINUTE_MS
            changes |= {"rollout_start_ms": start_ms, "rollout_end_ms": start_ms + step_ms}
        if to in {CycleStatus.CANARY, CycleStatus.PROMOTED}:
            part = cycle.window.canary_fraction if to is CycleStatus.CANARY else 1.0
            verdict = await stored(
                lambda: promote_version(
                    self._store,
                    cycle.challenger_id,
                    pair=cycle.pair,
                    actor=OBSERVER,
                    now_ms=now_ms,
                    trace_id=cycle.cycle_id,
                    size_fraction=part,
                    expected_active=cycle.champion_id,
                )
            )
            if not verdict.passed:
                await self._reject(doc, verdict.reasons, results=results)
                return
        await self._step(doc, to, **changes)

    def _overtaken(self, cycle: LearningCycle) -> tuple[str, ...]:
        """Why what was compared does not count any more: the active version is another one now."""
        agent = self._store.get(kinds.AGENTS, cycle.agent_id)
        active = agent.value.active_version_id if agent else ""
        if active == cycle.challenger_id:
            return ()
        challenger = self._store.get(kinds.VERSIONS, cycle.challenger_id)
        if challenger is not None and challenger.value.promoted_at_ms is not None:
            return (GONE_BACK_FROM,)
        return () if active == cycle.champion_id else (CHAMPION_CHANGED,)

    async def _reject(
        self,
        doc: Doc[LearningCycle],
        reasons: tuple[str, ...],
        *,
        results: dict[str, str] | None = None,
    ) -> None:
        cycle, now_ms = doc.value, self._clock.now_ms()
        await stored(lambda: retire_version(self._store, cycle.challenger_id, now_ms))
        known = results if results is not None else dict(cycle.results)
        await self._step(doc, CycleStatus.REJECTED, reasons=reasons, results=known)

    async def _give_up(self, cycle_id: str, error: str) -> None:
        found = await stored(lambda: self._store.get(kinds.LEARNING_CYCLES, cycle_id))
        if found is None or found.value.is_ended:
            return
        if found.value.challenger_id:
            now_ms = self._clock.now_ms()
            with suppress(NotFound):
                await stored(lambda: retire_version(self._store, found.value.challenger_id, now_ms))
        await self._step(found, CycleStatus.FAILED, error=error)

    async def _report(  # noqa: PLR0917 - what is evaluated, when, and where it is kept
        self,
        doc: Doc[LearningCycle],
        role: str,
        version_id: str,
        start_ms: int,
        end_ms: int,
        kind: Kind[EvaluationReport],
    ) -> EvaluationReport | None:
        """The report of one piece of work; None while it is worked on."""
        cycle = doc.value

        def start(job_id: str) -> None:
            self._parts.work.evaluate(
                cycle,
                job_id,
                version_id,
                start_ms=start_ms,
                end_ms=end_ms,
                is_comparison=kind is kinds.COMPARISONS,
            )

        done = await self._job(doc, role, start)
        if done is None:
            return None
        name = str(done.result["evaluation_id"])
        found = await stored(lambda: self._store.get(kind, name))
        if found is None:
            raise _Over(f"evaluation {name} of job {done.job_id} is not on record: run a new cycle")
        return found.value

    async def _compared(  # noqa: PLR0917 - the two, their candles and the rule
        self,
        doc: Doc[LearningCycle],
        role: str,
        challenger: EvaluationReport,
        start_ms: int,
        end_ms: int,
        rule: Callable[[float, float | None], tuple[str, ...]],
    ) -> tuple[tuple[str, ...], dict[str, str]] | None:
        """Why the challenger is not let in, and both results; None while the champion is evaluated."""
        cycle = doc.value
        later = "_later" if role == CHAMPION_LATER else ""
        results = {**cycle.results, f"challenger{later}": challenger.net_pnl_after_fees}
        if not cycle.champion_id:
            return (), results
        report = await self._report(
            doc, role, cycle.champion_id, start_ms, end_ms, kinds.COMPARISONS
        )
        if report is None:
            return None
        ours, theirs = (float(one.net_pnl_after_fees) for one in (challenger, report))
        return rule(ours, theirs), {**results, role: report.net_pnl_after_fees}

    async def _job(
        self, doc: Doc[LearningCycle], role: str, start: Callable[[str], None]
    ) -> Job | None:
        """A piece of work that is done, or None. Its job's id is written down before it begins, so
        that a repeat after a crash finds it; one that was lost is begun again a few times."""
        cycle = doc.value
        job_id = cycle.jobs.get(role, "")
        if not job_id:
            await self._name_job(doc, role, 1)
            return None
        found = await stored(lambda: self._store.get(kinds.JOBS, job_id))
        if found is None:
            await asyncio.to_thread(start, job_id)
            return None
        job = found.value
        if job.status is JobStatus.DONE:
            return job
        if job.status is JobStatus.CANCELLED:
            raise _Over(f"job {job_id} ({role}) was cancelled")
        if job.status is JobStatus.FAILED:
            attempt = int(job_id.rsplit("-", 1)[1])
            if attempt >= ATTEMPTS or not _was_lost(job):
                raise _Over(f"job {job_id} ({role}) failed: {job.error}")
            await self._name_job(doc, role, attempt + 1)
        return None

    async def _name_job(self, doc: Doc[LearningCycle], role: str, attempt: int) -> None:
        named = {**doc.value.jobs, role: f"job-{doc.key}-{role}-{attempt}"}
        await save(self._store, doc, replace(doc.value, jobs=named))

    async def _step(self, doc: Doc[LearningCycle], status: CycleStatus, **changes: object) -> None:
        await step(self._store, doc, status, now_ms=self._clock.now_ms(), **changes)
        log.info("cycle_moved", cycle_id=doc.key, status=status.value)

    # --- the shadow and the canary --------------------------------------------------------------

    async def _decide_beside(self, cycle: LearningCycle) -> None:
        """Answer for the challenger on what the champion saw since; each once, whatever crashes."""
        if not cycle.run_id:
            return
        kind = kinds.shadow_decisions(cycle.cycle_id)
        newest = await stored(lambda: self._store.list(kind, limit=1))
        held = newest[0].value.target if newest else 0.0
        after_ms = newest[0].at_ms + 1 if newest else cycle.rollout_start_ms
        docs = await stored(
            lambda: self._store.list(
                kinds.decisions_of_run(cycle.run_id),
                start_ms=after_ms,
                before_ms=cycle.rollout_end_ms,
                limit=2_000,
            )
        )
        for record in [doc.value for doc in docs if doc.value.observation][::-1][:MOST_SHADOWED]:
            answer = await self._ask(cycle, record, held)
            held = held if answer.held else answer.target
            shadow = _shadowed(cycle, record, answer, held)
            with suppress(VersionConflict):  # an observer that ended meanwhile wrote it down
                await stored(
                    partial(
                        self._store.put,
                        kind,
                        record.decision_id,
                        shadow,
                        at_ms=record.open_ms,
                        expected_version=0,
                    )
                )

    async def _ask(self, cycle: LearningCycle, record: DecisionRecord, held: float) -> PolicyAnswer:
        side = float((held > 0) - (held < 0))
        values = [
            *record.observation[:-1],
            side,
        ]  # with the shadow's own position, not the champion's
        threshold = cycle.window.decision_threshold
        if record.feature_set_id != cycle.feature_set_id:
            return _no_answer(cycle.challenger_id, "evaluated_on_another_feature_set")
        return await self._parts.decide(cycle.challenger_id, values, threshold)

    def _decided_by_challenger(self, cycle: LearningCycle) -> int:
        run = self._store.get(kinds.RUNS, cycle.run_id) if cycle.run_id else None
        if run is None:
            return 0
        decisions = last_decisions(self._store, run.value, LEAST_CANARY_DECISIONS * 2)
        return sum(one.version_id == cycle.challenger_id for one in decisions)

    async def _wait_for_the_canary(self, doc: Doc[LearningCycle]) -> None:
        cycle = doc.value
        span_ms = cycle.window.evaluation_window_min * MINUTE_MS
        if cycle.rollout_end_ms - cycle.rollout_start_ms < (1 + CANARY_EXTENSIONS) * span_ms:
            longer = replace(cycle, rollout_end_ms=cycle.rollout_end_ms + span_ms)
            await save(self._store, doc, longer)
            return
        await self._go_back(cycle)
        await self._step(doc, CycleStatus.ROLLED_BACK, reasons=(NOT_DECIDED,))

    async def _go_back(self, cycle: LearningCycle) -> None:
        earlier = await stored(lambda: previous_version(self._store, cycle.agent_id, cycle.pair))
        if earlier is None:
            return
        await stored(
            lambda: rollback_version(
                self._store,
                earlier.version_id,
                actor=OBSERVER,
                now_ms=self._clock.now_ms(),
                trace_id=cycle.cycle_id,
                expected_active=cycle.challenger_id,
            )
        )


def _was_lost(job: Job) -> bool:
    """Whether a job failed because its process ended, not because its input was refused."""
    return job.error.endswith("start it again")


def _shadowed(
    cycle: LearningCycle, record: DecisionRecord, answer: PolicyAnswer, held: float
) -> ShadowDecision:
    return ShadowDecision(
        decision_id=record.decision_id,
        cycle_id=cycle.cycle_id,
        version_id=cycle.challenger_id,
        pair=record.pair,
        open_ms=record.open_ms,
        target=held,
        confidence=answer.confidence,
        held=answer.held,
        reason=answer.reason,
        champion_target=record.target,
        reference_price=record.reference_price,
    )


def _no_answer(version_id: str, reason: str) -> PolicyAnswer:
    return PolicyAnswer(
        target=0.0, confidence=0.0, held=True, reason=reason, logits=(), version_id=version_id
    )
