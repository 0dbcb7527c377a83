"""Making a version the active one of its agent, or going back to an earlier one.

The agent's row is the one pointer. It moves in a single call of the store, together with the status
of every version concerned; that call looks again at the evaluation that was judged, and a caller that
loses a race changes nothing.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from actors.audit import append_row
from actors.events import ops_event
from actors.version_registry import version_event, version_of
from desk import ids
from desk.errors import BadInput, NotFound, VersionConflict
from desk.evaluation.promotion import PromotionVerdict, judge_promotion, on_dataset
from desk.evaluation.report import EvaluationReport
from desk.ids import Pair
from desk.learning import versions
from desk.learning.versions import AgentVersion, VersionStatus
from desk.runs import Agent, AuditEvent
from desk.store import kinds
from desk.store.port import AuditStore, Doc, DocStore, Gate, VersionMove, VersionStore

PAGE = 500


class Store(DocStore, AuditStore, VersionStore, Protocol):
    """Documents, the audit, and the call that moves the pointer."""


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
    return _judge(store, _all(store, kinds.EVALUATIONS), version, agent, pair)


def promote_version(
    store: Store,
    version_id: str,
    *,
    pair: Pair,
    actor: str,
    now_ms: int,
    trace_id: str = "",
    size_fraction: float = 1.0,
    expected_active: str | None = None,
) -> PromotionVerdict:
    """Make a version its agent's active one if the gate allows; a refusal lists its codes.

    With a `size_fraction` below 1 it trades that part of the allowed size, as a canary; with
    `expected_active` only while that version, or this one already, is the active one. Idempotent.
    Raises `NotFound`, `BadInput` for a pair the agent may not trade, and `VersionConflict` when the
    agent's row, a version's or the evaluation that decided moved meanwhile, or a newer evaluation
    came: then nothing was changed.
    """
    doc, found = _pointer_and_version(store, version_id)
    version = found.value
    check_pair(doc.value, pair)
    _expect_active(doc, expected_active, version_id)
    asked = _Asked(actor=actor, at_ms=now_ms, trace_id=trace_id)
    evaluations = _all(store, kinds.EVALUATIONS)
    verdict = _judge(store, evaluations, version, doc.value, pair)
    note = {
        "version_id": version_id,
        "pair": pair,
        "evaluation_id": verdict.evaluation_id,
        "dataset_sha256": verdict.dataset_sha256,
        "size_fraction": size_fraction,
        "reasons": list(verdict.reasons),
    }
    if not verdict.passed:
        _audit(store, asked, "promote_refused", doc.value, note)
        return verdict
    if version.status is VersionStatus.DRAFT:  # an older release left it one, evaluated as it is
        found = _evaluating(store, found, now_ms)
    gate = Gate(
        evaluation_id=verdict.evaluation_id,
        evaluation_version=next(
            judged.version for judged in evaluations if judged.key == verdict.evaluation_id
        ),
        pair=pair,
        dataset_sha256=verdict.dataset_sha256,
    )
    after = versions.promoted(
        found.value, evaluation_id=verdict.evaluation_id, pair=pair, now_ms=now_ms
    )
    move = VersionMove(before=found, after=after)
    _activate(store, asked, doc, move, gate, size_fraction=size_fraction)
    _audit(store, asked, "promote", doc.value, note)
    return verdict


def rollback_version(
    store: Store,
    version_id: str,
    *,
    actor: str,
    now_ms: int,
    trace_id: str = "",
    expected_active: str | None = None,
) -> Agent:
    """Make an earlier promoted version the active one again; its gate was passed when it was promoted.

    With `expected_active` only while that version is the active one. Idempotent. Raises `NotFound`,
    `BadInput` for a version that was never promoted, and `VersionConflict` when another one is active
    or the agent's row or a version's moved meanwhile: then nothing was changed.
    """
    doc, found = _pointer_and_version(store, version_id)
    version = found.value
    if version.promoted_at_ms is None:
        raise BadInput(
            "version_id", f"{version_id} was never promoted: evaluate and promote it instead"
        )
    asked = _Asked(actor=actor, at_ms=now_ms, trace_id=trace_id)
    _expect_active(doc, expected_active, version_id)
    gate = Gate(evaluation_id=version.promoted_by_evaluation_id)
    move = VersionMove(before=found, after=versions.restored(version))
    agent = _activate(store, asked, doc, move, gate)
    _audit(store, asked, "rollback", doc.value, {"version_id": version_id})
    return agent


def widen(store: Store, agent_id: str, version_id: str, *, actor: str, now_ms: int) -> Agent:
    """Let a canary trade all of its size; one that is not the active version any more stays as it is.

    Raises `NotFound` and `VersionConflict`.
    """
    doc = _agent(store, agent_id)
    agent = doc.value
    if agent.active_version_id != version_id or agent.size_fraction == 1.0:
        return agent
    asked = _Asked(actor=actor, at_ms=now_ms, trace_id=ids.trace_id("widen", version_id, now_ms))
    whole = replace(agent, size_fraction=1.0)
    told = {**_told(agent, version_id), "size_fraction": 1.0}
    event = ops_event("version", version_id, told, at_ms=now_ms, trace_id=asked.trace_id)
    store.put(
        kinds.AGENTS, agent_id, whole, at_ms=doc.at_ms, expected_version=doc.version, event=event
    )
    _audit(store, asked, "promote_widened", agent, {"version_id": version_id, "size_fraction": 1.0})
    return whole


def check_pair(agent: Agent, pair: Pair) -> None:
    """Raise `BadInput` for a pair that the agent may not trade."""
    if pair not in agent.allowed_instruments:
        allowed = " ".join(agent.allowed_instruments)
        raise BadInput("pair", f"was {pair}, expected one that the agent may trade: {allowed}")


def begin_evaluating(store: DocStore, version_id: str, now_ms: int) -> None:
    """Note that a draft is being evaluated; any other version stays as it is. Raises `NotFound`."""
    found = _version(store, version_id)
    with suppress(VersionConflict):  # another evaluation of it, or a promotion, came first
        _evaluating(store, found, now_ms)


def retire_version(store: DocStore, version_id: str, now_ms: int) -> None:
    """Put aside a version that was never promoted; the active one, or one that was, stays as it is.

    Raises `NotFound` and `VersionConflict`.
    """
    doc = _version(store, version_id)
    if doc.value.status in {VersionStatus.DRAFT, VersionStatus.EVALUATING}:
        _put(store, doc, versions.retired(doc.value), now_ms)


def previous_version(
    store: DocStore, agent_id: str, pair: Pair | None = None
) -> AgentVersion | None:
    """The version promoted last before the active one, on a pair if one is named; None: there is none.

    One that was promoted later, and gone back from, does not count: going back twice leads further
    back, never back and forth.
    """
    active_id = _agent(store, agent_id).value.active_version_id
    active = store.get(kinds.VERSIONS, active_id)
    since_ms = active.value.promoted_at_ms if active else None
    earlier = [
        version
        for version in _values(store, kinds.VERSIONS)
        if version.agent_id == agent_id
        and version.promoted_at_ms is not None
        and version.version_id != active_id
        and (since_ms is None or version.promoted_at_ms < since_ms)
        and (pair is None or is_promoted_on(store, version, pair))
    ]
    return max(earlier, key=lambda version: version.promoted_at_ms or 0, default=None)


def is_promoted_on(store: DocStore, version: AgentVersion, pair: Pair) -> bool:
    """Whether a version passed the gate on this very pair when it was promoted."""
    if version.promoted_pairs or version.promoted_at_ms is None:
        return pair in version.promoted_pairs
    report = store.get(kinds.EVALUATIONS, version.promoted_by_evaluation_id)
    return report is not None and report.value.pair == pair


def _judge(
    store: DocStore,
    evaluations: list[Doc[EvaluationReport]],
    version: AgentVersion,
    agent: Agent,
    pair: Pair,
) -> PromotionVerdict:
    reports = [doc.value for doc in evaluations]
    gate = agent.promotion_gate
    verdict = judge_promotion(version.version_id, version.feature_set_id, pair, reports, gate)
    dataset = store.get(kinds.DATASETS, verdict.dataset_id) if verdict.dataset_id else None
    return on_dataset(verdict, dataset.value.sha256 if dataset else None)


def _pointer_and_version(store: DocStore, version_id: str) -> tuple[Doc[Agent], Doc[AgentVersion]]:
    """The agent's row, then the version's: whoever moves the pointer after that makes the row stale.

    The other way round a version that somebody retired in between would be taken for a promoted one,
    and would become the active one as it is.
    """
    doc = _agent(store, _version(store, version_id).value.agent_id)
    return doc, _version(store, version_id)


def _activate(
    store: Store,
    asked: _Asked,
    doc: Doc[Agent],
    move: VersionMove,
    gate: Gate,
    *,
    size_fraction: float = 1.0,
) -> Agent:
    """One version of an agent is promoted; every other one that was is retired, in the same call."""
    agent, version = doc.value, move.after
    after = replace(agent, active_version_id=version.version_id, size_fraction=size_fraction)
    moves = [move] if move.after != move.before.value else []
    moves += [
        VersionMove(before=other, after=versions.retired(other.value))
        for other in _all(store, kinds.VERSIONS)
        if other.value.agent_id == agent.agent_id
        and other.value.status is VersionStatus.PROMOTED
        and other.key != version.version_id
    ]
    if after == agent and not moves:
        return agent
    told = {**_told(agent, version.version_id), **version_event(version, at_ms=asked.at_ms).data}
    moved = [f"{each.before.key}@{each.before.version}" for each in moves]
    return store.flip_version(
        doc,
        after,
        gate,
        moves=moves,
        request_id=ids.request_id(
            "flip", doc.key, doc.version, gate.evaluation_id, str(size_fraction), *moved
        ),
        event=ops_event(
            "version", version.version_id, told, at_ms=asked.at_ms, trace_id=asked.trace_id
        ),
    ).value


def _expect_active(doc: Doc[Agent], expected: str | None, version_id: str) -> None:
    """Raise `VersionConflict` where the caller judged beside another active version."""
    if expected is not None and doc.value.active_version_id not in {expected, version_id}:
        raise VersionConflict(f"doc:{kinds.AGENTS.name}/{doc.key}", doc.version - 1, doc.version)


def _told(before: Agent, active: str) -> dict[str, object]:
    return {
        "agent_id": before.agent_id,
        "active_before": before.active_version_id,
        "active": active,
    }


def _evaluating(store: DocStore, doc: Doc[AgentVersion], now_ms: int) -> Doc[AgentVersion]:
    return _put(store, doc, versions.evaluating(doc.value), now_ms)


def _put(
    store: DocStore, doc: Doc[AgentVersion], after: AgentVersion, now_ms: int
) -> Doc[AgentVersion]:
    if after == doc.value:
        return doc
    return store.put(
        kinds.VERSIONS,
        doc.key,
        after,
        at_ms=doc.at_ms,
        expected_version=doc.version,
        event=version_event(after, at_ms=now_ms),
    )


def _version(store: DocStore, version_id: str) -> Doc[AgentVersion]:
    doc = store.get(kinds.VERSIONS, version_id)
    if doc is None:
        raise NotFound("version", version_id)
    return doc


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
    store: AuditStore,
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
    append_row(store, event)
