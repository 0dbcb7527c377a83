"""`desk agent`: what the agent is and did, and what an operator may set of it."""

from typing import Annotated, Any

import typer

from desk.cli.client import Api
from desk.cli.output import Agent, Json, Limit, assigned, facts_of, rows_of, show, times
from desk.errors import BadInput
from desk.ids import parse_pair
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="The agent: its runs, decisions, gate and settings.")
Seen = Annotated[
    int | None, typer.Option("--version", help="Row version you saw; a stale one is refused.")
]


@app.command("list")
def list_agents(*, as_json: Json = False) -> None:
    """List the agents."""
    answer = Api(load_settings()).get("/agents")
    names = ("agent_id", "name", "active_version_id", "kill_switch")
    show(answer, rows_of("agents", names, answer["items"]), as_json=as_json)


@app.command("show")
def show_agent(*, agent: Agent = "desk", as_json: Json = False) -> None:
    """Show an agent: its run, active version, gate, policies of sources, kill switches."""
    api, path = Api(load_settings()), f"/agents/{agent}"
    answer = {
        "agent": api.get(path),
        "promotion_gates": api.get(f"{path}/promotion-gates"),
        "source_policies": api.get(f"{path}/source-policies"),
        "kill_switch": api.get(f"{path}/kill-switch"),
    }
    shown = [facts_of(name.replace("_", " "), row) for name, row in answer.items()]
    show(answer, shown, as_json=as_json)


@app.command()
def runs(*, agent: Agent = "desk", limit: Limit = 20, as_json: Json = False) -> None:
    """List an agent's runs, newest first."""
    answer = Api(load_settings()).get(f"/agents/{agent}/runs", limit=limit)
    names = ("run_id", "mode", "pair", "status", "pause_reason", "version_id", "started", "stopped")
    show(answer, rows_of("runs", names, times(answer["items"])), as_json=as_json)


@app.command()
def decisions(
    run: Annotated[
        str | None, typer.Argument(help="Run id; default: the agent's newest run.")
    ] = None,
    *,
    agent: Agent = "desk",
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List the decisions of a run, newest first."""
    api = Api(load_settings())
    if run is None:
        newest = api.get(f"/agents/{agent}/runs", limit=1)["items"]
        if not newest:
            raise BadInput("RUN", f"was left out and {agent} has no run: `desk start PAIR`")
        run = newest[0]["run_id"]
    answer = api.get(f"/agents/{agent}/runs/{run}/decisions", limit=limit)
    names = ("open", "pair", "action", "hold_reason", "target", "confidence", "trace_id")
    show(answer, rows_of(f"decisions of {run}", names, times(answer["items"])), as_json=as_json)


@app.command()
def drift(*, agent: Agent = "desk", limit: Limit = 20, as_json: Json = False) -> None:
    """List where a version no longer met what it was judged on, newest first."""
    answer = Api(load_settings()).get(f"/agents/{agent}/drift-alerts", limit=limit)
    names = ("created", "severity", "code", "status", "value", "threshold", "detail")
    show(answer, rows_of("drift", names, times(answer["items"])), as_json=as_json)


@app.command("set")
def set_config(
    *,
    agent: Agent = "desk",
    name: Annotated[str | None, typer.Option(help="What operators will see.")] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Pairs it may trade, as BTC-USDT,ETH-USDT.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Least confidence that any run acts on, 0 to 1.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold of runs that are started without one.")
    ] = None,
    data_pause_lift: Annotated[
        str | None, typer.Option(help="manual or auto: who lifts a pause for stale data.")
    ] = None,
    version: Seen = None,
    as_json: Json = False,
) -> None:
    """Change what is given of an agent; its runs take it with their next candle."""
    given = {
        "name": name,
        "allowed_instruments": [parse_pair(pair) for pair in pairs.split(",")] if pairs else None,
        "min_confidence": min_confidence,
        "decision_threshold": threshold,
        "data_pause_lift": data_pause_lift,
    }
    _change(f"/agents/{agent}/config", given, version, as_json=as_json)


@app.command()
def gate(
    changes: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="As min_trades=30.")
    ],
    *,
    agent: Agent = "desk",
    version: Seen = None,
    as_json: Json = False,
) -> None:
    """Change what an evaluation must reach: min_trades, min_win_rate, min_net_pnl, max_drawdown."""
    given = {name: _number(name, value) for name, value in _pairs(changes, "min_trades=30")}
    _change(f"/agents/{agent}/promotion-gates", given, version, as_json=as_json)


@app.command()
def policies(
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="TYPE=POLICY...", help="As funding=required; as_needed, required, forbidden."
        ),
    ],
    *,
    agent: Agent = "desk",
    version: Seen = None,
    as_json: Json = False,
) -> None:
    """Say which types of source the agent requires, and which it may not look at."""
    given = {"policies": dict(_pairs(changes, "funding=required"))}
    _change(f"/agents/{agent}/source-policies", given, version, as_json=as_json)


def _pairs(texts: list[str], example: str) -> list[tuple[str, object]]:
    return [assigned(text, example) for text in texts]


def _number(name: str, value: object) -> object:
    try:
        return value if isinstance(value, int) else float(str(value))
    except ValueError:
        raise BadInput(name, f"was {value}, expected a number") from None


def _change(path: str, given: dict[str, Any], version: int | None, *, as_json: bool) -> None:
    body = {name: value for name, value in given.items() if value is not None}
    answer = Api(load_settings()).change("PATCH", path, body, seen=version)
    show(answer, facts_of(path.rpartition("/")[2], answer), as_json=as_json)
