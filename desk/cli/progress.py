"""Progress bars over the jobs that the desk works on."""

import contextlib
import time
from collections.abc import Generator, Sequence
from datetime import timedelta
from typing import Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from desk.cli.client import Api
from desk.errors import DeskError

ENDED = ("done", "failed", "cancelled")
POLL_S = 0.3


class JobFailed(DeskError):
    """A job ended without its result."""


def bars(console: Console, *, is_shown: bool = True) -> Progress:
    """The one look of a progress display."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[detail]}"),
        console=console,
        disable=not is_shown,
    )


def follow_job(api: Api, job_id: str, console: Console, *, is_shown: bool = True) -> dict[str, Any]:
    """Show one job until it ends and return it; raises `JobFailed`."""
    return follow_jobs(api, [job_id], console, is_shown=is_shown)[0]


def follow_jobs(
    api: Api, job_ids: Sequence[str], console: Console, *, is_shown: bool = True
) -> list[dict[str, Any]]:
    """Show several jobs until all have ended. Ctrl-C leaves them running, and says so."""
    with _left_running(job_ids), bars(console, is_shown=is_shown) as progress:
        tasks: dict[str, TaskID] = {}
        jobs: dict[str, dict[str, Any]] = {}
        while True:
            for job_id in job_ids:
                job = jobs[job_id] = api.get(f"/jobs/{job_id}")
                if job_id not in tasks:
                    tasks[job_id] = progress.add_task(_title(job), total=None, detail="")
                progress.update(
                    tasks[job_id],
                    completed=int(job["done"]),
                    total=int(job["total"]) or None,
                    detail=" · ".join(filter(None, (job["detail"], _pace(job)))),
                )
            if all(job["status"] in ENDED for job in jobs.values()):
                break
            time.sleep(POLL_S)
    for job in jobs.values():
        if job["status"] != "done":
            raise JobFailed(f"{_title(job)} {job['status']}: {job['error'] or job['detail']}")
    return [jobs[job_id] for job_id in job_ids]


@contextlib.contextmanager
def _left_running(job_ids: Sequence[str]) -> Generator[None]:
    try:
        yield
    except KeyboardInterrupt:
        for job_id in job_ids:
            typer.echo(
                f"job {job_id} goes on: `desk jobs follow {job_id}` comes back to it,"
                f" `desk jobs cancel {job_id}` ends it",
                err=True,
            )
        raise typer.Exit(1) from None


def _pace(job: dict[str, Any]) -> str:
    """How fast it goes and how long it will take, by the desk's own count."""
    rate_per_s = float(job.get("rate_per_s") or 0.0)
    if not rate_per_s or job["status"] in ENDED:
        return ""
    left_s = job.get("remaining_s")
    left = "" if left_s is None else f", {timedelta(seconds=round(left_s))} left"
    return f"{rate_per_s:,.0f} {job['unit']}/s{left}"


def _title(job: dict[str, Any]) -> str:
    return f"{job['kind']} {job.get('arguments', {}).get('pair', '')}".strip()
