"""`desk ingestion` and `desk retries`: what was read, what failed, and what to do about it."""

from typing import Annotated

import typer

from desk.cli.client import Api
from desk.cli.output import Json, rows_of, show
from desk.clock import to_iso
from desk.ids import parse_pair
from desk.market.interval import parse_interval
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Ingestion: each source, and the runs that read it.")
retries = typer.Typer(no_args_is_help=True, help="Failed ingestion jobs that are tried again.")
Limit = Annotated[int, typer.Option(min=1, max=500)]
Item = Annotated[str, typer.Argument(help="Its id, as `desk retries list` shows it.")]


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show each source: status rows, workers, rows a minute, failed jobs."""
    answer = Api(load_settings()).get("/ops/ingestion/status")
    names = ("source", "enabled", "paused", "ok", "stale", "unavailable", "workers_alive")
    names = (*names, "rows_per_min", "retries_waiting", "retries_dead")
    show(answer, rows_of("ingestion", names, answer["items"]), as_json=as_json)


@app.command()
def runs(
    source: Annotated[str | None, typer.Option(help="A source, a type, or a channel.")] = None,
    pair: Annotated[str | None, typer.Option()] = None,
    interval: Annotated[str | None, typer.Option()] = None,
    state: Annotated[str | None, typer.Option("--status")] = None,
    limit: Limit = 20,
    *,
    as_json: Json = False,
) -> None:
    """List ingestion runs, newest first."""
    answer = Api(load_settings()).get(
        "/ops/ingestion/runs",
        source=source,
        pair=parse_pair(pair) if pair else None,
        interval=parse_interval(interval) if interval else None,
        status=state,
        limit=limit,
    )
    rows = [{**row, "began": to_iso(row["started_ms"])[:19]} for row in answer["items"]]
    names = ("began", "source_type", "kind", "pair", "interval", "status", "new", "updated")
    show(answer, rows_of("runs", (*names, "errors", "error"), rows), as_json=as_json)


@retries.command("list")
def list_retries(
    state: Annotated[str | None, typer.Option("--status")] = None,
    limit: Limit = 20,
    *,
    as_json: Json = False,
) -> None:
    """List failed jobs, newest first."""
    answer = Api(load_settings()).get("/ops/retry-queue", status=state, limit=limit)
    rows = [
        {**row, "next": to_iso(at)[:19] if (at := row["next_attempt_at_ms"]) else ""}
        for row in answer["items"]
    ]
    names = ("item_id", "dedupe_key", "status", "attempts", "next", "last_error")
    show(answer, rows_of("failed jobs", names, rows), as_json=as_json)


@retries.command()
def retry(item: Item, *, as_json: Json = False) -> None:
    """Have a failed job tried at once, with all its attempts again."""
    _decide(item, "retry", as_json=as_json)


@retries.command()
def discard(item: Item, *, as_json: Json = False) -> None:
    """Take a failed job out of the queue for good."""
    _decide(item, "discard", as_json=as_json)


def _decide(item: str, verb: str, *, as_json: bool) -> None:
    answer = Api(load_settings()).post(f"/ops/retry-queue/{item}/{verb}")
    show(answer, f"{verb} {answer['item_id']}: {answer['dedupe_key']}", as_json=as_json)
