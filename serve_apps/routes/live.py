"""What watches the desk: health, Prometheus, the event stream, traces."""

from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from serve_apps import health, metrics, traces
from serve_apps.context import Ctx
from serve_apps.events import TooManyStreams
from serve_apps.parameters import TraceId
from serve_apps.problems import problem
from serve_apps.schemas import HealthView, TraceView
from serve_apps.sessions import session_of
from serve_apps.sse import Listener, stream

router = APIRouter(tags=["live"])

SSE = "text/event-stream"
MESSAGE = {
    "type": "object",
    "description": "One message: `docs/api.md` lists the topics, which are its `event`.",
    "properties": {
        "id": {"type": "string", "description": "A place to resume from by `Last-Event-ID`."},
        "event": {"type": "string", "examples": ["order"]},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "description": "`{v, ts_ms, key, seq, data, trace_id?}`",
        },
        "retry": {"type": "integer"},
    },
}


@router.get("/healthz", responses={503: {"model": HealthView}})
def read_health(ctx: Ctx, response: Response) -> HealthView:
    """Say whether the desk can work; 503 when it cannot. Needs no token."""
    view = health.check(ctx)
    if view.status == "down":
        response.status_code = 503
    return view


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def read_prometheus(ctx: Ctx) -> Response:
    """Render facts of the store for Prometheus."""
    return Response(metrics.render(ctx), media_type=metrics.CONTENT_TYPE)


@router.get("/traces/{trace_id}")
def read_trace(ctx: Ctx, trace_id: TraceId) -> TraceView:
    """Tell one trace from its candle to the books; a missing hop says why it is missing."""
    return traces.tell(ctx, trace_id)


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {SSE: {"schema": MESSAGE}},
            "description": "Server-sent events.",
        }
    },
)
async def listen(
    ctx: Ctx,
    request: Request,
    topics: Annotated[str, Query(max_length=1_000)] = "",
    last_event_id: Annotated[str, Query(max_length=200)] = "",
    resume: Annotated[str, Header(alias="Last-Event-ID", max_length=200)] = "",
) -> Response:
    """Stream what happens. Resumes after `Last-Event-ID`; `topics` is a list with commas, each a
    topic (`order`) or a topic and key (`candle:BTC-USDT:1m`)."""
    session = session_of(request.scope)
    expires_ms = session.login_expires_ms if session else None
    listener = Listener(
        topics=frozenset(part.strip() for part in topics.split(",") if part.strip()),
        last_event_id=resume or last_event_id or None,
        server_version=ctx.facts.server_version,
        login_expires_ms=expires_ms,
        is_still_logged_in=lambda: expires_ms is None or ctx.wall_ms() < expires_ms,
    )
    messages = stream(ctx.hub, listener, ctx.stream_times)
    try:
        first = await anext(messages)
    except TooManyStreams:
        return problem(
            503,
            "too-many-streams",
            "All event streams are taken",
            "close a page that is not needed, or try again",
            scope=request.scope,
            headers={"retry-after": "10"},
        )
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_begun(first, messages), media_type=SSE, headers=headers)


async def _begun(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for message in rest:
            yield message
    finally:
        await rest.aclose()
