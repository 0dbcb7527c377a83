"""`desk alerts`, `trace`, `events`, `metrics`, `gaps`: what the desk says of itself."""

import json
import sys
from contextlib import closing
from itertools import islice
from typing import Annotated, Any

import typer
from rich.table import Table

from desk.cli.client import Api
from desk.cli.output import Json, Limit, any_rows, console, facts_of, moment, rows_of, show, times
from desk.settings import load_settings

alerts = typer.Typer(no_args_is_help=True, help="Alerts: list them, acknowledge one.")


@alerts.command("list")
def list_alerts(
    *,
    state: Annotated[
        str | None, typer.Option("--status", help="open, acknowledged or resolved.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="slo, drift, ops, risk or data.")] = None,
    severity: Annotated[str | None, typer.Option(help="info, warning or critical.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List alerts, newest first."""
    answer = Api(load_settings()).get(
        "/ops/alerts", status=state, category=category, severity=severity, limit=limit
    )
    names = ("created", "severity", "code", "status", "count", "alert_id", "detail")
    show(answer, rows_of("alerts", names, times(answer["items"])), as_json=as_json)


@alerts.command()
def ack(
    alert_id: Annotated[str, typer.Argument(help="As `desk alerts list` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """Acknowledge an open alert."""
    answer = Api(load_settings()).post(f"/ops/alerts/{alert_id}/ack")
    show(answer, f"{alert_id} {answer['status']}", as_json=as_json)


def trace(
    trace_id: Annotated[str, typer.Argument(help="Of a decision, a trade or an alert.")],
    *,
    as_json: Json = False,
) -> None:
    """Tell one story from candle to books, hop by hop; a missing hop says why it is missing."""
    answer = Api(load_settings()).get(f"/traces/{trace_id}")
    parts: list[Table | str] = [any_rows("hops", answer["hops"])]
    for name in ("orders", "fills", "ledger", "replays"):
        if answer[name]:
            parts.append(any_rows(name, answer[name]))
    show(answer, parts, as_json=as_json)


def metrics(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: all series.")
    ] = None,
    *,
    start: Annotated[str | None, typer.Option(help="ISO time, UTC; default: an hour ago.")] = None,
    end: Annotated[str | None, typer.Option(help="ISO time, UTC; default: now.")] = None,
    step_s: Annotated[int, typer.Option(min=1, help="Length of a bucket in seconds.")] = 60,
    as_json: Json = False,
) -> None:
    """Show metric series and service levels of the last market hour."""
    answer = Api(load_settings()).get(
        "/ops/trading/metrics",
        name=names or None,
        start_ms=moment("--start", start),
        end_ms=moment("--end", end),
        step_ms=step_s * 1_000,
    )
    rows = [{**row, "points": len(row["points"])} for row in answer["items"]]
    levels = any_rows("service levels", answer["service_levels"])
    show(answer, [any_rows("series", rows), levels], as_json=as_json)


def sides(*, as_json: Json = False) -> None:
    """Show positions and open orders of each account beside the venue's, at their last comparison."""
    answer = Api(load_settings()).get("/ops/trading/reconcile")
    parts: list[Table | str] = []
    for row in answer["items"]:
        parts.append(facts_of(f"account {row['account']}", row))
        for name in ("positions", "orders"):
            if row[name]:
                parts.append(any_rows(name, row[name]))
    show(answer, parts or "no account was compared yet", as_json=as_json)


def gaps(*, as_json: Json = False) -> None:
    """Show how many gaps the stored candles have, and when they were last looked for."""
    answer = Api(load_settings()).get("/ops/gaps/health")
    show(answer, [facts_of("gaps", answer), any_rows("newest", answer["items"])], as_json=as_json)


def events(
    *,
    topics: Annotated[str | None, typer.Option(help="Only these, as decision,order,alert.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: Json = False,
) -> None:
    """Follow the desk's events, one a line, until Ctrl-C."""
    with closing(Api(load_settings()).events(topics=topics)) as followed:
        for event in islice(followed, count):
            _tell(event, as_json=as_json)


def _tell(event: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    elif event["event"] == "resync":
        console.print(f"events were missed ({event['reason']}): read again what you watch")
    else:
        data = json.dumps(event["data"], separators=(",", ":"))
        text = f"{event['event']} {event['key']} {data}"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
