"""`desk market`: what is stored of the market, and what it last said."""

from typing import Annotated, Any

import typer

from desk.cli.client import Api
from desk.cli.output import Json, Pair, any_rows, facts_of, moment, rows_of, show
from desk.clock import to_iso
from desk.ids import parse_pair
from desk.market.interval import parse_interval
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Market data as the desk has it.")
CANDLE: tuple[str, ...] = ("open", "o", "h", "l", "c", "v")


@app.command()
def pairs(*, as_json: Json = False) -> None:
    """List the configured pairs with their steps and what is stored of each."""
    answer = Api(load_settings()).get("/market-data/pairs")
    rows = [{**row, "stored": len(row["stored"])} for row in answer["items"]]
    show(answer, rows_of("pairs", ("pair", "tick", "lot", "stored"), rows), as_json=as_json)


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show the market clock, how far each series reaches, and its quality."""
    api = Api(load_settings())
    answer = {"status": api.get("/market-data/status"), "quality": api.get("/data-quality/status")}
    parts = [any_rows(name, row["items"]) for name, row in answer.items()]
    show(answer, parts, as_json=as_json)


@app.command()
def candles(
    pair: Pair,
    *,
    interval: Annotated[str, typer.Option()] = "1m",
    start: Annotated[str | None, typer.Option(help="ISO time, UTC; default: the newest.")] = None,
    end: Annotated[str | None, typer.Option(help="ISO time, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=5_000)] = 20,
    as_json: Json = False,
) -> None:
    """Show candles: the newest, or the oldest from --start on."""
    answer = Api(load_settings()).get(
        "/market-data/candles",
        pair=parse_pair(pair),
        interval=parse_interval(interval),
        start_ms=moment("--start", start),
        end_ms=moment("--end", end),
        limit=limit,
    )
    columns = zip(*(answer[name] for name in ("t", *CANDLE[1:])), strict=True)
    rows: list[dict[str, Any]] = [
        dict(zip(CANDLE, (to_iso(row[0])[:19], *row[1:]), strict=True)) for row in columns
    ]
    show(answer, rows_of(f"{pair} {interval}", CANDLE, rows), as_json=as_json)


@app.command()
def quote(pair: Pair, *, as_json: Json = False) -> None:
    """Show a pair's newest ticker, mark and index price, open interest and best level."""
    api, wanted = Api(load_settings()), parse_pair(pair)
    answer = {
        name: api.get(f"/market-data/{name}", pair=wanted)
        for name in ("ticker", "mark-index", "open-interest", "orderbook")
    }
    show(answer, [facts_of(name, _one(row)) for name, row in answer.items()], as_json=as_json)


@app.command()
def funding(
    pair: Pair, *, limit: Annotated[int, typer.Option(min=1, max=500)] = 20, as_json: Json = False
) -> None:
    """List settled funding rates of a pair, newest first."""
    answer = Api(load_settings()).get(
        "/market-data/funding-rates", pair=parse_pair(pair), limit=limit
    )
    show(answer, any_rows("funding", answer["items"]), as_json=as_json)


def _one(row: dict[str, Any]) -> dict[str, Any]:
    """The only row of a list of one."""
    items: list[dict[str, Any]] = row.get("items") or [row]
    return items[0]
