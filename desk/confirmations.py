"""Confirm tokens: one permission for exactly one thing that was asked, for a minute."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from desk.errors import BadInput

LIFE_MS = 60_000
"""Wall ms from the preflight to the last moment at which its token counts."""
FIELD = "confirm_token"
REMEDY = "ask POST /ops/preflight for a new one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What is kept of a token: never its secret, only the hash of it. Times are wall ms."""

    confirmation_id: str
    secret_sha256: str
    asked_sha256: str
    """Of the action and its parameters, by `asked_sha256`."""
    action: str
    issued_ms: int
    used_by: str = ""
    """Trace id of the request that used it; empty: it is not used."""


def asked_sha256(action: str, parameters: Mapping[str, str]) -> str:
    """Hash of an action with everything it is asked with; the order of the names does not matter."""
    text = json.dumps([action, dict(sorted(parameters.items()))], separators=(",", ":"))
    return _sha256(text)


def issue(
    confirmation_id: str, secret: str, action: str, parameters: Mapping[str, str], *, now_ms: int
) -> Confirmation:
    """What to keep of a new token; `secret` must come from a source of secrets."""
    return Confirmation(
        confirmation_id=confirmation_id,
        secret_sha256=_sha256(secret),
        asked_sha256=asked_sha256(action, parameters),
        action=action,
        issued_ms=now_ms,
    )


def token_of(confirmation_id: str, secret: str) -> str:
    """The token as the operator gets it, once."""
    return f"{confirmation_id}.{secret}"


def id_of(token: str) -> str:
    """The public part of a token: the key of its row. Raises `BadInput` for a text that is none."""
    confirmation_id, dot, secret = token.partition(".")
    if not token:
        raise BadInput(FIELD, "was missing: ask POST /ops/preflight for one, it holds for 60 s")
    if not (confirmation_id and dot and secret):
        raise BadInput(FIELD, f"was no token of ours: {REMEDY}")
    return confirmation_id


def used(
    found: Confirmation | None,
    token: str,
    action: str,
    parameters: Mapping[str, str],
    *,
    by: str,
    now_ms: int,
) -> Confirmation:
    """The row once this request has used its token. Raises `BadInput` for a token that gives no right.

    `by` is the trace id of the request: the same request may come again within the token's life, as
    one whose outcome was unknown is repeated under its `Idempotency-Key`. Secrets are compared in
    constant time, and before anything is said of the row.
    """
    secret = token.partition(".")[2]
    if found is None or not hmac.compare_digest(found.secret_sha256, _sha256(secret)):
        raise BadInput(FIELD, f"was not issued here: {REMEDY}")
    if not found.issued_ms <= now_ms < found.issued_ms + LIFE_MS:
        raise BadInput(FIELD, f"has expired, it held for {LIFE_MS // 1000} s: {REMEDY}")
    if found.used_by not in ("", by):
        raise BadInput(FIELD, f"was used before, it is good for one request: {REMEDY}")
    if not hmac.compare_digest(found.asked_sha256, asked_sha256(action, parameters)):
        raise BadInput(FIELD, f"was issued for another request ({found.action}): {REMEDY}")
    return replace(found, used_by=by)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
