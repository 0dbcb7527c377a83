"""`desk replay` and `desk explain`: stored decisions made again, and a trade's why; with or without a desk."""

from collections import Counter
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from actors.explain import Explainer
from actors.replay import Replay, Replayer, decisions_of_run, decisions_of_trace
from desk.cli.learning import cancelled_by_ctrl_c, opened_store, viewed
from desk.cli.output import Json, show
from desk.cli.progress import bars
from desk.clock import to_iso
from desk.errors import BadInput
from desk.learning.replay import Verdict
from desk.settings import Settings
from desk.store.candle_cache import CandleCache
from desk.store.candles import CandleArchive
from desk.store.decision_archive import DecisionArchive
from desk.store.decision_history import DecisionHistory
from desk.store.history import History
from desk.store.places import shared_folder
from desk.store.signal_archive import SignalArchive
from desk.store.valkey import ValkeyStore

EXAMPLES = 10
"""Decisions that a bulk replay names of those that are not identical."""
COUNTED = 1_000_000
"""A longer run's progress bar is full too early."""


def replay(
    trace_id: Annotated[
        str | None, typer.Argument(metavar="TRACE_ID", help="Trace of a candle's decisions.")
    ] = None,
    *,
    run: Annotated[str | None, typer.Option(help="Every decision of this run instead.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="With --run: only so many, the newest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make stored decisions again; exit status 1 unless all are identical. Ctrl-C ends it."""
    if (trace_id is None) == (run is None):
        raise BadInput("TRACE_ID", "give a trace id, or --run with a run's id: one of them")
    if limit is not None and run is None:
        raise BadInput("--limit", "goes with --run: a trace has one decision of each run")
    with opened_store() as (settings, store):
        messages = SignalArchive(shared_folder(settings.place, "history", store))
        replayer = Replayer(settings.place, store, _archive(settings, store), archive=messages)
        decisions = _decisions(settings, store)
        if run is not None:
            _replay_run(replayer, decisions, run, limit, as_json=as_json)
            return
        assert trace_id is not None, "one of them is given"
        found = [replayer.replay(one) for one in decisions_of_trace(decisions, trace_id)]
    show([viewed(one) for one in found], [_table(one) for one in found], as_json=as_json)
    if any(one.verdict is not Verdict.IDENTICAL for one in found):
        raise typer.Exit(1)


def explain(
    trade_id: Annotated[str, typer.Argument(metavar="TRADE", help="As `desk trades` shows it.")],
    *,
    as_json: Json = False,
) -> None:
    """Tell why a trade was made and what came of it, in words and numbers."""
    with opened_store() as (settings, store):
        messages = SignalArchive(shared_folder(settings.place, "history", store))
        explainer = Explainer(
            settings.place,
            store,
            _archive(settings, store),
            archive=messages,
            decisions=_decisions(settings, store),
        )
        made = explainer.explain(trade_id)
    head = f"{made.side} {made.quantity} {made.pair} on {made.account}, trade {made.trade_id}"
    limits = f"[dim]{made.contributions_method}: {made.contributions_limits}[/dim]"
    text = "\n".join([f"[bold]{head}[/bold]", *(f"- {line}" for line in made.words), limits])
    show(viewed(made), text, as_json=as_json)


def _replay_run(
    replayer: Replayer, past: DecisionHistory, run_id: str, limit: int | None, *, as_json: bool
) -> None:
    counts, codes = Counter[str](), Counter[str]()
    examples: list[Replay] = []
    decisions = decisions_of_run(past, run_id, limit=limit)
    first = next(decisions, None)
    with cancelled_by_ctrl_c() as cancelled, bars(Console(stderr=True)) as progress:
        total = past.count(run_id, most=limit or COUNTED)
        task = progress.add_task("replaying", total=total, detail="")
        while first is not None and not cancelled():
            found = replayer.replay(first)
            counts[found.verdict.value] += 1
            codes.update({finding.code for finding in found.findings})
            if found.verdict is not Verdict.IDENTICAL and len(examples) < EXAMPLES:
                examples.append(found)
            progress.update(task, advance=1, detail=_tally(counts))
            first = next(decisions, None)
        was_cancelled = cancelled() and first is not None
    answer: dict[str, Any] = {
        "run_id": run_id,
        "replayed": sum(counts.values()),
        "cancelled": was_cancelled,
        **{verdict.value: counts[verdict.value] for verdict in Verdict},
        "findings": dict(codes),
        "examples": [viewed(one) for one in examples],
    }
    ended = ", cancelled" if was_cancelled else ""
    text = f"{answer['replayed']} decisions of {run_id}: {_tally(counts) or 'none'}{ended}"
    found_codes = Table(title=text)
    found_codes.add_column("finding")
    found_codes.add_column("decisions", justify="right")
    for code, count in codes.most_common():
        found_codes.add_row(code, str(count))
    show(answer, [found_codes, *(_table(one) for one in examples)], as_json=as_json)
    if was_cancelled or counts.total() != counts[Verdict.IDENTICAL.value]:
        raise typer.Exit(1)


def _tally(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())


def _table(one: Replay) -> Table:
    title = f"{one.verdict.value}: {one.pair} {to_iso(one.open_ms)}, {one.version_id}, {one.run_id}"
    table = Table(title=title, title_justify="left")
    for column in ("", "recorded", "recomputed"):
        table.add_column(column)
    made = one.recomputed
    for name in ("observation_sha256", "action", "hold_reason", "target", "confidence"):
        now = "not made" if made is None else str(getattr(made, name))
        table.add_row(name, str(getattr(one.recorded, name)), now)
    if (found := one.first_difference) is not None:
        table.add_row(
            f"first difference: {found.feature}", str(found.recorded), str(found.recomputed)
        )
    for finding in one.findings:
        table.add_row(finding.code, finding.detail, "")
    return table


def _decisions(settings: Settings, store: ValkeyStore) -> DecisionHistory:
    archive = DecisionArchive(shared_folder(settings.place, "history", store))
    return DecisionHistory(store, archive)


def _archive(settings: Settings, store: ValkeyStore) -> CandleArchive:
    history = History(shared_folder(settings.place, "history", store))
    return CandleArchive(store, history, CandleCache(settings.home / "cache", history))
