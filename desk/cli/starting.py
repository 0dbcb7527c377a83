"""`desk preflight` and `desk start`: what a start would be allowed, and the start."""

from typing import Annotated, Any

import typer
from rich.table import Table

from desk.cli.client import Api
from desk.cli.output import Agent, Json, Pair, show
from desk.ids import parse_pair
from desk.settings import load_settings

Mode = Annotated[str, typer.Option(help="paper or live.")]
Version = Annotated[str | None, typer.Option(help="Agent version; default: the active one.")]
Limits = Annotated[str, typer.Option(help="Risk limit set.")]
Threshold = Annotated[float | None, typer.Option(help="Least confidence to act on.")]
StopLoss = Annotated[
    str | None,
    typer.Option(help="Protective stop, a fraction of the price as 0.02; live needs one."),
]
Shadow = Annotated[bool, typer.Option("--shadow", help="Decide and record, never order.")]
TakeProfit = Annotated[str | None, typer.Option(help="Take-profit, a fraction of the price.")]


def preflight(
    pair: Pair,
    *,
    mode: Mode = "live",
    version: Version = None,
    limits: Limits = "default",
    threshold: Threshold = None,
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    shadow: Shadow = False,
    agent: Agent = "desk",
    as_json: Json = False,
) -> None:
    """Show every gate of a start, and the token that a live one needs. Exit status 1: refused."""
    asked = _asked(
        pair,
        mode=mode,
        risk_limit_set_id=limits,
        version_id=version,
        decision_threshold=threshold,
        stop_loss_fraction=stop_loss,
        take_profit_fraction=take_profit,
        shadow=shadow,
    )
    answer = Api(load_settings()).post("/ops/preflight", {"agent_id": agent, **asked})
    show(answer, [_gates(answer), *_next_step(answer)], as_json=as_json)
    if not answer["allowed"]:
        raise typer.Exit(1)


def start(
    pair: Pair,
    *,
    mode: Mode = "paper",
    version: Version = None,
    limits: Limits = "default",
    threshold: Threshold = None,
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    shadow: Shadow = False,
    confirm: Annotated[
        str | None, typer.Option(help="Token of `desk preflight`; live needs one.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="The run's name, as desk/BTC-USDT; live needs it.")
    ] = None,
    agent: Agent = "desk",
    as_json: Json = False,
) -> None:
    """Start a run."""
    body = _asked(
        pair,
        mode=mode,
        risk_limit_set_id=limits,
        version_id=version,
        decision_threshold=threshold,
        stop_loss_fraction=stop_loss,
        take_profit_fraction=take_profit,
        shadow=shadow,
    )
    optional = {"confirm_token": confirm, "confirm_name": name}
    body |= {field: value for field, value in optional.items() if value is not None}
    answer = Api(load_settings()).post(f"/agents/{agent}/start", body)
    text = f"run {answer['run_id']} {answer['status']}: {answer['mode']} {answer['pair']}"
    show(answer, text, as_json=as_json)


def _asked(pair: str, **options: object) -> dict[str, object]:
    """The body of a start; options that are None are left out."""
    given = {name: value for name, value in options.items() if value is not None}
    return {"pair": parse_pair(pair), **given}


def _gates(answer: dict[str, Any]) -> Table:
    allowed = "allowed" if answer["allowed"] else "refused"
    table = Table(title=f"{answer['mode']} {answer['pair']} {answer['version_id']}: {allowed}")
    for column in ("gate", "passed", "value", "threshold", "what to do"):
        table.add_column(column, overflow="fold")
    for gate in answer["gates"]:
        passed = "yes" if gate["passed"] else "no"
        table.add_row(gate["gate"], passed, gate["value"], gate["threshold"], gate["problem"])
    return table


def _next_step(answer: dict[str, Any]) -> list[str]:
    if answer["confirm_token"] is None:
        return []
    confirmed = f"--confirm {answer['confirm_token']} --name {answer['confirm_name']}"
    return [f"within 60 s, with the same options: desk start --mode live … {confirmed}"]
