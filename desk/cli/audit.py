"""`desk audit list` and `verify`: who changed what, and whether that is what was written."""

from typing import Annotated

import typer

from actors.audit_keeper import check_all
from desk.cli.client import Api
from desk.cli.learning import opened_store
from desk.cli.output import Json, Limit, rows_of, show, times
from desk.settings import load_settings
from desk.store.audit_archive import AuditArchive
from desk.store.places import shared_folder

app = typer.Typer(no_args_is_help=True, help="Who changed what, chained by hashes.")


@app.command("list")
def list_rows(
    *,
    resource: Annotated[str | None, typer.Option(help="Begins so, as run/ or agent/desk.")] = None,
    action: Annotated[str | None, typer.Option(help="Begins so, as run. or trade.close.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List who changed what, newest first."""
    answer = Api(load_settings()).get("/ops/audit", resource=resource, action=action, limit=limit)
    names = ("seq", "at", "actor", "action", "resource", "trace_id")
    show(answer, rows_of("audit", names, times(answer["items"])), as_json=as_json)


@app.command()
def verify(*, as_json: Json = False) -> None:
    """Check every row of the audit, store and history. Exit code 1 names the first bad row."""
    with opened_store() as (settings, store):
        found = check_all(store, AuditArchive(shared_folder(settings.place, "history", store)))
    broken = found.broken
    answer = {
        "rows": found.rows,
        "first_bad_row": None if broken is None else broken.seq,
        "problem": "" if broken is None else broken.problem,
    }
    said = f"{found.rows:,} rows, the chain holds" if broken is None else f"broken: {broken}"
    show(answer, said, as_json=as_json)
    if broken is not None:
        raise typer.Exit(1)
