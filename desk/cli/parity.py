"""`desk parity`: the four executions of the fill rules side by side, without a running desk."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import typer

from desk.cli import tables
from desk.cli.learning import Study, opened_store, stored_rates
from desk.cli.output import Json, console, show
from desk.cli.progress import bars
from desk.engines.executions import EXECUTIONS, compare, compare_cases
from desk.errors import BadInput
from desk.evaluation.cases import Case, random_plan, without_liquidations
from desk.evaluation.parity import BOUNDS, LEDGER, PAPER, Agreement
from desk.market.interval import interval_ms
from desk.store import kinds
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.datasets import Datasets
from desk.store.history import History
from desk.store.places import shared_folder
from desk.trading.tape import Market
from desk.venues.paper_book import FUNDING_STEP_MS

DECIDED_SHARE = 0.03
"""Of a dataset's candles, besides every one on which funding is due."""


def parity(
    *,
    dataset: Annotated[
        str | None, typer.Option(help="Replay a plan on this dataset's candles as well.")
    ] = None,
    cases: Annotated[int, typer.Option(min=0, help="Generated cases.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the first case, and of the plan.")] = 0,
    as_json: Json = False,
) -> None:
    """Replay plans by ledger, kernel, NautilusTrader and paper venue; exit status 1 if they differ."""
    if cases == 0 and dataset is None:
        raise BadInput("--cases", "was 0 and there is no --dataset: nothing would be compared")
    studied = None if dataset is None else _of_dataset(dataset, seed)
    found: dict[str, Agreement] = {}
    with bars(console) as progress:
        task = progress.add_task(
            "comparing",
            total=cases * len(EXECUTIONS) + (len(EXECUTIONS) if studied else 0),
            detail="",
        )

        def count(agreements: Iterator[Agreement], what: str) -> None:
            progress.update(task, detail=what)
            for one in agreements:
                earlier = found.get(one.engine)
                found[one.engine] = one if earlier is None else earlier.plus(one)
                progress.advance(task)

        count(compare_cases(cases, first_seed=seed), "generated cases")
        if studied is not None:
            for engine in EXECUTIONS:
                case = _case_for(engine, studied)
                what = f"{engine} on {len(studied.plan):,} candles of {dataset}"
                count(iter(()) if case is None else compare(case, engine, name=what), what)
    answer = _answer(found, cases, dataset)
    show(answer, tables.parity(answer), as_json=as_json)
    if not answer["holds"]:
        raise typer.Exit(1)


def _of_dataset(dataset_id: str, seed: int) -> Case:
    """The dataset's candles with the stored funding, and a plan on them."""
    with opened_store() as (settings, store):
        history = History(shared_folder(settings.place, "history", store))
        archive = CandleArchive(store, history, CandleCache(settings.home / "cache", history))
        datasets = Datasets(shared_folder(settings.place, "datasets"), store, archive)
        record, candles = datasets.record(dataset_id), datasets.candles(dataset_id)
        stored = store.get(kinds.INSTRUMENTS, record.pair)
        if stored is None:
            raise BadInput(
                "--dataset",
                f"the price step of {record.pair} is not known here: run `desk up` once",
            )
        study = Study(
            candles=candles, instrument=stored.value, rates=stored_rates(store, record.pair)
        )
    spec = study.period(record.pair, record.interval, record.start_ms, record.end_ms).fill_spec
    market = Market.of(candles, study.instrument, spec, study.rates)
    plan = random_plan(market, seed=seed, share=DECIDED_SHARE, with_exits=True)
    return Case(market=market, plan=plan)


def _case_for(engine: str, case: Case) -> Case | None:
    """The case as an execution can be given it; None where it cannot."""
    if engine != PAPER:
        return case
    if FUNDING_STEP_MS % interval_ms(case.market.spec.interval):
        return None
    return without_liquidations(case)


def _answer(found: dict[str, Agreement], cases: int, dataset: str | None) -> dict[str, Any]:
    on = [f"{cases:,} generated cases"] if cases else []
    on += [dataset] if dataset else []
    rows = [_row(agreement) for agreement in found.values()]
    return {
        "title": f"held against the {LEDGER} on " + " and ".join(on),
        "cases": cases,
        "dataset_id": dataset,
        "engines": rows,
        "holds": all(row["holds"] for row in rows),
    }


def _row(agreement: Agreement) -> dict[str, Any]:
    bound = BOUNDS[agreement.engine]
    return {
        "engine": agreement.engine,
        "cases": agreement.cases,
        "candles": agreement.candles,
        "fills": agreement.fills,
        "mismatching_fills": agreement.mismatching_fills,
        "funding_amounts": agreement.funding_amounts,
        "mismatching_funding": agreement.mismatching_funding,
        "balance_difference": _short(agreement.balance_diff),
        "balance_bound": _short(bound.balance),
        "fold_difference": _short(agreement.fold_diff),
        "fold_bound": _short(bound.fold),
        "holds": agreement.holds,
        "first_mismatch": agreement.first_mismatch,
    }


def _short(amount: Decimal) -> str:
    """Two digits of a difference; zero as 0."""
    return f"{amount:.1e}" if amount else "0"
