"""A sweep as a job that everybody can follow and cancel: `GET /jobs/{job_id}` and the event stream.

Whoever runs the sweep writes the row; on a home only one does at a time. Its truth is the sweep's
journal: losing a row loses a view.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from math import isfinite
from typing import Any

from actors.job_book import ENDED, JobBook, JobCancelled
from actors.sweep_book import SweepView, TellSweep
from desk.clock import Clock
from desk.learning.sweep_results import LeaderboardRow, SweepRecord, standard_error
from desk.runs import Job, JobStatus
from desk.store import kinds
from desk.store.port import Store
from desk.wallclock import monotonic_s

SWEEP = "sweep"
EVERY_S = 1.0
"""Between two changes of the row, and two looks at whether somebody cancelled it."""
MOST_ROWS = 20
"""Of a leaderboard that the row shows; the whole of it is in the sweep's folder."""


class SweepJob:
    """The row of one run of a sweep, opened with the first thing that is told of it."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        file: str,
        tell: TellSweep,
        cancelled: Callable[[], bool],
    ) -> None:
        self._store, self._clock, self._file = store, clock, file
        self._tell, self._cancelled = tell, cancelled
        self._book: JobBook | None = None
        self._stage, self._written_s, self._looked_s = "", 0.0, 0.0
        self._began_s = monotonic_s()
        self._first_done = 0.0
        self._found: dict[str, Any] = {}
        self._is_cancelled = False

    def tell(self, view: SweepView) -> None:
        """Show a view, and write it to the row when a second has passed or a stage began."""
        self._tell(view)
        if self._book is None:
            self._book = self._opened(view)
            self._first_done = view.done
        now_s = monotonic_s()
        if view.stage == self._stage and now_s - self._written_s < EVERY_S:
            return
        self._stage, self._written_s = view.stage, now_s
        self._found = found_so_far(view)
        rate = (view.done - self._first_done) / max(now_s - self._began_s, EVERY_S)
        try:
            self._book.advance(
                view.done, view.total, view.unit, view.stage, rate_per_s=rate, result=self._found
            )
        except JobCancelled:
            self._is_cancelled = True

    def cancelled(self) -> bool:
        """Whether somebody cancelled: here, or the row through the API."""
        if self._is_cancelled or self._cancelled():
            return True
        now_s = monotonic_s()
        if self._book is not None and now_s - self._looked_s >= EVERY_S:
            self._looked_s = now_s
            self._is_cancelled = self._book.is_cancelled
        return self._is_cancelled

    def end(self, record: SweepRecord) -> None:
        """Note what came out; a run that was stopped ends as cancelled, its journal is kept."""
        if self._book is None:  # it was done before, and nothing ran
            return
        if not record.is_done:
            self._book.cancel()
            return
        result = {
            **self._found,
            "sweep_id": record.sweep_id,
            "status": record.status.value,
            "overfitting_probability": record.overfitting and record.overfitting.probability,
            "version_ids": [one.version_id for one in record.finalists],
            "evaluation_ids": [one.evaluation_id for one in (*record.finalists, *record.results)],
        }
        try:
            self._book.finish(result)
        except JobCancelled:
            return

    def fail(self, error: str) -> None:
        """Note why it broke."""
        if self._book is not None:
            self._book.fail(error)

    def _opened(self, view: SweepView) -> JobBook:
        for doc in self._store.list(kinds.JOBS, limit=1_000):
            # We hold the home's sweeps: nobody works on an earlier row any more.
            if doc.value.kind == SWEEP and doc.value.status not in ENDED:
                JobBook(self._store, doc.key, self._clock).fail(
                    "its process ended before the sweep did: `desk tune FILE --resume` goes on"
                )
        now_ms = self._clock.now_ms()
        job = Job(
            job_id=f"job-{secrets.token_hex(10)}",
            kind=SWEEP,
            status=JobStatus.QUEUED,
            created_ms=now_ms,
            updated_ms=now_ms,
        )
        arguments = {"file": self._file, "sweep_id": view.sweep_id}
        return JobBook.open(self._store, replace(job, arguments=arguments), self._clock)


def found_so_far(view: SweepView) -> dict[str, Any]:
    """The leaderboard as it stands, best first, for the job's row."""
    return {
        "sweep_id": view.sweep_id,
        "metric": view.metric,
        "trials": len(view.rows),
        "leaderboard": [_row(row) for row in view.rows[:MOST_ROWS]],
        "overfitting_probability": view.overfitting and view.overfitting.probability,
    }


def _row(row: LeaderboardRow) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "number": row.number,
        "status": row.status.value,
        "steps": row.steps,
        "score": _finite(row.score),
        "standard_error": _finite(standard_error(row.fold_scores)),
        "point": dict(row.point),
        "version_id": row.version_id,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
