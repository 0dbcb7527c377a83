"""The HTTP server's protocol with bounds that uvicorn leaves open: time, size and number.

Uvicorn waits for ever for the rest of a head or body, and for a client that reads nothing. A
handful of clients could hold every connection; here each phase has a deadline and each head a size.
Layers within the application cannot do this: they run when a whole head has arrived.
"""

import asyncio
import json
import uuid
from collections import Counter
from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from desk import ids
from serve_apps import bounds
from serve_apps.headers import security_headers

REFUSALS = {
    400: ("bad-http", "This is no HTTP request"),
    408: ("request-too-slow", "The request took too long"),
    431: ("head-too-large", "The head of the request is too large"),
    503: ("too-many-connections", "All connections are taken"),
}
"""By status: the problem's type and title."""


class Cancellable(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Let it not happen."""
        ...


class PatientProtocol(HttpToolsProtocol):
    """One connection. 408 for a slow head or body, 431 for a large head, 503 for one too many."""

    head_deadline_s: ClassVar[float] = bounds.HEAD_DEADLINE_S
    request_deadline_s: ClassVar[float] = bounds.REQUEST_DEADLINE_S
    write_deadline_s: ClassVar[float] = bounds.WRITE_DEADLINE_S
    max_connections: ClassVar[int] = bounds.MAX_CONNECTIONS
    max_connections_of_one: ClassVar[int] = bounds.MAX_CONNECTIONS_OF_ONE
    _of_address: ClassVar[Counter[str]] = Counter()

    _reading: Cancellable | None = None
    _writing: Cancellable | None = None
    _in_body = False
    _head_bytes = 0
    _is_large = False
    _counted: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] # as uvicorn declares it
        """Begin to wait for a head, or refuse what is one connection too many."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        self._counted = address
        self._of_address[address] += 1
        crowded = len(self.connections) > self.max_connections
        if crowded or self._of_address[address] > self.max_connections_of_one:
            self._refuse(503)
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines and the address."""
        self._stop_reading_clock()
        self._stop_writing_clock()
        if self._counted is not None:
            self._of_address[self._counted] -= 1
            if self._of_address[self._counted] <= 0:
                del self._of_address[self._counted]
            self._counted = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of an unfinished head; also those that begin no request keep the clock."""
        if not self._in_body:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing() or self._in_body:
            return
        if self._head_bytes > bounds.MAX_HEAD_BYTES:
            self._refuse(431)
        elif self._reading is None and self._is_idle():
            self._await_head()

    def on_message_begin(self) -> None:
        """Start the clock of a head, unless it runs since the connection was made."""
        super().on_message_begin()
        if self._reading is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """Check the head's size and give the body its own time."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > bounds.MAX_HEAD_BYTES or len(self.headers) > bounds.MAX_HEADERS:
            self._is_large = True
            raise ValueError("the head is too large")  # the parser stops, and `send_400_response`
        self._head_bytes = 0
        self._in_body = True
        self._start_reading_clock(self.request_deadline_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        self._in_body = False
        self._head_bytes = 0
        self._stop_reading_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what cannot be read as uvicorn does, with our headers."""
        self._refuse(431 if self._is_large else 400)

    def pause_writing(self) -> None:
        """The client reads too slowly: wait, but not for ever."""
        super().pause_writing()
        self._stop_writing_clock()
        self._writing = self.loop.call_later(self.write_deadline_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop_writing_clock()
        super().resume_writing()

    # --- deadlines --------------------------------------------------------------------------

    def _await_head(self) -> None:
        self._start_reading_clock(self.head_deadline_s)

    def _start_reading_clock(self, within_s: float) -> None:
        self._stop_reading_clock()
        self._reading = self.loop.call_later(within_s, self._too_slow)

    def _stop_reading_clock(self) -> None:
        self._reading = _cancelled(self._reading)

    def _stop_writing_clock(self) -> None:
        self._writing = _cancelled(self._writing)

    def _is_idle(self) -> bool:
        """Whether nothing runs and nobody waits: neither an answer nor uvicorn's keep-alive."""
        cycle = self._current()
        return (cycle is None or cycle.response_complete) and self.timeout_keep_alive_task is None

    def _current(self) -> RequestResponseCycle | None:
        """The newest request; None before the first one, though uvicorn declares it otherwise."""
        return self.cycle

    def _is_due(self, cycle: RequestResponseCycle) -> bool:
        """Whether the client's next answer is the one of the request that is refused."""
        if self._in_body:
            return not self.pipeline and not cycle.response_started
        return cycle.response_complete

    def _too_slow(self) -> None:
        self._reading = None
        self._refuse(408)

    def _refuse(self, status: int) -> None:
        """Answer where nothing of another answer would be cut in two, and close."""
        if self.transport.is_closing():
            return
        cycle = self._current()
        if cycle is None or self._is_due(cycle):
            self.transport.write(_answer(status))
        if cycle is not None:
            cycle.disconnected = True  # what the application still says is for nobody
            cycle.message_event.set()
        self.transport.close()


def _cancelled(timer: Cancellable | None) -> None:
    if timer is not None:
        timer.cancel()


def new_trace_id() -> str:
    """Of a request that never reaches the API."""
    return ids.trace_id("request", uuid.uuid4().hex)


def problem_body(status: int, kind: str, title: str, detail: str, trace_id: str) -> bytes:
    """A problem as JSON, built without the models: this process loads as little as it can."""
    fields = {"type": f"urn:raydesk:{kind}", "title": title, "status": status, "detail": detail}
    return json.dumps(fields | {"trace_id": trace_id}, separators=(",", ":")).encode()


def _answer(status: int) -> bytes:
    kind, title = REFUSALS[status]
    trace_id = new_trace_id()
    detail = "the connection is closed: send it anew, in time"
    body = problem_body(status, kind, title, detail, trace_id)
    headers = {
        **security_headers(),
        "x-trace-id": trace_id,
        "cache-control": "no-store",
        "content-type": "application/problem+json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {status} {title}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body
