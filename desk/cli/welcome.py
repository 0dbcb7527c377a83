"""What `desk up` does once all parts answer: fetch history, start a first paper run, say where to look."""

from rich.console import Console

from desk.cli.client import Api
from desk.cli.progress import follow_jobs
from desk.clock import DAY_MS
from desk.settings import Settings

FIRST_HISTORY_DAYS = 3
AGENT = "desk"


def first_steps(settings: Settings, console: Console, *, start_run: bool) -> None:
    """Backfill what is missing, start a paper run where none ever was, print the address."""
    api = Api(settings, awaits_start=True)
    if settings.market_data_backfill:
        _backfill(api, settings, console)
    runs = api.get(f"/agents/{AGENT}/runs")["items"]
    if start_run and not runs:
        _first_run(api, settings.market_data_pairs[0], console)
    _say_where(api, console)


def _backfill(api: Api, settings: Settings, console: Console) -> None:
    now_ms = int(api.get("/ops/trading/summary")["market_now_ms"])
    jobs: list[str] = []
    # Of the interval that runs decide on; the pollers fetch the rest in the background.
    interval = settings.market_data_intervals[0]
    for pair in settings.market_data_pairs:
        ask: dict[str, object] = {"pair": pair, "interval": interval}
        ask["start_ms"] = now_ms - FIRST_HISTORY_DAYS * DAY_MS
        if settings.backfill_max_batches is not None:
            ask["max_batches"] = settings.backfill_max_batches
        jobs.append(api.post("/ops/ingestion/bingx/backfill", ask)["job_id"])
    for job in follow_jobs(api, jobs, console):
        console.print(f"[green]✓[/] {job['arguments']['pair']} [dim]{job['detail']}[/]")


def _first_run(api: Api, pair: str, console: Console) -> None:
    run = api.post(
        f"/agents/{AGENT}/start", {"mode": "paper", "pair": pair, "risk_limit_set_id": "default"}
    )
    console.print(
        f"[green]✓[/] paper run of the baseline trend rule on {run['pair']} (not a trained model)"
    )


def _say_where(api: Api, console: Console) -> None:
    summary = api.get("/ops/trading/summary")
    console.print(
        f"\n[bold]Raydesk[/] on {summary['venue']} · {api.base_url}/rl-ops · {api.base_url}/insights"
    )
    if float(summary["speed"]) != 1:
        console.print(
            f"Market time runs {float(summary['speed']):g} times faster than the wall: this is a demonstration."
        )
    console.print("Ctrl-C or `make down` ends it; the state stays.")
