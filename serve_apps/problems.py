"""Errors as `application/problem+json`: which status each branch of the error tree answers with."""

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route
from starlette.types import Scope

from actors.names import ActorAway
from desk.errors import (
    ArtifactRefused,
    BadInput,
    DeskError,
    FeedError,
    Fenced,
    FilesUnavailable,
    IllegalTransition,
    LimitReached,
    NotFound,
    StoreCorrupt,
    StoreUnavailable,
    VenueRejected,
    VenueUnavailable,
    VersionConflict,
)
from serve_apps.schemas import Problem

log = structlog.get_logger(__name__)


class GateRefused(DeskError):
    """A gate said no; the text lists its reason codes."""


RETRY_AFTER = {"retry-after": "1"}
MISSING: dict[int | str, dict[str, Any]] = {404: {"description": "What it names does not exist."}}
"""For routes that name a thing in their query or body."""
_STATUS: tuple[tuple[type[DeskError], int, str, str], ...] = (
    (BadInput, 422, "bad-input", "The request cannot be carried out as written"),
    (NotFound, 404, "not-found", "Not found"),
    (VersionConflict, 409, "state-changed", "The state changed since it was read"),
    (IllegalTransition, 409, "illegal-transition", "The state does not allow this"),
    (LimitReached, 409, "limit-reached", "A limit would be crossed"),
    (VenueRejected, 409, "venue-rejected", "The venue refused"),
    (GateRefused, 409, "gate-refused", "A gate refused"),
    (ArtifactRefused, 409, "artifact-refused", "The artifact was refused"),
    (Fenced, 503, "owner-changed", "Another process took over: try again"),
    (StoreUnavailable, 503, "store-unavailable", "The store did not answer"),
    (FilesUnavailable, 503, "files-unavailable", "Shared storage did not answer"),
    (StoreCorrupt, 503, "store-corrupt", "The store must be repaired"),
    (VenueUnavailable, 503, "venue-unavailable", "The venue did not answer"),
    (ActorAway, 503, "actor-away", "A part of the desk did not answer"),
    (FeedError, 503, "feed-unavailable", "A data source did not answer"),
)


def problem(
    status: int,
    kind: str,
    title: str,
    detail: str,
    *,
    scope: Scope,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Build the answer for one error; `kind` becomes the `urn:raydesk:` type."""
    body = Problem(
        type=f"urn:raydesk:{kind}",
        title=title,
        status=status,
        detail=detail,
        trace_id=trace_id_of(scope),
        field=field,
    )
    return Response(
        body.model_dump_json(exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


def trace_id_of(scope: Scope) -> str:
    """The trace id given to this request, or an empty text outside of one."""
    state: Mapping[str, object] = scope.get("state", {})
    return str(state.get("trace_id", ""))


def of_desk_error(error: DeskError, scope: Scope) -> Response:
    """Answer for an error of ours, also one that crossed an actor call."""
    cause = getattr(error, "cause", None)
    known = cause if isinstance(cause, DeskError) else error
    for kind, status, slug, title in _STATUS:
        if isinstance(known, kind):
            if isinstance(known, VersionConflict) and _has_if_match(scope):
                status = 412  # noqa: PLW2901  # the caller named the version it expected
            field = _field_of(known)
            detail = known.problem if isinstance(known, BadInput) else str(known)
            headers = RETRY_AFTER if status == 503 else None
            return problem(status, slug, title, detail, scope=scope, field=field, headers=headers)
    log.error("request_failed", error=type(known).__name__, detail=str(known))
    return problem(500, "desk-error", "The desk could not do this", str(known), scope=scope)


def _field_of(error: DeskError) -> str | None:
    if isinstance(error, BadInput):
        return error.field
    return "version" if isinstance(error, VersionConflict) else None


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(DeskError, _desk_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(TimeoutError, _timeout)


async def _desk_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DeskError)
    return of_desk_error(error, request.scope)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = str(error.detail)
    path = request.url.path
    if path.startswith("/webhooks/"):
        path = "/webhooks/…"  # what follows is a secret
    detail = f"{request.method} {path}: {title}"
    slug = f"http-{error.status_code}"
    headers = error.headers
    if error.status_code == 405:
        headers = {"allow": ", ".join(sorted(_methods_at(request)))}
    return problem(error.status_code, slug, title, detail, scope=request.scope, headers=headers)


def _methods_at(request: Request) -> set[str]:
    """What a path takes: FastAPI has a route for each method and names those of the first one only."""
    found: set[str] = set()
    for route in (*request.app.state.routes, *request.app.routes):
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods or set()
    return found


async def _validation_error(request: Request, error: Exception) -> Response:
    """Name the first wrong field; the value itself is not repeated (it may be a secret)."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in {"body", "query", "path", "header"}]
    return problem(
        422,
        "bad-input",
        "The request cannot be carried out as written",
        str(first["msg"]),
        scope=request.scope,
        field=".".join(where) or str(first["loc"][0]),
    )


async def _timeout(request: Request, _: Exception) -> Response:
    return problem(
        503,
        "timeout",
        "A part of the desk did not answer in time",
        "the outcome is unknown: repeat the request with the same Idempotency-Key",
        scope=request.scope,
        headers=RETRY_AFTER,
    )


def _has_if_match(scope: Scope) -> bool:
    return any(name == b"if-match" for name, _ in scope["headers"])
