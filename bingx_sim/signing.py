"""Check who signed a request and when, as strictly as the venue does."""

import hashlib
import hmac
from urllib.parse import parse_qsl

from bingx_sim.accounts import Account
from bingx_sim.errors import Refusal

MAX_RECV_WINDOW_MS = 5_000
SIGNATURE = "signature"


def decoded(raw_query: str) -> list[tuple[str, str]]:
    """Split and decode a raw query string, received order and blank values kept."""
    return parse_qsl(raw_query, keep_blank_values=True)


def signature_of(pairs: list[tuple[str, str]], secret: str) -> str:
    """HMAC-SHA256 over the decoded pairs, joined in received order, without the signature."""
    text = "&".join(f"{key}={value}" for key, value in pairs if key != SIGNATURE)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def authenticate(
    pairs: list[tuple[str, str]], key: str | None, accounts: dict[str, Account]
) -> Account:
    """Find the account that signed the request."""
    if not key:
        raise Refusal(100413, "Incorrect apiKey: the header X-BX-APIKEY is missing")
    account = accounts.get(key)
    if account is None:
        raise Refusal(100413, "Incorrect apiKey")
    given = dict(pairs).get(SIGNATURE, "")
    if not given:
        raise Refusal(100001, "Signature verification failed: the signature is missing")
    if not hmac.compare_digest(given.lower(), signature_of(pairs, account.secret)):
        raise Refusal(100001, "Signature verification failed due to signature mismatch")
    return account


def check_timestamp(params: dict[str, str], server_ms: int) -> None:
    """Refuse a request outside its window; `recvWindow` may only make the window smaller."""
    raw = params.get("timestamp", "")
    if not (raw.isascii() and raw.isdigit()):
        raise Refusal(100421, "Null timestamp or timestamp mismatch")
    window = params.get("recvWindow", "")
    allowed = MAX_RECV_WINDOW_MS
    if window.isascii() and window.isdigit() and int(window) > 0:
        allowed = min(int(window), MAX_RECV_WINDOW_MS)
    if abs(server_ms - int(raw)) > allowed:
        raise Refusal(100421, "timestamp is invalid: Null timestamp or timestamp mismatch")
