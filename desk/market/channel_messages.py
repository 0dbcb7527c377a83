"""Messages of Telegram channels as signals. Their text is untrusted: kept, cut, compared, shown."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from desk.clock import MINUTE_MS
from desk.ids import Pair
from desk.market.signals import (
    MAX_TEXT_CHARS,
    SYMBOLS,
    TRADINGVIEW,
    ParseStatus,
    Signal,
    SignalReceipt,
    parse,
    read_object,
)

TELEGRAM = "telegram"
AHEAD_MS = 5 * MINUTE_MS
"""A message from further in the future than this is `stale`: one of the clocks is wrong."""
_SIDES = {"buy": "buy", "long": "buy", "sell": "sell", "short": "sell"}
_WORD = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelMessage:
    """One message of a channel as it stands now; ids rise with time within a channel."""

    message_id: int
    sent_ms: int
    edited_ms: int | None
    author: str | None
    text: str
    """Caption where there is media; empty for service messages and deleted ones."""
    media: str | None = None
    """Name of the kind of media; media itself is never fetched."""
    is_deleted: bool = False


def receive_message(
    source_id: str, message: ChannelMessage, *, rev: int, received_ms: int
) -> SignalReceipt:
    """Keep a message; its text and its author's name are cut. The external id is the message's."""
    said = {
        "text": message.text[:MAX_TEXT_CHARS],
        "author": message.author[:100] if message.author else None,
        "sent_ms": message.sent_ms,
        "edited_ms": message.edited_ms,
        "media": message.media,
        "is_deleted": message.is_deleted,
    }
    raw = json.dumps(said)
    return SignalReceipt(
        source_kind=TELEGRAM,
        source_id=source_id,
        external_id=str(message.message_id),
        rev=rev,
        ts_received_ms=received_ms,
        raw=raw,
        raw_ref=hashlib.sha256(raw.encode()).hexdigest(),
    )


def read_signal(receipt: SignalReceipt) -> Signal:
    """Read a receipt of any source. Never raises."""
    return parse(receipt) if receipt.source_kind == TRADINGVIEW else parse_message(receipt)


def parse_message(receipt: SignalReceipt) -> Signal:
    """Read a Telegram receipt: one pair and one side, where the text names exactly one of each."""
    row = read_object(receipt.raw)
    text, sent_ms = str(row.get("text") or ""), _sent_ms(row)
    words = set(_WORD.findall(text.casefold().replace("/", "").replace("-", "")))
    symbol, side = _pair_of(words), _one({_SIDES[word] for word in words & set(_SIDES)})
    if sent_ms is not None and sent_ms > receipt.ts_received_ms + AHEAD_MS:
        status = ParseStatus.STALE
    elif symbol and side:
        status = ParseStatus.OK
    else:
        status = ParseStatus.PARTIAL if symbol or side else ParseStatus.UNPARSED
    author = row.get("author")
    return Signal(
        source_kind=receipt.source_kind,
        source_id=receipt.source_id,
        external_id=receipt.external_id,
        rev=receipt.rev,
        ts_event_ms=receipt.ts_received_ms if sent_ms is None else sent_ms,
        ts_received_ms=receipt.ts_received_ms,
        symbol=symbol,
        side=side,
        interval=None,
        bar_open_ms=None,
        price=None,
        text=text[:MAX_TEXT_CHARS],
        raw_ref=receipt.raw_ref,
        parse_status=status,
        author=author if isinstance(author, str) else None,
    )


def _pair_of(words: set[str]) -> Pair | None:
    bare = {pair.removesuffix("-USDT").casefold(): pair for pair in SYMBOLS.values()}
    whole = {name.casefold(): pair for name, pair in SYMBOLS.items()}
    return _one({pair for word in words if (pair := whole.get(word) or bare.get(word))})


def _one(found: set[str]) -> str | None:
    return found.pop() if len(found) == 1 else None


def _sent_ms(row: dict[str, Any]) -> int | None:
    sent_ms = row.get("sent_ms")
    return sent_ms if isinstance(sent_ms, int) and sent_ms >= 0 else None
