"""`desk jobs`: come back to a job that the desk works on, or end it."""

from typing import Annotated

import typer

from desk.cli.client import Api
from desk.cli.output import Json, console, facts_of, show
from desk.cli.progress import follow_job
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Jobs that the desk works on: follow or end one.")
JobId = Annotated[str, typer.Argument(help="As the command that began it printed it.")]


@app.command("show")
def show_job(job_id: JobId, *, as_json: Json = False) -> None:
    """Show a job: progress, figures, result."""
    answer = Api(load_settings()).get(f"/jobs/{job_id}")
    show(answer, facts_of(job_id, answer), as_json=as_json)


@app.command()
def follow(job_id: JobId, *, as_json: Json = False) -> None:
    """Watch a job with a progress bar until it ends; Ctrl-C leaves it running."""
    job = follow_job(Api(load_settings()), job_id, console, is_shown=not as_json)
    show(job, f"{job['status']}: {job['detail']}", as_json=as_json)


@app.command()
def cancel(job_id: JobId, *, as_json: Json = False) -> None:
    """End a job; its worker stops at its next step."""
    answer = Api(load_settings()).post(f"/jobs/{job_id}/cancel")
    show(answer, f"{job_id} {answer['status']}", as_json=as_json)


@app.command()
def pause(job_id: JobId, *, as_json: Json = False) -> None:
    """Let a backfill or a training stop at its next step, until it is resumed."""
    answer = Api(load_settings()).post(f"/jobs/{job_id}/pause")
    show(answer, f"{job_id} {answer['status']}", as_json=as_json)


@app.command()
def resume(job_id: JobId, *, as_json: Json = False) -> None:
    """Let a paused job go on where it stopped."""
    answer = Api(load_settings()).post(f"/jobs/{job_id}/resume")
    show(answer, f"{job_id} {answer['status']}", as_json=as_json)
