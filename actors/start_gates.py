"""What must hold before a run may start; a live start must pass them all, and says which it does not."""

from dataclasses import dataclass
from decimal import Decimal
from math import isfinite

from actors.commands import StartRun
from actors.decision_scene import read_sources, verdict_of
from actors.promotion import promotion_verdict
from actors.provenance import provenance_of
from actors.source_book import CANDLES
from actors.wiring import LIVE, PAPER, Wiring
from desk.errors import BadInput, NotFound, SettingsError
from desk.ids import Pair, parse_pair
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Agent, Mode, Run, RunStatus, lacking_provenance
from desk.store import kinds
from desk.store.connect import check_durability
from desk.store.feature_sets import feature_set_of, find_feature_set
from desk.store.port import Store
from desk.trading.risk import RiskLimitSet
from desk.trading.venue_health import objection
from desk.wallclock import wall_ms

DECISION_INTERVAL = "1m"
"""Candles that runs decide on: those that paper orders fill on."""
NO_PROTECTIVE_STOP = "no protective stop: give stop_loss_fraction, so that a dead executor leaves no position unguarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run that may be started, and what it was checked against."""

    run: Run
    agent: Agent
    version: AgentVersion
    limits: RiskLimitSet
    follows_agent: bool


def plan_run(
    store: Store,
    wiring: Wiring,
    agent_id: str,
    ask: StartRun,
    *,
    run_id: str,
    now_ms: int,
    speed: float,
) -> Plan:
    """Check everything a start rests on. Raises `BadInput` or `NotFound` with the first problem."""
    agent = _agent(store, agent_id)
    pair = _pair(ask.pair, agent, wiring)
    version = _version(store, agent, ask)
    limits = _limits(store, ask.risk_limit_set_id)
    run = Run(
        run_id=run_id,
        agent_id=agent_id,
        account=LIVE if ask.mode is Mode.LIVE else PAPER,
        mode=ask.mode,
        pair=pair,
        interval=DECISION_INTERVAL,
        version_id=version.version_id,
        risk_limit_set_id=limits.set_id,
        decision_threshold=_threshold(agent, ask),
        status=RunStatus.STARTING,
        started_ms=now_ms,
        learning_enabled=(
            wiring.learning_enabled if ask.learning_enabled is None else ask.learning_enabled
        ),
        learning_window_minutes=ask.learning_window_minutes,
        dataset_id=ask.dataset_id or version.dataset_id,
        feature_set_id=_feature_set(store, version, ask),
        stop_loss_fraction=_fraction("stop_loss_fraction", ask.stop_loss_fraction),
        take_profit_fraction=_fraction("take_profit_fraction", ask.take_profit_fraction),
    )
    plan = Plan(
        run=run,
        agent=agent,
        version=version,
        limits=limits,
        follows_agent=ask.version_id is None,
    )
    if ask.mode is Mode.LIVE and (failed := live_gates(store, wiring, plan)):
        raise BadInput("mode", f"live is refused: {'; '.join(failed)}")
    _check_kill_switch(store, plan)
    _check_data(store, run, now_ms=now_ms, speed=speed)
    return plan


def live_gates(store: Store, wiring: Wiring, plan: Plan) -> list[str]:
    """Every gate of a live start that is not passed, each with its remedy."""
    run, version = plan.run, plan.version
    promotion = promotion_verdict(store, version.version_id, run.pair)
    unresolved = store.active_orders(LIVE)
    checks = {
        "API_TOKEN is not set: set it and restart": not wiring.has_api_token,
        "no exchange keys: set BINGX_API_KEY and BINGX_SECRET_KEY": not wiring.has_keys,
        f"version {version.version_id} is not promoted: promote it": (
            version.status is not VersionStatus.PROMOTED
        ),
        f"promotion gate on {run.pair}: {', '.join(promotion.reasons)}": not promotion.passed,
        f"{len(unresolved)} unresolved orders on the live account: reconcile": bool(unresolved),
        _durability(store): bool(_durability(store)),
        _health(store): bool(_health(store)),
        NO_PROTECTIVE_STOP: run.stop_loss_fraction is None,
    }
    provenance = _provenance(store, wiring, run) if wiring.enforce_provenance else []
    return [*(text for text, failed in checks.items() if failed), *provenance]


_TRACED_BY = {
    "provenance_dataset_missing": "use a version whose dataset is on record (GET /datasets)",
    "provenance_feature_set_missing": "use a version of a feature set of GET /feature-sets",
    "provenance_artifact_missing": "use a version that was registered with its artifact",
    "provenance_artifact_unavailable": "restore the artifact's files as they were registered",
}


def _provenance(store: Store, wiring: Wiring, run: Run) -> list[str]:
    """What the run could not be traced back to, each with its remedy."""
    codes = lacking_provenance(run, provenance_of(store, wiring.home, run))
    return [f"{code}: {_TRACED_BY[code]}" for code in codes]


def _durability(store: Store) -> str:
    try:
        check_durability(store)
    except SettingsError as weak:
        return str(weak)
    return ""


def _health(store: Store) -> str:
    found = store.get(kinds.VENUES, LIVE)
    problem = objection(found.value if found else None, wall_ms=wall_ms())
    if problem is None:
        return ""
    code, what, needed = problem
    return f"{code}: the exchange has {what}, expected {needed}: wait until it answers steadily"


def _agent(store: Store, agent_id: str) -> Agent:
    found = store.get(kinds.AGENTS, agent_id)
    if found is None:
        raise NotFound("agent", agent_id)
    return found.value


def _pair(text: str, agent: Agent, wiring: Wiring) -> Pair:
    pair = parse_pair(text)
    if pair not in wiring.pairs:
        raise BadInput(
            "pair",
            f"was {pair}, expected one that is polled ({' '.join(wiring.pairs)}): add it to"
            " BINGX_MARKET_DATA_PAIRS",
        )
    if pair not in agent.allowed_instruments:
        raise BadInput(
            "pair",
            f"was {pair}, expected one of allowed_instruments"
            f" ({' '.join(agent.allowed_instruments)}): change the agent's config",
        )
    if DECISION_INTERVAL not in wiring.intervals:
        raise BadInput(
            "pair",
            f"{DECISION_INTERVAL} candles are not polled: add it to BINGX_MARKET_DATA_INTERVALS",
        )
    return pair


def _version(store: Store, agent: Agent, ask: StartRun) -> AgentVersion:
    version_id = ask.version_id or agent.active_version_id
    if not version_id:
        raise BadInput("version_id", "was empty and the agent has no active version: name one")
    found = store.get(kinds.VERSIONS, version_id)
    if found is None:
        raise NotFound("version", version_id)
    if found.value.agent_id != agent.agent_id:
        raise BadInput(
            "version_id", f"{version_id} belongs to agent {found.value.agent_id}: name one of ours"
        )
    return found.value


def _limits(store: Store, set_id: str) -> RiskLimitSet:
    found = store.get(kinds.RISK_LIMITS, set_id)
    if found is None:
        raise NotFound("risk limit set", set_id)
    if not found.value.active:
        raise BadInput("risk_limit_set_id", f"{set_id} is not active: activate it first")
    return found.value


def _threshold(agent: Agent, ask: StartRun) -> float:
    if ask.decision_threshold is None:
        return agent.decision_threshold
    if not (isfinite(ask.decision_threshold) and 0.0 <= ask.decision_threshold <= 1.0):
        raise BadInput(
            "decision_threshold", f"was {ask.decision_threshold}, expected a number from 0 to 1"
        )
    return ask.decision_threshold


def _fraction(field: str, asked: Decimal | None) -> Decimal | None:
    if asked is None or (asked.is_finite() and 0 < asked < 1):
        return asked
    raise BadInput(field, f"was {asked}, expected a fraction of the price above 0 and below 1")


def _feature_set(store: Store, version: AgentVersion, ask: StartRun) -> str:
    wanted = ask.feature_set_id or version.feature_set_id
    if wanted != version.feature_set_id:
        raise BadInput(
            "feature_set_id",
            f"was {wanted}, expected {version.feature_set_id}, on which the version was made",
        )
    if find_feature_set(store, wanted) is None:
        raise BadInput("feature_set_id", f"was {wanted}, expected one of GET /feature-sets")
    return wanted


def _check_kill_switch(store: Store, plan: Plan) -> None:
    reason = store.kill_reason(plan.run.account)
    if plan.agent.kill_switch:
        reason = plan.agent.kill_reason or "agent"
    if reason is not None:
        raise BadInput("mode", f"the kill switch is on ({reason}): lift it before a start")


def _check_data(store: Store, run: Run, *, now_ms: int, speed: float) -> None:
    """A run that its first candle would pause is refused at once, with the remedy."""
    needed = feature_set_of(store, run.feature_set_id).lookback
    window = store.last_candles(run.pair, run.interval, needed)
    verdict = verdict_of(store, run, window, needed, now_ms=now_ms, speed=speed)
    if verdict.blocks:
        raise BadInput(
            "pair",
            f"candles of {run.pair} do not allow decisions yet ({', '.join(verdict.blocks)};"
            f" {len(window)} of {needed} stored): backfill {run.pair} and try again",
        )
    sources = read_sources(store, run, now_ms=now_ms, speed=speed)
    if not sources:
        raise BadInput("pair", f"{CANDLES} of {run.pair} has no status: wait until it is ok")
    for source in sources:
        if source.enabled and source.status != "ok":
            raise BadInput(
                "pair",
                f"{source.source_id or source.source_type} of {run.pair} is {source.status}: wait"
                " until it is ok",
            )
