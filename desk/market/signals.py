"""Signals: what people and alerts elsewhere say. Features and events, never orders.

A receipt is kept as it came; the signal in it is read by a pure rule each time, so that nothing is
lost by a rule that was wrong. The text is untrusted: compared and shown, never evaluated.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, cast

from desk.clock import MINUTE_MS
from desk.ids import Pair
from desk.market.interval import Interval

TRADINGVIEW = "tradingview"
MAX_BODY_BYTES = 16 * 1024
MAX_TEXT_CHARS = 4_000
STALE_AFTER_MS = 5 * MINUTE_MS
"""Between the alert's own clock and its arrival, either way."""
SYMBOLS: Mapping[str, Pair] = {
    f"{base}USDT{suffix}": f"{base}-USDT"
    for base in ("BTC", "ETH", "PAXG", "SOL", "XRP", "BNB", "DOGE")
    for suffix in ("", ".P")
}
INTERVALS: Mapping[str, Interval] = {
    "1": "1m",
    "3": "3m",
    "5": "5m",
    "15": "15m",
    "30": "30m",
    "60": "1h",
    "120": "2h",
    "240": "4h",
    "360": "6h",
    "480": "8h",
    "720": "12h",
    "D": "1d",
    "1D": "1d",
    "3D": "3d",
    "W": "1w",
    "1W": "1w",
    "M": "1M",
    "1M": "1M",
}
"""TradingView's names of intervals that we keep. Upper case only: `1m` there is no month."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A JSON string as it is written; one that does not end reaches to the end of the text."""
_WORD = re.compile(r"\w+")


class ParseStatus(StrEnum):
    OK = "ok"
    PARTIAL = "partial"
    """JSON whose symbol, interval, time or close is missing or unknown."""
    UNPARSED = "unparsed"
    """No JSON object: text only."""
    STALE = "stale"
    """Its own clock is missing the arrival by more than 5 min: not for features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReceipt:
    """One message as it came, at most 16 KiB. Primary key: source, external id, revision."""

    source_kind: str
    source_id: str
    external_id: str
    rev: int
    ts_received_ms: int
    """Wall time, ms UTC: alerts come in real time also while the simulator runs faster."""
    raw: str
    raw_ref: str
    """SHA-256 of `raw`, in hex."""
    ts_market_ms: int | None = None
    """Market time of the receipt, where the market does not run with the wall."""

    @property
    def known_ms(self) -> int:
        """Market time from which on it was known."""
        return self.ts_received_ms if self.ts_market_ms is None else self.ts_market_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a receipt says, as far as it could be read."""

    source_kind: str
    source_id: str
    external_id: str
    rev: int
    ts_event_ms: int
    """When the alert fired by its own clock; its arrival where it does not say."""
    ts_received_ms: int
    symbol: Pair | None
    side: str | None
    """buy or sell."""
    interval: Interval | None
    bar_open_ms: int | None
    price: float | None
    """The bar's close, in quote units, above 0."""
    text: str
    """At most 4,000 characters."""
    raw_ref: str
    parse_status: ParseStatus
    author: str | None = None


def receive(
    source_id: str, body: bytes, *, received_ms: int, secret: str | None = None
) -> SignalReceipt:
    """Name and keep one webhook body. A body secret is replaced before anything is kept or hashed.

    The external id is a hash of source and kept text; without `timenow` the minute of arrival is added,
    so that a text alert may fire again while a repeat within its minute adds nothing.
    """
    row = read_object(body)
    raw = body.decode("utf-8", "replace")
    if secret:
        raw = without_secret(raw, secret)
    kept = raw.encode()
    parts = [source_id.encode(), kept]
    if not row.get("timenow"):
        parts.append(b"%d" % (received_ms // MINUTE_MS))
    return SignalReceipt(
        source_kind=TRADINGVIEW,
        source_id=source_id,
        external_id=hashlib.sha256(b"\0".join(parts)).hexdigest(),
        rev=1,
        ts_received_ms=received_ms,
        raw=raw,
        raw_ref=hashlib.sha256(kept).hexdigest(),
    )


def parse(receipt: SignalReceipt) -> Signal:
    """Read a receipt. Never raises: what cannot be read is absent and the status says so."""
    row = read_object(receipt.raw)
    fired_ms = _time_ms(row.get("timenow"))
    symbol = SYMBOLS.get(_text(row, "ticker").upper())
    interval = INTERVALS.get(_text(row, "interval"))
    bar_open_ms, price = _time_ms(row.get("time")), _price(row.get("close"))
    side = next(
        (_text(row, n) for n in ("strategy.order.action", "action", "side") if n in row), ""
    )
    if not row:
        status = ParseStatus.UNPARSED
    elif fired_ms is not None and abs(receipt.ts_received_ms - fired_ms) > STALE_AFTER_MS:
        status = ParseStatus.STALE
    elif None in (symbol, interval, bar_open_ms, price, fired_ms):
        status = ParseStatus.PARTIAL
    else:
        status = ParseStatus.OK
    return Signal(
        source_kind=receipt.source_kind,
        source_id=receipt.source_id,
        external_id=receipt.external_id,
        rev=receipt.rev,
        ts_event_ms=receipt.ts_received_ms if fired_ms is None else fired_ms,
        ts_received_ms=receipt.ts_received_ms,
        symbol=symbol,
        side=side.lower() if side.lower() in {"buy", "sell"} else None,
        interval=interval,
        bar_open_ms=bar_open_ms,
        price=price,
        text=receipt.raw[:MAX_TEXT_CHARS],
        raw_ref=receipt.raw_ref,
        parse_status=status,
    )


def without_secret(text: str, secret: str) -> str:
    """The text with `[secret]` in its place, also where JSON writes it with escapes."""

    def cleaned(found: re.Match[str]) -> str:
        try:
            said: object = json.loads(found[0], strict=False)
        except ValueError:
            return found[0]
        if not isinstance(said, str) or secret not in said:
            return found[0]
        return json.dumps(said.replace(secret, "[secret]"))

    return _STRING.sub(cleaned, text).replace(secret, "[secret]")


def matches(signal: Signal, words: frozenset[str]) -> bool:
    """Whether every case-folded word stands in the signal's text or symbol."""
    return words <= words_of(f"{signal.text} {signal.symbol or ''}")


def words_of(text: str) -> frozenset[str]:
    """The case-folded words of a text."""
    return frozenset(_WORD.findall(text.casefold()))


def read_object(body: bytes | str) -> dict[str, Any]:
    """The JSON object in a body; empty for anything else, however deep or odd it is."""
    try:
        row: object = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", row) if isinstance(row, dict) else {}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    return value.strip() if isinstance(value, str) else ""


def _price(value: object) -> float | None:
    if not isinstance(value, (str, int, float)) or isinstance(value, bool):
        return None
    try:
        price = float(value)
    except (ValueError, OverflowError):
        return None
    return price if math.isfinite(price) and price > 0 else None


def _time_ms(value: object) -> int | None:
    """ISO with a zone, as TradingView writes it."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
        at_ms = round(read.astimezone(UTC).timestamp() * 1000) if read.tzinfo else -1
    except (ValueError, OverflowError):
        return None
    return at_ms if at_ms >= 0 else None
