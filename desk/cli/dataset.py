"""`desk dataset build`, `list`, `show`, `verify`: frozen candles, with or without a running desk."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.progress import Progress

from actors.commands import BackfillAsk
from actors.dataset_build import fetch_here, windows_to_fetch
from actors.funding_fetch import fetch_funding, funding_to_fetch
from actors.market_time import clock_fact
from actors.parts.venue import StoredBans
from actors.run_file import RunFile
from desk.cli import tables
from desk.cli.client import Api, ApiUnreachable
from desk.cli.learning import cancelled_by_ctrl_c, clock_of, opened_store, viewed
from desk.cli.output import Json, console, moment, show
from desk.cli.progress import ENDED, POLL_S, JobFailed, bars
from desk.clock import to_iso
from desk.errors import BadInput
from desk.ids import parse_pair
from desk.market.features import FEATURES_V1, FeatureSet
from desk.market.interval import interval_ms, last_closed_open_ms, parse_interval
from desk.settings import Settings
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import DatasetAsk, Datasets, lineage_of
from desk.store.feature_sets import find_feature_set
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.valkey import ValkeyStore
from desk.venues.bingx import BingxVenue
from desk.venues.connect import bingx_config

app = typer.Typer(no_args_is_help=True, help="Frozen, hashed candles to learn from.")
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="For example ds-1f0c….")]

type Tell = Callable[[dict[str, Any]], bool]
"""Told of a backfill's row; True: end it."""


class _Cancelled(Exception):
    """Ctrl-C while candles were fetched."""


@app.command()
def build(
    pair: Annotated[str, typer.Argument(help="For example BTC-USDT.")],
    *,
    start: Annotated[str, typer.Option(help="Open time of the first row, ISO, UTC.")],
    end: Annotated[
        str | None, typer.Option(help="End (exclusive), ISO, UTC; default: the newest candle.")
    ] = None,
    interval: Annotated[str, typer.Option()] = "1m",
    features: Annotated[str, typer.Option(help="Feature set.")] = FEATURES_V1.feature_set_id,
    window: Annotated[
        int | None, typer.Option(help="Candles a row looks at; default: what the features need.")
    ] = None,
    stride: Annotated[int, typer.Option(help="Candles from one row to the next.")] = 1,
    parent: Annotated[
        list[str] | None, typer.Option(help="Dataset it follows; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Freeze a range of candles; what is missing at its ends is fetched first. Ctrl-C cancels."""
    pair, interval = parse_pair(pair), parse_interval(interval)
    start_ms, end_ms = moment("--start", start), moment("--end", end)
    with opened_store() as (settings, store):
        ask = DatasetAsk(
            pair=pair,
            interval=interval,
            start_ms=start_ms or 0,
            end_ms=_newest_ms(store, interval) if end_ms is None else end_ms,
            features=_features(store, features),
            lookback=window,
            stride=stride,
            parents=tuple(parent or ()),
        )
        archive = _archive(settings, store)
        datasets = Datasets(shared_folder(settings.place, "datasets"), store, archive)
        datasets.check(ask)
        bench = _Bench(settings=settings, store=store, archive=archive, datasets=datasets, ask=ask)
        with cancelled_by_ctrl_c() as cancelled:
            try:
                _complete(bench, cancelled)
            except _Cancelled:
                console.print("cancelled: what was fetched stays; the same command goes on from it")
                raise typer.Exit(1) from None
            made = datasets.build(ask, now_ms=clock_of(store).now_ms())
    lacking = f", {made.missing:,} missing" if made.missing else ""
    text = f"dataset {made.dataset_id}: {made.rows:,} rows{lacking}, sha256 {made.sha256}"
    show(viewed(made), text, as_json=as_json)


@app.command("list")
def list_datasets(
    *, limit: Annotated[int, typer.Option(min=1, max=1_000)] = 50, as_json: Json = False
) -> None:
    """List datasets, newest first."""
    with opened_store() as (_, store):
        rows = [viewed(doc.value) for doc in store.list(kinds.DATASETS, limit=limit)]
    show(rows, tables.datasets(rows), as_json=as_json)


@app.command("show")
def show_dataset(dataset_id: DatasetId, *, as_json: Json = False) -> None:
    """Show one dataset: where it came from, and what rests on it."""
    with opened_store() as (_, store):
        row = viewed(lineage_of(store, dataset_id))
    show(row, tables.lineage(row), as_json=as_json)


@app.command()
def verify(
    dataset_ids: Annotated[
        list[str] | None, typer.Argument(metavar="DATASET", help="Default: all.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Hash candles again and compare; exit status 1 if one does not have its recorded hash."""
    with opened_store() as (settings, store):
        datasets = Datasets(
            shared_folder(settings.place, "datasets"), store, _archive(settings, store)
        )
        chosen = dataset_ids or [one.dataset_id for one in datasets.newest(limit=1_000)]
        rows = [viewed(datasets.verify(dataset_id)) for dataset_id in chosen]
    show(rows, tables.checked(rows), as_json=as_json)
    if any(row["problem"] for row in rows):
        raise typer.Exit(1)


# --- fetching -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What a build works with."""

    settings: Settings
    store: ValkeyStore
    archive: CandleArchive
    datasets: Datasets
    ask: DatasetAsk

    def lacking(self) -> list[BackfillAsk]:
        return windows_to_fetch(self.store, self.datasets, self.archive, self.ask)


def _complete(bench: _Bench, cancelled: Callable[[], bool]) -> None:
    """Fetch what is missing: by the pollers of the running desk, else in this process."""
    _complete_funding(bench)
    if not bench.lacking():
        return _expect_closed(bench.store, bench.ask)
    api = _running_desk(bench.settings)
    with bars(console) as progress:
        tell = _teller(progress, cancelled)
        if api is None:
            return _fetch_here(bench, tell)
        _expect_closed(bench.store, bench.ask)
        for wanted in bench.lacking():
            _fetch_by_desk(api, wanted, tell)
    return None


def _complete_funding(bench: _Bench) -> None:
    """Read the settlements that are missing here, whether or not a desk runs: a few requests a pair."""
    store, ask = bench.store, bench.ask
    step_ms = interval_ms(ask.interval)
    window = funding_to_fetch(
        store,
        ask.features,
        ask.pair,
        start_ms=ask.start_ms + step_ms,
        end_ms=ask.end_ms,
        now_ms=clock_of(store).now_ms(),
    )
    if window is None:
        return
    run_file = RunFile.read(bench.settings.home)
    config = bingx_config(bench.settings, run_file.venue_url if run_file else None)

    async def fetch() -> int:
        venue = BingxVenue(config, bans=StoredBans(store), turns=store)
        try:
            return await fetch_funding(store, venue, ask.pair, window)
        finally:
            await venue.close()

    console.print(f"{asyncio.run(fetch()):,} funding settlements of {ask.pair} fetched")


def _fetch_here(bench: _Bench, tell: Tell) -> None:
    store, ask = bench.store, bench.ask

    async def fetch() -> None:
        config = bingx_config(bench.settings, None)
        venue = BingxVenue(config, bans=StoredBans(store), turns=store)
        try:
            read = await venue.server_clock()
            store.put(kinds.STATE, "clock", clock_fact(read), at_ms=read.market_ms)
            _expect_closed(store, ask)
            for wanted in bench.lacking():
                job = await fetch_here(
                    store, venue, clock_of(store), wanted, progress=lambda now: tell(viewed(now))
                )
                _expect_done(viewed(job))
        finally:
            await venue.close()

    try:
        asyncio.run(fetch())
    finally:
        # Nobody else moves them on while no desk runs, and the store keeps its candles in memory.
        bench.archive.flush(ask.pair, ask.interval, "dataset")


def _fetch_by_desk(api: Api, ask: BackfillAsk, tell: Tell) -> None:
    body = {
        "pair": ask.pair,
        "interval": ask.interval,
        "start_ms": ask.start_ms,
        "end_ms": ask.end_ms,
    }
    job = api.post("/ops/ingestion/bingx/backfill", body)
    while job["status"] not in ENDED:
        if tell(job):
            api.post(f"/jobs/{job['job_id']}/cancel")
            raise _Cancelled
        time.sleep(POLL_S)
        job = api.get(f"/jobs/{job['job_id']}")
    _expect_done(job)


def _expect_done(job: dict[str, Any]) -> None:
    if job["status"] == "cancelled":
        raise _Cancelled
    if job["status"] != "done":
        raise JobFailed(f"backfill {job['status']}: {job['error'] or job['detail']}")


def _teller(progress: Progress, cancelled: Callable[[], bool]) -> Tell:
    tasks: dict[str, Any] = {}

    def tell(job: dict[str, Any]) -> bool:
        name = job["job_id"]
        if name not in tasks:
            tasks[name] = progress.add_task("fetching", total=None, detail="")
        total = int(job["total"]) or None
        progress.update(tasks[name], completed=int(job["done"]), total=total, detail=job["detail"])
        return cancelled()

    return tell


def _running_desk(settings: Settings) -> Api | None:
    """The desk of this home, whose pollers fetch; None where none answers."""
    if RunFile.read(settings.home) is None:
        return None
    api = Api(settings)
    try:
        api.get("/healthz")
    except ApiUnreachable:
        return None
    return api


def _expect_closed(store: ValkeyStore, ask: DatasetAsk) -> None:
    """A candle that may still change has no place in what never changes."""
    newest_ms = _newest_ms(store, ask.interval)
    if ask.end_ms > newest_ms:
        raise BadInput(
            "--end",
            f"was {to_iso(ask.end_ms)}, candles are final to {to_iso(newest_ms)}: end there",
        )


def _newest_ms(store: ValkeyStore, interval: str) -> int:
    # Without the newest that closed: a backfill leaves that one to the poller.
    return last_closed_open_ms(clock_of(store).now_ms(), interval)


def _features(store: ValkeyStore, feature_set_id: str) -> FeatureSet:
    found = find_feature_set(store, feature_set_id)
    if found is None:
        raise BadInput(
            "--features", f"was {feature_set_id!r}, expected one of `desk features list`"
        )
    return found


def _archive(settings: Settings, store: ValkeyStore) -> CandleArchive:
    history = History(shared_folder(settings.place, "history", store))
    return CandleArchive(store, history, CandleCache(settings.home / "cache", history))
