"""Names of things: pairs, and ids that are pure functions of what they name."""

import base64
import hashlib
import re

from desk.errors import BadInput

type Pair = str
"""An instrument as the operator says it and as BingX does: `BTC-USDT`."""

CLIENT_ORDER_PREFIX = "t1"
"""First characters of every client order id of ours; any other order on the account is foreign."""

_PAIR = re.compile(r"^[A-Z0-9]{2,15}-USDT$")


def parse_pair(text: str) -> Pair:
    """Return the pair, or raise `BadInput` naming the expected form."""
    pair = text.strip().upper()
    if not _PAIR.match(pair):
        raise BadInput("pair", f"was {text!r}, expected a form like BTC-USDT")
    return pair


def client_order_id(account: str, run_id: str, decision_id: str, leg: str) -> str:
    """Return the 26-character lower-case id of one leg of one decision.

    A pure function of the decision, without an attempt number: every resend carries the same id
    and the venue deduplicates (reference: BingX allows 1-40 alphanumerics and lower-cases them).
    """
    return CLIENT_ORDER_PREFIX + _digest(account, run_id, decision_id, leg)[:24]


def is_ours(client_order_id: str) -> bool:
    """Whether an order on the venue was sent by this system."""
    return client_order_id.lower().startswith(CLIENT_ORDER_PREFIX) and len(client_order_id) == 26


def decision_id(run_id: str, pair: Pair, interval: str, open_ms: int) -> str:
    """Return the id of the decision on one closed candle: a candle delivered twice is one decision."""
    return "d" + _digest(run_id, pair, interval, str(open_ms))[:23]


def trace_id(*parts: str | int) -> str:
    """Return the trace id minted where a story begins (a candle's close, an operator's request)."""
    return "tr" + _digest(*(str(part) for part in parts))[:22]


def request_id(*parts: str | int) -> str:
    """Return the id under which a store call may be repeated without a second effect."""
    return "rq" + _digest(*(str(part) for part in parts))[:22]


def _digest(*parts: str) -> str:
    joined = "|".join(parts).encode()
    return base64.b32encode(hashlib.sha256(joined).digest()).decode().lower().rstrip("=")
