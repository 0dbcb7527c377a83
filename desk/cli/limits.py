"""`desk limits`: limit sets of runs, guardrails of accounts, how much of each is used."""

from typing import Annotated, Any

import typer
from rich.table import Table

from desk.cli.client import Api
from desk.cli.output import Json, assigned, rows_of, show
from desk.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Limits of runs and guardrails of accounts.")
GUARDRAILS = "/ops/trading/risk"
SetId = Annotated[str, typer.Argument(help="Limit set, as `desk limits list` shows it.")]
Account = Annotated[str, typer.Argument(help="paper or live.")]
Size = Annotated[str | None, typer.Option("--size", help="Largest position in USDT.")]
Cap = Annotated[str | None, typer.Option("--leverage", help="Largest leverage.")]
Loss = Annotated[str | None, typer.Option("--daily-loss", help="Daily loss in USDT.")]
Drawdown = Annotated[str | None, typer.Option("--drawdown", help="Fraction of peak equity.")]
Positions = Annotated[int | None, typer.Option("--positions", help="Open positions.")]
Version = Annotated[int | None, typer.Option(help="Revision you saw; a stale one is refused.")]
Confirm = Annotated[str | None, typer.Option(help="Token of the same command with --preflight.")]
Preflight = Annotated[
    bool, typer.Option("--preflight", help="Only say what it raises, and get the token for it.")
]


@app.command("list")
def list_sets(*, as_json: Json = False) -> None:
    """List the limit sets with their revisions."""
    answer = Api(load_settings()).get("/risk-limits")
    show(answer, _sets(answer["items"]), as_json=as_json)


@app.command()
def history(set_id: SetId, *, as_json: Json = False) -> None:
    """List the revisions of a set that were replaced."""
    answer = Api(load_settings()).get(f"/risk-limits/{set_id}/revisions")
    show(answer, _sets(answer["items"]), as_json=as_json)


@app.command()
def use(*, as_json: Json = False) -> None:
    """Show limit, use and headroom by account and by run."""
    answer = Api(load_settings()).get(GUARDRAILS)
    tables = [
        _caps(title, caps)
        for account in answer["accounts"]
        for title, caps in (
            (f"{account['account']}: {account['state']}", account["caps"]),
            *(
                (f"run {run['run_id']} {run['pair']} by {run['set_id']}", run["caps"])
                for run in account["runs"]
            ),
        )
    ]
    show(answer, tables, as_json=as_json)


@app.command()
def create(
    set_id: SetId,
    *,
    name: Annotated[str, typer.Option(help="What operators will see.")],
    size: Annotated[str, typer.Option("--size", help="Largest position in USDT.")],
    leverage: Annotated[str, typer.Option("--leverage", help="Largest leverage.")],
    daily_loss: Annotated[str, typer.Option("--daily-loss", help="Daily loss in USDT.")],
    drawdown: Annotated[str, typer.Option("--drawdown", help="Fraction of peak equity.")],
    positions: Annotated[int, typer.Option("--positions", help="Open positions.")],
    as_json: Json = False,
) -> None:
    """Store a new limit set; `desk limits activate` lets runs start with it."""
    body = {"set_id": set_id, "name": name} | _limits(
        size, leverage, daily_loss, drawdown, positions
    )
    answer = Api(load_settings()).post("/risk-limits", body)
    show(answer, _sets([answer]), as_json=as_json)


@app.command()
def edit(
    set_id: SetId,
    *,
    size: Size = None,
    leverage: Cap = None,
    daily_loss: Loss = None,
    drawdown: Drawdown = None,
    positions: Positions = None,
    version: Version = None,
    confirm: Confirm = None,
    preflight: Preflight = False,
    as_json: Json = False,
) -> None:
    """Write the next revision of a set. To loosen one in use takes --preflight first."""
    changes = _limits(size, leverage, daily_loss, drawdown, positions)
    if preflight:
        _preflight(
            {"action": "risk-limits.edit", "set_id": set_id} | changes, version, as_json=as_json
        )
        return
    body = changes | _confirmed(version, confirm)
    answer = Api(load_settings()).change("PATCH", f"/risk-limits/{set_id}", body)
    show(answer, _sets([answer]), as_json=as_json)


@app.command()
def activate(set_id: SetId, *, version: Version = None, as_json: Json = False) -> None:
    """Let runs start with a set."""
    body = _given(version=version)
    answer = Api(load_settings()).post(f"/risk-limits/{set_id}/activate", body)
    show(answer, _sets([answer]), as_json=as_json)


@app.command()
def account(
    name: Account,
    changes: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="As max_drawdown=0.04.")
    ],
    *,
    version: Version = None,
    confirm: Confirm = None,
    preflight: Preflight = False,
    as_json: Json = False,
) -> None:
    """Change an account's guardrails. To loosen one takes --preflight first."""
    given = {"account": name} | dict(assigned(text, "max_drawdown=0.04") for text in changes)
    if preflight:
        _preflight({"action": "risk-policy.edit"} | given, version, as_json=as_json)
        return
    body = given | _confirmed(version, confirm)
    answer = Api(load_settings()).change("PATCH", GUARDRAILS, body)
    show(answer, _caps(f"{name}: {answer['state']}", answer["caps"]), as_json=as_json)


@app.command("reset-breaker")
def reset_breaker(
    name: Account,
    *,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit.")],
    as_json: Json = False,
) -> None:
    """End an account's cool-down early."""
    body = {"account": name, "reason": reason}
    answer = Api(load_settings()).post("/ops/trading/circuit-breaker/reset", body)
    show(answer, f"{name}: {answer['state']}", as_json=as_json)


def _preflight(body: dict[str, object], version: int | None, *, as_json: bool) -> None:
    answer = Api(load_settings()).post("/ops/preflight", body | _given(version=version))
    raises = ", ".join(answer["raises"]) or "nothing"
    text = f"{answer['key']} at revision {answer['version']}: raises {raises}"
    if answer["confirm_token"] is not None:
        text += f"\nwithin 60 s, with the same options: --confirm {answer['confirm_token']}"
    show(answer, text, as_json=as_json)


def _limits(
    size: str | None,
    leverage: str | None,
    daily_loss: str | None,
    drawdown: str | None,
    positions: int | None,
) -> dict[str, object]:
    return _given(
        max_position_size=size,
        leverage_cap=leverage,
        max_daily_loss=daily_loss,
        max_drawdown=drawdown,
        max_open_positions=positions,
    )


def _confirmed(version: int | None, confirm: str | None) -> dict[str, object]:
    return _given(version=version, confirm_token=confirm)


def _given(**options: object) -> dict[str, object]:
    return {name: value for name, value in options.items() if value is not None}


def _sets(rows: list[dict[str, Any]]) -> Table:
    names = ("set_id", "name", "row_version", "active", "max_position_size", "leverage_cap")
    return rows_of(
        "limit sets", (*names, "max_daily_loss", "max_drawdown", "max_open_positions"), rows
    )


def _caps(title: str, rows: list[dict[str, Any]]) -> Table:
    return rows_of(title, ("name", "cap", "used", "headroom", "unit", "breached"), rows)
