"""Logging in and out with the API token: plain forms, no script."""

import asyncio
import ipaddress
from collections import OrderedDict, deque
from html import escape
from pathlib import Path
from string import Template
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import Scope

from actors.alerts import Cause, raise_alert
from desk.wallclock import monotonic_s
from serve_apps.addresses import Network, client_address, is_https
from serve_apps.auth import PAGES, form_of
from serve_apps.context import Context, Ctx
from serve_apps.sessions import Logins, forget, session_of

router = APIRouter(include_in_schema=False)

FIRST_PAGE = "/rl-ops"
FAILURES_PER_MINUTE = 5
FAILURE_DELAY_S = 0.5
MAX_ADDRESSES = 1_000
_PAGE = Template((Path(__file__).parents[1] / "login.html").read_text())


class FailedLogins:
    """Failed logins of the last minute in this process, by address.

    Of the addresses only the `MAX_ADDRESSES` that failed last are remembered.
    """

    def __init__(self, *, delay_s: float = FAILURE_DELAY_S) -> None:
        self.delay_s = delay_s
        self._at_s: OrderedDict[str, deque[float]] = OrderedDict()

    def note(self, origin: str) -> int:
        """Count one more; returns how many there were in the last minute, at most one too many."""
        times = self._at_s.setdefault(origin, deque(maxlen=FAILURES_PER_MINUTE + 1))
        times.append(monotonic_s())
        self._at_s.move_to_end(origin)
        while len(self._at_s) > MAX_ADDRESSES:
            self._at_s.popitem(last=False)
        return self.recent(origin)

    def recent(self, origin: str) -> int:
        """How many there were in the last minute from there."""
        earliest_s = monotonic_s() - 60
        return sum(at_s >= earliest_s for at_s in self._at_s.get(origin, ()))

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._at_s)


def origin_of(scope: Scope, proxies: tuple[Network, ...]) -> str:
    """Who counts as one client: an address, of IPv6 the network of 64 bits that one customer has."""
    address = client_address(scope, proxies)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address or "")


@router.get("/login")
def show_login(
    request: Request, target: Annotated[str, Query(alias="next", max_length=2_000)] = ""
) -> Response:
    """Show the form; whoever is logged in already goes on."""
    if session_of(request.scope) is not None:
        return RedirectResponse(page_or_first(target), status_code=303)
    return HTMLResponse(_page(request, page_or_first(target)))


@router.post("/login")
async def log_in(ctx: Ctx, request: Request) -> Response:
    """Compare the password with the API token; a wrong one is answered late, 5 a minute from an address."""
    logins: Logins | None = request.app.state.logins
    failures: FailedLogins = request.app.state.failed_logins
    form = form_of(request.scope)
    target = page_or_first(form.get("next", ""))
    if logins is None:
        return RedirectResponse(target, status_code=303)
    origin = origin_of(request.scope, ctx.facts.proxies)
    if failures.recent(origin) >= FAILURES_PER_MINUTE:
        text = "Too many wrong tokens: wait a minute."
        return HTMLResponse(
            _page(request, target, text), status_code=429, headers={"retry-after": "60"}
        )
    if logins.matches(form.get("password", "")):
        answer = RedirectResponse(target, status_code=303)
        answer.headers.append("set-cookie", logins.issue(ctx.wall_ms()))
        return answer
    await note_failure(ctx, failures, origin)
    return HTMLResponse(_page(request, target, "That is not the API token."), status_code=401)


@router.post("/logout")
async def log_out() -> Response:
    """End the login in this browser; a new API token ends all of them."""
    answer = RedirectResponse("/login", status_code=303)
    answer.headers.append("set-cookie", forget())
    return answer


def page_or_first(target: str) -> str:
    """One of our pages with its query, or the first page: never another site."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return FIRST_PAGE
    if parts.scheme or parts.netloc or parts.path not in PAGES:
        return FIRST_PAGE
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


async def note_failure(ctx: Context, failures: FailedLogins, origin: str) -> None:
    """Count a wrong token, raise an alert at the limit, and let the answer wait."""
    if failures.note(origin) == FAILURES_PER_MINUTE:
        cause = Cause(
            code="login_failures",
            about="operator",
            category="ops",
            severity="warning",
            detail=f"{FAILURES_PER_MINUTE} wrong tokens within a minute from one address",
        )
        now_ms = await asyncio.to_thread(ctx.clock.now_ms)
        await raise_alert(ctx.store, cause, at_ms=now_ms)
    await asyncio.sleep(failures.delay_s)


def _page(request: Request, target: str, message: str = "") -> str:
    host = request.url.hostname or ""
    proxies = request.app.state.context.facts.proxies
    if not is_https(request.scope, proxies) and host not in {"localhost", "127.0.0.1", "::1"}:
        message += " Browsers keep this login on https or on this machine only: use an SSH tunnel."
    return _PAGE.substitute(next=escape(target), message=escape(message.strip()))
