"""`desk audit verify`: whether the audit is the one that was written, with or without a running desk."""

import typer

from actors.audit_keeper import check_all
from desk.cli.learning import opened_store
from desk.cli.output import Json, show
from desk.store.audit_archive import AuditArchive

app = typer.Typer(no_args_is_help=True, help="Who changed what, chained by hashes.")


@app.callback()
def _audit() -> None:  # pyright: ignore[reportUnusedFunction] - makes `verify` a command of its own
    """Who changed what, chained by hashes."""


@app.command()
def verify(*, as_json: Json = False) -> None:
    """Check every row of the audit, store and history. Exit code 1 names the first bad row."""
    with opened_store() as (settings, store):
        found = check_all(store, AuditArchive(settings.home / "history"))
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
