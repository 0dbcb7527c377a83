"""Reads the body of a writing request whole, within a size and a deadline, before anything acts."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.bounds import BODY_DEADLINE_S, MAX_BODY_BYTES
from serve_apps.problems import problem

READING = frozenset({"GET", "HEAD", "OPTIONS"})


def is_write(scope: Scope) -> bool:
    """Whether a request may change something."""
    return scope["type"] == "http" and scope["method"] not in READING


def body_of(scope: Scope) -> bytes:
    """The whole body of a writing request, once `Intake` has read it."""
    body = scope.get("state", {}).get("body", b"")
    assert isinstance(body, bytes)
    return body


def replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A receive channel that gives the body again, then whatever the client does next."""
    sent = False

    async def receive_again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


class Intake:
    """413 above the size, 408 past the deadline; reading requests pass untouched."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_bytes: int = MAX_BODY_BYTES,
        deadline_s: float = BODY_DEADLINE_S,
    ) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_write(scope):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._deadline_s):
                body = await self._read(receive)
        except TimeoutError:
            answer = problem(
                408,
                "body-too-slow",
                "The body took too long",
                f"it must arrive within {self._deadline_s:g} s",
                scope=scope,
            )
            await answer(scope, receive, send)
            return
        if body is None:
            answer = problem(
                413,
                "body-too-large",
                "The body is too large",
                f"at most {self._max_bytes} bytes are accepted",
                scope=scope,
            )
            await answer(scope, receive, send)
            return
        scope.setdefault("state", {})["body"] = body
        await self._app(scope, replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the whole body, or None once it grows beyond the limit."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)
