"""`desk evaluations`: the reports that the desk holds; `desk evaluate` makes one."""

from typing import Annotated

import typer

from desk.cli.client import Api
from desk.cli.evidence import evidence_tables
from desk.cli.output import Agent, Json, Limit, facts_of, rows_of, show, times
from desk.ids import parse_pair
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Evaluation reports: list, show, compare.")
LISTED = ("evaluation_id", "version_id", "pair", "created", "trade_count", "win_rate")
EvaluationId = Annotated[str, typer.Argument(help="As `desk evaluations list` shows it.")]


@app.command("list")
def list_evaluations(
    *,
    agent: Agent = "desk",
    pair: Annotated[str | None, typer.Option()] = None,
    version: Annotated[str | None, typer.Option(help="Only of this version.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> None:
    """List evaluation reports, newest first."""
    answer = Api(load_settings()).get(
        f"/agents/{agent}/evaluations",
        pair=parse_pair(pair) if pair else None,
        agent_version_id=version,
        limit=limit,
    )
    names = (*LISTED, "net_pnl_after_fees", "max_drawdown", "sharpe", "verdict")
    show(answer, rows_of("evaluations", names, times(answer["items"])), as_json=as_json)


@app.command("show")
def show_evaluation(
    evaluation_id: EvaluationId, *, agent: Agent = "desk", as_json: Json = False
) -> None:
    """Show one report with its evidence."""
    answer = Api(load_settings()).get(f"/agents/{agent}/evaluations/{evaluation_id}")
    shown = [facts_of(evaluation_id, answer), *evidence_tables(answer["evidence"])]
    show(answer, shown, as_json=as_json)


@app.command()
def trades(evaluation_id: EvaluationId, *, agent: Agent = "desk", as_json: Json = False) -> None:
    """List the trades that the engine made of a report's decisions, oldest first."""
    api = Api(load_settings())
    rows = list(api.pages(f"/agents/{agent}/evaluations/{evaluation_id}/trades"))
    names = tuple(name.removesuffix("_ms") for name in (rows[0] if rows else {"opened_ms": 0}))
    show(rows, rows_of("trades", names, times(rows)), as_json=as_json)


@app.command()
def equity(
    evaluation_id: EvaluationId,
    *,
    agent: Agent = "desk",
    points: Annotated[int, typer.Option(min=2, help="About so many closes.")] = 20,
    as_json: Json = False,
) -> None:
    """Show a report's equity beside its baselines and at dearer costs."""
    path = f"/agents/{agent}/evaluations/{evaluation_id}/equity"
    answer = Api(load_settings()).get(path, points=points)
    show(answer, facts_of("equity", answer), as_json=as_json)


@app.command()
def compare(
    evaluation_ids: Annotated[
        list[str],
        typer.Argument(metavar="EVALUATION...", help="2 to 20; the first is the measure."),
    ],
    *,
    agent: Agent = "desk",
    as_json: Json = False,
) -> None:
    """Compare reports with the first one."""
    path = f"/agents/{agent}/evaluations/compare"
    answer = Api(load_settings()).get(path, ids=",".join(evaluation_ids))
    rows = [item.get("evaluation", item) for item in answer["items"]]
    names = (*LISTED, "net_pnl_after_fees", "max_drawdown", "sharpe", "verdict")
    shown = [facts_of("together", answer), rows_of("evaluations", names, times(rows))]
    show(answer, shown, as_json=as_json)
