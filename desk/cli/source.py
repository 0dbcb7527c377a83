"""`desk source run`, `pause`, `resume`, `set`, `config`: what an operator may set of ingestion."""

from typing import Annotated, Any

import typer
from rich.table import Table

from desk.cli import tables
from desk.cli.client import Api
from desk.cli.output import Json, show
from desk.errors import BadInput
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Poll, pause and set the data sources.")
CONFIG = "/ops/ingestion/config"
Source = Annotated[str, typer.Argument(help="bingx, tradingview or telegram.")]
OfPair = Annotated[str | None, typer.Option("--pair", help="Of bingx: only this pair.")]
OfType = Annotated[
    str | None, typer.Option("--type", help="Of bingx: only this kind, as bingx_candles or ticker.")
]
OfInterval = Annotated[str | None, typer.Option("--interval", help="Of bingx: only these candles.")]


@app.command()
def run(
    source: Source,
    *,
    pair: OfPair = None,
    kind: OfType = None,
    interval: OfInterval = None,
    as_json: Json = False,
) -> None:
    """Poll a source now; what is paused stays paused."""
    answer = _turn("run", source, _scope(pair, kind, interval))
    show(answer, f"{source}: {answer['sources']} asked for", as_json=as_json)


@app.command()
def pause(
    source: Source,
    *,
    pair: OfPair = None,
    kind: OfType = None,
    interval: OfInterval = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would pause.")] = False,
    as_json: Json = False,
) -> None:
    """Stop polling a source until it is resumed; names the runs that pause without it."""
    body = _scope(pair, kind, interval) | ({"dry_run": True} if dry_run else {})
    answer = _turn("pause", source, body)
    text = f"{source}: {answer['sources']} {'would be ' if dry_run else ''}paused"
    if answer["runs"]:
        text += f"; runs that pause once their candles are too old: {', '.join(answer['runs'])}"
    show(answer, text, as_json=as_json)


@app.command()
def resume(
    source: Source,
    *,
    pair: OfPair = None,
    kind: OfType = None,
    interval: OfInterval = None,
    as_json: Json = False,
) -> None:
    """Go on polling a source, at once. Runs that paused are resumed by `desk resume`."""
    answer = _turn("resume", source, _scope(pair, kind, interval))
    show(answer, f"{source}: {answer['sources']} polled again", as_json=as_json)


@app.command("set")
def set_one(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="As bingx_candles or telegram.")],
    *,
    pair: Annotated[str | None, typer.Option(help="Of the exchange's sources.")] = None,
    interval: Annotated[str | None, typer.Option(help="Of candles.")] = None,
    source_id: Annotated[str | None, typer.Option("--id", help="Of sources of signals.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enabled/--disabled")] = None,
    threshold: Annotated[
        int | None, typer.Option(min=1, help="Age in seconds at which it is stale.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set one source's row: whether it is polled, and when it counts as stale."""
    optional = {
        "pair": pair,
        "interval": interval,
        "source_id": source_id,
        "enabled": enabled,
        "freshness_threshold_s": threshold,
    }
    body: dict[str, object] = {"source_type": kind}
    body |= {name: value for name, value in optional.items() if value is not None}
    answer = Api(load_settings()).change("PATCH", "/data-sources/config", body)
    show(answer, tables.sources([answer]), as_json=as_json)


@app.command()
def config(
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Leave out to only show them."),
    ] = None,
    *,
    reset: Annotated[bool, typer.Option(help="First forget what was set before.")] = False,
    as_json: Json = False,
) -> None:
    """Show the settings of ingestion, or change those that can be while the desk runs."""
    api = Api(load_settings())
    answer = api.get(CONFIG)
    if assignments or reset:
        kept = [] if reset else [row for row in answer["items"] if row["origin"] == "operator"]
        values = {row["name"]: row["value"] for row in kept}
        values |= dict(_assignment(text) for text in assignments or [])
        answer = api.change("PUT", CONFIG, {"settings": values})
    show(answer, _settings(answer["items"]), as_json=as_json)


def _turn(wish: str, source: str, body: dict[str, object]) -> Any:
    return Api(load_settings()).post(f"/ops/ingestion/{source}/{wish}", body)


def _scope(pair: str | None, kind: str | None, interval: str | None) -> dict[str, object]:
    given = {"pair": pair, "source_type": kind, "interval": interval}
    return {name: value for name, value in given.items() if value is not None}


def _assignment(text: str) -> tuple[str, bool | int]:
    name, _, value = text.partition("=")
    match value.lower():
        case "true" | "false":
            return name, value.lower() == "true"
        case digits if digits.removeprefix("-").isdecimal():
            return name, int(digits)
        case _:
            raise BadInput(name, f"was {value!r}, expected NAME=VALUE with a number, true or false")


def _settings(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="settings of ingestion", title_justify="left", show_edge=False)
    for name in ("setting", "value", "from", "while it runs"):
        table.add_column(name)
    for row in rows:
        value = row["value"]
        shown = ",".join(value) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType]
        table.add_row(
            row["name"], shown, row["origin"], "may be set" if row["changeable"] else "restart"
        )
    return table
