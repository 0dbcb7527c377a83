"""Signals: alerts come in by webhook, and are searched by source and time."""

import hashlib
import hmac
import ipaddress
from typing import Annotated

import structlog
from fastapi import APIRouter, Query, Request, Response

from desk.clock import DAY_MS
from desk.errors import BadInput, NotFound
from desk.market.signals import MAX_BODY_BYTES, read_object, receive
from desk.store import signals
from desk.store.port import Store
from serve_apps.context import Ctx, Feeds
from serve_apps.intake import body_of
from serve_apps.paging import MAX_MS, Place, decode
from serve_apps.problems import problem
from serve_apps.schemas import SignalPage, SignalView

log = structlog.stdlib.get_logger()

router = APIRouter(tags=["signals"])

MAX_WINDOW_MS = 31 * DAY_MS


@router.post("/webhooks/tradingview/{feed_token}", status_code=202, response_class=Response)
def take_alert(ctx: Ctx, feed_token: str, request: Request) -> Response:
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
    # One answer to all who may not write: it does not say which of the checks failed.
    if source_id is None or not _may_send(feeds, request) or not _has_secret(feeds, body):
        raise NotFound("feed", "of that token, address and secret")
    receipt = receive(source_id, body, received_ms=ctx.wall_ms(), secret=feeds.secret_text)
    if signals.append(ctx.store, receipt) and ctx.archive:
        _make_room(ctx.store, ctx.archive, source_id, now_ms=ctx.wall_ms())
    return Response(status_code=202)


@router.get("/signals/search")
def search_signals(
    ctx: Ctx,
    source: Annotated[str, Query(pattern=r"^[a-z0-9][a-z0-9_:-]{0,63}$")],
    start_ms: Annotated[int, Query(ge=0, le=MAX_MS)],
    end_ms: Annotated[int, Query(ge=0, le=MAX_MS)],
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


def _may_send(feeds: Feeds, request: Request) -> bool:
    if not feeds.cidrs:
        return True
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(cidr) for cidr in feeds.cidrs)


def _has_secret(feeds: Feeds, body: bytes) -> bool:
    if feeds.secret_text is None:
        return True
    given = read_object(body).get("secret")
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "replace"), feeds.secret_text.encode()
    )
