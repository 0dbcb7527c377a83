"""How freqtrade's tools prove who they are: HTTP basic with the API token, or a token made from it.

Only paths under `/api/v1/` are looked at. The password of HTTP basic is the API token, the user name
is not looked at: there is one operator. `token/login` gives a JSON Web Token (RFC 7519, HS256) for
15 minutes and another to refresh it with for 12 hours; both are keyed by the API token, so that a
new one ends them all, and neither is good for any route outside of the facade.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Literal

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_apps.context import Context
from serve_apps.problems import problem
from serve_apps.routes.login import (
    FAILURES_PER_MINUTE,
    FailedLogins,
    note_failure,
    origin_of,
)
from serve_apps.sessions import BEARER, Logins

ROOT = "/api/v1"
REFRESH_PATH = f"{ROOT}/token/refresh"
ACCESS_S = 15 * 60
REFRESH_S = 12 * 3_600
LONGEST_CHARS = 1_000
type Kind = Literal["access", "refresh"]


class FacadeTokens:
    """Makes and checks the facade's own tokens; stateless, so that every replica knows them."""

    def __init__(self, logins: Logins) -> None:
        self._key = logins.key_for(b"freqtrade-facade-v1")

    def issue(self, kind: Kind, now_wall_ms: int) -> str:
        """Return a token that is good from now on."""
        now_s = now_wall_ms // 1_000
        lasts_s = ACCESS_S if kind == "access" else REFRESH_S
        claims = {
            "identity": {"u": "operator"},
            "iat": now_s,
            "exp": now_s + lasts_s,
            "type": kind,
        }
        body = f"{_HEAD}.{_packed(claims)}"
        return f"{body}.{self._mac(body)}"

    def fits(self, token: str, kind: Kind, now_wall_ms: int) -> bool:
        """Whether a token is one of ours, of this kind, and not over."""
        body, _, mac = token.rpartition(".")
        head, _, claims = body.partition(".")
        length = len(token)
        if length > LONGEST_CHARS or head != _HEAD:
            return False
        if not hmac.compare_digest(self._mac(body).encode(), mac.encode()):
            return False
        said = _unpacked(claims)
        return said.get("type") == kind and int(said["exp"]) * 1_000 > now_wall_ms

    def _mac(self, body: str) -> str:
        return _text(hmac.digest(self._key, body.encode(), hashlib.sha256))


class FacadeLogin:
    """ASGI layer outside the guard: finds the session of a facade client, or leaves it to the guard.

    Wrong passwords are answered late and count with those of the login page: 429 after five within
    a minute from one address.
    """

    def __init__(self, app: ASGIApp, *, logins: Logins | None, wall_ms: Callable[[], int]) -> None:
        self._app = app
        self._logins = logins
        self._tokens = FacadeTokens(logins) if logins else None
        self._wall_ms = wall_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope.setdefault("state", {}).pop("session", None)  # nobody but us says who is asking
        if scope["type"] == "http" and scope["path"].startswith(f"{ROOT}/"):
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            refusal = None
            match scheme.lower():
                case "basic" if self._logins is not None:
                    refusal = await self._basic(self._logins, given.strip(), scope)
                case "bearer" if self._tokens is not None:
                    self._bearer(self._tokens, given.strip(), scope)
                case _:
                    pass
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _basic(self, logins: Logins, given: str, scope: Scope) -> Response | None:
        failures: FailedLogins = scope["app"].state.failed_logins
        context: Context = scope["app"].state.context
        origin = origin_of(scope, context.facts.proxies)
        if failures.recent(origin) >= FAILURES_PER_MINUTE:
            return problem(
                429,
                "too-many-logins",
                "Too many wrong tokens",
                "wait a minute",
                scope=scope,
                headers={"retry-after": "60"},
            )
        if logins.matches(_password(given)):
            scope.setdefault("state", {})["session"] = BEARER
            return None
        await note_failure(context, failures, origin)
        return problem(
            401,
            "unauthenticated",
            "A token is required",
            "give the API token as the password; the user name is not looked at",
            scope=scope,
            headers={"www-authenticate": "Bearer"},
        )

    def _bearer(self, tokens: FacadeTokens, given: str, scope: Scope) -> None:
        kind: Kind = "refresh" if scope["path"] == REFRESH_PATH else "access"
        if tokens.fits(given, kind, self._wall_ms()):
            scope.setdefault("state", {})["session"] = BEARER


def _password(given: str) -> str:
    try:
        text = base64.b64decode(given, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""
    return text.partition(":")[2]


def _packed(claims: dict[str, Any]) -> str:
    return _text(json.dumps(claims, separators=(",", ":")).encode())


def _unpacked(text: str) -> dict[str, Any]:
    """Claims that our own key signed."""
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


_HEAD = _packed({"alg": "HS256", "typ": "JWT"})
