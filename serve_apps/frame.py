"""The outermost layer of the API: a trace id, security headers, and the last net for exceptions."""

import uuid
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desk import ids
from serve_apps.problems import problem

log = structlog.get_logger(__name__)


class Frame:
    """Pure ASGI, so that a client's disconnect reaches a stream's generator undelayed."""

    def __init__(self, app: ASGIApp, *, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        trace_id = request_trace_id(scope)
        scope.setdefault("state", {})["trace_id"] = trace_id
        started = False

        async def send_framed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers.setdefault("x-trace-id", trace_id)
                if not scope["path"].startswith("/ui/"):
                    headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, send_framed)
        except Exception as error:  # border of the process: every request gets an answer
            log.exception("request_failed", trace_id=trace_id, path=scope["path"])
            if started:
                raise
            answer = problem(
                500,
                "internal-error",
                "The operator API failed",
                f"{type(error).__name__}: see the log under this trace id",
                scope=scope,
            )
            await answer(scope, receive, send_framed)


def request_trace_id(scope: Scope) -> str:
    """Mint the trace id of a request.

    Derived from the Idempotency-Key where there is one: a repeated request carries the same trace
    id, so that everything derived from it (request ids, client order ids) is the same too.
    """
    key = Headers(scope=scope).get("idempotency-key")
    if key and scope["method"] not in {"GET", "HEAD"}:
        return ids.trace_id("request", scope["method"], scope["path"], key)
    return ids.trace_id("request", uuid.uuid4().hex)
