"""One effect per `Idempotency-Key`: the first answer is kept for 24 hours and given again.

The header is optional: a request without it is carried out once per request. A request that fails
validation, or whose outcome is unknown (5xx), keeps nothing, so that it may be repeated under its
key; it then carries the same trace id, and the ids derived from that are the same as well.

A request in flight holds its key for `LEASE_MS`. When its process died, the key is free after that;
a request that takes longer than its lease may run twice, and loses only its answer: the later
one's is kept.
"""

import asyncio
import base64
import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from desk import ids
from desk.errors import DeskError
from desk.store.layout import ANSWERS_KEPT_MS
from desk.store.port import OnceStore, Standing
from serve_apps.auth import form_of
from serve_apps.intake import READING, body_of, is_write
from serve_apps.problems import RETRY_AFTER, of_desk_error, problem

log = structlog.get_logger(__name__)

LEASE_MS = 120_000
"""A request still in flight after this (wall) belonged to a process that died: it may be repeated."""
MAX_KEY_CHARS = 255
_NOT_COVERED = ("/login", "/logout", "/webhooks/", "/api/v1/token/")
_NOT_KEPT = frozenset({"content-length", "set-cookie", "x-trace-id", "date", "server"})
"""What belongs to one sending of an answer; all other headers are part of it."""


@dataclass(frozen=True, slots=True)
class _Claim:
    """The right to carry out one request: the name of its mark, and who holds it."""

    name: str
    owner: str


@dataclass(slots=True)
class _Captured:
    """An answer as it passes to the client."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    parts: list[bytes] = field(default_factory=list[bytes])
    whole: bool = False

    def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            raw: list[tuple[bytes, bytes]] = list(message.get("headers", []))
            pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]
            self.headers = [pair for pair in pairs if pair[0].lower() not in _NOT_KEPT]
        elif message["type"] == "http.response.body":
            self.parts.append(message.get("body", b""))
            self.whole = not message.get("more_body", False)

    @property
    def is_final(self) -> bool:
        """Whether this outcome is worth keeping: known, and not a refused validation."""
        return self.whole and 200 <= self.status < 500 and self.status != 422


def is_covered(method: str, path: str) -> bool:
    """Whether a request may carry an `Idempotency-Key`."""
    return method not in READING and not path.startswith(_NOT_COVERED)


class Idempotency:
    """ASGI layer inside the guards; the answers live in the store, so every replica knows them."""

    def __init__(self, app: ASGIApp, *, store: OnceStore, wall_ms: Callable[[], int]) -> None:
        self._app = app
        self._store = store
        self._wall_ms = wall_ms
        self._running: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_write(scope) or not is_covered(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        # A client that goes away must not stop a command half way: it runs in a task of its own.
        task = asyncio.create_task(self._once(scope, receive, send))
        self._running.add(task)
        task.add_done_callback(self._ended)
        await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("write_ended_with_an_exception", error=repr(error))

    async def _once(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = Headers(scope=scope).get("idempotency-key", form_of(scope).get("idempotency_key"))
        if key is None:
            await self._app(scope, receive, send)
            return
        if not 1 <= len(key) <= MAX_KEY_CHARS:
            detail = f"was {len(key)} characters long, expected 1 to {MAX_KEY_CHARS}"
            answer = _refusal(422, "idempotency-key", detail, scope)
            await answer(scope, receive, send)
            return
        try:
            begun = await asyncio.to_thread(self._begin, scope, key)
        except DeskError as unavailable:
            await of_desk_error(unavailable, scope)(scope, receive, send)
            return
        if isinstance(begun, Response):
            await begun(scope, receive, send)
            return
        await self._perform(begun, scope, receive, send)

    async def _perform(self, claim: _Claim, scope: Scope, receive: Receive, send: Send) -> None:
        captured = _Captured()

        async def send_captured(message: Message) -> None:
            captured.take(message)
            if captured.whole:  # kept before the client sees it: a repeat never finds nothing
                await asyncio.to_thread(self._finish, claim, captured)
            await send(message)

        try:
            await self._app(scope, receive, send_captured)
        finally:
            if not captured.whole:
                await asyncio.to_thread(self._finish, claim, captured)

    def _begin(self, scope: Scope, key: str) -> _Claim | Response:
        """Claim the key, or return the answer that says why not (also the first answer again)."""
        claim = _Claim(
            name=ids.request_id("idempotency", scope["method"], scope["path"], key),
            owner=uuid.uuid4().hex,
        )
        begun = self._store.begin_request(
            claim.name,
            fingerprint(scope),
            claim=claim.owner,
            now_ms=self._wall_ms(),
            lease_ms=LEASE_MS,
            kept_ms=ANSWERS_KEPT_MS,
        )
        match begun.standing:
            case Standing.BEGUN:
                return claim
            case Standing.DONE:
                return _answer_from(begun.answer)
            case Standing.IN_FLIGHT:
                detail = "the same request is still running"
                return _refusal(409, "idempotency-key", detail, scope)
            case Standing.OTHER_BODY:
                detail = "was used with another body: make a new key"
                return _refusal(422, "idempotency-key", detail, scope)

    def _finish(self, claim: _Claim, captured: _Captured) -> None:
        """Keep the answer; failing to is logged, never shown: the command has had its effect."""
        row = {
            "status": captured.status,
            "headers": [list(pair) for pair in captured.headers],
            "body": base64.b64encode(b"".join(captured.parts)).decode(),
        }
        try:
            kept = self._store.finish_request(
                claim.name,
                claim=claim.owner,
                now_ms=self._wall_ms(),
                kept_ms=ANSWERS_KEPT_MS,
                answer=json.dumps(row).encode() if captured.is_final else b"",
            )
            reason = "" if kept else "the request took longer than its lease"
        except DeskError as failed:
            reason = str(failed)
        if reason:
            log.warning("idempotent_answer_not_kept", key=claim.name, reason=reason)


def _answer_from(kept: bytes) -> Response:
    """The first answer again."""
    row: dict[str, Any] = json.loads(kept)
    answer = Response(base64.b64decode(row["body"]), status_code=row["status"])
    for name, value in row["headers"]:
        answer.headers[name] = value
    answer.headers["idempotent-replay"] = "true"
    return answer


def fingerprint(scope: Scope) -> str:
    """Of what a request asks: its query, the version it expects, its body."""
    digest = hashlib.sha256(scope.get("query_string", b""))
    digest.update(b"\0" + Headers(scope=scope).get("if-match", "").encode())
    digest.update(b"\0" + body_of(scope))
    return digest.hexdigest()


def _refusal(status: int, header: str, detail: str, scope: Scope) -> Response:
    titles = {
        409: ("in-flight", "The same request is still running"),
        422: ("idempotency-key", "The Idempotency-Key cannot be used for this"),
    }
    slug, title = titles[status]
    headers = RETRY_AFTER if status == 409 else None
    return problem(status, slug, title, detail, scope=scope, field=header, headers=headers)
