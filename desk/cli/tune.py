"""`desk tune`: a sweep from its YAML file, on the running desk's Ray or on one of its own."""

import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from actors.run_file import RunFile
from desk.cli import tables
from desk.cli.learning import cancelled_by_ctrl_c, clock_of, opened_store, viewed
from desk.cli.output import Json, console, show
from desk.cli.progress import bars
from desk.cli.ray_cluster import ray_environment
from desk.engines.private_ray import private_ray
from desk.errors import BadInput
from desk.learning.sweep_file import parse_sweep, schema_text
from desk.learning.sweep_results import SweepRecord, leaderboard
from desk.learning.sweeps import EvaluationSweep, TrainingSweep
from desk.learning.training_spec import ALGORITHMS
from desk.settings import Settings, host_and_port
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.sweeps import SweepJournal
from desk.store.valkey import ValkeyStore

PROBE_S = 2.0
SHOWN_TRIALS = 12


def tune(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="For example tune_configs/smoke.yaml.")
    ] = None,
    *,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a sweep that was interrupted.")
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of a sweep's file.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a sweep: trainings or evaluations by the dozen; Ctrl-C stops it and keeps its state."""
    if schema:
        sys.stdout.write(schema_text())
        return
    if file is None:
        raise BadInput("FILE", "was not given: name a sweep's file, as tune_configs/smoke.yaml")
    name, text = str(file), _text(file)
    sweep = parse_sweep(text, name, algorithms=ALGORITHMS)
    with opened_store() as (settings, store), cancelled_by_ctrl_c() as cancelled:
        place = _place(settings, store)
        concurrent = (
            sweep.budget.concurrent_trials
            if isinstance(sweep, TrainingSweep)
            else sweep.concurrent_tasks
        )
        with _display(is_shown=not as_json) as tell:
            from actors.sweep_job import SweepJob  # noqa: PLC0415 - as the sweep itself

            clock = clock_of(store)
            job = SweepJob(store, clock, name, tell, cancelled)
            asked: dict[str, Any] = {
                "file": name,
                "is_resumed": resume,
                "start_ray": lambda: sweep_ray(settings, concurrent),
                "clock": clock,
                "tell": job.tell,
                "cancelled": job.cancelled,
            }
            try:
                record = _run(place, sweep, asked)
            except Exception as broken:
                job.fail(str(broken))
                raise
            job.end(record)
        journal = SweepJournal(settings.home)
    answer = answer_of(journal, record.sweep_id)
    show(answer, sweep_tables(answer), as_json=as_json)
    if not record.is_done:
        raise typer.Exit(1)


def _run(place: Any, sweep: TrainingSweep | EvaluationSweep, asked: dict[str, Any]) -> SweepRecord:
    if isinstance(sweep, TrainingSweep):
        from actors.sweeping import run_training_sweep  # noqa: PLC0415 - numba takes seconds

        return run_training_sweep(place, sweep, **asked)
    from actors.evaluation_sweep import run_evaluation_sweep  # noqa: PLC0415

    return run_evaluation_sweep(place, sweep, **asked)


def answer_of(journal: SweepJournal, sweep_id: str) -> dict[str, Any]:
    """A sweep with its leaderboard, as `--json` prints it."""
    record = journal.sweep_of(sweep_id)
    versions = {one.trial_key: one.version_id for one in record.finalists}
    rows = leaderboard(record.trials, journal.trials(record), mode=record.mode, versions=versions)
    tried = journal.trials_of(sweep_id)
    return {
        **viewed(record),
        "leaderboard": [viewed(row) for row in rows],
        "policies_tried": len(tried),
        "steps_trained": sum(one.to_steps - one.from_steps for one in journal.trainings(sweep_id)),
        "file": str(journal.folder(sweep_id) / "leaderboard.parquet"),
    }


def sweep_tables(answer: dict[str, Any]) -> list[Table]:
    """What a person wants to see of it."""
    if answer["kind"] == "evaluation":
        return [tables.sweep_results(answer)]
    found = [
        tables.sweep_trials(
            answer["leaderboard"], answer["metric"], answer["sweep_id"], answer["overfitting"]
        )
    ]
    return [*found, tables.sweep_finalists(answer)] if answer["finalists"] else found


@contextmanager
def sweep_ray(settings: Settings, cpus: int) -> Generator[None]:
    """The Ray of the running desk or of `DESK_RAY_ADDRESS`, or a private one with a CPU for each trial
    at a time."""
    running = RunFile.read(settings.home)
    address = (settings.ray_address or "") if running is None else running.ray_address
    if not _answers(address):
        # With more than one, the object store is large enough for a dataset's rows.
        with private_ray(max(2, min(cpus, os.cpu_count() or 1))):
            yield
        return
    for key, value in ray_environment(settings.home, Path("/tmp")).items():
        if key.startswith("RAY_AUTH"):
            os.environ.setdefault(key, value)
    import ray  # noqa: PLC0415 - Ray reads these variables when it is imported

    from actors.learning_jobs import LEARNING_ENVIRONMENT  # noqa: PLC0415

    untyped: Any = ray
    ours = not untyped.is_initialized()
    try:
        if ours:
            untyped.init(
                address=address,
                namespace="raydesk",
                runtime_env=LEARNING_ENVIRONMENT,
                log_to_driver=False,
                logging_level="ERROR",
            )
        yield
    finally:
        if ours:
            untyped.shutdown()


def _answers(address: str) -> bool:
    """Whether something listens there: against a Ray that is gone `ray.init` blocks for minutes."""
    try:
        with socket.create_connection(host_and_port(address), timeout=PROBE_S):
            return True
    except (OSError, ValueError):
        return False


def _place(settings: Settings, store: ValkeyStore) -> Any:
    from actors.sweep_data import SweepPlace  # noqa: PLC0415 - numba takes seconds to import

    history = History(shared_folder(settings.place, "history", store))
    return SweepPlace(
        home=settings.place,
        store=store,
        candles=CandleArchive(store, history, CandleCache(settings.home / "cache", history)),
        store_url=store.url,
    )


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as wrong:
        raise BadInput(str(file), f"cannot be read ({wrong}): check the path") from None


@contextmanager
def _display(*, is_shown: bool) -> Generator[Any]:
    """A bar with the time left, and under it the trials as they stand; nothing beside JSON."""
    if not is_shown:
        yield lambda view: None  # pyright: ignore[reportUnknownLambdaType]
        return
    progress: Progress = bars(console)
    task = progress.add_task("sweep", total=None, detail="")
    with Live(progress, console=console, refresh_per_second=4, transient=True) as live:

        def tell(view: Any) -> None:
            progress.update(
                task,
                description=view.stage,
                completed=view.done,
                total=view.total,
                detail=view.unit,
            )
            rows = [viewed(row) for row in view.rows[:SHOWN_TRIALS]]
            luck = None if view.overfitting is None else viewed(view.overfitting)
            table = tables.sweep_trials(rows, "score", view.sweep_id, luck)
            live.update(Group(progress, table) if rows else progress)

        yield tell
