"""Asking for a promotion: the gate row by row, and the token that confirms just that promotion."""

from dataclasses import dataclass, replace

from actors.audit import Audit
from actors.confirming import issue_token, use_token
from actors.decision_scene import follows_key
from actors.promotion import check_pair, promotion_verdict
from actors.run_book import ACTIVE
from actors.store_calls import stored
from actors.version_registry import version_of
from desk.clock import Clock
from desk.errors import BadInput, NotFound
from desk.evaluation.promotion import PromotionVerdict
from desk.evaluation.promotion_rows import GateRow, gate_rows
from desk.ids import Pair
from desk.runs import Agent
from desk.store import kinds
from desk.store.port import Doc, DocStore, Store

PROMOTE = "version.promote"
NEWEST_RUNS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionPreflight:
    """What would become of a promotion. Nothing is changed by asking, but for the token."""

    agent_id: str
    version_id: str
    pair: Pair
    active_version_id: str
    """Which it would replace."""
    evaluation_id: str
    """The evaluation that decides; empty: there is none on this pair."""
    gates: tuple[GateRow, ...]
    run_ids: tuple[str, ...]
    """Runs that follow the agent: they would decide with it from the next candle on."""
    confirm_name: str
    """What an operator spells: the version's id."""
    confirm_token: str | None = None
    """None: a gate is not passed."""
    expires_at_ms: int | None = None
    """Wall ms."""

    @property
    def allowed(self) -> bool:
        return all(gate.passed for gate in self.gates)


async def preflight_promotion(
    store: Store, clock: Clock, version_id: str, pair: Pair, *, actor: str, trace_id: str
) -> PromotionPreflight:
    """Say row by row whether a version may be promoted on a pair; one that may gets its token.

    Raises `NotFound`, and `BadInput` for a pair that the agent may not trade.
    """
    agent, verdict = await stored(lambda: _judged(store, version_id, pair))
    report = await stored(lambda: store.get(kinds.EVALUATIONS, verdict.evaluation_id))
    found = PromotionPreflight(
        agent_id=agent.key,
        version_id=version_id,
        pair=pair,
        active_version_id=agent.value.active_version_id,
        evaluation_id=verdict.evaluation_id,
        gates=gate_rows(verdict, report.value if report else None, agent.value.promotion_gate),
        run_ids=await stored(lambda: _followers(store, agent.key)),
        confirm_name=version_id,
    )
    if found.allowed:
        issued = await issue_token(store, PROMOTE, _parameters(agent, version_id, verdict, pair))
        found = replace(found, confirm_token=issued.token, expires_at_ms=issued.expires_at_ms)
    await Audit(store, clock).note(
        "promote.preflight",
        f"version/{version_id}",
        actor=actor,
        trace_id=trace_id,
        after={
            "pair": pair,
            "evaluation_id": verdict.evaluation_id,
            "allowed": found.allowed,
            "reasons": list(verdict.reasons),
        },
    )
    return found


async def confirm_promotion(
    store: Store,
    version_id: str,
    pair: Pair,
    *,
    confirm_name: str,
    confirm_token: str,
    trace_id: str,
) -> None:
    """Use up the token of a preflight of this very promotion.

    One that the gate refuses keeps its token, as the refusal says more; one that is done already
    needs none. Raises `BadInput` for another name or a token that gives no right, and as
    `preflight_promotion`.
    """
    agent, verdict = await stored(lambda: _judged(store, version_id, pair))
    is_done = agent.value.active_version_id == version_id and agent.value.size_fraction == 1.0
    if is_done or not verdict.passed:
        return
    if confirm_name != version_id:
        raise BadInput(
            "confirm_name", f"was {confirm_name!r}, expected {version_id}: spell the version's id"
        )
    parameters = _parameters(agent, version_id, verdict, pair)
    await use_token(store, confirm_token, PROMOTE, parameters, trace_id=trace_id)


def _judged(store: DocStore, version_id: str, pair: Pair) -> tuple[Doc[Agent], PromotionVerdict]:
    agent_id = version_of(store, version_id).agent_id
    agent = store.get(kinds.AGENTS, agent_id)
    if agent is None:
        raise NotFound("agent", agent_id)
    check_pair(agent.value, pair)
    return agent, promotion_verdict(store, version_id, pair)


def _followers(store: DocStore, agent_id: str) -> tuple[str, ...]:
    runs = [doc.value for doc in store.list(kinds.RUNS, limit=NEWEST_RUNS)]
    return tuple(
        run.run_id
        for run in runs
        if run.agent_id == agent_id
        and run.status in ACTIVE
        and store.get(kinds.STATE, follows_key(run.run_id)) is not None
    )


def _parameters(
    agent: Doc[Agent], version_id: str, verdict: PromotionVerdict, pair: Pair
) -> dict[str, str]:
    """What a token is for: this version on this pair, by this evaluation, on this row of the agent."""
    return {
        "agent_id": agent.key,
        "agent_row": str(agent.version),
        "version_id": version_id,
        "pair": pair,
        "evaluation_id": verdict.evaluation_id,
    }
