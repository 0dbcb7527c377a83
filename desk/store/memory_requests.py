"""Requests that must happen once, in memory."""

from desk.store.memory_state import MemoryState, RequestRow
from desk.store.port import Begun, Standing


class MemoryRequests:
    """The twins of `idem_begin` and `idem_finish`."""

    _state: MemoryState

    def begin_request(
        self, name: str, fingerprint: str, *, claim: str, now_ms: int, lease_ms: int, kept_ms: int
    ) -> Begun:
        with self._state.lock:
            found = self._state.requests.get(name)
            age_ms = now_ms - found.at_ms if found else 0
            if found is not None and age_ms < kept_ms:
                if found.fingerprint != fingerprint:
                    return Begun(standing=Standing.OTHER_BODY)
                if found.answer is not None:
                    return Begun(standing=Standing.DONE, answer=found.answer)
                if age_ms < lease_ms:
                    return Begun(standing=Standing.IN_FLIGHT)
            self._state.requests[name] = RequestRow(
                fingerprint=fingerprint, claim=claim, at_ms=now_ms
            )
            return Begun(standing=Standing.BEGUN)

    def finish_request(
        self, name: str, *, claim: str, now_ms: int, kept_ms: int, answer: bytes
    ) -> bool:
        with self._state.lock:
            found = self._state.requests.get(name)
            if found is None or found.answer is not None or found.claim != claim:
                return False
            if answer:
                found.answer, found.at_ms = answer, now_ms
            else:
                del self._state.requests[name]
            return True
