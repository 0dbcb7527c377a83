"""The commands, each a few lines over the API, the launcher or the learning jobs."""

import logging
import subprocess
import sys
from typing import Annotated

import typer

from actors.run_file import RunFile
from desk.cli import (
    agents,
    audit,
    backups,
    cluster,
    dataset,
    evaluations,
    features,
    ingestion,
    jobs,
    learning,
    learning_cycles,
    limits,
    market,
    provenance,
    signals,
    source,
    starting,
    tables,
    telegram,
    trade,
    watching,
)
from desk.cli.client import Api
from desk.cli.doctor import doctor
from desk.cli.drills import drill
from desk.cli.launch import Launcher, only_one, stop_running
from desk.cli.output import Agent, Json, Pair, Reason, console, moment, show
from desk.cli.parity import parity
from desk.cli.progress import follow_job
from desk.cli.tune import tune
from desk.cli.welcome import first_steps
from desk.drills.hands import DrillRefused
from desk.errors import (
    ArtifactRefused,
    BadInput,
    DeskError,
    NotFound,
    SettingsError,
    StoreCorrupt,
)
from desk.ids import parse_pair
from desk.logs import configure_logs
from desk.market.interval import parse_interval
from desk.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Raydesk: trade, watch, stop, train and evaluate.",
)
WRONG_INPUT = (SettingsError, BadInput, NotFound, ArtifactRefused, StoreCorrupt, DrillRefused)


@app.command()
def up(
    *,
    run: Annotated[
        bool, typer.Option(help="Backfill and start a paper run of the baseline.")
    ] = True,
) -> None:
    """Start the simulator, store, Ray, actors and API; stay until Ctrl-C or `desk down`."""
    settings = load_settings()
    with only_one(settings.home) as ours:
        if not ours:
            running = RunFile.read(settings.home)
            where = running.api_url if running else f"http://{settings.host}:{settings.port}"
            console.print(
                f"Raydesk already runs for {settings.home}: {where} (`desk down` ends it)"
            )
            return
        launcher = Launcher(settings, console)
        launcher.run(lambda: first_steps(settings, console, start_run=run))


@app.command()
def down() -> None:
    """End every process that `desk up` started, and nothing else."""
    settings = load_settings()
    stopped = stop_running(settings.home)
    console.print("stopped" if stopped else "nothing was running")


@app.command()
def status(*, as_json: Json = False) -> None:
    """Show runs, freshness, positions, and each actor with its resident memory."""
    api = Api(load_settings())
    answer = {
        "summary": api.get("/ops/trading/summary"),
        "actors": api.get("/ops/actors"),
        "sources": api.get("/data-sources/status"),
    }
    show(answer, tables.status(answer), as_json=as_json)


@app.command()
def trades(
    mode: Annotated[str | None, typer.Option(help="paper or live.")] = None,
    pair: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 20,
    *,
    as_json: Json = False,
) -> None:
    """List trades, newest first."""
    chosen = parse_pair(pair) if pair else None
    answer = Api(load_settings()).get("/trades", mode=mode, pair=chosen, limit=limit)
    show(answer, tables.trades(answer["items"]), as_json=as_json)


@app.command()
def pause(*, agent: Agent = "desk", reason: Reason = "operator", as_json: Json = False) -> None:
    """Pause the agent's run: no new entries, positions stay."""
    _run_command("pause", agent, {"reason": reason}, as_json=as_json)


@app.command()
def resume(*, agent: Agent = "desk", reason: Reason = "operator", as_json: Json = False) -> None:
    """Resume a paused run."""
    _run_command("resume", agent, {"reason": reason}, as_json=as_json)


@app.command()
def stop(
    *,
    agent: Agent = "desk",
    reason: Reason = "operator",
    flatten: Annotated[bool, typer.Option(help="Close the position reduce-only.")] = False,
    as_json: Json = False,
) -> None:
    """Stop the agent's run."""
    _run_command("stop", agent, {"reason": reason, "flatten": flatten}, as_json=as_json)


@app.command()
def kill(
    *,
    agent: Annotated[
        str | None, typer.Option(help="Only this agent; default: all trading.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the audit. Lifting needs one.")] = "",
    flatten: Annotated[bool, typer.Option("--flatten", help="Close positions too.")] = False,
    lift: Annotated[bool, typer.Option("--lift", help="Lift it again.")] = False,
    as_json: Json = False,
) -> None:
    """Stop every entry: of all accounts, or of one agent."""
    path = f"/agents/{agent}/kill-switch" if agent else "/ops/trading/kill"
    body = {"on": not lift, "reason": reason, "flatten": flatten and not lift}
    answer = Api(load_settings()).post(path, body)
    done = (
        "lifted: resume what shall trade" if lift else f"on, {answer['runs_stopped']} runs paused"
    )
    show(answer, f"kill switch of {agent or 'all trading'} {done}", as_json=as_json)


@app.command()
def reconcile(*, as_json: Json = False) -> None:
    """Compare our orders and positions with the venue's, now."""
    answer = Api(load_settings()).post("/ops/trading/reconcile")
    text = f"checked {answer['checked']}, updated {answer['updated']}, errors {answer['errors']}"
    show(answer, text, as_json=as_json)


@app.command()
def backfill(
    pair: Pair,
    interval: Annotated[str, typer.Option()] = "1m",
    start: Annotated[
        str | None, typer.Option(help="ISO date or time, UTC; default: the earliest.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="ISO date or time, UTC; default: now.")] = None,
    max_batches: Annotated[int | None, typer.Option(min=1)] = None,
    *,
    as_json: Json = False,
) -> None:
    """Fetch history from the exchange, with a progress bar; Ctrl-C leaves the job running."""
    start_ms, end_ms = moment("--start", start), moment("--end", end)
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise BadInput("--start", f"{start} is not before --end {end}: give an earlier start")
    body: dict[str, object] = {"pair": parse_pair(pair), "interval": parse_interval(interval)}
    optional = {"start_ms": start_ms, "end_ms": end_ms, "max_batches": max_batches}
    body |= {name: value for name, value in optional.items() if value is not None}
    api = Api(load_settings())
    job = api.post("/ops/ingestion/bingx/backfill", body)
    job = job if as_json else follow_job(api, job["job_id"], console)
    show(job, f"{job['status']}: {job['detail']}", as_json=as_json)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def sim(context: typer.Context) -> None:
    """Run the exchange simulator alone; arguments go to `python -m bingx_sim`."""
    sys.exit(subprocess.call([sys.executable, "-m", "bingx_sim", *context.args]))


def _run_command(verb: str, agent: str, body: dict[str, object], *, as_json: bool) -> None:
    answer = Api(load_settings()).post(f"/agents/{agent}/{verb}", body)
    show(answer, f"run {answer['run_id']} {answer['status']}", as_json=as_json)


app.command()(starting.preflight)
app.command()(starting.start)
app.command()(learning.train)
app.command()(learning.evaluate)
app.command()(learning.promote)
app.command()(learning.rollback)
app.command()(learning.versions)
app.command()(parity)
app.command()(drill)
app.command()(doctor)
app.command()(backups.backup)
app.command()(backups.restore)
app.command()(provenance.replay)
app.command()(provenance.explain)
app.command()(tune)
app.command()(watching.trace)
app.command()(watching.events)
app.command()(watching.metrics)
app.command()(watching.gaps)
app.command()(watching.sides)
app.add_typer(agents.app, name="agent")
app.add_typer(trade.app, name="trade")
app.add_typer(jobs.app, name="jobs")
app.add_typer(evaluations.app, name="evaluations")
app.add_typer(market.app, name="market")
app.add_typer(watching.alerts, name="alerts")
app.add_typer(audit.app, name="audit")
app.add_typer(cluster.app, name="cluster")
app.add_typer(dataset.app, name="dataset")
app.add_typer(signals.app, name="signals")
app.add_typer(source.app, name="source")
app.add_typer(ingestion.app, name="ingestion")
app.add_typer(ingestion.retries, name="retries")
app.add_typer(telegram.app, name="telegram")
app.add_typer(features.app, name="features")
app.add_typer(learning_cycles.app, name="learning")
app.add_typer(limits.app, name="limits")


def main() -> None:
    """Run the command. Exit code 2: the input was wrong; 1: the work failed; 0: done."""
    configure_logs(logging.WARNING, sys.stderr, as_json=False)
    try:
        app(prog_name="desk")
    except DeskError as refused:
        sys.stderr.write(f"desk: {refused}\n")
        sys.exit(2 if isinstance(refused, WRONG_INPUT) else 1)
