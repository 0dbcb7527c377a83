"""Who may ask what: host names, the token or login of every route, and CSRF for cookie logins.

Default deny. Open are `/healthz`, `/login`, the webhooks (their own feed token) and the static files
under `/ui/`. Role headers such as `X-Ops-Role` are read nowhere: rights come from the token alone.
"""

import hmac
import ipaddress
import socket
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_apps.addresses import Network, is_local
from serve_apps.intake import body_of, is_write
from serve_apps.problems import problem
from serve_apps.sessions import BEARER, COOKIE, LOOPBACK, Logins, Session, session_of

PAGES = frozenset(
    {"/", "/rl-agent", "/rl-evaluations", "/rl-data-sources", "/rl-ops", "/ingestion", "/insights"}
)
FORM_ROUTES = frozenset({"/logout", "/ops/trading/kill"})
"""Routes that also take a plain form with a hidden `csrf`, so that they work without JavaScript."""
_OPEN = frozenset({"/healthz", "/login"})
_OPEN_PREFIXES = ("/ui/", "/webhooks/")
_BACKGROUND = frozenset({"/events", "/healthz"})


def is_open(path: str) -> bool:
    """Whether a path is served without a token."""
    return path in _OPEN or path.startswith(_OPEN_PREFIXES)


class HostGuard:
    """421 for a Host that is none of ours: a page elsewhere cannot reach us by DNS rebinding.

    Loopback names, IP literals (rebinding needs a name), the machine's own names and `extra`.
    """

    def __init__(self, app: ASGIApp, *, extra: frozenset[str] = frozenset()) -> None:
        self._app = app
        own = {"localhost", "127.0.0.1", "::1", socket.gethostname().lower()}
        self._names = frozenset(own | {name.lower() for name in extra})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._known(Headers(scope=scope).get("host", "")):
            answer = problem(
                421,
                "unknown-host",
                "This server does not answer for that host name",
                "use the address it was started on, or an SSH tunnel to it",
                scope=scope,
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
            return name in self._names or bool(ipaddress.ip_address(name))
        except ValueError:
            return False


class Guard:
    """Finds the session of each request, or refuses: pages go to the login, the rest gets 401.

    Without `logins` (no API token) only loopback clients are served.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        logins: Logins | None,
        wall_ms: Callable[[], int],
        proxies: tuple[Network, ...] = (),
    ) -> None:
        self._app = app
        self._logins = logins
        self._proxies = proxies
        self._wall_ms = wall_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        session = self._session(scope)
        if session is None and not is_open(scope["path"]):
            await self._refuse(scope, receive, send)
            return
        if session is not None:
            scope.setdefault("state", {})["session"] = session
            if session.renewed_cookie and scope["path"] not in _BACKGROUND:
                send = _with_cookie(send, session.renewed_cookie)
        await self._app(scope, receive, send)

    def _session(self, scope: Scope) -> Session | None:
        if (known := session_of(scope)) is not None:
            return known  # a client of the facade, whose own login was checked before
        if self._logins is None:
            return LOOPBACK if is_local(scope, self._proxies) else None
        headers = Headers(scope=scope)
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme:
            fits = scheme.lower() == "bearer" and self._logins.matches(given.strip())
            return BEARER if fits else None
        value = _cookie(headers.get("cookie", ""))
        return self._logins.read(value, self._wall_ms()) if value else None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if self._logins is None:
            answer = problem(
                403,
                "loopback-only",
                "Only this machine is served without an API token",
                "set API_TOKEN and restart, or use an SSH tunnel",
                scope=scope,
            )
        elif path in PAGES and scope["method"] in {"GET", "HEAD"}:
            query = scope.get("query_string", b"").decode("latin-1")
            target = f"{path}?{query}" if query else path
            answer = RedirectResponse(f"/login?next={quote(target, safe='')}", status_code=303)
        else:
            answer = problem(
                401,
                "unauthenticated",
                "A token is required",
                "send `Authorization: Bearer` with the API token, or log in at /login",
                scope=scope,
                headers={"www-authenticate": "Bearer"},
            )
        await answer(scope, receive, send)


class CsrfGuard:
    """403 for a write that a page elsewhere may have caused. Bearer clients need nothing.

    A cookie login needs the CSRF token besides; without any token (loopback) the request must at
    least not come from another site's page.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_write(scope) and not _may_write(scope):
            answer = problem(
                403,
                "csrf",
                "The request does not come from a page of this login",
                "reload the page and repeat; scripts send `Authorization: Bearer`",
                scope=scope,
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def form_of(scope: Scope) -> dict[str, str]:
    """Fields of an urlencoded body, the first value of each; empty for any other body."""
    return {name: values[0] for name, values in form_values(scope).items()}


def form_values(scope: Scope) -> dict[str, list[str]]:
    """All values of each field of an urlencoded body, but empty ones; empty for any other body."""
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return {}
    return parse_qs(body_of(scope).decode("utf-8", "replace"), max_num_fields=20)


def _is_from_here(headers: Headers) -> bool:
    """Whether the request may come from a page of this server, by what the browser says of it.

    A plain form of ours sends `Origin: null`: our pages have `Referrer-Policy: no-referrer`, and the
    Fetch standard then hides the origin of every request but a script's. What tells such a form from
    a page elsewhere is `Sec-Fetch-Site`, which no page can set.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site not in {None, "same-origin", "none"}:
        return False
    if origin == "null":
        return site == "same-origin"
    return origin is None or urlsplit(origin).netloc == headers.get("host")


def _may_write(scope: Scope) -> bool:
    session = session_of(scope)
    if session is BEARER:
        return True
    headers = Headers(scope=scope)
    if not _is_from_here(headers):
        return False
    if session is None or session.csrf is None or scope["path"] == "/login":
        return True
    given = headers.get("x-csrf-token", "")
    if not given and scope["path"] in FORM_ROUTES:
        given = form_of(scope).get("csrf", "")
    return hmac.compare_digest(given.encode(), session.csrf.encode())


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel else None


def _with_cookie(send: Send, cookie: str) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if "set-cookie" not in headers:
                headers.append("set-cookie", cookie)
        await send(message)

    return send_with_cookie
