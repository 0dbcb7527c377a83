"""What stands in front of the operator API within Serve's own HTTP server: bounds and headers.

Serve's proxy reads a body without bound and hands it on before the application sees it, obeys
headers with which a client switches its timeouts and its check for a client that left, answers
`/-/routes` to everybody, and writes errors of its own without our headers. Its one door for layers
is a function named in the environment of Ray (`environment.SERVE_ENVIRONMENT`), called where it starts.
"""

import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http import auto

from serve_apps.bounds import MAX_BODY_BYTES, MAX_OPEN_BODY_BYTES
from serve_apps.headers import security_headers
from serve_apps.patient_http import PatientProtocol, new_trace_id, problem_body

OPEN_WRITES = ("/login", "/webhooks/")
_STEERING = frozenset(
    {
        b"x-request-timeout-seconds",
        b"x-request-disconnect-disabled",
        b"serve_multiplexed_model_id",
        b"serve-multiplexed-model-id",
        b"x-session-id",
    }
)
"""What Serve would take from a client as an order to itself."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


def layers() -> list[Middleware]:
    """Called by Serve's proxy before its server starts: choose the protocol, name the layers."""
    auto.AutoHTTPProtocol = PatientProtocol
    return [Middleware(IngressGuard)]


class IngressGuard:
    """413 above the size while the body arrives; no orders to Serve; our headers on its answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["path"].startswith("/-/"):
            await _problem(404, "http-404", "Not Found")(scope, receive, _framed(send))
        elif _declared(scope) > _allowed(scope):
            await _too_large(scope)(scope, receive, _framed(send))
        else:
            scope["headers"] = [one for one in scope["headers"] if _is_harmless(*one)]
            intake = _Intake(receive, _framed(send), limit=_allowed(scope), scope=scope)
            await self._app(scope, intake.receive, intake.send)


class _Intake:
    """The body of one request, counted; once it is too large the client hears it and no more."""

    def __init__(self, receive: Receive, send: Send, *, limit: int, scope: Scope) -> None:
        self._receive = receive
        self._send = send
        self._left = limit
        self._scope = scope
        self._has_begun = False
        self._is_over = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left >= 0:
            return message
        if not self._has_begun:
            self._has_begun = self._is_over = True
            await _too_large(self._scope)(self._scope, self._receive, self._send)
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if not self._is_over:
            self._has_begun = True
            await self._send(message)


def _allowed(scope: Scope) -> int:
    return MAX_OPEN_BODY_BYTES if scope["path"].startswith(OPEN_WRITES) else MAX_BODY_BYTES


def _declared(scope: Scope) -> int:
    """The length that the client announces; 0 where it announces none that can be read."""
    text = Headers(scope=scope).get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


def _is_harmless(name: bytes, value: bytes) -> bool:
    if name == b"x-request-id":
        return _REQUEST_ID.fullmatch(value) is not None
    return name not in _STEERING


def _too_large(scope: Scope) -> Response:
    detail = f"at most {_allowed(scope)} bytes are accepted"
    return _problem(413, "body-too-large", "The body is too large", detail)


def _problem(status: int, kind: str, title: str, detail: str = "") -> Response:
    trace_id = new_trace_id()
    return Response(
        problem_body(status, kind, title, detail or title, trace_id),
        status_code=status,
        media_type="application/problem+json",
        headers={"x-trace-id": trace_id},
    )


def _framed(send: Send) -> Send:
    """Adds our headers where an answer lacks them: those of Serve itself, and those of this module."""

    async def send_framed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in security_headers().items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            headers.setdefault("x-trace-id", new_trace_id())
        await send(message)

    return send_framed
