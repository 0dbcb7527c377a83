"""`desk train`, `evaluate`, `promote`, `versions`: learning from a terminal, with or without a running desk."""

import json
import shutil
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from pydantic import TypeAdapter

from actors.market_time import MarketClock
from actors.parts.foundation import market_clock
from actors.promotion import previous_version, promote_version, rollback_version
from actors.seed import AGENT_ID, seed
from actors.study_checks import check_evaluation, check_training, named
from actors.study_period import Period, Rates
from actors.version_registry import version_of
from desk.cli import tables
from desk.cli.evidence import evidence_tables
from desk.cli.output import Json, console, moment, show
from desk.cli.progress import bars
from desk.engines.private_ray import private_ray
from desk.errors import BadInput, DeskError
from desk.evaluation.by_pair import by_pair, newest_on_each_pair, together
from desk.evaluation.overfitting import Trials
from desk.evaluation.walk_forward import DEFAULT_FOLDS, FoldPlan
from desk.ids import parse_pair, trace_id
from desk.learning.episode import EpisodeSpec
from desk.learning.training_spec import training_spec
from desk.learning.training_window import MOST_MISSING_FRACTION
from desk.market.candles import Candles
from desk.market.features import FEATURES_V1
from desk.market.interval import interval_ms, parse_interval
from desk.settings import Settings, load_settings
from desk.store import kinds, server
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.feature_sets import feature_set_of
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.tape import read_tape
from desk.store.valkey import ValkeyStore
from desk.trading.fills import FillSpec
from desk.trading.instruments import Instrument
from desk.trading.intents import Protection
from desk.venues.port import FundingRate
from desk.wallclock import wall_ms

FAR_MS = 1 << 52
OPTIONS = {
    "start": "--start",
    "period": "--start",
    "candles": "--tick",
    "size_quote": "--levels",
    "levels": "--levels",
    "stop_loss_fraction": "--stop-loss",
    "take_profit_fraction": "--take-profit",
    "leverage": "--leverage",
    "most_missing_fraction": "--missing",
    "turnover_coefficient": "--turnover-coefficient",
    "drawdown_coefficient": "--drawdown-coefficient",
}
"""What a field of a study is called on the command line."""
TRAINED_SHARE = 0.75
"""Part of the stored candles that `desk train` looks at when no range is given; the rest is for
evaluating what it learnt."""

Start = Annotated[str | None, typer.Option(help="First candle, ISO date or time, UTC.")]
End = Annotated[str | None, typer.Option(help="End (exclusive), ISO date or time, UTC.")]
Tape = Annotated[
    Path | None, typer.Option(help="Parquet file of candles instead of the stored ones.")
]
Tick = Annotated[
    str | None,
    typer.Option(help="Price step; default: the stored instrument's. Needed with --tape."),
]
Lot = Annotated[str, typer.Option(help="Quantity step, with --tick.")]
StopLoss = Annotated[
    str | None, typer.Option(help="Protective stop of every position, a fraction of the price.")
]
TakeProfit = Annotated[
    str | None, typer.Option(help="Take-profit of every position, a fraction of the price.")
]
Leverage = Annotated[
    int | None,
    typer.Option(min=1, help="Isolated margin, whose loss liquidates; default: never liquidated."),
]
Coefficient = Annotated[float, typer.Option(min=0, help="Reward lost beside costs.")]
Missing = Annotated[
    float, typer.Option(min=0, max=1, help="Most of the period's candles that may be missing.")
]
QuoteVolume = Annotated[
    bool, typer.Option("--quote-volume", help="The tape's volume counts money, not coins.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """The candles of one command, and the market they are traded on."""

    candles: Candles
    instrument: Instrument
    rates: Rates

    def period(self, pair: str, interval: str, start_ms: int, end_ms: int) -> Period:
        """A range of them. Raises `BadInput` for an empty one."""
        if start_ms >= end_ms:
            raise BadInput("--start", "is not before --end: give an earlier start or a later end")
        fills = FillSpec(
            interval=interval,
            taker_rate=self.instrument.taker_rate,
            maker_rate=self.instrument.maker_rate,
        )
        return Period(
            pair=pair,
            interval=interval,
            start_ms=start_ms,
            end_ms=end_ms,
            instrument=self.instrument,
            fills=fills,
        )


def train(
    *,
    pair: Annotated[str, typer.Option()] = "BTC-USDT",
    interval: Annotated[str, typer.Option()] = "1m",
    start: Start = None,
    end: End = None,
    steps: Annotated[
        int | None, typer.Option(min=1_000, help="Environment steps; default: by algorithm.")
    ] = None,
    seed_number: Annotated[int, typer.Option("--seed", min=0)] = 7,
    name: Annotated[str, typer.Option(help="Name of the new version.")] = "",
    features: Annotated[str, typer.Option(help="Feature set.")] = FEATURES_V1.feature_set_id,
    levels: Annotated[
        str, typer.Option(help="Target of each action, rising, as -1,-0.5,0,0.5,1.")
    ] = "-1,0,1",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    leverage: Leverage = None,
    turnover_coefficient: Coefficient = 0.0,
    drawdown_coefficient: Coefficient = 0.0,
    algorithm: Annotated[str, typer.Option(help="ppo, dqn, or bc: clone the trend rule.")] = "ppo",
    parameter: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the algorithm, for example clip=0.1; may be repeated."),
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Stored dataset that the period's candles must still be.")
    ] = "",
    missing: Missing = MOST_MISSING_FRACTION,
    tape: Tape = None,
    tick: Tick = None,
    lot: Lot = "0.0001",
    quote_volume: QuoteVolume = False,
    as_json: Json = False,
) -> None:
    """Train a policy with RLlib and register it as a draft version; Ctrl-C cancels.

    A training that was killed goes on from its last checkpoint when the same command is given again.
    """
    pair, interval = parse_pair(pair), parse_interval(interval)
    spec = training_spec(algorithm, given_parameters(parameter), steps=steps, seed=seed_number)
    with opened_store() as (settings, store):
        study = gather(settings, store, pair, interval, tape, tick, lot, quote_volume=quote_volume)
        start_ms, end_ms = bounds(study.candles, interval, start, end, share=TRAINED_SHARE)
        period = study.period(pair, interval, start_ms, end_ms)
        shown = feature_set_of(store, features)
        with named(OPTIONS):
            check_training(
                store,
                study.candles,
                period,
                shown,
                EpisodeSpec(
                    levels=_levels(levels),
                    protection=_protection(stop_loss, take_profit),
                    leverage=leverage,
                    turnover_coefficient=turnover_coefficient,
                    drawdown_coefficient=drawdown_coefficient,
                ),
                most_missing_fraction=missing,
                now_ms=clock_of(store).now_ms(),
            )
        # Seconds to import RLlib and to start Ray: only for input that was found good.
        from actors.training import TrainAsk, describe, job_folder, train_version  # noqa: PLC0415
        from actors.training_work import terminal_work  # noqa: PLC0415
        from desk.engines.training_progress import TrainingProgress  # noqa: PLC0415

        ask = TrainAsk(
            period=period,
            name=name,
            training=spec,
            feature_set_id=shown.feature_set_id,
            levels=_levels(levels),
            protection=_protection(stop_loss, take_profit),
            leverage=leverage,
            turnover_coefficient=turnover_coefficient,
            drawdown_coefficient=drawdown_coefficient,
            dataset_id=dataset,
            most_missing_fraction=missing,
        )
        work = terminal_work(settings.home, ask, now_ms=clock_of(store).now_ms())
        processors = 1 + spec.runners + spec.learners
        with (
            private_ray(processors),
            cancelled_by_ctrl_c() as cancelled,
            bars(console) as progress,
        ):
            task = progress.add_task("training", total=spec.steps, detail="")

            def tell(now: TrainingProgress) -> bool:
                progress.update(
                    task, completed=now.steps, total=now.total_steps, detail=describe(now)
                )
                return cancelled()

            try:
                version = train_version(
                    settings.place,
                    store,
                    study.candles,
                    ask,
                    clock=clock_of(store),
                    progress=tell,
                    rates=study.rates,
                    work=work,
                )
            except DeskError:  # refused: whoever mends it begins anew
                shutil.rmtree(job_folder(settings.home, work.work_id), ignore_errors=True)
                raise
        shutil.rmtree(job_folder(settings.home, work.work_id), ignore_errors=True)
    if version is None:
        console.print("cancelled: nothing was registered")
        raise typer.Exit(1)
    show(
        viewed(version),
        f"version {version.version_id} registered: `desk evaluate {version.version_id}`",
        as_json=as_json,
    )


def evaluate(
    version_id: Annotated[
        str, typer.Argument(metavar="VERSION", help="For example baseline-trend-v1.")
    ],
    *,
    pair: Annotated[str, typer.Option()] = "BTC-USDT",
    interval: Annotated[str, typer.Option()] = "1m",
    start: Start = None,
    end: End = None,
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least confidence to act on.")
    ] = None,
    size: Annotated[str, typer.Option(help="Notional of a full position, USDT.")] = "1000",
    stop_loss: StopLoss = None,
    take_profit: TakeProfit = None,
    leverage: Leverage = None,
    tape: Tape = None,
    tick: Tick = None,
    lot: Lot = "0.0001",
    quote_volume: QuoteVolume = False,
    folds: Annotated[
        int | None,
        typer.Option(min=1, help="Walk-forward tests; default: five, on few candles less."),
    ] = None,
    purge_bars: Annotated[int, typer.Option(min=0, help="Candles left out before a test.")] = 0,
    embargo_bars: Annotated[int, typer.Option(min=0, help="And so many more.")] = 0,
    min_train_bars: Annotated[
        int, typer.Option(min=0, help="Candles before the first test and its gap.")
    ] = 0,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Policies tried until this one was chosen; default: its card's."),
    ] = None,
    missing: Missing = MOST_MISSING_FRACTION,
    tearsheet: Annotated[
        Path | None, typer.Option(help="Write figures, equity and trades to this HTML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Backtest a version in NautilusTrader and judge it by the promotion gate."""
    from actors.evaluation import STAGES, EvaluateAsk, evaluate_version  # noqa: PLC0415
    from actors.evidence import WeighAsk  # noqa: PLC0415

    pair, interval = parse_pair(pair), parse_interval(interval)
    if tearsheet is not None and not tearsheet.absolute().parent.is_dir():
        raise BadInput("--tearsheet", f"there is no folder {tearsheet.absolute().parent}: make it")
    with opened_store() as (settings, store):
        version = version_of(store, version_id)
        study = gather(settings, store, pair, interval, tape, tick, lot, quote_volume=quote_volume)
        start_ms, end_ms = bounds(study.candles, interval, start, end, share=1.0)
        if start is None and start_ms < version.training_end_ms < end_ms:
            start_ms = version.training_end_ms
        period = study.period(pair, interval, start_ms, end_ms)
        protection = _protection(stop_loss, take_profit)
        with named(OPTIONS):
            check_evaluation(
                store,
                study.candles,
                period,
                feature_set_of(store, version.feature_set_id),
                protection=protection,
                leverage=leverage,
                most_missing_fraction=missing,
                now_ms=clock_of(store).now_ms(),
            )
        ask = EvaluateAsk(
            period=period,
            version_id=version_id,
            size_quote=decimal("--size", size),
            decision_threshold=threshold,
            protection=protection,
            leverage=leverage,
            weighing=WeighAsk(
                folds=_fold_plan(folds, purge_bars, embargo_bars, min_train_bars),
                trials=None if trials is None else Trials(count=trials),
            ),
            most_missing_fraction=missing,
        )
        with bars(console) as progress:
            task = progress.add_task("evaluating", total=STAGES, detail="")
            report = evaluate_version(
                settings.place,
                store,
                study.candles,
                ask,
                clock=clock_of(store),
                progress=lambda stage, detail: progress.update(
                    task, completed=stage, detail=detail
                ),
                rates=study.rates,
                sheet=tearsheet,
            )
        stored = [doc.value for doc in store.list(kinds.EVALUATIONS, limit=1_000)]
    row = viewed(report)
    shown = [tables.evaluation(row), *evidence_tables(row["evidence"])]
    others = newest_on_each_pair(stored, version_id)
    if len(others) > 1:
        shown.append(tables.by_pair(version_id, by_pair(others), together(others)))
    show(row, shown, as_json=as_json)


def promote(
    version_id: Annotated[str, typer.Argument(metavar="VERSION")],
    *,
    pair: Annotated[str, typer.Option()] = "BTC-USDT",
    as_json: Json = False,
) -> None:
    """Make a version the active one if its own evaluation on the pair passes the gate."""
    with opened_store() as (_, store):
        now_ms = clock_of(store).now_ms()
        verdict = promote_version(
            store,
            version_id,
            pair=parse_pair(pair),
            actor="cli",
            now_ms=now_ms,
            trace_id=trace_id("promote", version_id, wall_ms()),
        )
    text = (
        f"{version_id} is now active" if verdict.passed else f"refused: {' '.join(verdict.reasons)}"
    )
    show(viewed(verdict), text, as_json=as_json)
    if not verdict.passed:
        raise typer.Exit(1)


def rollback(
    version_id: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="Default: the one promoted last before.")
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Make a version that was promoted before the active one again."""
    with opened_store() as (_, store):
        if version_id is None:
            earlier = previous_version(store, AGENT_ID)
            if earlier is None:
                raise BadInput("VERSION", "no version was promoted before the active one: name one")
            version_id = earlier.version_id
        agent = rollback_version(
            store,
            version_id,
            actor="cli",
            now_ms=clock_of(store).now_ms(),
            trace_id=trace_id("rollback", version_id, wall_ms()),
        )
    show(viewed(agent), f"{version_id} is active again", as_json=as_json)


def versions(*, as_json: Json = False) -> None:
    """List the registered versions, newest first."""
    with opened_store() as (_, store):
        rows = [viewed(doc.value) for doc in store.list(kinds.VERSIONS)]
        agent = store.get(kinds.AGENTS, AGENT_ID)
    active = agent.value.active_version_id if agent else ""
    show(rows, tables.versions(rows, active), as_json=as_json)


# --- what they share --------------------------------------------------------------------------


@contextmanager
def opened_store() -> Generator[tuple[Settings, ValkeyStore]]:
    """The store of the settings; an embedded one that does not run is started for the block."""
    settings = load_settings()
    if settings.redis_url is not None:
        yield settings, ValkeyStore(settings.redis_url.get_secret_value())
        return
    running = server.find(settings.home)
    ours = None if running else server.start(settings.home)
    store = ValkeyStore((running or ours).url)  # pyright: ignore[reportOptionalMemberAccess]
    try:
        seed(store, settings.place, settings.market_data_pairs)
        yield settings, store
    finally:
        store.close()
        if ours is not None:
            server.stop(ours)


@contextmanager
def cancelled_by_ctrl_c() -> Generator[Any]:
    """Turn Ctrl-C into a flag for the block: the work ends at its next step, nothing is half done."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: pressed.append(number))
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def clock_of(store: ValkeyStore) -> MarketClock:
    """Market time of the last desk that used this store; the wall's where there was none."""
    return market_clock(store, is_first=True)


def gather(  # noqa: PLR0917 - the options of one command
    settings: Settings,
    store: ValkeyStore,
    pair: str,
    interval: str,
    tape: Path | None,
    tick: str | None,
    lot: str,
    *,
    quote_volume: bool,
) -> Study:
    """Read candles from the tape or from what the desk stored, with instrument and funding."""
    stored = store.get(kinds.INSTRUMENTS, pair)
    if tick is not None:
        instrument = _instrument(pair, decimal("--tick", tick), decimal("--lot", lot))
    elif stored is not None and tape is None:
        instrument = stored.value
    else:
        raise BadInput(
            "--tick",
            f"the price step of {pair} is not known here: give --tick, for example --tick 0.1",
        )
    if tape is not None:
        if not tape.is_file():
            raise BadInput("--tape", f"there is no file {tape}: check the path")
        candles = read_tape(
            tape, interval=interval, drop_off_tick=instrument.tick, volume_in_quote=quote_volume
        )
        return Study(candles=candles, instrument=instrument, rates=())
    history = History(shared_folder(settings.place, "history", store))
    archive = CandleArchive(store, history, CandleCache(settings.home / "cache", history))
    candles = archive.read(pair, interval, 0, FAR_MS)
    if len(candles) == 0:
        raise BadInput(
            "--pair",
            f"no {interval} candles of {pair} are stored: run `desk up` or `desk backfill {pair}`",
        )
    return Study(candles=candles, instrument=instrument, rates=stored_rates(store, pair))


def bounds(
    candles: Candles, interval: str, start: str | None, end: str | None, *, share: float
) -> tuple[int, int]:
    """Range of a study: as asked, else the first `share` of what there is."""
    first, last = int(candles.open_ms[0]), int(candles.open_ms[-1]) + interval_ms(interval)
    start_ms = moment("--start", start)
    end_ms = moment("--end", end)
    return (
        first if start_ms is None else start_ms,
        first + round((last - first) * share) if end_ms is None else end_ms,
    )


def decimal(option: str, text: str) -> Decimal:
    """A positive decimal number. Raises `BadInput` naming the option."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or number <= 0:
        raise BadInput(option, f"was {text!r}, expected a number above 0")
    return number


def _fold_plan(folds: int | None, purge: int, embargo: int, least: int) -> FoldPlan | None:
    if folds is None and not (purge or embargo or least):
        return None
    return FoldPlan(
        folds=DEFAULT_FOLDS if folds is None else folds,
        purge_bars=purge,
        embargo_bars=embargo,
        min_train_bars=least,
    )


def _protection(stop_loss: str | None, take_profit: str | None) -> Protection:
    return Protection(
        stop_loss_fraction=None if stop_loss is None else decimal("--stop-loss", stop_loss),
        take_profit_fraction=None if take_profit is None else decimal("--take-profit", take_profit),
    )


def given_parameters(texts: Sequence[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` texts as a mapping; a value is JSON, or plain text. Raises `BadInput`."""
    found: dict[str, Any] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BadInput("--parameter", f"was {text!r}, expected NAME=VALUE such as clip=0.1")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _levels(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadInput(
            "--levels", f"was {text!r}, expected numbers such as -1,-0.5,0,0.5,1"
        ) from None


def _instrument(pair: str, tick: Decimal, lot: Decimal) -> Instrument:
    # BingX's standard fees; minimum notional 2 USDT as on its contract list.
    return Instrument(
        pair=pair,
        tick=tick,
        lot=lot,
        min_quantity=lot,
        min_notional=Decimal(2),
        maker_rate=Decimal("0.0002"),
        taker_rate=Decimal("0.0005"),
        max_leverage=100,
    )


def stored_rates(store: ValkeyStore, pair: str) -> Rates:
    """Funding settlements of a pair, oldest first."""
    rows: list[FundingRate] = [
        doc.value for doc in store.list(kinds.funding_rates(pair), limit=100_000)
    ]
    return tuple(sorted((row.due_ms, row.rate) for row in rows))


def viewed(value: Any) -> Any:
    """A dataclass as plain JSON values."""
    adapter: TypeAdapter[Any] = TypeAdapter(cast("type[Any]", type(value)))
    return adapter.dump_python(value, mode="json")
