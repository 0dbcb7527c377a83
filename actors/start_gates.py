"""What must hold before a run may start; a live start must pass them all, and says which it does not."""

from decimal import Decimal
from math import isfinite

from actors.commands import StartGate, StartRun
from actors.decision_scene import read_sources, required_by, types_beside, verdict_of
from actors.live_gates import Plan, gate_row, live_gates
from actors.run_book import ACTIVE
from actors.source_book import CANDLES
from actors.wiring import LIVE, PAPER, Wiring
from desk.errors import BadInput, NotFound
from desk.ids import Pair, parse_pair
from desk.learning.versions import AgentVersion
from desk.runs import (
    Agent,
    Mode,
    Run,
    RunStatus,
    SourcePolicy,
    SourceStatus,
    agent_kill_reason,
)
from desk.store import kinds
from desk.store.feature_sets import feature_set_of, find_feature_set
from desk.store.port import Store

DECISION_INTERVAL = "1m"
"""Candles that runs decide on: those that paper orders fill on."""


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
    """Check everything a start rests on. Raises `BadInput` or `NotFound` with the first problem.

    A live start is told of every gate of live that is not passed at once.
    """
    plan = draft_plan(store, wiring, agent_id, ask, run_id=run_id, now_ms=now_ms)
    gates = gates_of(store, wiring, plan, now_ms=now_ms, speed=speed)
    failed = [gate for gate in gates if not gate.passed]
    if failed and failed[0].is_of_live:
        told = "; ".join(gate.problem for gate in failed if gate.is_of_live)
        raise BadInput("mode", f"live is refused: {told}")
    if failed:
        raise BadInput(failed[0].field, failed[0].problem)
    return plan


def draft_plan(
    store: Store, wiring: Wiring, agent_id: str, ask: StartRun, *, run_id: str, now_ms: int
) -> Plan:
    """The run that was asked for, before any gate. Raises `BadInput` or `NotFound` for what is no ask."""
    agent = _agent(store, agent_id)
    pair = _pair(ask.pair, wiring)
    version = _version(store, agent, ask)
    limits = store.get(kinds.RISK_LIMITS, ask.risk_limit_set_id)
    if limits is None:
        raise NotFound("risk limit set", ask.risk_limit_set_id)
    run = Run(
        run_id=run_id,
        agent_id=agent_id,
        account=LIVE if ask.mode is Mode.LIVE else PAPER,
        mode=ask.mode,
        pair=pair,
        interval=DECISION_INTERVAL,
        version_id=version.version_id,
        risk_limit_set_id=limits.value.set_id,
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
        is_shadow=ask.shadow,
    )
    return Plan(
        run=run,
        agent=agent,
        version=version,
        limits=limits.value,
        follows_agent=ask.version_id is None,
    )


def gates_of(
    store: Store, wiring: Wiring, plan: Plan, *, now_ms: int, speed: float
) -> list[StartGate]:
    """Every gate of a start with its value and threshold, in the order in which they are told."""
    return [
        *_own_gates(store, plan),
        *(live_gates(store, wiring, plan) if plan.run.mode is Mode.LIVE else ()),
        _kill_switch(store, plan),
        *_data(store, plan, now_ms=now_ms, speed=speed),
    ]


def _own_gates(store: Store, plan: Plan) -> list[StartGate]:
    """Whether the agent may trade the pair, the limits are in force and nobody else trades it."""
    run, limits, allowed = plan.run, plan.limits, " ".join(plan.agent.allowed_instruments)
    holder = slot_holder(store, run)
    if holder is not None and holder.run_id == run.run_id:
        holder = None  # it is to be resumed
    return [
        gate_row(
            "instrument_allowed",
            run.pair,
            allowed or "none is allowed",
            ""
            if run.pair in plan.agent.allowed_instruments
            else f"was {run.pair}, expected one of allowed_instruments ({allowed}):"
            " change the agent's config",
            field="pair",
        ),
        gate_row(
            "risk_limits_active",
            limits.set_id if limits.active else f"{limits.set_id}, not active",
            "an active set",
            "" if limits.active else f"{limits.set_id} is not active: activate it first",
            field="risk_limit_set_id",
        ),
        gate_row(
            "one_run_per_pair",
            holder.run_id if holder else "none",
            "no other run that has not ended",
            f"run {holder.run_id} on {run.pair} is {holder.status}: stop it first"
            if holder
            else "",
            field="pair",
        ),
    ]


def slot_key(run: Run) -> str:
    """Name of the fact that says which run holds a pair on an account."""
    return f"slot:{run.account}:{run.pair}"


def slot_holder(store: Store, run: Run) -> Run | None:
    """The run that holds the pair on the account and has not ended."""
    slot = store.get(kinds.STATE, slot_key(run))
    holder = store.get(kinds.RUNS, str(slot.value["run_id"])) if slot else None
    return holder.value if holder and holder.value.status in ACTIVE else None


def _agent(store: Store, agent_id: str) -> Agent:
    found = store.get(kinds.AGENTS, agent_id)
    if found is None:
        raise NotFound("agent", agent_id)
    return found.value


def _pair(text: str, wiring: Wiring) -> Pair:
    pair = parse_pair(text)
    if pair not in wiring.pairs:
        raise BadInput(
            "pair",
            f"was {pair}, expected one that is polled ({' '.join(wiring.pairs)}): add it to"
            " BINGX_MARKET_DATA_PAIRS",
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


def _kill_switch(store: Store, plan: Plan) -> StartGate:
    reason = agent_kill_reason(plan.agent) or store.kill_reason(plan.run.account)
    text = f"the kill switch is on ({reason}): lift it before a start"
    return gate_row(
        "kill_switch",
        "off" if reason is None else f"on: {reason}",
        "off",
        "" if reason is None else text,
    )


def _data(store: Store, plan: Plan, *, now_ms: int, speed: float) -> list[StartGate]:
    """A run that its first candle would pause is refused at once, with the remedy."""
    run, policies = plan.run, plan.agent.source_policies
    features = feature_set_of(store, run.feature_set_id)
    needed, looked_at = features.lookback, types_beside(features)
    forbidden = ", ".join(n for n in looked_at if policies.get(n) is SourcePolicy.FORBIDDEN)
    window = store.last_candles(run.pair, run.interval, needed)
    verdict = verdict_of(store, run, window, needed, now_ms=now_ms, speed=speed)
    blocks = ", ".join(verdict.blocks)
    remedy = (
        f"candles of {run.pair} do not allow decisions yet ({blocks};"
        f" {len(window)} of {needed} stored): backfill {run.pair} and try again"
    )
    also = required_by(plan.agent)
    sources = read_sources(store, run, now_ms=now_ms, speed=speed, also=also)
    late = [source for source in sources if source.enabled and source.status != "ok"]
    named = ", ".join(f"{one.source_id or one.source_type} {one.status}" for one in sources)
    return [
        gate_row(
            "data_quality",
            blocks or f"{len(window)} of {needed} candles, whole",
            f"{needed} candles, whole and fresh",
            remedy if blocks else "",
            field="pair",
        ),
        gate_row(
            "sources_allowed",
            ", ".join(looked_at) or "candles only",
            "none that a source policy forbids",
            f"{run.feature_set_id} looks at {forbidden}, which a source policy forbids: allow it, or"
            " take a version without"
            if forbidden
            else "",
            field="version_id",
        ),
        gate_row(
            "data_sources",
            named or "no status",
            "every required source ok",
            _late(run, late[0] if late else None, has_status=bool(sources)),
            field="pair",
        ),
    ]


def _late(run: Run, source: SourceStatus | None, *, has_status: bool) -> str:
    if not has_status:
        return f"{CANDLES} of {run.pair} has no status: wait until it is ok"
    if source is None:
        return ""
    name = source.source_id or source.source_type
    return f"{name} of {run.pair} is {source.status}: wait until it is ok"
