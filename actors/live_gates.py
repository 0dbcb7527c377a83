"""What a live start needs beside what every start does; each gate tells value, threshold and remedy."""

from dataclasses import dataclass

from actors.commands import StartGate
from actors.promotion import promotion_verdict
from actors.provenance import provenance_of
from actors.reconciler import STATE_KEY
from actors.wiring import LIVE, Wiring
from desk.errors import SettingsError
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Agent, PromotionGate, Run, lacking_provenance
from desk.store import kinds
from desk.store.connect import check_durability
from desk.store.port import Store
from desk.trading.risk import RiskLimitSet
from desk.trading.venue_health import objection
from desk.wallclock import wall_ms

NO_PROTECTIVE_STOP = "no protective stop: give stop_loss_fraction, so that a dead executor leaves no position unguarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that may be started, and what it was checked against."""

    run: Run
    agent: Agent
    version: AgentVersion
    limits: RiskLimitSet
    follows_agent: bool


def gate_row(
    gate: str,
    value: str,
    threshold: str,
    problem: str,
    *,
    field: str = "mode",
    is_of_live: bool = False,
) -> StartGate:
    """One gate; a text in `problem` says that it is not passed."""
    return StartGate(
        gate=gate,
        passed=not problem,
        value=value,
        threshold=threshold,
        problem=problem,
        field=field,
        is_of_live=is_of_live,
    )


def live_gates(store: Store, wiring: Wiring, plan: Plan) -> list[StartGate]:
    """Every gate of a live start, those that are not passed with their remedy."""
    run, version = plan.run, plan.version
    promotion = promotion_verdict(store, version.version_id, run.pair)
    unresolved = len(store.active_orders(LIVE))
    is_promoted = version.status is VersionStatus.PROMOTED
    stop = run.stop_loss_fraction
    told = ", ".join(promotion.reasons)
    rows = (
        (
            "api_token",
            "set" if wiring.has_api_token else "not set",
            "set",
            "" if wiring.has_api_token else "API_TOKEN is not set: set it and restart",
        ),
        (
            "exchange_keys",
            "set" if wiring.has_keys else "not set",
            "set",
            "" if wiring.has_keys else "no exchange keys: set BINGX_API_KEY and BINGX_SECRET_KEY",
        ),
        (
            "version_promoted",
            version.status.value,
            VersionStatus.PROMOTED.value,
            "" if is_promoted else f"version {version.version_id} is not promoted: promote it",
        ),
        (
            "promotion_gate",
            told or f"passed by {promotion.evaluation_id}",
            f"{_promotion(plan.agent.promotion_gate)} on {run.pair}",
            "" if promotion.passed else f"promotion gate on {run.pair}: {told}",
        ),
        (
            "unresolved_orders",
            str(unresolved),
            "0",
            f"{unresolved} unresolved orders on the live account: reconcile" if unresolved else "",
        ),
        ("durability", _durability(store) or "every write", "every write", _durability(store)),
        _health(store),
        _reconciled(store),
        (
            "protective_stop",
            "none" if stop is None else f"{stop:f}",
            "a fraction of the price",
            NO_PROTECTIVE_STOP if stop is None else "",
        ),
        *(_provenance(store, wiring, run) if wiring.enforce_provenance else ()),
    )
    return [gate_row(*row, is_of_live=True) for row in rows]


type _Row = tuple[str, str, str, str]
"""Gate, value, threshold, problem."""


def _promotion(gate: PromotionGate) -> str:
    return (
        f"trades >= {gate.min_trades}, win rate >= {gate.min_win_rate:g},"
        f" net PnL > {gate.min_net_pnl:g}, drawdown <= {gate.max_drawdown:g}"
    )


_TRACED_BY = {
    "provenance_dataset_missing": "use a version whose dataset is on record (GET /datasets)",
    "provenance_feature_set_missing": "use a version of a feature set of GET /feature-sets",
    "provenance_artifact_missing": "use a version that was registered with its artifact",
    "provenance_artifact_unavailable": "restore the artifact's files as they were registered",
}


def _provenance(store: Store, wiring: Wiring, run: Run) -> list[_Row]:
    """What the run could not be traced back to, each with its remedy."""
    codes = lacking_provenance(run, provenance_of(store, wiring.place, run))
    if not codes:
        return [("provenance", "complete", "complete", "")]
    return [("provenance", code, "complete", f"{code}: {_TRACED_BY[code]}") for code in codes]


def _durability(store: Store) -> str:
    try:
        check_durability(store)
    except SettingsError as weak:
        return str(weak)
    return ""


def _health(store: Store) -> _Row:
    found = store.get(kinds.VENUES, LIVE)
    problem = objection(found.value if found else None, wall_ms=wall_ms())
    if problem is None:
        return "exchange_answers", "steadily", "a comparison within 10 s", ""
    code, what, needed = problem
    remedy = f"{code}: the exchange has {what}, expected {needed}: wait until it answers steadily"
    return "exchange_answers", what, needed, remedy


def _reconciled(store: Store) -> _Row:
    """The last comparison of the live account found nothing that it could not put right."""
    found = store.get(kinds.STATE, f"{STATE_KEY}:{LIVE}")
    needed = "a comparison without errors"
    if found is None:
        text = "the live account was never reconciled: run `desk reconcile`"
        return "reconciled", "never", needed, text
    errors = int(found.value["errors"])
    text = f"the last reconciliation of the live account left {errors} errors: run `desk reconcile`"
    return "reconciled", f"{errors} errors", needed, text if errors else ""
