"""`desk signals import`, `search`, `sync`: past alerts in, signals out, feeds tested now."""

import json
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from desk.cli.client import Api
from desk.cli.learning import cancelled_by_ctrl_c, opened_store
from desk.cli.output import Json, any_rows, console, moment, show
from desk.cli.progress import bars
from desk.clock import DAY_MS, to_iso
from desk.errors import BadInput
from desk.settings import Settings, is_feed_name, load_settings
from desk.sources.alert_files import FileRow, Reader
from desk.store.past_signals import Outcome, PastSignals
from desk.wallclock import wall_ms

app = typer.Typer(no_args_is_help=True, help="Signals: TradingView alerts and Telegram messages.")

SHOWN_PROBLEMS = 20


@app.command("import")
def import_alerts(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV export, or JSON lines.")],
    *,
    source: Annotated[str, typer.Option(help="Name of the feed the alerts were of.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be kept; write nothing.")
    ] = False,
    set_aside: Annotated[
        Path | None,
        typer.Option(help="Where rows that are not kept go; default: FILE.set-aside.jsonl."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Keep alerts of the past as if they had come by the webhook. Repeating it adds nothing.

    Exit status 1 if a row was set aside, or Ctrl-C ended it: the same command goes on.
    """
    if not is_feed_name(source):
        raise BadInput("--source", f"was {source!r}, expected a name of a-z, 0-9 and -")
    aside = set_aside or file.with_name(f"{file.name}.set-aside.jsonl")
    with opened_store() as (settings, store):
        past = PastSignals(store, now_ms=wall_ms(), is_dry=dry_run)
        reader = Reader(source_id=source, now_ms=wall_ms(), secret=_secret(settings))
        with (
            _opened_aside(None if dry_run else aside) as kept_aside,
            cancelled_by_ctrl_c() as ended,
            bars(console) as progress,
        ):
            counts = Counter[str]()
            for row in _followed(reader, file, progress):
                if ended():
                    break
                problem = _keep(past, row, counts)
                if problem:
                    _set_aside(kept_aside, row, problem)
                    if counts["set_aside"] <= SHOWN_PROBLEMS:
                        progress.console.print(Text(f"line {row.line}: {problem}"))
    cancelled = bool(ended())
    answer = {
        "source": source,
        "dry_run": dry_run,
        "cancelled": cancelled,
        "new": counts["new"],
        "known": counts["known"],
        "set_aside": counts["set_aside"],
        "set_aside_file": str(aside) if counts["set_aside"] and not dry_run else None,
    }
    show(answer, _said(answer), as_json=as_json)
    if cancelled or counts["set_aside"]:
        raise typer.Exit(1)


@app.command()
def search(
    source: Annotated[str, typer.Argument(help="Feed, or telegram: and a channel.")],
    words: Annotated[str, typer.Option("--words", "-q", help="All of them, in any case.")] = "",
    start: Annotated[
        str | None, typer.Option(help="ISO, UTC; default: a day before the end.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="ISO, UTC (exclusive); default: now.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    *,
    as_json: Json = False,
) -> None:
    """List signals by arrival, newest first."""
    end_ms = moment("--end", end)
    end_ms = wall_ms() + 1 if end_ms is None else end_ms
    start_ms = moment("--start", start)
    start_ms = end_ms - DAY_MS if start_ms is None else start_ms
    found = Api(load_settings()).pages(
        "/signals/search",
        source=source,
        start_ms=start_ms,
        end_ms=end_ms,
        q=words or None,
        limit=min(limit, 200),
    )
    rows = list(islice(found, limit))
    show(rows, _table(rows), as_json=as_json)


@app.command()
def feeds(*, as_json: Json = False) -> None:
    """Show each TradingView feed: its last sync, and alerts that could not be read."""
    answer = Api(load_settings()).get("/ingestion/tradingview/sync")
    show(answer, any_rows("feeds", answer["items"]), as_json=as_json)


@app.command()
def sync(*, as_json: Json = False) -> None:
    """Have the route of every TradingView feed test itself now."""
    answer = Api(load_settings()).post("/ingestion/tradingview/sync")
    show(answer, f"{answer['sources']} feeds are tested within seconds", as_json=as_json)


# --- importing ----------------------------------------------------------------------------------


def _keep(past: PastSignals, row: FileRow, counts: Counter[str]) -> str:
    """Why the row has to be set aside; empty where it is kept."""
    problem = row.problem
    if row.receipt is not None:
        outcome = past.keep(row.receipt)
        if outcome in {Outcome.NEW, Outcome.KNOWN}:
            counts[outcome.value] += 1
            return ""
        problem = outcome.value
    counts["set_aside"] += 1
    return problem


def _followed(reader: Reader, file: Path, progress: Progress) -> Iterator[FileRow]:
    """The rows of the file, with a bar over its bytes."""
    total = file.stat().st_size if file.is_file() else None
    task = progress.add_task(f"import {file.name}", total=total, detail="bytes")
    yield from reader.rows(file, lambda at: progress.update(task, completed=at))
    if total is not None:
        progress.update(task, completed=total)


@contextmanager
def _opened_aside(path: Path | None) -> Generator[TextIO | None]:
    """The file for rows that are not kept; it is removed again where there were none."""
    if path is None:
        yield None
        return
    try:
        opened = path.open("w", encoding="utf-8")
    except OSError as refused:
        raise BadInput("--set-aside", f"{path} cannot be written ({refused.strerror})") from None
    with opened:
        yield opened
        is_empty = opened.tell() == 0
    if is_empty:
        path.unlink()


def _set_aside(file: TextIO | None, row: FileRow, problem: str) -> None:
    if file is not None:
        said = {"line": row.line, "problem": problem, "raw": row.raw}
        file.write(json.dumps(said) + "\n")  # surrogates, that is bytes without meaning, as escapes


def _secret(settings: Settings) -> str | None:
    given = settings.tradingview_secret
    return given.get_secret_value() if given else None


def _said(answer: dict[str, Any]) -> str:
    verb = "would be kept" if answer["dry_run"] else "kept"
    text = f"{answer['new']:,} {verb}, {answer['known']:,} known, {answer['set_aside']:,} set aside"
    if answer["set_aside_file"]:
        text += f" in {answer['set_aside_file']}"
    return f"cancelled: {text}; the same command goes on" if answer["cancelled"] else text


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("arrived", "pair", "side", "interval", "price", "read", "text")
    for row in rows:
        # The text is a stranger's: neither markup nor control characters reach the terminal.
        text = "".join(each if each.isprintable() else " " for each in row["text"])
        table.add_row(
            to_iso(row["ts_received_ms"]),
            row["symbol"] or "",
            row["side"] or "",
            row["interval"] or "",
            "" if row["price"] is None else f"{row['price']:,}",
            row["parse_status"],
            Text(text[:200]),
        )
    return table
