"""`desk drill`: the incidents of the runbook, held on the running desk, and how long each took."""

import json
import signal
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from actors.run_file import RunFile
from desk.cli.client import Api
from desk.cli.output import Json, show
from desk.cli.processes import ProcessBook, marked, title_of
from desk.cli.progress import bars
from desk.drills import plan
from desk.drills.exchange import Simulator
from desk.drills.files import put_all_back
from desk.drills.hands import DrillRefused, Processes
from desk.drills.incidents import INCIDENTS, Incident
from desk.drills.look import Subject
from desk.drills.plan import Ground
from desk.drills.runner import Hours, Outcome, Runner
from desk.errors import BadInput, DeskError
from desk.market.interval import interval_ms
from desk.settings import Settings, load_settings
from desk.store import server
from desk.venues.connect import bingx_config
from desk.wallclock import monotonic_s

ALL = "all"
POLICY = "ray::ServeReplica:policy"
AGENT = "desk"
INTERRUPTED = 130


def drill(
    name: Annotated[str | None, typer.Argument(help="A drill, or `all`.")] = None,
    *,
    list_: Annotated[bool, typer.Option("--list", help="Name every drill.")] = False,
    as_json: Json = False,
) -> None:
    """Provoke an incident of the runbook on the running desk, on the simulator only, and time it."""
    if list_ or name is None:
        rows = [{"name": one.name, "incident": one.title} for one in INCIDENTS]
        show(rows, _names(), as_json=as_json)
        return
    chosen = _chosen(name)
    settings = load_settings()
    with closing(Simulator(_control_url(settings))) as simulator:
        ground, subject = _enter(settings, simulator)
        outcomes, interrupted = _hold_all(chosen, ground, subject)
    show([_row(outcome) for outcome in outcomes], _table(outcomes, subject), as_json=as_json)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if not all(outcome.passed for outcome in outcomes):
        raise typer.Exit(1)


def _chosen(name: str) -> list[Incident]:
    if name == ALL:
        return list(INCIDENTS)
    found = [incident for incident in INCIDENTS if incident.name == name]
    if not found:
        raise BadInput("NAME", f"was {name!r}, expected all or one of {', '.join(plan.names())}")
    return found


def _hold_all(
    chosen: list[Incident], ground: Ground, subject: Subject
) -> tuple[list[Outcome], bool]:
    """Hold them in order; a signal ends the one under way, which is healed, and begins no other."""
    outcomes: list[Outcome] = []
    hours = Hours(now_s=monotonic_s, sleep=time.sleep)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        with bars(Console(stderr=True)) as progress:
            task = progress.add_task("drills", total=len(chosen), detail="")
            for incident in chosen:
                progress.update(task, description=incident.name)

                def tell(text: str) -> None:
                    progress.update(task, detail=text)

                runner = Runner(ground.api, hours, subject, tell)
                outcomes.append(_hold(runner, incident, ground, subject))
                progress.advance(task)
    except KeyboardInterrupt:
        return outcomes, True
    finally:
        signal.signal(signal.SIGTERM, before)
    return outcomes, False


def _hold(runner: Runner, incident: Incident, ground: Ground, subject: Subject) -> Outcome:
    """One drill; what refuses it or cuts it off in the middle of several is its failure, not theirs."""
    try:
        return runner.hold(plan.drill_of(incident, ground, subject))
    except DeskError as problem:
        bounds = incident.bounds(subject)
        return Outcome(name=incident.name, bounds=bounds, failure=f"cut off: {problem}")


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


# --- where drills may be held -------------------------------------------------------------------


def _enter(settings: Settings, simulator: Simulator) -> tuple[Ground, Subject]:
    """The running desk as a place for drills. Raises `DrillRefused` where it does not decide."""
    api = Api(settings)
    simulator.remove_rules()  # what a drill that was killed left
    put_all_back(settings.home)
    lots = _lots(api)
    subject = _subject(api, lots)
    ground = Ground(
        api=api,
        simulator=simulator,
        processes=_processes(settings, api),
        home=settings.home,
        account_key=bingx_config(settings, "").api_key,
        lots=lots,
    )
    return ground, subject


def _control_url(settings: Settings) -> str:
    """Where the simulator is told what to do. Raises `DrillRefused` on any other exchange."""
    running = RunFile.read(settings.home)
    if running is None:
        raise DrillRefused(f"no desk runs for {settings.home}: start one with `desk up`")
    try:
        ready: dict[str, Any] = json.loads((settings.home / "run" / "simulator.json").read_text())
    except (OSError, ValueError):
        ready = {}
    if not settings.uses_simulator or ready.get("url") != running.venue_url:
        raise DrillRefused(
            f"the desk runs on {running.venue_name}, drills are held on the bundled simulator only:"
            " unset BINGX_BASE_URL and start a desk of another DESK_HOME"
        )
    return str(ready["control_url"])


def _subject(api: Api, lots: Mapping[str, Decimal]) -> Subject:
    summary = api.get("/ops/trading/summary")
    if not str(summary["venue"]).startswith("simulator"):
        raise DrillRefused(f"the desk says that its venue is {summary['venue']}: no drill there")
    if summary["killed"]:
        raise DrillRefused("the kill switch is on: lift it first")
    mine = [run for run in summary["runs"] if run["agent_id"] == AGENT]
    if not mine or mine[0]["status"] != "running":
        state = f"{mine[0]['status']}: {mine[0]['pause_reason']}" if mine else "there is none"
        raise DrillRefused(
            f"a drill needs a run that decides ({state}): `desk start` or `desk resume` first"
        )
    run = mine[0]
    busy = {each["pair"] for each in summary["runs"]}
    free = [pair for pair in lots if pair not in busy]
    if not free:
        raise DrillRefused("a drill needs a pair without a run: set BINGX_MARKET_DATA_PAIRS to two")
    return Subject(
        agent_id=run["agent_id"],
        run_id=run["run_id"],
        account=run["account"],
        pair=run["pair"],
        interval=run["interval"],
        interval_ms=interval_ms(run["interval"]),
        version_id=run["version_id"],
        other_pair=free[0],
        speed=float(summary["speed"]),
    )


def _lots(api: Api) -> dict[str, Decimal]:
    """Of each pair whose rules are known."""
    rows = api.get("/market-data/pairs")["items"]
    return {row["pair"]: Decimal(row["lot"]) for row in rows if row.get("lot")}


def _processes(settings: Settings, api: Api) -> Processes:
    def actor(name: str) -> int | None:
        rows = api.get("/ops/actors")["items"]
        return next((int(row["pid"]) for row in rows if row["name"] == name), None)

    def store() -> int | None:
        found = server.find(settings.home) if settings.redis_url is None else None
        return found.pid if found else None

    def policies() -> list[int]:
        entries = ProcessBook(settings.home).living()
        ours = [entry.mark for entry in entries if entry.name == "ray" and entry.mark]
        return [pid for mark in ours for pid in marked(mark) if title_of(pid).startswith(POLICY)]

    return Processes(actor=actor, store=store, policies=policies)


# --- what is shown ------------------------------------------------------------------------------


def _row(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "passed": outcome.passed}


def _names() -> Table:
    table = Table(title="drills", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("drill", "what is provoked"):
        table.add_column(column)
    for incident in INCIDENTS:
        table.add_row(incident.name, incident.title)
    return table


def _table(outcomes: list[Outcome], subject: Subject) -> Table:
    table = Table(
        title=f"drills on {subject.pair} at {subject.speed:g} times the wall, wall seconds of those allowed",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for column in ("drill", "detected", "paused", "recovered", "", "how it showed"):
        table.add_column(column)
    for one in outcomes:
        verdict = "[green]passed[/]" if one.passed else f"[red]failed[/]: {escape(one.failure)}"
        table.add_row(
            one.name,
            _time(one.detected_s, one.bounds.detect_s),
            _time(one.paused_s, one.bounds.pause_s),
            _time(one.recovered_s, one.bounds.recover_s),
            verdict,
            escape("; ".join(one.evidence)),
        )
    return table


def _time(took_s: float | None, bound_s: float | None) -> str:
    if bound_s is None:
        return "trading goes on"
    return f"{'-' if took_s is None else f'{took_s:.1f}'} of {bound_s:.0f}"
