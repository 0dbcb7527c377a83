"""The row of one long job: who works on it writes progress, who asked may cancel it."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors.backfill_job import KIND as BACKFILL
from actors.events import job_event
from desk.clock import Clock
from desk.errors import BadInput, IllegalTransition, NotFound, VersionConflict
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import Doc, Store

ENDED = (JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED)
CONFLICT_TRIES = 10


TRAINING, EVALUATION = "training", "evaluation"
LEARNING = (TRAINING, EVALUATION)
"""Kinds of jobs that are worked on by an actor of their own, which is never restarted."""
PAUSABLE = (TRAINING, BACKFILL)
"""Kinds whose work goes on where it was left."""


def worker_name(job: Job) -> str:
    """Name of the actor that works on a learning job."""
    return f"{job.kind}:{job.job_id}"


class JobCancelled(Exception):
    """Somebody ended the job while it was worked on; unwinds the work."""


class JobPaused(JobCancelled):
    """Somebody paused the job while it was worked on; unwinds the work, which goes on later."""


class JobBook:
    """Moves one job on; every change is stored with its event. An ended job never changes again."""

    def __init__(self, store: Store, job_id: str, clock: Clock) -> None:
        self._store = store
        self._job_id = job_id
        self._clock = clock

    @classmethod
    def open(cls, store: Store, job: Job, clock: Clock) -> "JobBook":
        """Store a new job; one that is stored already, after a restart of the worker, goes on."""
        book = cls(store, job.job_id, clock)
        with suppress(VersionConflict):
            book._put(job, 0)
        return book

    @property
    def job_id(self) -> str:
        return self._job_id

    @property
    def job(self) -> Job:
        """The row as it stands."""
        return self._doc().value

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody ended the job."""
        return self.job.status is JobStatus.CANCELLED

    def advance(
        self,
        done: float,
        total: float,
        unit: str,
        detail: str,
        *,
        rate_per_s: float = 0.0,
        figures: Mapping[str, float] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> None:
        """Note progress; without `figures`, or a `result` so far, those that are there stay.

        Raises `JobCancelled` when the job was ended from outside, `JobPaused` when it was paused.
        """
        changes: dict[str, Any] = {} if figures is None else {"figures": dict(figures)}
        if result is not None:
            changes["result"] = dict(result)
        self._move(
            status=JobStatus.RUNNING,
            done=float(done),
            total=float(total),
            unit=unit,
            detail=detail,
            rate_per_s=rate_per_s,
            **changes,
        )

    def finish(self, result: Mapping[str, Any]) -> None:
        """End with a result. Raises `JobCancelled` when the job was ended from outside before."""
        job = self.job
        whole = max(job.done, job.total)
        # The work is done: a pause that came meanwhile came too late.
        self._move(even_paused=True, status=JobStatus.DONE, done=whole, result=dict(result))

    def fail(self, error: str) -> None:
        """End with a sentence that says what was wrong; a job that has ended keeps its end."""
        try:
            self._move(status=JobStatus.FAILED, error=error)
        except JobCancelled:
            return

    def cancel(self) -> None:
        """End from outside: the worker learns of it at its next step."""
        try:
            self._move(even_paused=True, status=JobStatus.CANCELLED)
        except JobCancelled:
            return

    def pause(self) -> None:
        """Stop from outside what goes on later: the worker learns of it at its next step.

        Pausing a paused job changes nothing. Raises `BadInput` for a kind of job that cannot go on
        where it was left, `IllegalTransition` for one that has ended.
        """
        job = self.job
        if job.kind not in PAUSABLE:
            raise BadInput(
                "job_id",
                f"is of {job.kind}: only {' and '.join(PAUSABLE)} go on later; let it end, or cancel it",
            )
        if job.status is not JobStatus.PAUSED:
            self._turn("pause", JobStatus.PAUSED)

    def resume(self) -> None:
        """Let a paused job be worked on again. One that is not paused stays as it is.

        Raises `IllegalTransition` for one that has ended.
        """
        if self.job.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
            self._turn("resume", JobStatus.QUEUED)

    def _turn(self, wish: str, status: JobStatus) -> None:
        try:
            self._move(even_paused=True, status=status)
        except JobCancelled:
            raise IllegalTransition(self.job.status, wish) from None

    def _move(self, *, even_paused: bool = False, **changes: Any) -> None:
        for left in range(CONFLICT_TRIES - 1, -1, -1):
            doc = self._doc()
            if doc.value.status in ENDED:
                raise JobCancelled(self._job_id)
            if doc.value.status is JobStatus.PAUSED and not even_paused:
                raise JobPaused(self._job_id)
            now_ms = max(self._clock.now_ms(), doc.value.updated_ms)
            try:
                self._put(replace(doc.value, updated_ms=now_ms, **changes), doc.version)
            except VersionConflict:
                if not left:
                    raise
            else:
                return

    def _put(self, job: Job, expected_version: int) -> None:
        self._store.put(
            kinds.JOBS,
            job.job_id,
            job,
            at_ms=job.created_ms,
            expected_version=expected_version,
            event=job_event(job, at_ms=job.updated_ms),
        )

    def _doc(self) -> Doc[Job]:
        doc = self._store.get(kinds.JOBS, self._job_id)
        if doc is None:
            raise NotFound("job", self._job_id)
        return doc


class JobWatch:
    """Sees to learning jobs whose actor is gone: takes them up again, or fails them plainly."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        has_worker: Callable[[str], bool],
        take_up: Callable[[Job], bool] = lambda _: False,
    ) -> None:
        """`take_up` starts a job's work again where it can; False: it cannot."""
        self._store, self._clock, self._has_worker = store, clock, has_worker
        self._take_up = take_up
        self._suspected: frozenset[str] = frozenset()

    def look(self) -> list[str]:
        """See to what two looks in a row found without a worker; returns the ids of failed jobs.

        One look does not suffice: a job is stored before its actor is made.
        """
        docs = self._store.list(kinds.JOBS, limit=1_000)
        unfinished = [
            doc.value
            for doc in docs
            if doc.value.kind in LEARNING and doc.value.status not in (*ENDED, JobStatus.PAUSED)
        ]
        alone = {job.job_id for job in unfinished if not self._has_worker(worker_name(job))}
        lost = sorted(alone & self._suspected)
        jobs = {job.job_id: job for job in unfinished}
        taken_up = {job_id for job_id in lost if self._take_up(jobs[job_id])}
        self._suspected = frozenset(alone - taken_up)
        failed = [job_id for job_id in lost if job_id not in taken_up]
        for job_id in failed:
            JobBook(self._store, job_id, self._clock).fail(
                "its process ended before the work was done: start it again"
            )
        return failed
