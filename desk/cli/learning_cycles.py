"""`desk learning status`, `history`, `run`, `pause`, `resume`: continuous learning from a terminal."""

from typing import Annotated, Any

import typer
from rich.table import Table

from desk.cli.client import Api
from desk.cli.output import Agent, Json, Reason, show
from desk.clock import to_iso
from desk.ids import parse_pair
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Let challengers be trained and let in.")


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show the learning window, the runs that learn, and the cycles under way."""
    answer = Api(load_settings()).get("/ops/learning/status")
    window = answer["window"]
    head = (
        f"{'paused: ' + answer['pause_reason'] if answer['paused'] else 'active'};"
        f" train {window['train_window_min']} min, lag {window['evaluation_lag_min']} min,"
        f" evaluate {window['evaluation_window_min']} min, every {window['every_min']} min,"
        f" {window['rollout_mode']}; {len(answer['runs'])} runs learn"
    )
    show(answer, _table(answer["cycles"], head), as_json=as_json)


@app.command()
def history(
    *, limit: Annotated[int, typer.Option(min=1, max=500)] = 20, as_json: Json = False
) -> None:
    """List learning cycles, newest first."""
    answer = Api(load_settings()).get("/ops/learning/history", limit=limit)
    show(answer, _table(answer["items"], "learning cycles"), as_json=as_json)


@app.command()
def run(
    pair: Annotated[
        str | None, typer.Argument(help="As BTC-USDT; default: that of the agent's run.")
    ] = None,
    *,
    agent: Agent = "desk",
    as_json: Json = False,
) -> None:
    """Begin a learning cycle now, whatever the schedule says."""
    body: dict[str, object] = {"agent_id": agent}
    if pair is not None:
        body["pair"] = parse_pair(pair)
    answer = Api(load_settings()).post("/ops/learning/run", body)
    show(answer, f"{answer['cycle_id']} on {answer['pair']} {answer['status']}", as_json=as_json)


@app.command()
def pause(*, reason: Reason = "operator", as_json: Json = False) -> None:
    """Let no cycle take its next step until it is resumed; trading goes on."""
    answer = Api(load_settings()).post("/ops/learning/pause", {"reason": reason})
    show(answer, f"paused: {answer['pause_reason']}", as_json=as_json)


@app.command()
def resume(*, as_json: Json = False) -> None:
    """Let cycles go on where they stand."""
    answer = Api(load_settings()).post("/ops/learning/resume")
    show(answer, "active", as_json=as_json)


def _table(cycles: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("cycle", "began", "pair", "status", "challenger", "champion", "result", "why"):
        table.add_column(name)
    for cycle in cycles:
        results = cycle["results"]
        table.add_row(
            cycle["cycle_id"],
            to_iso(cycle["created_ms"])[:16],
            cycle["pair"],
            cycle["status"],
            cycle["challenger_id"],
            cycle["champion_id"],
            " / ".join(results.get(name, "") for name in ("challenger", "champion")),
            cycle["error"] or " ".join(cycle["reasons"]),
        )
    return table
