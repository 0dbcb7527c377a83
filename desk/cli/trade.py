"""`desk trade`: one trade, and the ways out of it by hand."""

from typing import Annotated

import typer

from desk.cli.client import Api
from desk.cli.output import Json, Reason, facts_of, rows_of, show, times
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="One trade: show, close or cancel it.")
TradeId = Annotated[str, typer.Argument(help="As `desk trades --json` shows it.")]
EXECUTIONS = ("kind", "side", "quantity", "filled_quantity", "average_price", "fees", "status")


@app.command("show")
def show_trade(trade_id: TradeId, *, as_json: Json = False) -> None:
    """Show a trade with its executions and every change of state."""
    answer = Api(load_settings()).get(f"/trades/{trade_id}")
    events = rows_of("states", ("at", "from", "to", "reason"), times(answer["state_events"]))
    executions = rows_of("executions", EXECUTIONS, answer["executions"])
    show(answer, [facts_of(trade_id, answer), executions, events], as_json=as_json)


@app.command()
def close(
    trade_id: TradeId,
    *,
    quantity: Annotated[str | None, typer.Option(help="Coins; default: all of it.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Your own name for this close: one name, one order.")
    ] = None,
    reason: Reason = "operator",
    as_json: Json = False,
) -> None:
    """Close a trade's position, or a part of it, by a reduce-only market order."""
    body = {"quantity": quantity, "client_order_id": name, "reason": reason}
    given = {key: value for key, value in body.items() if value is not None}
    answer = Api(load_settings()).post(f"/trades/{trade_id}/close", given)
    show(answer, f"exit {answer['client_order_id']} ordered", as_json=as_json)


@app.command()
def cancel(trade_id: TradeId, *, reason: Reason = "operator", as_json: Json = False) -> None:
    """Ask for the end of a trade's entries that are not filled; what was filled stays held."""
    answer = Api(load_settings()).post(f"/trades/{trade_id}/cancel", {"reason": reason})
    orders = ", ".join(answer["client_order_ids"])
    show(answer, f"asked for the end of {orders}", as_json=as_json)
