"""The pointer to an agent's active version in the Redis-protocol store."""

from collections.abc import Sequence

from desk.learning.versions import AgentVersion
from desk.runs import Agent
from desk.store.answers import accepted, envelope
from desk.store.codec import to_json
from desk.store.connection import Argument, Connection
from desk.store.kinds import AGENTS, EVALUATIONS, VERSIONS
from desk.store.port import Doc, Event, Gate, VersionMove
from desk.store.rows import doc_of


class ValkeyVersions:
    """The function itself looks at the gate, so that nothing comes between the look and the flip."""

    _connection: Connection

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
        moving: list[Argument] = [
            part
            for move in moves
            for part in (move.before.key, move.before.version, to_json(AgentVersion, move.after))
        ]
        answer = self._connection.change(
            "model_flip",
            *envelope(request_id=request_id, event=event),
            before.key,
            before.version,
            after.active_version_id,
            gate.evaluation_id,
            "" if gate.evaluation_version is None else gate.evaluation_version,
            gate.pair,
            to_json(Agent, after),
            gate.dataset_sha256,
            *moving,
        )
        expected = {
            f"doc:{AGENTS.name}/{before.key}": before.version,
            f"doc:{EVALUATIONS.name}/{gate.evaluation_id}": gate.evaluation_version or 0,
            **{f"doc:{VERSIONS.name}/{move.before.key}": move.before.version for move in moves},
        }
        version, at_ms, row = accepted(answer, expected=expected) or []
        return doc_of(AGENTS, before.key, int(version), int(at_ms), row)
