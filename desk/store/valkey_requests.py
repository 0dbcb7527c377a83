"""Requests that must happen once, in the Redis-protocol store."""

from desk.store.answers import accepted, envelope
from desk.store.connection import Connection
from desk.store.port import Begun, Standing


class ValkeyRequests:
    """One hash per request, which the server forgets by itself when its answer is old enough."""

    _connection: Connection

    def begin_request(
        self, name: str, fingerprint: str, *, claim: str, now_ms: int, lease_ms: int, kept_ms: int
    ) -> Begun:
        answer = self._connection.change(
            "idem_begin", *envelope(), name, fingerprint, claim, now_ms, lease_ms, kept_ms
        )
        standing, kept = accepted(answer) or []
        return Begun(standing=Standing(standing.decode()), answer=kept)

    def finish_request(
        self, name: str, *, claim: str, now_ms: int, kept_ms: int, answer: bytes
    ) -> bool:
        told = self._connection.change(
            "idem_finish", *envelope(), name, claim, now_ms, kept_ms, answer
        )
        return accepted(told) == [b"1"]
