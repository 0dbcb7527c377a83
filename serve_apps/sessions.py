"""The one operator's login: a stateless signed cookie, and the CSRF token that goes with it."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Literal

from starlette.types import Scope

COOKIE = "__Host-sid"
ABSOLUTE_MS = 12 * 3_600_000
IDLE_MS = 2 * 3_600_000
_RENEW_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Who is asking. `csrf` is set for cookie logins only, and every write must repeat it."""

    authenticated_by: Literal["loopback", "bearer", "cookie"]
    csrf: str | None = None
    login_expires_ms: int | None = None
    """Wall time at which a cookie login ends, if it stays idle."""
    renewed_cookie: str | None = None
    """A Set-Cookie header that moves the idle limit."""

    @property
    def actor(self) -> str:
        """The name under which an audit event is written."""
        return "operator"


LOOPBACK = Session(authenticated_by="loopback")
BEARER = Session(authenticated_by="bearer")


def session_of(scope: Scope) -> Session | None:
    """The session the guard found, or None on an open path."""
    found = scope.get("state", {}).get("session")
    return found if isinstance(found, Session) else None


class Logins:
    """Issues and reads cookies `absolute.idle.nonce.mac`, keyed by the API token.

    Every replica reads them, a restart keeps them, a new API token ends them all.
    """

    def __init__(self, api_token: str) -> None:
        self._token = api_token.encode()
        self._cookie_key = self.key_for(b"ui-login-v1")
        self._csrf_key = self.key_for(b"ui-csrf-v1")

    def matches(self, given: str) -> bool:
        """Whether a password or bearer value is the API token, in constant time."""
        return hmac.compare_digest(given.encode(), self._token)

    def key_for(self, purpose: bytes) -> bytes:
        """Return a key of its own for another use of the login; a new API token changes it."""
        return hmac.digest(self._token, purpose, "sha256")

    def issue(self, now_wall_ms: int) -> str:
        """Return the Set-Cookie value of a fresh login."""
        return self._cookie(
            now_wall_ms + ABSOLUTE_MS, now_wall_ms + IDLE_MS, secrets.token_urlsafe(18)
        )

    def read(self, value: str, now_wall_ms: int) -> Session | None:
        """Return the session of a cookie value, or None if it is forged, damaged or over."""
        parts = value.split(".")
        if len(parts) != 4:
            return None
        absolute, idle, nonce, mac = parts
        if not hmac.compare_digest(self._mac(f"{absolute}.{idle}.{nonce}").encode(), mac.encode()):
            return None
        ends_ms = min(int(absolute), int(idle))
        if ends_ms <= now_wall_ms:
            return None
        fresh_idle_ms = min(now_wall_ms + IDLE_MS, int(absolute))
        renew = fresh_idle_ms - int(idle) > _RENEW_AFTER_MS
        return Session(
            authenticated_by="cookie",
            csrf=self.csrf(nonce),
            login_expires_ms=ends_ms,
            renewed_cookie=self._cookie(int(absolute), fresh_idle_ms, nonce) if renew else None,
        )

    def csrf(self, nonce: str) -> str:
        """The token that a page of this login repeats with every write."""
        return hmac.new(self._csrf_key, nonce.encode(), hashlib.sha256).hexdigest()

    def _cookie(self, absolute_ms: int, idle_ms: int, nonce: str) -> str:
        body = f"{absolute_ms}.{idle_ms}.{nonce}"
        return (
            f"{COOKIE}={body}.{self._mac(body)}; Path=/; Secure; HttpOnly; SameSite=Strict; "
            f"Max-Age={ABSOLUTE_MS // 1000}"
        )

    def _mac(self, body: str) -> str:
        return hmac.new(self._cookie_key, body.encode(), hashlib.sha256).hexdigest()


def forget() -> str:
    """Return the Set-Cookie value that ends the login in this browser."""
    return f"{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=0"
