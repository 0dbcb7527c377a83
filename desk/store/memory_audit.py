"""The chain of the audit in memory."""

from collections.abc import Sequence

from desk.errors import VersionConflict
from desk.runs import AuditEvent
from desk.store import kinds
from desk.store.codec import from_json, to_json
from desk.store.layout import AUDIT_HEAD, audit_key
from desk.store.memory_state import DocRow, MemoryState
from desk.store.port import AuditHead, Event


class MemoryAudit:
    """Rows are documents; only the end of the chain may grow."""

    _state: MemoryState

    def audit_head(self) -> AuditHead:
        with self._state.lock:
            return AuditHead(
                seq=self._state.audit_seq,
                sha256=self._state.audit_sha256,
                trimmed_seq=self._state.audit_trimmed_seq,
                rows=len(self._state.docs[kinds.AUDIT.name]),
            )

    def append_audit(self, row: AuditEvent, *, event: Event | None = None) -> AuditEvent:
        key, state = audit_key(row.seq), self._state
        with state.lock:
            docs = state.docs[kinds.AUDIT.name]
            known = state.audit_ids.get(row.audit_id)
            if known is not None:
                return from_json(AuditEvent, docs[known].row) if known in docs else row
            if state.audit_seq != row.seq - 1:
                raise VersionConflict(AUDIT_HEAD, row.seq - 1, state.audit_seq)
            docs[key] = DocRow(version=1, at_ms=row.at_ms, row=to_json(AuditEvent, row))
            state.audit_ids[row.audit_id] = key
            state.audit_seq, state.audit_sha256 = row.seq, row.sha256
            state.finish("", "", event)
            return from_json(AuditEvent, docs[key].row)

    def audit_rows(self, after_seq: int, limit: int) -> list[AuditEvent]:
        places = range(after_seq + 1, after_seq + limit + 1)
        with self._state.lock:
            docs = self._state.docs[kinds.AUDIT.name]
            found = [docs[key].row for seq in places if (key := audit_key(seq)) in docs]
        return [from_json(AuditEvent, row) for row in found]

    def trim_audit(self, rows: Sequence[AuditEvent]) -> None:
        if not rows:
            return
        with self._state.lock:
            for row in rows:
                self._state.docs[kinds.AUDIT.name].pop(audit_key(row.seq), None)
                self._state.audit_ids.pop(row.audit_id, None)
            self._state.audit_trimmed_seq = rows[-1].seq
