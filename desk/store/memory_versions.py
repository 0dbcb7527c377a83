"""The pointer to an agent's active version in memory."""

import json
from collections.abc import Sequence
from typing import Any

from desk.errors import IllegalTransition, VersionConflict
from desk.learning.versions import MOVES, AgentVersion, VersionStatus
from desk.runs import Agent
from desk.store.codec import to_json
from desk.store.kinds import AGENTS, DATASETS, EVALUATIONS, VERSIONS
from desk.store.memory_state import DocRow, MemoryState
from desk.store.port import Doc, Event, Gate, VersionMove
from desk.store.rows import doc_of


class MemoryVersions:
    """The twin of `model_flip`: it reads the stored rows, not what the caller believes of them."""

    _state: MemoryState

    def flip_version(
        self,
        before: Doc[Agent],
        after: Agent,
        gate: Gate,
        *,
        moves: Sequence[VersionMove] = (),
        request_id: str,
        event: Event,
    ) -> Doc[Agent]:
        what = f"model_flip {before.key}"
        with self._state.lock:
            answer = self._state.stored_answer(what, request_id)
            if answer is None:
                agents = self._state.docs[AGENTS.name]
                found = agents.get(before.key)
                if found is None or found.version != before.version:
                    version = found.version if found else 0
                    raise VersionConflict(
                        f"doc:{AGENTS.name}/{before.key}", before.version, version
                    )
                if gate.evaluation_version is None:
                    self._check_record(after.active_version_id, gate)
                else:
                    self._check_gate(after.active_version_id, gate, gate.evaluation_version)
                self._check_versions(moves)
                self._move_versions(moves)
                moved = DocRow(
                    version=found.version + 1, at_ms=found.at_ms, row=to_json(Agent, after)
                )
                agents[before.key] = moved
                facts = (b"%d" % moved.version, b"%d" % moved.at_ms, moved.row)
                answer = self._state.finish(what, request_id, event, *facts)
        version, at_ms, row = answer
        return doc_of(AGENTS, before.key, int(version), int(at_ms), row)

    def _check_gate(self, version_id: str, gate: Gate, expected: int) -> None:
        reports = self._state.docs[EVALUATIONS.name]
        found = reports.get(gate.evaluation_id)
        if found is None or found.version != expected:
            key = f"doc:{EVALUATIONS.name}/{gate.evaluation_id}"
            raise VersionConflict(key, expected, found.version if found else 0)
        report = _fields(found)
        if (report["verdict"], report["version_id"], report["pair"]) != (
            "pass",
            version_id,
            gate.pair,
        ):
            raise IllegalTransition(f"gate {report['verdict']}", f"move to {version_id}")
        dataset = self._state.docs[DATASETS.name].get(report["dataset_id"])
        hashes = {report["dataset_sha256"], _fields(dataset)["sha256"] if dataset else None}
        if hashes != {gate.dataset_sha256}:
            raise IllegalTransition("gate on another dataset", f"move to {version_id}")
        rank = (report["created_ms"], gate.evaluation_id)
        for key, row in sorted(reports.items(), key=lambda entry: (entry[1].at_ms, entry[0])):
            other = _fields(row)
            is_same = (other["version_id"], other["pair"]) == (version_id, gate.pair)
            if row.at_ms >= found.at_ms and is_same and (other["created_ms"], key) > rank:
                raise VersionConflict(f"doc:{EVALUATIONS.name}/{key}", 0, row.version)

    def _check_record(self, version_id: str, gate: Gate) -> None:
        found = self._state.docs[VERSIONS.name].get(version_id)
        version = _fields(found) if found else {}
        named = version.get("promoted_by_evaluation_id")
        if version.get("promoted_at_ms") is None or named != gate.evaluation_id:
            raise IllegalTransition("never promoted", f"move to {version_id}")

    def _check_versions(self, moves: Sequence[VersionMove]) -> None:
        for move in moves:
            key, expected = move.before.key, move.before.version
            found = self._state.docs[VERSIONS.name].get(key)
            if found is None or found.version != expected:
                version = found.version if found else 0
                raise VersionConflict(f"doc:{VERSIONS.name}/{key}", expected, version)
            status, to = VersionStatus(_fields(found)["status"]), move.after.status
            if status is not to and to not in MOVES[status]:
                raise IllegalTransition(status.value, f"move to {to.value}")

    def _move_versions(self, moves: Sequence[VersionMove]) -> None:
        versions = self._state.docs[VERSIONS.name]
        for move in moves:
            found = versions[move.before.key]
            row = to_json(AgentVersion, move.after)
            versions[move.before.key] = DocRow(
                version=found.version + 1, at_ms=found.at_ms, row=row
            )


def _fields(row: DocRow) -> dict[str, Any]:
    return json.loads(row.row)
