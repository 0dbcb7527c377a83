"""The chain of the audit in the Redis-protocol store."""

from collections.abc import Sequence

from desk.runs import AuditEvent
from desk.store.answers import accepted, envelope
from desk.store.codec import from_json, to_json
from desk.store.connection import Argument, Connection
from desk.store.layout import AUDIT_HEAD, audit_key
from desk.store.port import AuditHead, Event


class ValkeyAudit:
    """Rows are documents; only the end of the chain may grow."""

    _connection: Connection

    def audit_head(self) -> AuditHead:
        seq, sha256, trimmed, rows = self._connection.read("audit_head")
        return AuditHead(
            seq=int(seq), sha256=sha256.decode(), trimmed_seq=int(trimmed), rows=int(rows)
        )

    def append_audit(self, row: AuditEvent, *, event: Event | None = None) -> AuditEvent:
        answer = self._connection.change(
            "audit_append",
            *envelope(event=event),
            row.audit_id,
            audit_key(row.seq),
            row.at_ms,
            row.seq - 1,
            row.sha256,
            to_json(AuditEvent, row),
        )
        [stored] = accepted(answer, expected={AUDIT_HEAD: row.seq - 1}) or [b""]
        # Nothing: the row of this id was taken away by hand. The check of the chain says so.
        return from_json(AuditEvent, stored) if stored else row

    def audit_rows(self, after_seq: int, limit: int) -> list[AuditEvent]:
        keys = [audit_key(seq) for seq in range(after_seq + 1, after_seq + limit + 1)]
        found = self._connection.read("audit_rows", *keys, bulk=True) if keys else []
        return [from_json(AuditEvent, row) for row in found if row]

    def trim_audit(self, rows: Sequence[AuditEvent]) -> None:
        if not rows:
            return
        named: list[Argument] = [rows[-1].seq]
        for row in rows:
            named += [row.audit_id, audit_key(row.seq)]
        accepted(self._connection.change("audit_trim", *envelope(), *named))
