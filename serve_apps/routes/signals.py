"""Signals: alerts come in by webhook, and are searched by source and time."""

import hashlib
import hmac
from typing import Annotated

import structlog
from fastapi import APIRouter, Path, Query, Request, Response

from desk.clock import DAY_MS
from desk.errors import BadInput, NotFound
from desk.market.signals import MAX_BODY_BYTES, read_object, receive
from desk.store import self_tests, signals
from desk.store.port import Store
from serve_apps.addresses import HEADER, client_address, is_local, is_within, networks
from serve_apps.context import Context, Ctx, Feeds
from serve_apps.intake import body_of
from serve_apps.paging import MAX_MS, Place, decode
from serve_apps.parameters import LONGEST_ID
from serve_apps.problems import problem
from serve_apps.schemas import SignalPage, SignalView

log = structlog.stdlib.get_logger()

router = APIRouter(tags=["signals"])

MAX_WINDOW_MS = 31 * DAY_MS
ALERT_CONTENT = {
    kind: {"schema": {"type": "string", "maxLength": MAX_BODY_BYTES}, "example": example}
    for kind, example in {
        "text/plain": "BTC-USDT crossed 95,000",
        "application/json": '{"ticker": "BTCUSDT", "action": "buy"}',
    }.items()
}
"""Any text is kept; what of it could be read shows in its `parse_status`."""
FeedToken = Annotated[str, Path(min_length=1, max_length=LONGEST_ID, examples=["a-feed-token"])]


@router.post(
    "/webhooks/tradingview/{feed_token}",
    status_code=202,
    response_class=Response,
    responses={204: {"description": "A self-test of the desk's own; nothing was kept."}},
    openapi_extra={"requestBody": {"content": ALERT_CONTENT}},
)
def take_alert(ctx: Ctx, feed_token: FeedToken, request: Request) -> Response:
    """Keep one alert and answer 202; a repeat adds nothing. It is read later, never here."""
    body, feeds = body_of(request.scope), ctx.facts.feeds
    if len(body) > MAX_BODY_BYTES:
        return problem(
            413,
            "body-too-large",
            "The body is too large",
            f"at most {MAX_BODY_BYTES} bytes are accepted",
            scope=request.scope,
        )
    source_id = _source_of(feeds, feed_token)
    if source_id is None and _is_self_test(ctx, feed_token, request):
        return Response(status_code=204)
    # One answer to all who may not write: it does not say which of the checks failed.
    if source_id is None or not _may_send(ctx, request) or not _has_secret(feeds, body):
        raise NotFound("feed", "of that token, address and secret")
    receipt = receive(source_id, body, received_ms=ctx.wall_ms(), secret=feeds.secret_text)
    if signals.append(ctx.store, receipt) and ctx.archive:
        _make_room(ctx.store, ctx.archive, source_id, now_ms=ctx.wall_ms())
    return Response(status_code=202)


@router.get("/signals/search")
def search_signals(
    ctx: Ctx,
    source: Annotated[
        str, Query(pattern=r"^[a-z0-9][a-z0-9_:-]{0,63}$", examples=["telegram:signals"])
    ],
    start_ms: Annotated[int, Query(ge=0, le=MAX_MS, examples=[1_764_000_000_000])],
    end_ms: Annotated[int, Query(ge=0, le=MAX_MS, examples=[1_764_086_400_000])],
    *,
    q: Annotated[str, Query(max_length=200)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> SignalPage:
    """Search one source's signals by words, newest arrival first. Times are wall, end excluded."""
    if not start_ms < end_ms <= start_ms + MAX_WINDOW_MS:
        raise BadInput("end_ms", f"was {end_ms}, expected above start_ms and at most 31 days after")
    place = decode(cursor)
    found = signals.search(
        ctx.store,
        source,
        start_ms=start_ms,
        end_ms=end_ms,
        query=q,
        limit=limit,
        after=(place.at_ms, place.key) if place else None,
        archive=ctx.archive,
    )
    return SignalPage(
        items=[SignalView.model_validate(signal, from_attributes=True) for signal in found.signals],
        next_cursor=Place(*found.last).encode() if found.truncated and found.last else None,
        scanned=found.scanned,
        truncated=found.truncated,
        lost_days=list(found.lost_days),
    )


def _make_room(store: Store, archive: signals.Archive, source_id: str, *, now_ms: int) -> None:
    """Archive a batch where one waits. The alert is kept already: a full disk does not refuse it."""
    try:
        if signals.is_overdue(store, source_id, now_ms=now_ms):
            signals.archive_and_trim(store, archive, source_id, now_ms=now_ms)
    except OSError as failed:
        log.error("signals_not_archived", source=source_id, error=str(failed))


def _source_of(feeds: Feeds, token: str) -> str | None:
    """The source whose token this is. Looks at every hash, so that time says nothing."""
    given = hashlib.sha256(token.encode()).hexdigest()
    source_id = None
    for candidate, known in feeds.token_hashes:
        if hmac.compare_digest(known, given):
            source_id = candidate
    return source_id


def _is_self_test(ctx: Context, token: str, request: Request) -> bool:
    """Whether this is a self-test of our own, from this machine; it uses up its pass, keeps nothing."""
    feeds, now_ms = ctx.facts.feeds, ctx.wall_ms()
    if not _is_this_machine(ctx, request):
        return False
    found = self_tests.find(ctx.store, token, feeds.token_hashes, now_ms=now_ms)
    if found is None or not _has_secret(feeds, body_of(request.scope)):
        return False
    return self_tests.use(ctx.store, found, now_ms=now_ms)


def _is_this_machine(ctx: Context, request: Request) -> bool:
    """A client on loopback, or on the very address that we listen on."""
    scope, client, server = request.scope, request.client, request.scope.get("server")
    is_own = client is not None and server is not None and client.host == server[0]
    return is_local(scope, ctx.facts.proxies) or (is_own and HEADER not in request.headers)


def _may_send(ctx: Context, request: Request) -> bool:
    allowed = networks(ctx.facts.feeds.cidrs)
    if not allowed:
        return True
    address = client_address(request.scope, ctx.facts.proxies)
    return address is not None and is_within(address, allowed)


def _has_secret(feeds: Feeds, body: bytes) -> bool:
    if feeds.secret_text is None:
        return True
    given = read_object(body).get("secret")
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "replace"), feeds.secret_text.encode()
    )
