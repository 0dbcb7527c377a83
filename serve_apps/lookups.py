"""Reads of the store that several routes share."""

from actors.names import FEED_SYNC, SIGNAL_POLLER
from actors.promotion import promotion_verdict
from actors.signal_status import judged_signal, new_signal_status, status_key
from actors.source_book import configured, key_of
from actors.watch import LATE, UP
from desk.errors import NotFound
from desk.evaluation.promotion import PromotionVerdict, judge_report, on_dataset
from desk.evaluation.promotion_rows import GateRow, gate_rows
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair
from desk.learning.versions import AgentVersion
from desk.market.channel_messages import TELEGRAM
from desk.market.signals import TRADINGVIEW
from desk.runs import Agent, Alert, Mode, Run
from desk.store import kinds
from desk.store.port import Doc, DocStore, Kind
from desk.trading.instruments import Instrument
from desk.trading.ledger import Ledger
from serve_apps.context import Context
from serve_apps.schemas import SourceView, VenueStrip
from serve_apps.views.agents import ENDED
from serve_apps.views.ops import signal_source_view, source_view

MANY = 1_000
ALL_SOURCES = 10_000
"""More than 50 pairs have: a row that is left out would count as one that was never written."""
POLLER_PATIENCE_MS = 30_000
"""Age of the last heartbeat at which nobody counts as polling; it is written every 5 s."""


def need[T](store: DocStore, kind: Kind[T], key: str, name: str) -> Doc[T]:
    """Read a document; raises `NotFound` with a word for people."""
    doc = store.get(kind, key)
    if doc is None:
        raise NotFound(name, key)
    return doc


def agent(store: DocStore, agent_id: str) -> Doc[Agent]:
    """One agent, or `NotFound`."""
    return need(store, kinds.AGENTS, agent_id, "agent")


def versions(store: DocStore) -> dict[str, Doc[AgentVersion]]:
    """Every version by id."""
    return {doc.value.version_id: doc for doc in store.list(kinds.VERSIONS, limit=MANY)}


def runs(store: DocStore) -> list[Doc[Run]]:
    """Newest runs first."""
    return store.list(kinds.RUNS, limit=MANY)


def run_of_agent(store: DocStore, agent_id: str, run_id: str) -> Doc[Run]:
    """A run, or `NotFound` if it is another agent's."""
    doc = need(store, kinds.RUNS, run_id, "run")
    if doc.value.agent_id != agent_id:
        raise NotFound("run", run_id)
    return doc


def run_or_none(store: DocStore, run_id: str) -> Doc[Run] | None:
    """The run of an order; a manual one has none."""
    return store.get(kinds.RUNS, run_id) if run_id else None


def current_run(store: DocStore, agent_id: str) -> Doc[Run] | None:
    """The agent's newest run that has not ended."""
    for doc in runs(store):
        if doc.value.agent_id == agent_id and doc.value.status not in ENDED:
            return doc
    return None


def gate_of_active_version(
    store: DocStore, agent: Agent, newest_runs: list[Doc[Run]]
) -> PromotionVerdict | None:
    """The gate's word on the active version for the pair at work; None where it has none to say."""
    pairs = [doc.value.pair for doc in newest_runs if doc.value.agent_id == agent.agent_id]
    pair = next(iter([*pairs, *agent.allowed_instruments]), None)
    if pair is None or store.get(kinds.VERSIONS, agent.active_version_id) is None:
        return None
    verdict = promotion_verdict(store, agent.active_version_id, pair)
    return verdict if verdict.evaluation_id else None


def gate_rows_of(store: DocStore, agent: Agent, report: EvaluationReport) -> tuple[GateRow, ...]:
    """A report against its agent's promotion gate as it stands now, whether or not it is the newest."""
    version = store.get(kinds.VERSIONS, report.version_id)
    dataset = store.get(kinds.DATASETS, report.dataset_id)
    feature_set_id = version.value.feature_set_id if version else report.feature_set_id
    judged = judge_report(report, feature_set_id, agent.promotion_gate)
    verdict = on_dataset(judged, dataset.value.sha256 if dataset else None)
    return gate_rows(verdict, report, agent.promotion_gate)


def ledgers(ctx: Context) -> list[Ledger]:
    """Books of every account that has been opened."""
    found = (ctx.store.ledger(account) for account in ctx.facts.accounts)
    return [ledger for ledger in found if ledger is not None]


def unresolved_alerts(store: DocStore) -> list[Alert]:
    """The newest alerts that are open or acknowledged."""
    found = (doc.value for doc in store.list(kinds.ALERTS, limit=MANY))
    return [alert for alert in found if alert.status != "resolved"]


def open_alerts(store: DocStore) -> dict[str, int]:
    """Open alerts by severity."""
    counts: dict[str, int] = {"critical": 0, "warning": 0, "info": 0}
    for doc in store.list(kinds.ALERTS, limit=MANY):
        if doc.value.status == "open":
            counts[doc.value.severity] = counts.get(doc.value.severity, 0) + 1
    return counts


def sources(ctx: Context) -> list[SourceView]:
    """Every data source of the venue, judged now; a configured one without a row is not ok."""
    anchor, now_ms = ctx.anchor(), ctx.clock.now_ms()
    speed = anchor.speed if anchor else 1.0
    unpolled = configured(ctx.facts.pairs, ctx.facts.intervals)
    rows = {key_of(row.source_type, row.pair, row.interval): row for row in unpolled}
    for doc in ctx.store.list(kinds.SOURCES, limit=ALL_SOURCES):
        if not doc.value.source_id:
            rows[doc.key] = doc.value
    return [source_view(row, now_ms=now_ms, speed=speed) for row in rows.values()]


def signal_sources(ctx: Context) -> list[SourceView]:
    """Every configured source of signals, judged now by the wall; one of which nothing was written
    is not ok."""
    now_ms, views = ctx.wall_ms(), list[SourceView]()
    pollers = {TELEGRAM: SIGNAL_POLLER.of(), TRADINGVIEW: FEED_SYNC.of()}
    polled = {kind: _is_polled(ctx, name, now_ms) for kind, name in pollers.items()}
    for source_type, source_id in ctx.facts.signal_sources:
        found = ctx.store.get(kinds.SOURCES, status_key(source_type, source_id))
        row = found.value if found else new_signal_status(source_type, source_id)
        judged = judged_signal(row, now_ms=now_ms, is_polled=polled[source_type])
        views.append(signal_source_view(judged, now_ms=now_ms))
    return views


def _is_polled(ctx: Context, actor: str, now_ms: int) -> bool:
    """Whether the poller, or the sync, of a kind of signals lives, as its supervisor last saw it."""
    found = ctx.store.get(kinds.ACTORS, actor)
    return (
        found is not None
        and found.value.status in {UP, LATE}
        and now_ms - found.value.last_heartbeat_wall_ms <= POLLER_PATIENCE_MS
    )


def instrument(store: DocStore, pair: Pair) -> Instrument | None:
    """Steps in which a pair trades, once its poller has read them from the venue."""
    doc = store.get(kinds.INSTRUMENTS, pair)
    return doc.value if doc else None


def strip(ctx: Context, all_runs: list[Doc[Run]]) -> VenueStrip:
    """Mode, venue and clock, as they head every page."""
    anchor = ctx.anchor()
    live = any(doc.value.mode is Mode.LIVE and doc.value.status not in ENDED for doc in all_runs)
    return VenueStrip(
        mode="live" if live else "paper",
        venue=ctx.facts.venue,
        speed=anchor.speed if anchor else 1.0,
        market_now_ms=ctx.clock.now_ms(),
        wall_now_ms=ctx.wall_ms(),
    )
