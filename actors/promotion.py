"""Making a version the active one of its agent, or going back to an earlier one.

The agent's row is the one pointer: it moves in a single call of the store, which looks again at the
evaluation that was judged, and a caller that loses a race changes nothing. Statuses of versions
follow it; repeating the call completes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from actors.events import ops_event
from actors.version_registry import version_event, version_of
from desk import ids
from desk.errors import BadInput, NotFound, VersionConflict
from desk.evaluation.promotion import PromotionVerdict, judge_promotion
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Agent, AuditEvent
from desk.store import kinds
from desk.store.port import Doc, DocStore, Gate, VersionStore

PAGE = 500
STATUS_TRIES = 10


class Store(DocStore, VersionStore, Protocol):
    """Documents, and the call that moves the pointer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """Who wants it, at which market time, under which trace."""

    actor: str
    at_ms: int
    trace_id: str


def promotion_verdict(store: DocStore, version_id: str, pair: Pair) -> PromotionVerdict:
    """Whether a version may be promoted for a pair by its agent's gate. Raises `NotFound`."""
    version = version_of(store, version_id)
    agent = _agent(store, version.agent_id).value
    return _judge(_all(store, kinds.EVALUATIONS), version, agent, pair)


def promote_version(
    store: Store, version_id: str, *, pair: Pair, actor: str, now_ms: int, trace_id: str = ""
) -> PromotionVerdict:
    """Make a version its agent's active one if the gate allows; a refusal lists its codes.

    Idempotent. Raises `NotFound`, `BadInput` for a pair the agent may not trade, and
    `VersionConflict` when the agent's row or the evaluation that decided moved meanwhile, or a
    newer evaluation came: then nothing was changed.
    """
    version = version_of(store, version_id)
    doc = _agent(store, version.agent_id)
    if pair not in doc.value.allowed_instruments:
        allowed = " ".join(doc.value.allowed_instruments)
        raise BadInput("pair", f"was {pair}, expected one that the agent may trade: {allowed}")
    asked = _Asked(actor=actor, at_ms=now_ms, trace_id=trace_id)
    evaluations = _all(store, kinds.EVALUATIONS)
    verdict = _judge(evaluations, version, doc.value, pair)
    note = {
        "version_id": version_id,
        "pair": pair,
        "evaluation_id": verdict.evaluation_id,
        "reasons": list(verdict.reasons),
    }
    if not verdict.passed:
        _audit(store, asked, "promote_refused", doc.value, note)
        return verdict
    gate = Gate(
        evaluation_id=verdict.evaluation_id,
        evaluation_version=next(
            judged.version for judged in evaluations if judged.key == verdict.evaluation_id
        ),
        pair=pair,
    )
    _activate(store, asked, doc, version_id, gate)
    _mark_promoted(store, version, verdict.evaluation_id, now_ms)
    _audit(store, asked, "promote", doc.value, note)
    return verdict


def rollback_version(
    store: Store, version_id: str, *, actor: str, now_ms: int, trace_id: str = ""
) -> Agent:
    """Make an earlier promoted version the active one again; its gate was passed when it was promoted.

    Idempotent. Raises `NotFound`, `BadInput` for a version that was never promoted, and
    `VersionConflict` when the agent's row moved meanwhile: then nothing was changed.
    """
    version = version_of(store, version_id)
    if version.promoted_at_ms is None:
        raise BadInput(
            "version_id", f"{version_id} was never promoted: evaluate and promote it instead"
        )
    asked = _Asked(actor=actor, at_ms=now_ms, trace_id=trace_id)
    doc = _agent(store, version.agent_id)
    gate = Gate(evaluation_id=version.promoted_by_evaluation_id)
    agent = _activate(store, asked, doc, version_id, gate)
    _mark_promoted(store, version, version.promoted_by_evaluation_id, version.promoted_at_ms)
    _audit(store, asked, "rollback", doc.value, {"version_id": version_id})
    return agent


def previous_version(store: DocStore, agent_id: str) -> AgentVersion | None:
    """The version promoted last before the active one; None when there is none to go back to."""
    active = _agent(store, agent_id).value.active_version_id
    earlier = [
        version
        for version in _values(store, kinds.VERSIONS)
        if version.agent_id == agent_id
        and version.promoted_at_ms is not None
        and version.version_id != active
    ]
    return max(earlier, key=lambda version: version.promoted_at_ms or 0, default=None)


def _judge(
    evaluations: list[Doc[EvaluationReport]], version: AgentVersion, agent: Agent, pair: Pair
) -> PromotionVerdict:
    reports = [doc.value for doc in evaluations]
    gate = agent.promotion_gate
    return judge_promotion(version.version_id, version.feature_set_id, pair, reports, gate)


def _activate(store: Store, asked: _Asked, doc: Doc[Agent], version_id: str, gate: Gate) -> Agent:
    before = doc.value.active_version_id
    if before == version_id:
        return doc.value
    agent = replace(doc.value, active_version_id=version_id)
    return store.flip_version(
        doc,
        agent,
        gate,
        request_id=ids.request_id("flip", doc.key, doc.version, version_id, gate.evaluation_id),
        event=ops_event(
            "version",
            version_id,
            {"agent_id": agent.agent_id, "active_before": before, "active": version_id},
            at_ms=asked.at_ms,
            trace_id=asked.trace_id,
        ),
    ).value


def _mark_promoted(
    store: DocStore, version: AgentVersion, evaluation_id: str, promoted_ms: int
) -> None:
    """One version of an agent is promoted; every other one that was is retired."""
    for other in _values(store, kinds.VERSIONS):
        was_active = other.agent_id == version.agent_id and other.status is VersionStatus.PROMOTED
        if was_active and other.version_id != version.version_id:
            _set_status(store, other.version_id, promoted_ms, status=VersionStatus.RETIRED)
    if version.status is not VersionStatus.PROMOTED:
        _set_status(
            store,
            version.version_id,
            promoted_ms,
            status=VersionStatus.PROMOTED,
            promoted_at_ms=promoted_ms,
            promoted_by_evaluation_id=evaluation_id,
        )


def _set_status(store: DocStore, version_id: str, now_ms: int, **changes: object) -> None:
    for left in range(STATUS_TRIES - 1, -1, -1):
        doc = store.get(kinds.VERSIONS, version_id)
        if doc is None:
            return
        moved: AgentVersion = replace(doc.value, **changes)  # pyright: ignore[reportArgumentType]
        try:
            store.put(
                kinds.VERSIONS,
                version_id,
                moved,
                at_ms=doc.at_ms,
                expected_version=doc.version,
                event=version_event(moved, at_ms=now_ms),
            )
        except VersionConflict:
            if not left:
                raise
        else:
            return


def _agent(store: DocStore, agent_id: str) -> Doc[Agent]:
    doc = store.get(kinds.AGENTS, agent_id)
    if doc is None:
        raise NotFound("agent", agent_id)
    return doc


def _values[T](store: DocStore, kind: kinds.Kind[T]) -> list[T]:
    return [doc.value for doc in _all(store, kind)]


def _all[T](store: DocStore, kind: kinds.Kind[T]) -> list[Doc[T]]:
    """Every document of a kind, newest first."""
    found: dict[str, Doc[T]] = {}
    before_ms: int | None = None
    while True:
        docs = store.list(kind, before_ms=before_ms, limit=PAGE)
        fresh = {doc.key: doc for doc in docs if doc.key not in found}
        found |= fresh
        if len(docs) < PAGE or not fresh:
            return list(found.values())
        before_ms = docs[-1].at_ms + 1


def _audit(
    store: DocStore,
    asked: _Asked,
    action: str,
    agent: Agent,
    after: Mapping[str, object],
) -> None:
    """Written under an id of the change itself, so that a repeat leaves one entry."""
    before = agent.active_version_id
    version_id = str(after["version_id"])
    audit_id = ids.request_id("audit", action, version_id, before, asked.at_ms)
    event = AuditEvent(
        audit_id=audit_id,
        actor=asked.actor,
        action=action,
        resource=f"version/{version_id}",
        at_ms=asked.at_ms,
        before={"active_version_id": before},
        after=after,
        trace_id=asked.trace_id,
    )
    store.put(kinds.AUDIT, audit_id, event, at_ms=asked.at_ms)
